"""Time parts of an iteration by name. Locust has no word for it, so the script fires an event of its own."""

from contextlib import contextmanager
from time import perf_counter

from counted import counted
from locust import HttpUser, task


class Visitor(HttpUser):
    @contextmanager
    def group(self, name):
        begin = perf_counter()
        yield
        took_ms = (perf_counter() - begin) * 1000
        self.environment.events.request.fire(
            request_type="group", name=name, response_time=took_ms, response_length=0, exception=None, context={}
        )

    @task
    @counted(5)
    def visit(self):
        with self.group("browse"):
            self.client.get("/")
            self.client.get("/products")
        with self.group("find"):
            self.client.get("/search?q=oak", name="GET /search")
