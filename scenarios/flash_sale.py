"""The first minute of a flash sale, behind its queue page."""

from queue_page import QueuePage

from loadgen import Plan, User, error_ratio, journey, p


@journey
async def buy(user: User) -> None:
    login = await user.http.post("/login", json={"email": "b@shop.example", "password": "b"}, expect=200)
    user.http.headers["Authorization"] = "Bearer " + login.pick("$.token")
    async with user.step("product"):
        page = await user.http.get("/products/sku-0001", name="/products/{sku}", expect=200)
        csrf = page.pick("css:input[name=csrf]@value")
    await user.think(0.5, 2)
    async with user.step("buy"):
        await user.http.post("/cart", json={"sku": "sku-0001", "csrf": csrf}, expect=201)
        await user.http.post("/checkout", expect=201)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=QueuePage(people=1_000, half_s=5, lets_in_per_s=30),
    mix=buy,
    slos=[p(95, step="buy") < "500ms", error_ratio() < "0.5%"],
    regions={"eu-west-1": 2, "us-east-1": 1},
    seed=7,
)
