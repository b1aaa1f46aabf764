"""A GraphQL mutation whose errors come with status 200."""

from loadgen import Plan, User, gql, iterations, journey

CREATE = "mutation CreateImport($name: String!) { createImport(name: $name) { id uploadUrl } }"


@journey
async def create(user: User) -> None:
    await user.http.post("/graphql", json=gql(CREATE, variables={"name": "photos"}), expect=200)


plan = Plan(target="http://127.0.0.1:8080", load=iterations(20, users=4), mix=create)
