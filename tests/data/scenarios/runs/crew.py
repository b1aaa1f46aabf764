"""For agents of several workers: one load of each kind, rows that must not be used twice, a set-up, metrics."""

from __future__ import annotations

from dataclasses import dataclass

from loadgen import Plan, User, arrivals, counter, feed, iterations, journey, users


@dataclass(frozen=True)
class Row:
    n: int


ROWS = feed.rows([Row(n) for n in range(20_000)])
orders = counter("orders")


@journey(data=ROWS.unique())
async def once(user: User, row: Row) -> None:
    """Each row is asked for by its number, so the target's own log says which were used."""
    await user.http.get(f"/row/{row.n}/{user.shared['token']}", name="/row/{n}", accept={200, 404})
    orders.add()


@journey
async def plain(user: User) -> None:
    await user.http.get("/plain", accept={200, 404})


async def set_up(user: User) -> dict[str, int]:
    await user.http.get("/set-up", accept={200, 404})
    return {"token": 7}


REGIONS = {"us-east-1": 0.6, "eu-west-1": 0.4}
TARGET = "http://127.0.0.1:1"

plan = Plan(
    target=TARGET,
    load=arrivals("200/s").hold("5s"),
    mix={once: 3, plain: 1},
    regions=REGIONS,
    set_up=set_up,
    max_users=100,
)
closed = Plan(target=TARGET, load=users(7).hold("2s"), mix=plain, regions=REGIONS)
counted = Plan(target=TARGET, load=iterations(1001, users=5), mix={once: 1, plain: 1}, regions=REGIONS, set_up=set_up)
