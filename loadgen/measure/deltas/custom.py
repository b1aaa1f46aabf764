"""Custom metrics of a scenario: counters, gauges and rates, kept as numbers that can be merged.

A fourth kind, the trend, is handled like response times: it is a series of kind "trend", and its
values are multiples of its resolution in the HdrHistogram layout. The other three are added up in
this module, exactly: counts are integers, and a gauge keeps only values that can be merged (the
least, the greatest, and the last value of each agent).

Values with tags are rows of their own. Every value is in exactly one row, so a metric is the sum of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Final, Literal

import msgspec

from loadgen.errors import WireError
from loadgen.measure.deltas.limits import CUSTOM_IN_DELTA, SAME_VERSION
from loadgen.measure.deltas.series_key import OTHER, UNTAGGED, Tags

__all__ = [
    "CHECK",
    "CUSTOM_KINDS",
    "MAX_CUSTOM",
    "CustomKind",
    "CustomStats",
    "CustomTable",
    "MetricSpec",
    "check_custom",
    "fitting_tags",
    "sum_custom",
    "without_tags",
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
    warmup: the interval began within the warm-up, so objectives leave it out. tags: those of the values in this row.
    """

    name: str
    kind: CustomKind
    n: int = 0
    total: int = 0
    low: float = 0.0
    high: float = 0.0
    last: float = 0.0
    warmup: bool = False
    tags: Tags = ()


@dataclass(slots=True)
class CustomTable:
    """All counters, gauges and rates of a run, by name, region, agent and tags, the warm-up's apart.

    A lookup of one name reads only the rows of that name.
    """

    _rows: dict[str, dict[tuple[str, str, bool, Tags], CustomStats]] = field(default_factory=dict)
    """By name, then by (region, agent, whether it is of the warm-up, tags)."""
    _of_agents: dict[str, set[str]] = field(default_factory=dict)
    """Names of the metrics that each agent has sent."""
    _tagged: set[tuple[str, Tags]] = field(default_factory=set)
    """(name, tags) of all rows with tags."""
    _tagged_of_agents: dict[str, set[tuple[str, Tags]]] = field(default_factory=dict)

    def add(self, region: str, agent: str, stats: Iterable[CustomStats]) -> None:
        """Add the custom metrics that one agent of `region` sent for one interval to that agent's sums."""
        names = self._of_agents.setdefault(agent, set())
        for one in stats:
            rows = self._rows.setdefault(one.name, {})
            place = region, agent, one.warmup, one.tags
            before = rows.get(place)
            rows[place] = one if before is None else sum_custom(before, one)
            names.add(one.name)
            if one.tags:
                self._tagged.add((one.name, one.tags))
                self._tagged_of_agents.setdefault(agent, set()).add((one.name, one.tags))

    def state(self) -> list[tuple[str, str, CustomStats]]:
        """Return the whole table for a checkpoint, as a list of (region, agent, that agent's sum of one metric)."""
        return [(region, agent, stats) for rows in self._rows.values() for (region, agent, *_), stats in rows.items()]

    def take_state(self, state: Iterable[tuple[str, str, CustomStats]]) -> None:
        """Replace the contents of the table with a list that `state()` returned, after a restart of the controller."""
        self._rows, self._of_agents, self._tagged, self._tagged_of_agents = {}, {}, set(), {}
        for region, agent, stats in state:
            self.add(region, agent, (stats,))

    def names(self) -> list[str]:
        """Return the names of all custom metrics in the table, in the order in which they were first seen."""
        return list(self._rows)

    def names_of(self, agent: str) -> Set[str]:
        """Return the names of all custom metrics that this agent has sent; an empty set for an unknown agent."""
        return self._of_agents.get(agent, frozenset())

    @property
    def tagged(self) -> Set[tuple[str, Tags]]:
        """Return (name, tags) of all rows with tags."""
        return self._tagged

    def tagged_of(self, agent: str) -> Set[tuple[str, Tags]]:
        """Return (name, tags) of all rows with tags that this agent has sent; an empty set for an unknown agent."""
        return self._tagged_of_agents.get(agent, frozenset())

    def tags_of(self, name: str) -> dict[str, dict[str, int]]:
        """Return the tags of a metric as {tag name: {tag value: number of values}}; often empty.

        A value without the tag is in none of these numbers.
        """
        found: dict[str, dict[str, int]] = {}
        for stats in self._rows.get(name, {}).values():
            for tag, value in stats.tags:
                by_value = found.setdefault(tag, {})
                by_value[value] = by_value.get(value, 0) + stats.n
        return found

    def kind(self, name: str) -> CustomKind | None:
        """Return the kind of a metric ("counter", "gauge", "rate"); None if no agent has sent a metric of this name."""
        return next((stats.kind for stats in self._rows.get(name, {}).values()), None)

    def of(
        self,
        name: str,
        region: str = "*",
        *,
        measured: bool = False,
        tags: Tags = (),
        matches: Callable[[Tags], bool] | None = None,
    ) -> CustomStats | None:
        """Return one metric, added up over a region's agents ("*": all agents); None if no row matches.

        The field `last` of the result is a sum: of the last values of each agent and combination of tags.

        Args:
            measured: leave out the warm-up, as objectives do. By default the result covers the whole run.
            tags: only rows with these, perhaps among others. The value `UNTAGGED` selects rows without the tag.
            matches: only rows for whose tags this function returns True.
        """
        by_agent: dict[tuple[str, str, Tags], CustomStats] = {}
        rows = self._rows.get(name, {})
        # The warm-up comes first, so that an agent's last value is the later one.
        for (where, agent, is_warmup, own), stats in sorted(rows.items(), key=lambda row: not row[0][2]):
            if region not in ("*", where) or (measured and is_warmup):
                continue
            if (tags and not _has(own, tags)) or (matches is not None and not matches(own)):
                continue
            before = by_agent.get((where, agent, own))
            by_agent[where, agent, own] = stats if before is None else sum_custom(before, stats)
        return _added_up(by_agent.values())

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
    if len(stats) > CUSTOM_IN_DELTA:
        raise WireError(f"{name} has {len(stats):,} custom metrics, more than {CUSTOM_IN_DELTA:,}", hint=SAME_VERSION)
    for one in stats:
        if one.kind not in CUSTOM_KINDS or one.n < 0 or not all(map(isfinite, (one.low, one.high, one.last))):
            raise WireError(f"{name} has an impossible custom metric: {one}", hint=SAME_VERSION)
        if one.kind == "rate" and not 0 <= one.total <= one.n:
            raise WireError(f"{name} has a rate with more hits than tries: {one}", hint=SAME_VERSION)


