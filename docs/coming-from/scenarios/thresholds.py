"""Fail the run when it is too slow or has too many errors."""

from loadgen import Plan, User, error_ratio, iterations, journey, p


@journey
async def look(user: User) -> None:
    await user.http.get("/products/sku-0001", name="GET /products/{sku}", expect=200)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=iterations(20, users=4),
    mix=look,
    slos=[p(95, request="GET /products/{sku}") < "5s", error_ratio() < "1%"],
)
