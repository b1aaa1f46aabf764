"""A plan that an outage breaks: quick to give up, and strict."""

from loadgen import Plan, User, arrivals, error_ratio, journey, p


@journey
async def get(user: User) -> None:
    await user.http.get("/", expect=200)


plan = Plan(
    target="http://127.0.0.1:1",
    load=arrivals("50/s").hold("6s"),
    mix=get,
    timeout="1s",
    drain="2s",
    slos=[p(95) < "500ms", error_ratio() < "1%"],
)
