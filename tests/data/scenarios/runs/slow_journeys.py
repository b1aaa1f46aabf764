"""Three of four journeys are over at once, the fourth takes 3 or 4 s: what a stop has to deal with."""

from loadgen import Plan, User, arrivals, journey


@journey
async def quick(user: User) -> None:
    await user.http.get("/", expect=200)


@journey
async def slow(user: User) -> None:
    await user.http.get("/", expect=200)
    await user.think(3 if user.random.random() < 0.5 else 4)
    await user.http.get("/", expect=200)


plan = Plan(
    target="http://127.0.0.1:1",
    load=arrivals("20/s").hold("60s"),
    mix={quick: 3, slow: 1},
    regions={"us-east-1": 1, "eu-west-1": 1},
)