def sum_custom(a: CustomStats, b: CustomStats, last: float | None = None) -> CustomStats:
    """Return the sum of two values of the same metric, of which `b` is the later one.

    The sum is of the warm-up only if both are, and it has the tags of `a`. It has the `last` value of `b`, unless the
    argument `last` gives another one. If one of them has no recorded values, the other one is returned unchanged.
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
        a.tags,
    )


def without_tags(stats: tuple[CustomStats, ...]) -> tuple[CustomStats, ...]:
    """Return the metrics of one interval of one worker over all tags: one row for each name."""
    if not any(one.tags for one in stats):
        return stats
    by_name: dict[str, list[CustomStats]] = {}
    for one in stats:
        by_name.setdefault(one.name, []).append(one)
    return tuple(whole for rows in by_name.values() if (whole := _added_up(rows)) is not None)


def fitting_tags(name: str, tags: Tags, is_known: Callable[[str, Tags], bool], used: int, most: int) -> Tags:
    """Return the tags under which a new row of a metric is counted: `tags` itself while there is room.

    From `most` - 2 x `MAX_CUSTOM` rows on, the values of its tags become `(other)`, and in the last `MAX_CUSTOM` places
    its tags, too. Each declared metric then has a place.

    Args:
        is_known: returns whether there is a row with this name and these tags.
        used: number of rows with tags. most: their limit.
    """
    if not tags or is_known(name, tags) or used < most - 2 * MAX_CUSTOM:
        return tags
    other = tuple((tag, OTHER) for tag, _ in tags)
    if used < most - MAX_CUSTOM or is_known(name, other):
        return other
    return ((OTHER, OTHER),)


def _added_up(rows: Iterable[CustomStats]) -> CustomStats | None:
    """Return the sum of rows that differ in agent or tags, without tags; None if there are none."""
    found: CustomStats | None = None
    for one in rows:
        found = one if found is None else sum_custom(found, one, last=found.last + one.last)
    return replace(found, tags=()) if found is not None and found.tags else found


def _has(tags: Tags, wanted: Tags) -> bool:
    of = dict(tags)
    return all(of.get(name, UNTAGGED) == value for name, value in wanted)
