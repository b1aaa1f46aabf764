"""A scenario with one request on a kept connection and then an idle hour, to measure the memory of idle users."""

import os

from loadgen import Plan, User, journey, users


@journey
async def idle(user: User) -> None:
    await user.http.get("/", expect=200)
    await user.think(3600)


OVER = os.environ.get("BENCH_OVER", "4s")
plan = Plan(target="http://127.0.0.1:1", load=users().ramp(to=100, over=OVER).hold("1h"), mix=idle, drain="1s")
