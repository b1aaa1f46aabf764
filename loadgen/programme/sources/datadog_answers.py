"""Queries to Datadog for slices, and what its answers mean. Pure.

Each query returns one count:

    metricSource:
      type: Datadog
      spec:
        query: sum:trace.http.request.hits{service:shop}.as_count()
        sloId: 0123abcd            # optional: Datadog's own figure is shown beside ours

Datadog silently rolls longer ranges up to coarser points, with the average. So each query gets
`.rollup(sum, 300)`, a range has at most 1,500 points, and the interval of each answer is checked. `.as_count()`
converts rates to counts and switches interpolation off.

`count(v: v<=0.3)` is a share of a sketch, whose buckets have a relative width. So the count up to 0.3 / r is at most
the true one, and that up to 0.3 * r is at least that, if no bucket is wider than the factor r. Both are asked for.

Sources: Datadog API reference, "Query timeseries points", "Get an SLO's history", "Rate limits".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from math import isfinite
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from loadgen.outside_text import one_line
from loadgen.programme.sources.asked import Asked, NoCounts, Reply, fault_of
from loadgen.programme.sources.count_points import Points

__all__ = [
    "POINTS_MOST",
    "RESOLUTION",
    "Found",
    "Theirs",
    "bracket",
    "count_query",
    "history_path",
    "is_interpolated",
    "parse_history",
    "parse_points",
    "query_path",
    "slo_id",
    "wait_s",
]

T = TypeVar("T", bound=msgspec.Struct)

POINTS_MOST: Final = 1_500
"""The most points of a series in an answer; longer ranges are rolled up."""
RESOLUTION: Final = 0.02
"""The relative width of a bucket: that of the sketches of Datadog's public agent is 2 / 128, which is below this."""
_LIMIT: Final = re.compile(r"count\(v: ?v ?(<=|<|>=|>) ?(\d{1,12}(?:\.\d{1,10})?)\)")
_COUNT: Final = re.compile(
    r"(sum|count|count\(v: ?v ?(?:<=|<|>=|>) ?\d{1,12}(?:\.\d{1,10})?\))"
    r":([A-Za-z][A-Za-z0-9_.]{0,199})\{([^{}]{0,1000})\}"
    r"(?: ?\.as_count\(\))?(?: ?\.rollup\( ?sum ?(?:, ?\d{1,6} ?)?\))?(?: ?\.as_count\(\))?"
)
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_HINT: Final = "write one count, such as sum:trace.http.request.hits{service:shop}.as_count()"
_WAIT_MOST_S: Final = 600.0


class _Series(msgspec.Struct, frozen=True):
    pointlist: list[tuple[float, float | None]]
    interval: float = 0
    query_index: int = 0


class _Answer(msgspec.Struct, frozen=True):
    status: str = "ok"
    series: list[_Series] = []
    error: str | None = None
    errors: list[Any] | None = None
    message: str | None = None


class _Overall(msgspec.Struct, frozen=True):
    sli_value: float | None = None
    errors: list[Any] | None = None


class _HistoryData(msgspec.Struct, frozen=True):
    overall: _Overall | None = None
    type: str = ""


class _History(msgspec.Struct, frozen=True):
    data: _HistoryData | None = None
    errors: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The points of all requests and of good (or bad) ones. notes: what Datadog wrote about them."""

    total: Points
    part: Points
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Theirs:
    """Datadog's own figure of an SLO. percent: good, in percent; None: it has no data. kind: "metric", "time_slice"."""

    percent: float | None
    kind: str = ""


def count_query(spec: Mapping[str, Any]) -> str:
    """Return the query of a metricSource, without its rollup.

    Raises:
        ValueError: it is not a query of one count; the text of the error is a sentence.
    """
    if strange := sorted(spec.keys() - {"query", "sloId"}):
        raise ValueError(f"unknown field {one_line(strange[0], 40)!r}: write query, and sloId if there is one")
    text = spec.get("query", "")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"query is missing: {_HINT}")
    text = " ".join(text.split())
    if (match := _COUNT.fullmatch(text)) is not None:
        return f"{match[1]}:{match[2]}{{{match[3]}}}.as_count()"
    shown = f'"{one_line(text, 120)}"'
    for part, why in (
        (".as_rate()", "has rates, not counts"),
        (".fill(", "makes up points where there are none"),
        ("} by {", "has groups: leave out by {...}"),
        (".rollup(", "has a rollup other than sum"),
    ):
        if part in text:
            raise ValueError(f"{shown} {why}; {_HINT}")
    raise ValueError(f"{shown} is not a query of one count; {_HINT}")


def slo_id(spec: Mapping[str, Any]) -> str:
    """Return the id of Datadog's SLO in a metricSource; "" without one.

    Raises:
        ValueError: it is not an id.
    """
    text = spec.get("sloId", "")
    if text and (not isinstance(text, str) or not _ID.fullmatch(text)):
        raise ValueError(f"sloId: {one_line(str(text), 40)!r} is not an id of an SLO")
    return str(text)


def is_interpolated(query: str) -> bool:
    """Return whether a query is a share of a sketch."""
    return _LIMIT.match(query) is not None


