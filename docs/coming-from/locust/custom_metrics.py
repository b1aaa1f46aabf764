"""Locust has no metrics of your own: one process can count in variables, workers send them in reports."""

from counted import counted
from locust import HttpUser, events, task

found = {"products": 0, "searches": 0, "from the cache": 0, "sum of prices": 0.0}


class Visitor(HttpUser):
    @task
    @counted(5)
    def search(self):
        reply = self.client.get("/search?q=oak", name="GET /search")
        hits = reply.json()["hits"]
        found["products"] += len(hits)
        found["searches"] += 1
        found["sum of prices"] += hits[0]["price_cents"] / 100
        found["from the cache"] += reply.headers["X-Cache"] == "hit"


@events.quitting.add_listener
def show(environment, **_):
    print(found)
