"""Loads of an author's own, and a replay: each arrival asks for its own number."""

from __future__ import annotations

from dataclasses import dataclass

from executors import FlashSale, OfTheProcess, Shifts

from loadgen import Plan, User, feed, journey, replay


@dataclass(frozen=True)
class Row:
    n: int


@journey(data=feed.rows([Row(n) for n in range(20_000)]).unique())
async def once(user: User, row: Row) -> None:
    await user.http.get(f"/arrival/{row.n}", name="/arrival/{n}", accept={404})


@journey
async def plain(user: User) -> None:
    await user.http.get("/", expect=200)
    await user.think(0.05)


REGIONS = {"us-east-1": 3, "eu-west-1": 2, "ap-south-1": 1}
TARGET = "http://127.0.0.1:1"

plan = Plan(target=TARGET, load=FlashSale(people=500, half_s=0.4), mix=once, regions=REGIONS)
shifts = Plan(target=TARGET, load=Shifts(people=4), mix=plain, regions=REGIONS)
trace = Plan(
    target=TARGET, load=replay.timestamps("trace.csv.gz", column="TIMESTAMP", speed=10), mix=once, regions=REGIONS
)
impure = Plan(target=TARGET, load=OfTheProcess(), mix=plain, regions=REGIONS)
