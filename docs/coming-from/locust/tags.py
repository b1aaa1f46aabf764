"""One row for all products. Locust has no tags: a property becomes a part of the name."""

from itertools import count

from counted import counted
from locust import HttpUser, task

NUMBER = count(10)


class Visitor(HttpUser):
    @task
    @counted(5)
    def visit(self):
        self.client.get(f"/products/sku-00{next(NUMBER)}", name="GET /products/{sku}")
        found = self.client.get("/search?q=mug", name="GET /search")
        word = found.json()["hits"][0]["name"].split(" ")[0]
        self.client.get(f"/search?q={word}", name="GET /search")
