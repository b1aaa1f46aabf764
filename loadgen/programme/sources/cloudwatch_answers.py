"""Queries to CloudWatch for slices, and what the answers of `GetMetricData` mean. Pure.

A query is one metric and one statistic, in the fields that AWS uses:

    metricSource:
      type: CloudWatch
      spec:
        region: eu-west-1                      # or of the source
        namespace: AWS/ApplicationELB
        metricName: TargetResponseTime
        stat: TC(:0.3)                         # SampleCount, Sum, TC(:x) or PR(:x)
        dimensions: {LoadBalancer: app/shop/1}
        sloId: checkout                        # optional: the figure of Application Signals beside ours

`TC(:0.3)` counts samples up to 0.3 and `PR(:0.3)` gives their percentage. Both are interpolated, so the counts are
estimated. Both need raw samples: CloudWatch has none of them where it got statistic sets, or where a value is negative.

Interpolation moves samples within one bucket only. So `TC(:x / r)` is at most the true count up to x, and `TC(:x * r)`
is at least that count, if no bucket is wider than the factor r. Both are asked for, and are the bounds of the count.

Sources: AWS, "GetMetricData", "CloudWatch statistics definitions", "Percentiles".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Any, Final

from loadgen.outside_text import one_line
from loadgen.programme.sources.asked import Asked, NoCounts
from loadgen.programme.sources.count_points import Points

__all__ = [
    "MOST_POINTS",
    "RESOLUTION",
    "MetricQuery",
    "bracket",
    "keeps_s",
    "metric_query",
    "parse_pages",
    "requests_of",
    "slo_id",
    "their_figure",
    "width_fault",
]

MOST_POINTS: Final = 100_800
"""The most points of all queries in one call."""
RESOLUTION: Final = 0.1
"""The relative width of a bucket. AWS publishes none for the service. The sparse histograms of its public agent have
buckets of log(1.1).
"""
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]{1,20}){1,3}-[0-9]{1,2}")
_BOUNDS: Final = ("fewest", "most")
"""The roles of the queries for the bounds of an interpolated count."""
_STAT: Final = re.compile(r"SampleCount|Sum|(TC|PR)\((\d{1,12}(?:\.\d{1,10})?)?:(\d{1,12}(?:\.\d{1,10})?)?\)")
_KEEPS: Final = ((60, 3 * 3_600), (300, 15 * 86_400), (3_600, 63 * 86_400))
"""(period, how long shorter periods are kept), s. Periods of an hour and more are kept for 455 days."""
_KEYS: Final = frozenset({"region", "namespace", "metricName", "stat", "dimensions", "sloId"})
_HINT: Final = "write namespace, metricName, stat and dimensions"
_TEXT_MOST: Final = 255
_SLO: Final = re.compile(r"[0-9A-Za-z][-._0-9A-Za-z ]{0,126}[0-9A-Za-z]|arn:[A-Za-z0-9:/._-]{1,500}")
_NEEDS_RAW: Final = (
    "{} needs raw samples: CloudWatch has none where it got statistic sets, or where a value is negative"
)


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """One metric with one statistic. dimensions: pairs sorted by name."""

    region: str
    namespace: str
    metric: str
    stat: str
    dimensions: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """Return the query as one line, which `of` reads."""
        return json.dumps([self.region, self.namespace, self.metric, self.stat, *map(list, self.dimensions)])

    @classmethod
    def of(cls, text: str) -> MetricQuery:
        """Return the query of a line."""
        region, namespace, metric, stat, *dimensions = json.loads(text)
        return cls(region, namespace, metric, stat, tuple((name, value) for name, value in dimensions))

    @property
    def shown(self) -> str:
        """Return the query for people."""
        where = ", ".join(f"{name}={value}" for name, value in self.dimensions)
        return one_line(f"{self.stat} of {self.namespace} {self.metric}{f' ({where})' if where else ''}", 300)

    @property
    def is_percentage(self) -> bool:
        """Return whether its values are percentages of all samples."""
        return self.stat.startswith("PR")

    @property
    def is_interpolated(self) -> bool:
        """Return whether CloudWatch makes its values from a distribution of raw samples."""
        return self.stat.startswith(("PR", "TC"))


def metric_query(spec: Mapping[str, Any], region: str, threshold_s: Decimal | None = None) -> MetricQuery:
    """Return the query of a metricSource.

    Args:
        region: of the source, where the fields have none.
        threshold_s: of the promise, s: one bound of TC or PR must be this time in s, ms or us.
    Raises:
        ValueError: the fields are no such query; the text of the error is a sentence.
    """
    if found := {"expression", "sql", "json"} & spec.keys():
        raise ValueError(f"{min(found)} is not read: {_HINT} of one metric for each of good (or bad) and total")
    if strange := sorted(spec.keys() - _KEYS):
        raise ValueError(f"unknown field {one_line(strange[0], 40)!r}: {_HINT}")
    texts = {key: spec.get(key, "") for key in ("region", "namespace", "metricName", "stat")}
    texts["region"] = texts["region"] or region
    for key, value in texts.items():
        if not isinstance(value, str) or not value.strip() or len(value) > _TEXT_MOST or not value.isprintable():
            where = "at the query, or at the source in programme.toml" if key == "region" else _HINT
            raise ValueError(f"{key} is missing or no text: {where}")
    if not _REGION.fullmatch(texts["region"]):
        raise ValueError(f'invalid region "{one_line(texts["region"], 40)}": use a name such as eu-west-1')
    stat = texts["stat"].replace(" ", "")
    if (match := _STAT.fullmatch(stat)) is None or (match[1] and not (match[2] or match[3])):
        raise ValueError(
            f'the statistic "{one_line(stat, 40)}" is not a count: write SampleCount, Sum, TC(:0.3) or PR(:0.3)'
        )
    bounds = [Decimal(one) for one in match.group(2, 3) if one]
    if threshold_s and bounds and not any(bound in (threshold_s * 10**n for n in (0, 3, 6)) for bound in bounds):
        raise ValueError(f"{stat} is not the threshold of the promise, which is {threshold_s.normalize():f} s")
    return MetricQuery(texts["region"], texts["namespace"], texts["metricName"], stat, _dimensions(spec))


def width_fault(width: int) -> str:
    """Return why slices of a width cannot be asked for; "" if they can."""
    if width in (1, 5, 10, 20, 30) or width % 60 == 0:
        return ""
    return f"CloudWatch has no periods of {width} s: use slices of 1, 5, 10, 20 or 30 s, or of whole minutes"


def keeps_s(width: int) -> int:
    """Return for how long CloudWatch keeps points of a period, s."""
    return next((kept for below, kept in _KEEPS if width < below), 455 * 86_400)


def bracket(query: MetricQuery, resolution: float = RESOLUTION) -> tuple[MetricQuery, MetricQuery] | None:
    """Return two queries whose counts are surely not above and not below the true one; None: it is not interpolated.

    There is no such pair either if both limits of a statistic lie in neighbouring buckets.

    resolution: the relative width of a bucket: 0.1 if each is at most 10 % wider than its value.
    """
    match = _STAT.fullmatch(query.stat)
    if not query.is_interpolated or match is None:
        return None
    factor = 1 + Decimal(str(resolution))
    above, below = (None if one is None else Decimal(one) for one in match.group(2, 3))

    def moved(above_by: Decimal, below_by: Decimal, is_narrow: bool) -> str:
        up, down = (ROUND_UP, ROUND_DOWN) if is_narrow else (ROUND_DOWN, ROUND_UP)
        limits = (
            "" if limit is None else f"{(limit * by).quantize(Decimal('1e-10'), way).normalize():f}"
            for limit, by, way in ((above, above_by, up), (below, below_by, down))
        )
        return f"{match[1]}({':'.join(limits)})"

    if above is not None and below is not None and above * factor >= below / factor:
        return None
    narrow, wide = moved(factor, 1 / factor, True), moved(1 / factor, factor, False)
    return replace(query, stat=narrow), replace(query, stat=wide)


def requests_of(asked: Asked, resolution: float = RESOLUTION) -> list[dict[str, Any]]:
    """Return the `MetricDataQueries` of a call, with those of the bounds of an interpolated count."""
    pair = bracket(MetricQuery.of(asked.roles[1][1]), resolution) or ()
    return [
        {
            "Id": role,
            "MetricStat": {
                "Metric": {
                    "Namespace": one.namespace,
                    "MetricName": one.metric,
                    "Dimensions": [{"Name": name, "Value": value} for name, value in one.dimensions],
                },
                "Period": asked.width,
                "Stat": one.stat,
            },
        }
        for role, one in (
            *((role, MetricQuery.of(text)) for role, text in asked.roles),
            *zip(_BOUNDS, pair, strict=False),
        )
    ]


def parse_pages(pages: Iterable[Mapping[str, Any]], asked: Asked) -> tuple[Points, Points] | NoCounts:
    """Return the points of all requests, and of good (or bad) ones, from all pages of an answer.

    A page that is `PartialData` is continued by the next one; if the last one is, points are missing. An answer without
    bounds, or with faulty ones, has counts whose error is unknown.
    """
    needed = [role for role, _ in asked.roles]
    values: dict[str, dict[int, float]] = {role: {} for role in (*needed, *_BOUNDS)}
    status: dict[str, str] = {}
    for page in pages:
        if messages := page.get("Messages"):
            return NoCounts(f"the answer is partial: {_message(messages)}", may_pass=True)
        if "MetricDataResults" not in page:
            return NoCounts("the answer is not of CloudWatch, or it was cut off", may_pass=True)
        for result in page["MetricDataResults"]:
            role = str(result.get("Id", ""))
            if role not in values:
                return NoCounts("the answer has a metric that was not asked for")
            status[role] = str(result.get("StatusCode", "Complete"))
            if role in _BOUNDS and result.get("Messages"):
                status[role] = "InternalError"
            if role in _BOUNDS and status[role] in ("Forbidden", "InternalError"):
                continue
            if status[role] == "Forbidden":
                return NoCounts(f"{_shown(asked, role)}: no right to read it: cloudwatch:GetMetricData is needed")
            if messages := result.get("Messages"):
                return NoCounts(f"{_shown(asked, role)}: {_message(messages)}")
            for at, value in zip(result.get("Timestamps", ()), result.get("Values", ()), strict=True):
                start = _unix_s(at)
                if start % asked.width:
                    shown = _shown(asked, needed[1] if role in _BOUNDS else role)
                    return NoCounts(f"a point of {shown} is not at the start of a slice of {asked.width} s")
                values[role][start] = float(value)
    has_bounds = all(status.get(role) == "Complete" for role in _BOUNDS)
    if lacking := set(needed) - status.keys():
        return NoCounts(f"the answer is partial: {_shown(asked, min(lacking))} is not in it", may_pass=True)
    for role, code in status.items():
        if code != "Complete" and role in needed:
            return NoCounts(f"{_shown(asked, role)}: CloudWatch returned {one_line(code, 40)}", may_pass=True)
    role, text = asked.roles[1]
    total, part = MetricQuery.of(asked.total), MetricQuery.of(text)
    if part.is_percentage:
        for one in (role, *_BOUNDS):
            values[one] = {at: values["total"].get(at, 0.0) * share / 100 for at, share in values[one].items()}
    raw = _NEEDS_RAW.format(part.stat) if part.is_interpolated else ""
    return (
        Points(values["total"], total.is_interpolated, shown=total.shown),
        Points(
            values[role],
            part.is_interpolated,
            raw,
            part.shown,
            *((values[one] if has_bounds else None) for one in _BOUNDS),
        ),
    )


def slo_id(spec: Mapping[str, Any]) -> str:
    """Return the name or ARN of the SLO of Application Signals in a metricSource; "" without one.

    Raises:
        ValueError: it is neither.
    """
    text = spec.get("sloId", "")
    if text and (not isinstance(text, str) or not _SLO.fullmatch(text)):
        raise ValueError(f"sloId: {one_line(str(text), 60)!r} is neither a name nor an ARN of an SLO")
    return str(text)


def their_figure(answer: Mapping[str, Any], name: str) -> str:
    """Return a sentence with the figure of Application Signals from an answer of budget reports.

    Its window is that of its SLO, and not the time that was asked for.
    """
    what = f"the figure of Application Signals for the SLO {one_line(name, 80)}"
    for error in answer.get("Errors") or ():
        return f"{what} is missing: {one_line(str(error.get('ErrorCode', '')), 60)}"
    for report in answer.get("Reports") or ():
        attainment = report.get("Attainment")
        if attainment is None:
            return f"{what} has no data: {one_line(str(report.get('BudgetStatus', '')), 40)}"
        return f"{what} is {float(attainment):.4f} %, over its own window, and with its own exclusions"
    return f"{what} is missing: the answer has no report"


def _dimensions(spec: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    given = spec.get("dimensions") or {}
    if isinstance(given, list):
        if not all(isinstance(one, dict) and one.keys() == {"name", "value"} for one in given):
            raise ValueError("dimensions: write NAME: VALUE, or a list with name and value")
        if len({str(one["name"]) for one in given}) != len(given):
            raise ValueError("dimensions: a name is there twice")
        given = {one["name"]: one["value"] for one in given}
    if not isinstance(given, dict) or len(given) > 30:
        raise ValueError("dimensions: write up to 30 of NAME: VALUE")
    for one in (*given, *given.values()):
        if not isinstance(one, str) or not one or len(one) > 1_024 or not one.isprintable():
            raise ValueError("dimensions: each name and each value must be a text")
    return tuple(sorted(given.items()))


def _shown(asked: Asked, role: str) -> str:
    return MetricQuery.of(dict(asked.roles)[role]).shown


def _message(messages: Any) -> str:
    first = messages[0] if isinstance(messages, list) and messages and isinstance(messages[0], dict) else {}
    return one_line(f"{first.get('Code', '')}: {first.get('Value', '')}", 160)


def _unix_s(at: object) -> int:
    return round(at.timestamp()) if isinstance(at, datetime) else round(float(str(at)))
