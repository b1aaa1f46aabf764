"""10 users start an iteration per second each. A user whose iteration takes longer than a second starts later."""

from counted import counted
from locust import HttpUser, constant_throughput, task


class Visitor(HttpUser):
    fixed_count = 10
    wait_time = constant_throughput(1)

    @task
    @counted(3)
    def home(self):
        self.client.get("/")
