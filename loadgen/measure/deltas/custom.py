"""Custom metrics of a scenario: counters, gauges and rates, kept as numbers that can be merged.

A fourth kind, the trend, is handled like response times: it is a series of kind "trend", and its
values are multiples of its resolution in the HdrHistogram layout. The other three are added up in
this module, exactly: counts are integers, and a gauge keeps only values that can be merged (the
least, the greatest, and the last value of each agent).
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, Literal

import msgspec

from loadgen.errors import WireError
from loadgen.measure.deltas.limits import CUSTOM_OF_AGENT, SAME_VERSION

__all__ = [
    "CHECK",
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
CHECK: Final = "check: "
"""Prefix of the name of the rate that counts a check."""
MAX_CUSTOM: Final = 200
"""Most custom metrics of one worker: those that the scenario declares, and one for each check."""


class MetricSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A custom metric as the scenario declares it; part of the plan's spec."""

    name: str
    kind: CustomKind
    unit: str = ""
    resolution: float = 0.001
    """For trends only, in the metric's unit: values from this to 3.6e9 times this are kept, within 0.1 %."""


@dataclass(frozen=True, slots=True)
class CustomStats:
    """One counter, gauge or rate of one agent over one interval.

    n: number of recorded values. total: a counter's sum, or a rate's hits. low, high, last: values of a gauge.
    warmup: the interval began within the warm-up, so objectives leave it out.
    """

    name: str
    kind: CustomKind
    n: int = 0
    total: int = 0
    low: float = 0.0
    high: float = 0.0
    last: float = 0.0
    warmup: bool = False


@dataclass(slots=True)
class CustomTable:
    """All counters, gauges and rates of a run, by name, region and agent, the warm-up's apart.

    A lookup of one name reads only the rows of that name.
    """

    _rows: dict[str, dict[tuple[str, str, bool], CustomStats]] = field(default_factory=dict)
    """By name, then by (region, agent, whether it is of the warm-up)."""
    _of_agents: dict[str, set[str]] = field(default_factory=dict)
    """Names of the metrics that each agent has sent."""

    def add(self, region: str, agent: str, stats: Iterable[CustomStats]) -> None:
        """Add the custom metrics that one agent of `region` sent for one interval to that agent's sums."""
        names = self._of_agents.setdefault(agent, set())
        for one in stats:
            rows = self._rows.setdefault(one.name, {})
            place = region, agent, one.warmup
            before = rows.get(place)
            rows[place] = one if before is None else sum_custom(before, one)
            names.add(one.name)

    def state(self) -> list[tuple[str, str, CustomStats]]:
        """Return the whole table for a checkpoint, as a list of (region, agent, that agent's sum of one metric)."""
        return [(region, agent, stats) for rows in self._rows.values() for (region, agent, _), stats in rows.items()]

    def take_state(self, state: Iterable[tuple[str, str, CustomStats]]) -> None:
        """Replace the contents of the table with a list that `state()` returned, after a restart of the controller."""
        self._rows, self._of_agents = {}, {}
        for region, agent, stats in state:
            self.add(region, agent, (stats,))

    def names(self) -> list[str]:
        """Return the names of all custom metrics in the table, in the order in which they were first seen."""
        return list(self._rows)

    def names_of(self, agent: str) -> Set[str]:
        """Return the names of all custom metrics that this agent has sent; an empty set for an unknown agent."""
        return self._of_agents.get(agent, frozenset())

    def kind(self, name: str) -> CustomKind | None:
        """Return the kind of a metric ("counter", "gauge", "rate"); None if no agent has sent a metric of this name."""
        return next((stats.kind for stats in self._rows.get(name, {}).values()), None)

    def of(self, name: str, region: str = "*", *, measured: bool = False) -> CustomStats | None:
        """Return one metric, added up over a region's agents ("*": all agents); None if none of them has sent it.

        The field `last` of the result is the sum of the agents' last values.

        measured: leave out the warm-up, as objectives do. By default the result covers the whole run.
        """
        by_agent: dict[tuple[str, str], CustomStats] = {}
        rows = self._rows.get(name, {})
        # The warm-up comes first, so that an agent's last value is the later one.
        for (where, agent, is_warmup), stats in sorted(rows.items(), key=lambda row: not row[0][2]):
            if region in ("*", where) and not (measured and is_warmup):
                before = by_agent.get((where, agent))
                by_agent[where, agent] = stats if before is None else sum_custom(before, stats)
        found: CustomStats | None = None
        for stats in by_agent.values():
            found = stats if found is None else sum_custom(found, stats, last=found.last + stats.last)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __len__(self) -> int:
        """Return the number of different metric names in the table."""
        return len(self._rows)


def check_custom(name: str, stats: tuple[CustomStats, ...]) -> None:
    """Check the counters, gauges and rates of one delta, and raise WireError if one is impossible.

    Rejected are an unknown kind, a negative count, a value that is not finite, a rate with more hits than tries, and
    too many metrics. `name` names the delta in the error message.
    """
    if len(stats) > CUSTOM_OF_AGENT:
        raise WireError(f"{name} has {len(stats):,} custom metrics, more than {CUSTOM_OF_AGENT:,}", hint=SAME_VERSION)
    for one in stats:
        if one.kind not in CUSTOM_KINDS or one.n < 0 or not all(map(isfinite, (one.low, one.high, one.last))):
            raise WireError(f"{name} has an impossible custom metric: {one}", hint=SAME_VERSION)
        if one.kind == "rate" and not 0 <= one.total <= one.n:
            raise WireError(f"{name} has a rate with more hits than tries: {one}", hint=SAME_VERSION)


def sum_custom(a: CustomStats, b: CustomStats, last: float | None = None) -> CustomStats:
    """Return the sum of two values of the same metric, of which `b` is the later one.

    The sum is of the warm-up only if both are. It has the `last` value of `b`, unless the argument `last` gives another
    one. If one of them has no recorded values, the other one is returned unchanged.
    """
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
        a.warmup and b.warmup,
    )
