"""Loads to be changed while they go on: one request an iteration, or users that keep asking."""

from loadgen import Load, Plan, User, arrivals, iterations, journey, users


@journey
async def one_get(user: User) -> None:
    await user.http.get("/", expect=200)


@journey
async def ask_and_think(user: User) -> None:
    await user.http.get("/", expect=200)
    await user.think(0.02)


REGIONS = {"us-east-1": 0.6, "eu-west-1": 0.4}
NOWHERE = "http://127.0.0.1:1"

plan = Plan(
    target=NOWHERE,
    load=arrivals("100/s").hold("4s").ramp(to="200/s", over="1s"),
    mix=one_get,
    regions=REGIONS,
    drain="5s",
)
paged = Plan(target=NOWHERE, load=arrivals("100/s").hold("7s"), mix=one_get, regions=REGIONS, drain="5s")
long = Plan(target=NOWHERE, load=arrivals("50/s").hold("2m"), mix=one_get, regions=REGIONS, drain="5s")
mixed = Plan(
    target=NOWHERE,
    loads=[
        Load(ask_and_think, users(4).hold("2m"), name="people"),
        Load(one_get, iterations(400, users=2), name="batch"),
    ],
    regions=REGIONS,
    drain="5s",
)
