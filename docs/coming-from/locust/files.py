"""Upload a file as a form."""

from pathlib import Path

from counted import counted
from locust import HttpUser, task

RECEIPT = (Path(__file__).parents[1] / "scenarios/data/receipt.txt").read_bytes()
CREATE = "mutation CreateImport($name: String!) { createImport(name: $name) { id uploadUrl } }"


class Importer(HttpUser):
    @task
    @counted(5)
    def upload(self):
        made = self.client.post("/graphql", json={"query": CREATE, "variables": {"name": "receipts"}})
        url = made.json()["data"]["createImport"]["uploadUrl"]
        form = {"receipt": ("receipt.txt", RECEIPT, "text/plain")}
        self.client.put(url, files=form, name="PUT /uploads/{id}")
