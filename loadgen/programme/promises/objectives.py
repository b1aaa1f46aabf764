"""Objectives of production as values: what a service promises, over which window, measured how.

An objective of production (a promise) is about all real requests of days or
weeks. It is not an objective of a load test (`loadgen.dsl`), which is about
the sample of one run. Both have the same formula: `p(99.5) < "300ms"` is the
target 0.995 with the threshold 300 ms.

Shares are exact decimals from 0 to 1, because a target such as 0.995 has to
survive files and comparisons: `Decimal("0.995")`. Use `float(...)` for
arithmetic on measurements. Durations are whole seconds. This module has no
files and no clock; `openslo` and `sloth` read and write files of objectives.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Literal

from loadgen.programme.promises.windows import CALENDAR_UNITS, CalendarUnit, CalendarWindow, RollingWindow, Window

__all__ = [
    "CALENDAR_UNITS",
    "SECONDS_OF_UNIT",
    "Alert",
    "CalendarUnit",
    "CalendarWindow",
    "DataSource",
    "Indicator",
    "Method",
    "NotificationTarget",
    "Objective",
    "Query",
    "RatioIndicator",
    "RawRatioIndicator",
    "RollingWindow",
    "Threshold",
    "ThresholdIndicator",
    "Window",
]

SECONDS_OF_UNIT: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
"""Units of a threshold that is a time, each with its seconds."""


class Method(StrEnum):
    """How an error budget is counted. Two methods are never compared with each other."""

    OCCURRENCES = "Occurrences"
    """Good requests / all requests."""
    TIMESLICES = "Timeslices"
    """Slices whose good ratio reaches `slice_target` / slices with traffic."""
    RATIO_TIMESLICES = "RatioTimeslices"
    """The unweighted mean of the good ratios of the slices with traffic."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit with its unit, such as 300 ms. unit: of `SECONDS_OF_UNIT`, or "%"."""

    value: Decimal
    unit: str

    @property
    def text(self) -> str:
        """Return the limit as in files: "300ms", without superfluous zeros."""
        return f"{self.value.normalize():f}{self.unit}"

    @property
    def seconds(self) -> Decimal | None:
        """Return a time in seconds, exactly; None: the limit is not a time."""
        size = SECONDS_OF_UNIT.get(self.unit)
        return None if size is None else self.value * size


@dataclass(frozen=True, slots=True)
class Query:
    """A query to a source of metrics. The query is text in the source's own language; only a source interprets it.

    source: name of a DataSource, or "". type: of the source, such as "Prometheus"; "" if only `source` is known.
    spec_json: the fields of the query, as JSON with sorted keys.
    """

    source: str = ""
    type: str = ""
    spec_json: str = "{}"

    @property
    def spec(self) -> dict[str, Any]:
        """Return the fields of the query, such as {"query": "..."}."""
        fields: dict[str, Any] = json.loads(self.spec_json)
        return fields

    @property
    def text(self) -> str:
        """Return the query itself, the field `query`; "" if the fields do not have it."""
        found = self.spec.get("query", "")
        return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True)
class RatioIndicator:
    """Counts of good (or bad) and of all requests. Exactly one of `good` and `bad` is a query.

    counter: True if the queries are of counters that only grow, False if each point is a count of its own.
    """

    total: Query
    good: Query | None = None
    bad: Query | None = None
    counter: bool = False
    name: str = ""
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class RawRatioIndicator:
    """A query that has the ratio itself. Opaque: it has no counts, so it can be neither summed nor judged by requests.

    is_success: True if 1 is best, False if the ratio is one of failures.
    """

    query: Query
    is_success: bool = True
    name: str = ""
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class ThresholdIndicator:
    """A series of values, such as a p95 by minute, of which each slice is compared with a limit.

    op: "lt", "lte", "gt" or "gte": how a good value relates to the limit. value: the limit, in the unit of the query.
    The objective's `threshold` has the same limit with its unit, where the unit is known.
    """

    query: Query
    op: Literal["lt", "lte", "gt", "gte"]
    value: Decimal
    name: str = ""
    display_name: str = ""


