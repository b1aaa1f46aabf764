"""A scenario with four GETs of one URL, under BENCH_NAMES request names in turn."""

import os
from itertools import cycle

from loadgen import Plan, User, journey, users

next_name = cycle([f"/product {n}" for n in range(int(os.environ.get("BENCH_NAMES", "20")))]).__next__


@journey
async def four(user: User) -> None:
    for _ in range(4):
        await user.http.get("/1k", name=next_name(), expect=200)


plan = Plan(target="http://127.0.0.1:1", load=users(64).hold("5s"), mix=four)
