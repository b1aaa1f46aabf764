"""Count how often an answer is what it should be, and go on."""

from counted import counted
from locust import HttpUser, task


class Visitor(HttpUser):
    @task
    @counted(5)
    def search(self):
        with self.client.get("/search?q=oak", name="GET /search", catch_response=True) as found:
            if found.status_code != 200:
                found.failure("is 200")
            elif not found.json()["hits"]:
                found.failure("finds something")
