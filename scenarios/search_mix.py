"""Visitors of the demo shop: most search, some only browse, few buy.

Each visitor is one arrival; 60 % search, 30 % browse and 10 % buy, exact by arrival index.
"""

from dataclasses import dataclass

from loadgen import Plan, User, arrivals, error_ratio, feed, journey, p


@dataclass(frozen=True)
class Shopper:
    email: str
    password: str
    sku: str


@dataclass(frozen=True)
class Query:
    text: str


SHOPPERS = feed.csv("data/shoppers.csv", Shopper)
QUERIES = feed.rows(
    [Query(text) for text in ("red", "oak", "steel lamp", "mug", "green cotton", "striped wool bag", "piano")]
)


@journey(data=QUERIES.cycle())
async def search(user: User, query: Query) -> None:
    async with user.step("search"):
        found = await user.http.get("/search", params={"q": query.text}, expect=200)
    hits = found.json()["hits"]
    if not hits:
        return
    await user.think("200ms", "800ms")
    async with user.step("open a hit"):
        sku = hits[user.random.randrange(len(hits))]["sku"]
        await user.http.get(f"/products/{sku}", name="/products/{sku}", expect=200)


@journey(data=SHOPPERS.shuffle(seed=1).cycle())
async def browse(user: User, shopper: Shopper) -> None:
    async with user.step("home"):
        await user.http.get("/", expect=200)
    async with user.step("list"):
        await user.http.get("/products", expect=200)
    await user.think("500ms", "1s")
    async with user.step("product"):
        await user.http.get(f"/products/{shopper.sku}", name="/products/{sku}", expect=200)


@journey(data=SHOPPERS.random(seed=2))
async def buy(user: User, shopper: Shopper) -> None:
    async with user.step("login"):
        login = {"email": shopper.email, "password": shopper.password}
        reply = await user.http.post("/login", json=login, expect=200)
        user.http.headers["Authorization"] = "Bearer " + reply.pick("$.token", str)
    async with user.step("cart"):
        page = await user.http.get(f"/products/{shopper.sku}", name="/products/{sku}", expect=200)
        csrf = page.pick("css:input[name=csrf]@value", str)
        await user.http.post("/cart", json={"sku": shopper.sku, "csrf": csrf}, expect=201)
    async with user.step("pay"):
        await user.http.post("/checkout", expect=201)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=arrivals("30/s").hold("20s"),
    mix={search: 6, browse: 3, buy: 1},
    slos=[p(95) < "300ms", p(99, step="pay") < "1s", error_ratio() < "0.5%"],
    regions={"us-east-1": 0.5, "eu-west-1": 0.5},
)

spike = Plan(
    target="http://127.0.0.1:8080",
    load=arrivals("30/s").hold("10s").ramp(to="150/s", over="5s").hold("10s").ramp(to="30/s", over="5s"),
    mix={search: 6, browse: 3, buy: 1},
    slos=[p(95) < "300ms", error_ratio() < "0.5%"],
    regions={"us-east-1": 0.5, "eu-west-1": 0.5},
)
