"""Half of the load on each of two workers: `locust --processes 2`, or `--master` and `--worker` on machines."""

from counted import counted
from locust import HttpUser, task


class Visitor(HttpUser):
    fixed_count = 4

    @task
    @counted(10)
    def visit(self):
        self.client.get("/")
        self.client.get("/products")
