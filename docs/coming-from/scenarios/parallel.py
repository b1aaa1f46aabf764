"""Several requests at once, as a browser sends them."""

from loadgen import Plan, User, iterations, journey


@journey
async def visit(user: User) -> None:
    await user.http.get("/", expect=200)
    await user.gather(
        user.http.get("/products", expect=200),
        user.http.get("/search", params={"q": "oak"}, expect=200),
    )


plan = Plan(target="http://127.0.0.1:8080", load=iterations(20, users=4), mix=visit)
