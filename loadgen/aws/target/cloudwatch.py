"""Reads the target's CloudWatch metrics for the time of a run.

CloudWatch aggregates values over periods that begin at round times, so the first and last period of a run extend
beyond it. A point's time is the start of its period in seconds from the run's T0; it can be below 0. A period without
data is missing (None), not 0: the service sent no value, or has not sent it yet. The metrics of most services arrive
up to three minutes late.

Everything blocks.
Source: AWS, "GetMetricData": 500 metrics and 100,800 points a call, periods of 1, 5, 10, 20, 30 s or n * 60 s.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor
from typing import Any, Final

import msgspec

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.errors import CloudDenied, CloudError

__all__ = ["LATE_S", "REGION", "Measured", "Wanted", "faults_of_metrics", "fetch", "metric_data"]

LATE_S: Final = 180.0
"""Seconds after the end of a period until its value is available, at most."""
_QUERIES: Final = 500
_POINTS: Final = 100_000
_PAGES: Final = 1_000
_BOUND: Final = r"\d{1,12}(\.\d{1,10})?"
_STATISTIC: Final = re.compile(
    r"Average|Sum|Minimum|Maximum|SampleCount|p(100|\d{1,2}(\.\d{1,10})?)"
    rf"|(PR|TC|TS)\(({_BOUND}:({_BOUND})?|:{_BOUND})\)|(TC|TS)\(({_BOUND}%:({_BOUND}%)?|:{_BOUND}%)\)"
)
REGION: Final = re.compile(r"[a-z]{2}(-[a-z]{1,20}){1,3}-[0-9]{1,2}")
"""The form of a name of a region, such as eu-west-1."""


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[metric]]` of the TOML file."""

    name: str
    """The metric's name in the run folder."""
    region: str
    namespace: str
    """For example "AWS/ApplicationELB"."""
    metric: str
    statistic: str
    """Average, Sum, Minimum, Maximum, SampleCount, a percentile (p99, p99.9), the percentage of values in a range
    (PR(:0.3)), or the number or sum of those values (TC(:0.3), TS(:0.3))."""
    period_s: int = 60
    unit: str = ""
    """Shown to readers; values are not converted."""
    dimensions: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Measured:
    """The values of one metric over a run."""

    wanted: Wanted
    at_s: tuple[float, ...]
    """The start of each period, seconds from T0, ascending, `wanted.period_s` apart."""
    values: tuple[float | None, ...]
    """One value for each period; None: missing."""

    @property
    def missing(self) -> int:
        """The number of periods without a value."""
        return sum(value is None for value in self.values)


def faults_of_metrics(found: Sequence[Wanted]) -> Iterator[tuple[str, str]]:
    """Yield each error of the metrics, and what to do about it."""
    for name in {one.name for one in found if [other.name for other in found].count(one.name) > 1}:
        yield f'two metrics have the name "{name}"', "rename one of them"
    for one in found:
        if not one.name.strip():
            yield "a metric has an empty name", "give each metric a name"
        if not REGION.fullmatch(one.region):
            yield f'{one.name}: invalid region "{one.region}"', "use a name such as eu-west-1"
        if not _STATISTIC.fullmatch(one.statistic):
            yield (
                f'{one.name}: invalid statistic "{one.statistic}"',
                "use Average, Sum, Minimum, Maximum, SampleCount, p99, PR(:0.3), TC(:0.3) or TS(:0.3)",
            )
        if one.period_s not in (1, 5, 10, 20, 30) and (one.period_s < 60 or one.period_s % 60):
            yield f"{one.name}: invalid period_s {one.period_s}", "use 1, 5, 10, 20, 30 or a multiple of 60"
        if len(one.dimensions) > 30:
            yield f"{one.name}: {len(one.dimensions)} dimensions", "CloudWatch allows at most 30"