def bracket(query: str, resolution: float) -> tuple[str, ...]:
    """Return two queries whose counts are surely not above and not below the true one; (): it is not interpolated.

    resolution: the relative width of a bucket: 0.02 if each is at most 2 % wider than its value.
    """
    match = _LIMIT.match(query)
    if match is None:
        return ()
    limit, factor = Decimal(match[2]), 1 + Decimal(str(resolution))
    least, most = (
        f"{one.quantize(Decimal('1e-10'), way).normalize():f}"
        for one, way in ((limit / factor, ROUND_DOWN), (limit * factor, ROUND_UP))
    )
    limits = (least, most) if match[1].startswith("<") else (most, least)
    return tuple(f"count(v: v{match[1]}{one}){query[match.end() :]}" for one in limits)


def query_path(asked: Asked, resolution: float = RESOLUTION) -> str:
    """Return the path of the call for all points, below the URL of the site."""
    texts = [text for _, text in asked.roles]
    queries = ",".join(f"{text}.rollup(sum, {asked.width})" for text in (*texts, *bracket(texts[1], resolution)))
    # The end is part of the range: its point would be of the next slice.
    given = {"from": asked.edges[0], "to": asked.edges[-1] - 1, "query": queries}
    return f"/api/v1/query?{urlencode(given)}"


def history_path(asked: Asked) -> str:
    """Return the path of the call for Datadog's own figure. Corrections are left out, as our counts have none."""
    given = {"from_ts": asked.edges[0], "to_ts": asked.edges[-1], "apply_correction": "false"}
    return f"/api/v1/slo/{quote(asked.theirs, safe='')}/history?{urlencode(given)}"


def wait_s(reply: Reply) -> float:
    """Return for how long Datadog allows no further call, s: none is left in the period of its limit."""
    left, reset = (reply.headers.get(f"x-ratelimit-{name}", "") for name in ("remaining", "reset"))
    is_spent = reply.status == 429 or left.strip() == "0"
    return min(_WAIT_MOST_S, float(reset)) if is_spent and re.fullmatch(r"\d{1,9}", reset.strip()) else 0.0


def parse_points(reply: Reply, asked: Asked) -> Found | NoCounts:
    """Return the points of an answer to `query_path`."""
    answer = _decoded(reply, _Answer)
    if isinstance(answer, NoCounts):
        return answer
    if answer.status != "ok" or answer.error or answer.errors:
        return NoCounts(f"Datadog returned an error: {_error(answer.error, answer.errors)}")
    values: dict[int, dict[int, float]] = {}
    for one in answer.series:
        if one.query_index not in range(4 if is_interpolated(asked.roles[1][1]) else 2):
            return NoCounts("the answer has a series that was not asked for")
        if one.query_index in values:
            return NoCounts("the answer has several series for one query: leave out by {...}")
        if one.interval != asked.width:
            return NoCounts(
                f"the answer is rolled up to {one.interval:g} s, not to {asked.width} s, so its points are not counts"
                " of slices"
            )
        found = values[one.query_index] = {}
        for at_ms, value in one.pointlist:
            start, rest = divmod(at_ms, 1_000) if isfinite(at_ms) else (0.0, 1.0)
            if rest or start % asked.width or int(start) in found:
                return NoCounts(f"a point is not at the start of a slice of {asked.width} s")
            if value is not None:
                found[int(start)] = value
    notes = () if not answer.message else (f"Datadog: {one_line(answer.message, 160)}",)
    points = [
        {at: value for at, value in values.get(n, {}).items() if asked.edges[0] <= at < asked.edges[-1]}
        for n in range(4)
    ]
    (_, total), (_, part) = asked.roles
    bounds = points[2:] if 2 in values and 3 in values else [None, None]
    return Found(
        Points(points[0], is_interpolated(total), shown=total),
        # A share of a sketch is within its relative error, not exact.
        Points(points[1], is_interpolated(part), "", part, *bounds),
        notes,
    )


def parse_history(reply: Reply) -> Theirs | NoCounts:
    """Return Datadog's own figure from an answer to `history_path`."""
    answer = _decoded(reply, _History)
    if isinstance(answer, NoCounts):
        return answer
    overall = answer.data.overall if answer.data else None
    if answer.errors or overall is None or overall.errors:
        errors = answer.errors or (overall.errors if overall else None)
        return NoCounts(f"Datadog returned an error: {_error(None, errors)}")
    return Theirs(overall.sli_value, answer.data.type if answer.data else "")


def _decoded(reply: Reply, kind: type[T]) -> T | NoCounts:
    if (fault := fault_of(reply)) is not None:
        if reply.status == 429 and not fault.wait_s and (wait := wait_s(reply)):
            return NoCounts(f"{fault}; the server asks to wait {wait:g} s", wait, may_pass=True)
        return fault
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except msgspec.ValidationError as error:
        return NoCounts(f"the answer is not of the API of Datadog: {one_line(str(error), 120)}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return NoCounts("the answer is not JSON, or it was cut off", may_pass=True)


def _error(text: str | None, errors: list[Any] | None) -> str:
    for one in (text, *(errors or ())):
        found = one
        if isinstance(one, dict):
            found = one.get("error_message") or one.get("error")
        if isinstance(found, str) and found:
            return one_line(found, 160)
    return "without a reason"
