"""Each iteration logs in with its own row of a CSV file."""

import csv
from pathlib import Path

from counted import counted
from locust import HttpUser, task

with (Path(__file__).parents[1] / "scenarios/data/shoppers.csv").open() as file:
    SHOPPERS = iter(list(csv.DictReader(file)))


class Shopper(HttpUser):
    @task
    @counted(5)
    def visit(self):
        shopper = next(SHOPPERS)  # one process only: with workers, each has a copy of the list
        self.client.post("/login", json={"email": shopper["email"], "password": shopper["password"]})
        self.client.get(f"/products/{shopper['sku']}", name="GET /products/{sku}")
