"""A scenario that does nothing, to measure only the engine."""

from loadgen import Plan, User, arrivals, journey


@journey
async def nothing(user: User) -> None:
    pass


plan = Plan(target="http://127.0.0.1:1", load=arrivals("1000/s").hold("5s"), mix=nothing)
