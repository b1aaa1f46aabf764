"""Loads whose shares are moved while they go on: rows that must not be used twice, users, iterations."""

from __future__ import annotations

from dataclasses import dataclass

from loadgen import Plan, User, arrivals, feed, iterations, journey, users


@dataclass(frozen=True)
class Row:
    n: int


ROWS = feed.rows([Row(n) for n in range(50_000)])


@journey(data=ROWS.unique())
async def once(user: User, row: Row) -> None:
    """Each row is asked for by its number, so the target's own log says which were used."""
    await user.http.get(f"/row/{row.n}", name="/row/{n}")


@journey
async def paced(user: User) -> None:
    await user.http.get("/paced")


@journey
async def thinking(user: User) -> None:
    await user.http.get("/counted")
    await user.think("50ms")


REGIONS = {"eu-west-1": 1.0}
TARGET = "http://127.0.0.1:1"

rows = Plan(target=TARGET, load=arrivals("150/s").hold("20s"), mix=once, regions=REGIONS)
people = Plan(target=TARGET, load=users(30).hold("20s").pace("1s"), mix=paced, regions=REGIONS)
counted = Plan(target=TARGET, load=iterations(1_500, users=6), mix=thinking, regions=REGIONS)
