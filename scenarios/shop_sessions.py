"""Sessions at the demo shop with the page transitions counted in a day's log, carrying a cart from page to page.

Sessions arrive at a given rate, whatever the shop's speed. Within a session, the next page waits for the one before
and for the visitor's think time. So the rate of sessions is given, and the rate of pages follows (partly open).
"""

from dataclasses import dataclass

from loadgen import Plan, User, arrivals, edge, error_ratio, graph, leave, lognormal, node, p


@dataclass
class Visit:
    """The state that a visitor carries from page to page."""

    sku: str = "sku-0001"
    csrf: str = ""
    is_logged_in: bool = False


@node
async def home(user: User, visit: Visit) -> Visit:
    await user.http.get("/", expect=200)
    return visit


@node
async def search(user: User, visit: Visit) -> Visit:
    words = user.random.choice(["red", "oak", "steel lamp", "mug"])
    found = await user.http.get("/search", params={"q": words}, expect=200)
    visit.sku = user.random.choice(found.json()["hits"])["sku"]
    return visit


@node
async def product(user: User, visit: Visit) -> Visit:
    page = await user.http.get(f"/products/{visit.sku}", name="/products/{sku}", expect=200)
    visit.csrf = page.pick("css:input[name=csrf]@value", str)
    return visit


@node
async def cart(user: User, visit: Visit) -> Visit:
    if not visit.is_logged_in:
        login = await user.http.post("/login", json={"email": "v@shop.example", "password": "v"}, expect=200)
        user.http.headers["Authorization"] = "Bearer " + login.pick("$.token", str)
        visit.is_logged_in = True
    await user.http.post("/cart", json={"sku": visit.sku, "csrf": visit.csrf}, expect=201)
    return visit


@node
async def pay(user: User, visit: Visit) -> Visit:
    await user.http.post("/checkout", expect=201)
    return visit


shop = graph(
    {
        home: {search: 5_210, product: 1_480, leave: 3_310},
        search: {search: 2_150, product: 4_420, leave: 2_840},
        product: {search: 2_050, product: edge(1_490, think="500ms"), cart: 1_270, leave: 4_270},
        cart: {product: 310, pay: edge(520, think=lognormal(0.5, 0.5)), leave: 440},
        pay: {leave: 520},
    },
    start={home: 10_000, product: 1_380},
    counts=True,
    state=Visit,
    think=lognormal(0, 0.6),
    name="shop",
)

plan = Plan(
    target="http://127.0.0.1:8080",
    load=arrivals("20/s").hold("1m"),
    mix=shop,
    slos=[p(95, step="search") < "300ms", p(95, step="pay") < "800ms", error_ratio() < "0.5%"],
    regions={"us-east-1": 0.5, "eu-west-1": 0.5},
)
