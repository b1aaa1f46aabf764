"""A GraphQL mutation whose errors come with status 200."""

from counted import counted
from locust import HttpUser, task

CREATE = "mutation CreateImport($name: String!) { createImport(name: $name) { id uploadUrl } }"


class Importer(HttpUser):
    @task
    @counted(5)
    def create(self):
        query = {"query": CREATE, "variables": {"name": "photos"}}
        with self.client.post("/graphql", json=query, name="gql CreateImport", catch_response=True) as reply:
            if reply.json().get("errors"):
                reply.failure("gql errors")
