"""Fail the run when it is too slow or has too many errors."""

from counted import counted
from locust import HttpUser, events, task


class Visitor(HttpUser):
    @task
    @counted(5)
    def look(self):
        self.client.get("/products/sku-0001", name="GET /products/{sku}")


@events.quitting.add_listener
def judge(environment, **_):
    total = environment.stats.total
    if total.fail_ratio > 0.01 or total.get_response_time_percentile(0.95) > 5000:
        environment.process_exit_code = 1
