"""Checkout of the demo shop: log in, browse, add to cart.

Runs against `loadgen target`:

    loadgen target --port 8080
    loadgen run scenarios/checkout.py
"""

from dataclasses import dataclass

from loadgen import Plan, User, arrivals, error_ratio, feed, journey, p


@dataclass(frozen=True)
class Shopper:
    email: str
    password: str
    sku: str


@journey(data=feed.csv("data/shoppers.csv", Shopper).unique())
async def checkout(user: User, shopper: Shopper) -> None:
    async with user.step("login"):
        reply = await user.http.post("/login", json={"email": shopper.email, "password": shopper.password})
        user.http.headers["Authorization"] = "Bearer " + reply.expect(status=200).pick("$.token", str)
    await user.think("200ms", "600ms")
    async with user.step("browse"):
        page = await user.http.get(f"/products/{shopper.sku}", name="/products/{sku}")
        csrf = page.expect(status=200).pick("css:input[name=csrf]@value", str)
    async with user.step("add to cart"):
        await user.http.post("/cart", json={"sku": shopper.sku, "csrf": csrf}, expect=201)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=arrivals("10/s").ramp(to="40/s", over="5s").hold("15s"),
    mix={checkout: 1.0},
    slos=[p(95) < "300ms", p(99, step="add to cart") < "800ms", error_ratio() < "0.1%"],
    regions={"us-east-1": 0.5, "eu-west-1": 0.3, "ap-south-1": 0.2},
)
