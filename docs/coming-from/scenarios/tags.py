"""One row for all products, and rows split by a tag and by a response header."""

from loadgen import Plan, User, iterations, journey, tag

kind = tag("kind", "first", "more")


@journey
async def visit(user: User) -> None:
    await user.http.get(f"/products/sku-00{10 + user.arrival}", name="GET /products/{sku}", expect=200)
    found = await user.http.get("/search", params={"q": "mug"}, tags={kind: "first"}, expect=200)
    word = found.pick("$.hits[0].name").split(" ")[0]
    await user.http.get("/search", params={"q": word}, tags={kind: "more"}, expect=200)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=iterations(20, users=4),
    mix=visit,
    tags=[kind, "header:x-cache"],
    labels={"service": "shop"},
)
