"""Several requests at once, as a browser sends them."""

from counted import counted
from gevent.pool import Group
from locust import HttpUser, task


class Visitor(HttpUser):
    @task
    @counted(5)
    def visit(self):
        self.client.get("/")
        group = Group()
        group.spawn(self.client.get, "/products")
        group.spawn(self.client.get, "/search?q=oak", name="GET /search")
        group.join()
