"""Log in once before the load, use the token everywhere, clean up after it."""

import requests
from counted import counted
from locust import HttpUser, events, task

shared = {}


@events.test_start.add_listener
def set_up(environment, **_):
    login = requests.post(f"{environment.host}/login", json={"email": "a@shop.example", "password": "p"}, timeout=10)
    shared["token"] = login.json()["token"]


@events.test_stop.add_listener
def tear_down(environment, **_):
    requests.get(f"{environment.host}/products", timeout=10)


class Shopper(HttpUser):
    @task
    @counted(5)
    def pay(self):
        self.client.post("/checkout", headers={"Authorization": f"Bearer {shared['token']}"})
