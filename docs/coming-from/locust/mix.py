"""Three of four users browse, one buys. With `weight` or `@task(3)` instead, the turns are drawn at random."""

from counted import counted
from locust import HttpUser, task


class Browser(HttpUser):
    fixed_count = 3

    @task
    @counted(10)
    def browse(self):
        self.client.get("/")
        self.client.get("/products")


class Buyer(HttpUser):
    fixed_count = 1

    @task
    @counted(10)
    def buy(self):
        login = self.client.post("/login", json={"email": "a@shop.example", "password": "p"})
        self.client.post("/checkout", headers={"Authorization": f"Bearer {login.json()['token']}"})
