"""Log in, read a value from a page, send it back."""

import re

from counted import counted
from locust import HttpUser, task


class Shopper(HttpUser):
    @task
    @counted(5)
    def buy(self):
        login = self.client.post("/login", json={"email": "a@shop.example", "password": "p"})
        headers = {"Authorization": f"Bearer {login.json()['token']}"}

        page = self.client.get("/products/sku-0001", name="GET /products/{sku}")
        csrf = re.search(r'name="csrf" value="([^"]*)"', page.text).group(1)

        self.client.post("/cart", json={"sku": "sku-0001", "csrf": csrf}, headers=headers)
