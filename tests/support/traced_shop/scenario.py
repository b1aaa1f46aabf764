"""The scenario that loads the traced shop: two regions, one of which can be behind a proxy, and all requests traced."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["FAR", "NEAR", "write_scenario"]

NEAR, FAR = "near", "far"
_TEXT: Final = '''
"""Requests to the traced shop. A local worker finds its region in its arguments, and so the address of the shop."""

import sys

from loadgen import Http, Plan, Trace, User, arrivals, journey, p

ADDRESSES = {addresses!r}
region = next((one for before, one in zip(sys.argv, sys.argv[1:]) if before == "--region"), "")


@journey
async def buy(user: User) -> None:
    await user.http.post("/checkout", name="checkout")


@journey
async def fill(user: User) -> None:
    await user.http.get("/basket", name="basket")


@journey
async def look(user: User) -> None:
    await user.http.get("/browse", name="browse")


plan = Plan(
    target="http://shop.test:{port}",
    load=arrivals("{rate}/s").poisson(seed={seed}).hold("{seconds}s"),
    mix={{{mix}}},
    random=True,
    regions={regions!r},
    slos=[{slos}],
    timeout="5s",
    drain="6s",
    seed={seed},
    trace=Trace(sample=1.0),
    http=Http(resolve={{"shop.test": ADDRESSES.get(region, "127.0.0.1")}}),
)
'''


def write_scenario(
    folder: Path,
    port: int,
    *,
    mix: str,
    slos: str,
    rate: int = 50,
    seconds: int = 30,
    seed: int = 1,
    far: str = "127.0.0.1",
) -> Path:
    """Write the scenario into a folder; return its path.

    mix: as in Python, "buy: 1, look: 2". slos: as in Python. far: loopback address at which the region FAR finds the
    shop, with the same port.
    """
    path = folder / "traced.py"
    path.write_text(
        _TEXT.format(
            addresses={NEAR: "127.0.0.1", FAR: far},
            port=port,
            rate=rate,
            seconds=seconds,
            seed=seed,
            mix=mix,
            slos=slos,
            regions={NEAR: 0.5, FAR: 0.5},
        ),
        encoding="utf-8",
    )
    return path
