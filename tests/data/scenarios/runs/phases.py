"""Where the time of a request goes: each iteration opens a connection of its own, and sends two requests on it."""

from loadgen import Http, Plan, User, arrivals, journey


@journey
async def two_gets(user: User) -> None:
    await user.http.get("/", name="first", expect=200)
    await user.http.get("/", name="second", expect=200)


plan = Plan(
    target="http://127.0.0.1:1",
    load=arrivals("40/s").hold("2s"),
    mix=two_gets,
    regions={"us-east-1": 0.5, "eu-west-1": 0.5},
    connections="fresh",
    http=Http(phases=True),
)
