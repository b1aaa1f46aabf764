"""Users that meet: 10 of the whole fleet go to the sale at one instant. For two agents of two workers each."""

from __future__ import annotations

import os

from loadgen import Plan, User, iterations, journey, param, users

CROWD = param("crowd", int, default=10)
TIMEOUT = param("timeout", str, default="1h")


@journey
async def sale(user: User) -> None:
    await user.think(0, 0.3)
    await user.http.get(f"/here/{os.getpid()}", name="/here")
    if await user.rendezvous("sale opens", users=CROWD, timeout=TIMEOUT):
        await user.http.get(f"/met/{os.getpid()}", name="/met")
    else:
        await user.http.get(f"/alone/{os.getpid()}", name="/alone")


REGIONS = {"us-east-1": 1.0, "eu-west-1": 1.0}
TARGET = "http://127.0.0.1:1"

plan = Plan(target=TARGET, load=iterations(60, users=20), mix=sale, regions=REGIONS)
closed = Plan(target=TARGET, load=users(20).hold("60s"), mix=sale, regions=REGIONS)
