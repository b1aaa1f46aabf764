"""Count how often an answer is what it should be, and go on."""

from loadgen import Plan, User, iterations, journey


@journey
async def search(user: User) -> None:
    found = await user.http.get("/search", params={"q": "oak"})
    user.check("is 200", found.status_code == 200)
    user.check("finds something", found.json()["hits"])


plan = Plan(target="http://127.0.0.1:8080", load=iterations(20, users=4), mix=search)