Indicator = RatioIndicator | RawRatioIndicator | ThresholdIndicator


@dataclass(frozen=True, slots=True)
class NotificationTarget:
    """Where an alert goes, by the words of the file: `target` is "slack", "email" or another word."""

    name: str
    target: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """A burn-rate alert: it fires while the burn of the long window, and of the short one, reaches `factor`.

    factor: burn, > 0; 1 spends exactly the budget over the window. long_s, short_s: seconds; short_s 0: only one.
    after_s: how long the burn has to last before it fires. severity: such as "page" or "ticket".
    """

    name: str
    factor: Decimal
    long_s: int
    short_s: int = 0
    after_s: int = 0
    severity: str = "page"
    description: str = ""
    targets: tuple[NotificationTarget, ...] = ()
    on_no_data: bool = False
    on_resolved: bool = False
    on_breaching: bool = True


@dataclass(frozen=True, slots=True)
class DataSource:
    """A source of metrics with a name. connection_json: the fields of its connection, as JSON with sorted keys; never
    secrets.
    """

    name: str
    type: str
    connection_json: str = "{}"
    description: str = ""

    @property
    def connection(self) -> dict[str, Any]:
        """Return the fields of the connection, such as {"url": "http://..."}."""
        fields: dict[str, Any] = json.loads(self.connection_json)
        return fields


@dataclass(frozen=True, slots=True)
class Objective:
    """One promise. `name` is its key everywhere: in the ledger, in reports, in alerts.

    target: the smallest good share that keeps the promise, > 0 and < 1.
    slice_s: length of a slice in seconds, 0 for Occurrences. slice_target: only for Timeslices.
    display_name: for people. part_name: of the objective within its SLO, such as "Internal objective"; often "".
    labels, annotations: pairs sorted by key. annotations: those of others; ours are fields here.
    source: the name of the source that production's counts come from, or "": named by the queries only.
    load_tests: how load tests are left out of the counts, in place of the setting of the source; "": as the source has.
    alert_set: "standard" for the four standard burn rules, or "". alerts: further rules.
    """

    name: str
    service: str
    target: Decimal
    window: Window
    indicator: Indicator
    method: Method = Method.OCCURRENCES
    slice_s: int = 0
    slice_target: Decimal | None = None
    threshold: Threshold | None = None
    owner: str = ""
    journey: str = ""
    display_name: str = ""
    part_name: str = ""
    description: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    source: str = ""
    alert_set: str = ""
    alerts: tuple[Alert, ...] = ()
    load_tests: str = ""

    @property
    def budget(self) -> Decimal:
        """Return the error budget as a share: 1 - target, exactly."""
        return 1 - self.target

    @property
    def largest_burn(self) -> Decimal:
        """Return the burn when every request is bad: 1 / (1 - target). No alert above it can fire."""
        return 1 / self.budget

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the names of the sources of this objective: `source`, or those of its queries; () if it has none."""
        if self.source:
            return (self.source,)
        return tuple(dict.fromkeys(query.source for query in self.queries if query.source))

    @property
    def queries(self) -> tuple[Query, ...]:
        """Return the queries of the indicator."""
        match self.indicator:
            case RatioIndicator(total=total, good=good, bad=bad):
                return tuple(query for query in (good, bad, total) if query is not None)
            case RawRatioIndicator(query=query) | ThresholdIndicator(query=query):
                return (query,)

    @property
    def why_not_judged(self) -> str:
        """Return why this objective is read but never judged; "" if it is judged."""
        if isinstance(self.indicator, ThresholdIndicator) and self.method is Method.OCCURRENCES:
            return (
                "a thresholdMetric is a series of values, and a share of its points is not a share of requests: "
                "use Timeslices, or a ratioMetric"
            )
        if isinstance(self.indicator, ThresholdIndicator) and self.method is Method.RATIO_TIMESLICES:
            return "a thresholdMetric has no ratio within a slice: use Timeslices"
        if isinstance(self.indicator, RawRatioIndicator):
            return "a raw ratio has no counts, so it cannot be summed over a window: use good and total"
        return ""
