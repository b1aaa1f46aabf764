"""Count orders, measure prices, and the share of searches that the cache answers."""

from loadgen import Plan, User, counter, iterations, journey, rate, trend

found = counter("found products")
price = trend("price", unit="EUR", resolution=0.01)
cached = rate("searches from the cache")


@journey
async def search(user: User) -> None:
    reply = await user.http.get("/search", params={"q": "oak"}, expect=200)
    hits = reply.json()["hits"]
    found.add(len(hits))
    price.add(hits[0]["price_cents"] / 100)
    cached.add(reply.headers["x-cache"] == "hit")


plan = Plan(target="http://127.0.0.1:8080", load=iterations(20, users=4), mix=search)
