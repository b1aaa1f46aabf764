"""Ask up to three times when the target is overloaded."""

import gevent
from counted import counted
from locust import HttpUser, task


class Visitor(HttpUser):
    @task
    @counted(20)
    def look(self):
        for attempt in range(3):
            with self.client.get("/products", catch_response=True) as reply:
                if reply.status_code != 503:
                    break
                reply.success()
            gevent.sleep(0.01 * (attempt + 1))
