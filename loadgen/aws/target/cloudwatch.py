"""What CloudWatch knows of the target, on the clock of a run.

Which metrics are wanted stands in a TOML file, all its faults told at once. CloudWatch adds up what
it was told by periods that begin at round times, so a run's first and last period reach beyond it;
each point is named by when its period begins, in seconds from T0, which may be below 0. A period of which
CloudWatch has nothing is missing, and never 0: nothing was told, or not yet. Metrics of most services come
up to three minutes late.

Everything blocks.
Source: AWS, "GetMetricData": 500 metrics and 100,800 points a call, periods of 1, 5, 10, 20, 30 s or n * 60 s.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.aws.account.boto_clients import Clients, told
from loadgen.errors import CloudDenied, CloudError, UsageError

__all__ = ["LATE_S", "Measured", "Wanted", "fetch", "read_wanted"]

LATE_S: Final = 180.0
"""After its period a point may take so long to be there."""
_QUERIES: Final = 500
_POINTS: Final = 100_000
_STATISTIC: Final = re.compile(r"Average|Sum|Minimum|Maximum|SampleCount|p(100|\d{1,2}(\.\d{1,10})?)")
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]{1,20}){1,3}-[0-9]{1,2}")
_MOST_BYTES: Final = 1 << 20
_MOST_METRICS: Final = 5_000


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[metric]]` of the file."""

    name: str
    """As it is called in the run's folder."""
    region: str
    namespace: str
    """As in "AWS/ApplicationELB"."""
    metric: str
    statistic: str
    """Average, Sum, Minimum, Maximum, SampleCount, or a percentile: p99, p99.9."""
    period_s: int = 60
    unit: str = ""
    """For who reads it; nothing is converted."""
    dimensions: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric over a run."""

    wanted: Wanted
    at_s: tuple[float, ...]
    """When each period begins, in s from T0, ascending, `wanted.period_s` apart."""
    values: tuple[float | None, ...]
    """As many; None: missing."""

    @property
    def missing(self) -> int:
        return sum(value is None for value in self.values)


def read_wanted(path: Path) -> tuple[Wanted, ...]:
    """
    Raises:
        UsageError: it cannot be read, or is wrong; a group of them where several things are.
    """
    try:
        with path.open("rb") as file:
            tree = tomllib.loads(file.read(_MOST_BYTES).decode())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    tables = tree.pop("metric", None)
    wrong = [UsageError(f"{path}: there is no {name}", hint="each metric is a [[metric]]") for name in tree]
    if not isinstance(tables, list) or not tables:
        wrong.append(UsageError(f"{path} names no metric", hint="each metric is a [[metric]]"))
        tables = []
    found: list[Wanted] = []
    for n, table in enumerate(tables, 1):
        try:
            found.append(msgspec.convert(table, Wanted))
        except msgspec.ValidationError as error:
            wrong.append(UsageError(f"{path}: metric {n}: {error}"))
    wrong += [UsageError(f"{path}: {what}") for what in _faults(found)]
    if len(tables) > _MOST_METRICS:
        wrong.append(UsageError(f"{path}: {len(tables)} metrics are more than {_MOST_METRICS}"))
    if len(wrong) > 1:
        raise ExceptionGroup("several things are wrong", wrong)
    if wrong:
        raise wrong[0]
    return tuple(found)


def _faults(found: Sequence[Wanted]) -> Iterator[str]:
    for name in {one.name for one in found if [other.name for other in found].count(one.name) > 1}:
        yield f'two metrics have the name "{name}"'
    for one in found:
        if not one.name.strip():
            yield "a metric needs a name"
        if not _REGION.fullmatch(one.region):
            yield f'{one.name}: "{one.region}" is no region'
        if not _STATISTIC.fullmatch(one.statistic):
            yield f'{one.name}: "{one.statistic}" is no statistic: Average, Sum, Minimum, Maximum, SampleCount, p99'
        if one.period_s not in (1, 5, 10, 20, 30) and (one.period_s < 60 or one.period_s % 60):
            yield f"{one.name}: CloudWatch has no periods of {one.period_s} s: 1, 5, 10, 20, 30, 60, 120 ..."
        if len(one.dimensions) > 30:
            yield f"{one.name}: more than 30 dimensions"


def fetch(clients: Clients, wanted: Sequence[Wanted], t0: datetime, end: datetime) -> list[Measured]:
    """All metrics over [t0, end), in the order of `wanted`.

    Raises:
        FleetError: AWS refuses, or is not there.
        UsageError: there is no such region.
    """
    found: dict[int, dict[float, float]] = {}
    batches: dict[str, list[list[int]]] = defaultdict(list)
    points = 0
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


def _grid(one: Wanted, t0: datetime, end: datetime) -> range:
    """Unix times at which the periods begin that touch the run."""
    period = one.period_s
    first, last = floor(t0.timestamp() / period) * period, ceil(end.timestamp() / period) * period
    return range(first, max(last, first + period), period)


def _batch(
    client: Any, region: str, wanted: Sequence[Wanted], row: Sequence[int], t0: datetime, end: datetime
) -> dict[int, dict[float, float]]:
    """By number of the metric: values by the Unix time at which their period begins."""
    grids = [_grid(wanted[n], t0, end) for n in row]
    asked = {
        "MetricDataQueries": [_query(n, wanted[n]) for n in row],
        "StartTime": datetime.fromtimestamp(min(grid[0] for grid in grids), UTC),
        "EndTime": datetime.fromtimestamp(max(grid.stop for grid in grids), UTC),
        "ScanBy": "TimestampAscending",
    }
    found: dict[int, dict[float, float]] = {n: {} for n in row}
    more: dict[str, str] = {}
    while True:
        with told(f"read metrics in {region}"):
            page = client.get_metric_data(**asked, **more)
        for result in page["MetricDataResults"]:
            n = int(str(result["Id"])[1:])
            if result.get("StatusCode") == "Forbidden":
                raise CloudDenied(f"cannot read {wanted[n].name} in {region}: AWS says Forbidden")
            if result.get("StatusCode") == "InternalError":
                raise CloudError(
                    f"cannot read {wanted[n].name} in {region}: AWS says InternalError", hint="do it again"
                )
            for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                found[n][at.timestamp()] = float(value)
        if not page.get("NextToken"):
            return found
        more = {"NextToken": str(page["NextToken"])}


def _query(n: int, one: Wanted) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in one.dimensions.items()]
    metric = {"Namespace": one.namespace, "MetricName": one.metric, "Dimensions": dimensions}
    return {"Id": f"m{n}", "MetricStat": {"Metric": metric, "Period": one.period_s, "Stat": one.statistic}}
