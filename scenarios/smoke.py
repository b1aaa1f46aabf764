"""Smoke test of the demo shop: two users buy something for five seconds."""

from loadgen import Plan, User, error_ratio, journey, p, users


@journey
async def buy(user: User) -> None:
    await user.http.get("/", expect=200)
    reply = await user.http.post("/login", json={"email": "smoke@shop.example", "password": "smoke"}, expect=200)
    user.http.headers["Authorization"] = "Bearer " + reply.pick("$.token", str)
    page = await user.http.get("/products/sku-0001", name="/products/{sku}", expect=200)
    csrf = page.pick("css:input[name=csrf]@value", str)
    await user.http.post("/cart", json={"sku": "sku-0001", "csrf": csrf}, expect=201)
    await user.http.post("/checkout", expect=201)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=users(2).hold("5s"),
    mix=buy,
    slos=[p(95) < "1s", error_ratio() < "1%"],
)
