"""Each iteration logs in with its own row of a CSV file."""

from dataclasses import dataclass

from loadgen import Plan, User, feed, iterations, journey


@dataclass
class Shopper:
    email: str
    password: str
    sku: str


@journey(data=feed.csv("data/shoppers.csv", Shopper).unique(), each="iteration")
async def visit(user: User, shopper: Shopper) -> None:
    await user.http.post("/login", json={"email": shopper.email, "password": shopper.password}, expect=200)
    await user.http.get(f"/products/{shopper.sku}", name="GET /products/{sku}", expect=200)


plan = Plan(target="http://127.0.0.1:8080", load=iterations(20, users=4), mix=visit)
