"""Objectives that cannot be judged; all errors are reported at once."""

from loadgen import Load, Plan, User, arrivals, checks, counter, error_ratio, journey, p, rate, throughput, total, trend

hits, orders, basket = rate("cache hits"), counter("orders"), trend("basket", unit="EUR")


@journey
async def search(user: User) -> None:
    page = await user.http.get("/search")
    user.check("has results", page.status_code == 200)


plan = Plan(
    target="http://127.0.0.1:9",
    loads=[Load(search, arrivals("5/s").hold("10s"), name="day")],
    slos=[
        p(95),
        hits,
        "p(95) =< 300ms",
        p(95) < "=< 300ms",
        basket.p(95) < "300ms",
        throughput("requests") > "300ms",
        orders.p(95) < 3,
        checks("has resluts") > "99%",
        total("iterations", window="500ms") > 3,
        error_ratio(load="spike") < "1%",
        p(95, tags={"tenant": "gold"}) < "1s",
        throughput("requests", request="GET /serach") > "3/s",
        "1ms" < p(95) < "2ms",
    ],
)
