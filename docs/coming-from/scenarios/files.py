"""Upload a file as a form."""

from loadgen import Plan, User, file, iterations, journey

RECEIPT = file("data/receipt.txt")
CREATE = "mutation CreateImport($name: String!) { createImport(name: $name) { id uploadUrl } }"


@journey
async def upload(user: User) -> None:
    made = await user.http.post("/graphql", json={"query": CREATE, "variables": {"name": "receipts"}}, expect=200)
    url = made.pick("$.data.createImport.uploadUrl")
    await user.http.put(url, files={"receipt": RECEIPT}, name="PUT /uploads/{id}", expect=202)


plan = Plan(target="http://127.0.0.1:8080", load=iterations(20, users=4), mix=upload)
