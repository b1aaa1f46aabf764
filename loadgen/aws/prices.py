"""What a fleet costs at most: a table of prices, for before anything is started.

The table has on-demand prices of one region. Other regions are counted `elsewhere` times
dearer, which is above the dearest, and spot machines as if they were on demand: the
estimate errs high, as a guard should. Disks, addresses and traffic are not in it.

Prices are USD an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

__all__ = ["Prices", "dearest", "read_prices"]

BASE: Final = "us-east-1"


class Prices(msgspec.Struct, frozen=True):
    """`prices.json`."""

    as_of: str
    source: str
    elsewhere: float
    """Times the price in BASE, in any other region."""
    usd_per_hour: Mapping[str, float]
    """By type of machine, in BASE."""
    format: int = 1

    def of(self, kind: str, region: str) -> float | None:
        """At most; None where the table does not have the type."""
        price = self.usd_per_hour.get(kind)
        return price if price is None or region == BASE else price * self.elsewhere


@cache
def read_prices() -> Prices:
    data = files("loadgen.aws").joinpath("prices.json").read_bytes()
    return msgspec.json.decode(data, type=Prices)


def dearest(kinds: Iterable[str], region: str) -> tuple[float, list[str]]:
    """Of the types that a group may start: the highest price, and those that the table does not have."""
    prices = read_prices()
    known, unknown = [], []
    for kind in kinds:
        price = prices.of(kind, region)
        unknown.append(kind) if price is None else known.append(price)
    return max(known, default=0.0), unknown
