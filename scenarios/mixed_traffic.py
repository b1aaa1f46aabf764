"""Five minutes at the demo shop: most visitors search, some browse, few buy. After two minutes, a spike of searches.

Visitors differ: a visitor who thinks slowly at one page does so at all pages (`speed` is a trait of the user).
Searches are split by whether the shop's cache had the answer, and the spike has rows of its own.
"""

from loadgen import Load, Plan, User, arrivals, counter, error_ratio, journey, lognormal, p, rate

THINK, SPEED = lognormal(0.7, 0.6), lognormal(0, 0.4)
orders, finds = counter("orders"), rate("searches that find something")


@journey
async def search(user: User) -> None:
    for words in user.random.sample(["red", "oak", "steel lamp", "mug", "piano"], k=2):
        found = await user.http.get("/search", params={"q": words}, expect=200)
        finds.add(found.json()["hits"] != [])
        await user.think(THINK * user.trait("speed", SPEED))


@journey
async def browse(user: User) -> None:
    for page in ("/", "/products", "/products/sku-0001"):
        await user.http.get(page, name=page, expect=200)
        await user.think(THINK * user.trait("speed", SPEED))


@journey
async def buy(user: User) -> None:
    login = await user.http.post("/login", json={"email": "buyer@shop.example", "password": "buyer"}, expect=200)
    await user.http.post("/checkout", headers={"Authorization": "Bearer " + login.pick("$.token")}, expect=201)
    orders.add()


SPIKE = Load(search, arrivals("90/s").hold("30s"), after="2m", name="spike")
plan = Plan(
    target="http://127.0.0.1:8080",
    loads=[Load({search: 6, browse: 3, buy: 1}, arrivals("30/s").hold("5m")), SPIKE],
    slos=[p(95) < "300ms", error_ratio(journey=search, window="30s", abort=True) < "5%"],
    tags=["header:x-cache"],
)
