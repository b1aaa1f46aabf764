"""One row for all products, and rows split by a response header. Tags of your own come with the next version."""

from loadgen import Plan, User, iterations, journey


@journey
async def visit(user: User) -> None:
    sku = f"sku-00{user.random.randint(10, 29)}"
    await user.http.get(f"/products/{sku}", name="GET /products/{sku}", expect=200)
    found = await user.http.get("/search", params={"q": "mug"}, expect=200)
    word = found.pick("$.hits[0].name").split(" ")[0]
    await user.http.get("/search", params={"q": word}, expect=200)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=iterations(20, users=4),
    mix=visit,
    tags=["header:x-cache"],
    labels={"service": "shop"},
)