def fetch(clients: Clients, wanted: Sequence[Wanted], t0: datetime, end: datetime) -> list[Measured]:
    """Read the values of all metrics over [t0, end), and return them in the order of `wanted`.

    Raises:
        FleetError: a call to AWS fails.
        UsageError: a region does not exist.
    """
    found: dict[int, dict[float, float]] = {}
    batches: dict[str, list[list[int]]] = defaultdict(list)
    points = 0
    # Sorted by region: `points` is the size of the last request, which must belong to the present region.
    for n in sorted(range(len(wanted)), key=lambda n: wanted[n].region):
        rows, more = batches[wanted[n].region], len(_grid(wanted[n], t0, end))
        if not rows or len(rows[-1]) == _QUERIES or points + more > _POINTS:
            rows.append([])
            points = 0
        rows[-1].append(n)
        points += more
    for region, rows in batches.items():
        for row in rows:
            found |= _batch(clients.client("cloudwatch", region), region, wanted, row, t0, end)
    measured = []
    for n, one in enumerate(wanted):
        grid, values = _grid(one, t0, end), found.get(n, {})
        at_s = tuple(begin - t0.timestamp() for begin in grid)
        measured.append(Measured(one, at_s, tuple(values.get(begin) for begin in grid)))
    return measured


def metric_data(
    clients: Clients, region: str, queries: Sequence[Mapping[str, Any]], start: int, end: int
) -> Iterator[dict[str, Any]]:
    """Yield the pages of an answer of `GetMetricData` as boto3 has them, oldest points first. One call for each page.

    queries: at most 500, with 100,800 points in all. start, end: Unix time, s.

    Raises:
        FleetError: a call to AWS fails.
        UsageError: the region does not exist.
    """
    yield from _pages(clients.client("cloudwatch", region), region, queries, start, end)


def _grid(one: Wanted, t0: datetime, end: datetime) -> range:
    """Return the start times (Unix) of the periods that overlap the run."""
    period = one.period_s
    first, last = floor(t0.timestamp() / period) * period, ceil(end.timestamp() / period) * period
    return range(first, max(last, first + period), period)


def _batch(
    client: Any, region: str, wanted: Sequence[Wanted], row: Sequence[int], t0: datetime, end: datetime
) -> dict[int, dict[float, float]]:
    """Read the metrics with the indexes `row`. Return for each index the values by start time (Unix) of the period."""
    grids = [_grid(wanted[n], t0, end) for n in row]
    queries = [_query(n, wanted[n]) for n in row]
    start, stop = min(grid[0] for grid in grids), max(grid.stop for grid in grids)
    found: dict[int, dict[float, float]] = {n: {} for n in row}
    for page in _pages(client, region, queries, start, stop):
        for result in page["MetricDataResults"]:
            n = int(str(result["Id"])[1:])
            if result.get("StatusCode") == "Forbidden":
                raise CloudDenied(
                    f"cannot read {wanted[n].name} in {region}: AWS returned Forbidden",
                    hint="your identity (aws sts get-caller-identity) needs the permission cloudwatch:GetMetricData",
                )
            if result.get("StatusCode") == "InternalError":
                raise CloudError(
                    f"cannot read {wanted[n].name} in {region}: AWS returned InternalError", hint="try again"
                )
            for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                found[n][at.timestamp()] = float(value)
    return found


def _pages(
    client: Any, region: str, queries: Sequence[Mapping[str, Any]], start: int, end: int
) -> Iterator[dict[str, Any]]:
    asked = {
        "MetricDataQueries": queries,
        "StartTime": datetime.fromtimestamp(start, UTC),
        "EndTime": datetime.fromtimestamp(end, UTC),
        "ScanBy": "TimestampAscending",
    }
    more: dict[str, str] = {}
    for _ in range(_PAGES):
        with aws_errors(f"read metrics in {region}"):
            page: dict[str, Any] = client.get_metric_data(**asked, **more)
        yield page
        if not page.get("NextToken"):
            return
        more = {"NextToken": str(page["NextToken"])}
    raise CloudError(f"cannot read metrics in {region}: more than {_PAGES} pages", hint="ask for less time at once")


def _query(n: int, one: Wanted) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in one.dimensions.items()]
    metric = {"Namespace": one.namespace, "MetricName": one.metric, "Dimensions": dimensions}
    return {"Id": f"m{n}", "MetricStat": {"Metric": metric, "Period": one.period_s, "Stat": one.statistic}}
