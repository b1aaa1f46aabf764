"""Time parts of an iteration by name."""

from loadgen import Plan, User, iterations, journey


@journey
async def visit(user: User) -> None:
    async with user.step("browse"):
        await user.http.get("/", expect=200)
        await user.http.get("/products", expect=200)
    async with user.step("find"):
        await user.http.get("/search", params={"q": "oak"}, expect=200)


plan = Plan(target="http://127.0.0.1:8080", load=iterations(20, users=4), mix=visit)
