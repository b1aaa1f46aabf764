"""Custom metrics of a scenario: counters, gauges and rates as numbers that add up; trends are histograms.

A trend goes the way of all latencies: it is a series of kind "trend", its values
are multiples of its resolution in the HdrHistogram layout. The other three add
up here, exactly: counts are whole numbers, and of a gauge only what can be
merged is kept (least, greatest, and the last value of each agent).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, Literal

import msgspec

from loadgen.errors import WireError

__all__ = [
    "CUSTOM_KINDS",
    "MAX_CUSTOM",
    "CustomKind",
    "CustomStats",
    "CustomTable",
    "MetricSpec",
    "check_custom",
    "sum_custom",
]

CustomKind = Literal["counter", "gauge", "rate", "trend"]
CUSTOM_KINDS: Final = ("counter", "gauge", "rate", "trend")
MAX_CUSTOM: Final = 200
"""Custom metrics of a scenario."""


class MetricSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A custom metric as the scenario declares it; part of the plan's spec."""

    name: str
    kind: CustomKind
    unit: str = ""
    resolution: float = 0.001
    """Of a trend, in its unit: values are kept from this to 3.6e9 times this, within 0.1 %."""


@dataclass(frozen=True, slots=True)
class CustomStats:
    """One metric of one agent (counter, gauge or rate) over one interval.

    n: how often it was recorded. total: a counter's sum, a rate's hits. low, high, last: a gauge's.
    """

    name: str
    kind: CustomKind
    n: int = 0
    total: int = 0
    low: float = 0.0
    high: float = 0.0
    last: float = 0.0


@dataclass(slots=True)
class CustomTable:
    """All of a run, by region, agent and name."""

    _rows: dict[tuple[str, str, str], CustomStats] = field(default_factory=dict)

    def add(self, region: str, agent: str, stats: Iterable[CustomStats]) -> None:
        for one in stats:
            key = (region, agent, one.name)
            before = self._rows.get(key)
            self._rows[key] = one if before is None else sum_custom(before, one)

    def state(self) -> list[tuple[str, str, CustomStats]]:
        """(region, agent, sum) of each row."""
        return [(region, agent, stats) for (region, agent, _), stats in self._rows.items()]

    def take_state(self, state: Iterable[tuple[str, str, CustomStats]]) -> None:
        """Be what `state` says."""
        self._rows = {(region, agent, stats.name): stats for region, agent, stats in state}

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for _, _, name in self._rows))

    def kind(self, name: str) -> CustomKind | None:
        return next((stats.kind for (_, _, of), stats in self._rows.items() if of == name), None)

    def of(self, name: str, region: str = "*") -> CustomStats | None:
        """Summed over the agents of a region, or of all; `last` is the sum of the agents' last values."""
        found: CustomStats | None = None
        for (where, _, of), stats in self._rows.items():
            if of == name and region in ("*", where):
                found = stats if found is None else sum_custom(found, stats, last=found.last + stats.last)
        return found


def check_custom(name: str, stats: tuple[CustomStats, ...]) -> None:
    """Raises WireError unless the custom metrics of delta `name` can be true."""
    if len(stats) > MAX_CUSTOM:
        raise WireError(f"{name} brings {len(stats):,} custom metrics, more than {MAX_CUSTOM:,}")
    for one in stats:
        if one.kind not in CUSTOM_KINDS or one.n < 0 or not all(map(isfinite, (one.low, one.high, one.last))):
            raise WireError(f"{name} has an impossible custom metric: {one}")
        if one.kind == "rate" and not 0 <= one.total <= one.n:
            raise WireError(f"{name} has a rate of more hits than tries: {one}")


def sum_custom(a: CustomStats, b: CustomStats, last: float | None = None) -> CustomStats:
    """Of one metric; `b` is the later, unless `last` says what the last value is."""
    if not a.n or not b.n:
        return a if not b.n else b
    return CustomStats(
        a.name,
        a.kind,
        a.n + b.n,
        a.total + b.total,
        min(a.low, b.low),
        max(a.high, b.high),
        b.last if last is None else last,
    )
