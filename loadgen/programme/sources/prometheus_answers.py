"""Queries to a Prometheus server for slices, and what its answers mean. Pure.

One `query_range` gives, for all edges of the slices and all series, the value, the time of its sample, and whether the
counter was reset before. `query=x[300s]` gives the raw samples of the slices for which that is not enough.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Final

from loadgen.outside_text import one_line
from loadgen.probes.prometheus.answers import Answer, SeriesValues, parse_answer
from loadgen.probes.prometheus.selectors import Selector, parse_selector
from loadgen.probes.prometheus.series_rows import group_of
from loadgen.probes.reader import NotRead
from loadgen.probes.rows import Labels
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.sources.asked import Asked, NoCounts, Reply, fault_of
from loadgen.programme.sources.counter_slices import Instance, counted, needs_samples

__all__ = [
    "POINTS_MOST",
    "Edges",
    "Request",
    "bucket_fault",
    "bucket_request",
    "edges_request",
    "interval_request",
    "parse_edges",
    "parse_interval",
    "parse_samples",
    "sample_requests",
    "slices_of",
    "unclear",
    "why_not_asked",
]

POINTS_MOST: Final = 11_000
"""The most points of a series in one answer of `query_range`, a limit of the server."""
_RANGE_MOST_S: Final = 3_600
"""The longest range of raw samples in one query."""
_INSTANCES_MOST: Final = 100
_MARK: Final = "loadgen_part"
_INFO: Final = re.compile(r"PromQL info")
"""Prometheus 2.53 sends remarks about the names of metrics among its warnings. Such a remark does not mean that data
are missing.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One call. path: "query" or "query_range". role: whose samples an answer of "query" has."""

    path: str
    given: tuple[tuple[str, str], ...]
    role: str = ""
    points: int = 0
    """The most points of a series in the answer."""


@dataclass(slots=True)
class Edges:
    """The samples of one objective so far."""

    instances: dict[str, Instance] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)
    """The roles that have series."""
    names: set[str] = field(default_factory=set)
    """The values of the label `instance`."""


def why_not_asked(asked: Asked) -> NoCounts | None:
    """Return why nothing can be asked; None: it can."""
    count = len(asked.edges)
    if count < 2:
        return NoCounts(f"no whole slice of {asked.width} s lies in this time")
    if count > POINTS_MOST:
        return NoCounts(f"{count:,} points are more than the {POINTS_MOST:,} of one answer: ask for less time at once")
    return None


def edges_request(asked: Asked) -> Request:
    """Return the call for the values at all edges of the slices."""
    # A reset between the last sample before the slice and its first sample is only in a longer range.
    back = asked.width + max(60, min(asked.width, 300))
    parts: list[str] = []
    for role, selector in asked.roles:
        for part, text in (
            ("value", selector),
            ("at", f"timestamp({selector})"),
            ("resets", f"resets({selector}[{back}s])"),
            ("seen", f"count_over_time({selector}[{asked.width}s])"),
        ):
            parts.append(f'label_replace({text}, "{_MARK}", "{role} {part}", "", "")')
    edges = asked.edges
    given = {
        "query": " or ".join(parts),
        "start": str(edges[0]),
        "end": str(edges[-1]),
        "step": str(asked.width),
    }
    return Request("query_range", tuple(given.items()), points=len(edges))


def interval_request(asked: Asked) -> Request:
    """Return the call for the newest raw samples, which show the scrape interval."""
    seconds = min(600, max(60, asked.edges[-1] - asked.edges[0]))
    given = {"query": f"{asked.total}[{seconds}s]", "time": str(asked.edges[-1])}
    return Request("query", tuple(given.items()), "total")


def sample_requests(edges: Edges, asked: Asked, starts: Sequence[int], interval_s: float) -> list[Request]:
    """Return the calls for the raw samples of slices, and of `up` for their instances; neighbours share calls."""
    before = round(2 * interval_s) + 1
    names = sorted(edges.names)[:_INSTANCES_MOST]
    up = f"up{{instance=~{json.dumps('|'.join(map(re.escape, names)))}}}" if names else ""
    found: list[Request] = []
    for a, b in _spans(starts, asked.width):
        for role, selector in (*asked.roles, *([("up", up)] if up else [])):
            # One more interval of `up` shows whether an instance without samples was still known.
            end = b + before if role == "up" else b
            given = {"query": f"{selector}[{end - a + before}s]", "time": str(end)}
            found.append(Request("query", tuple(given.items()), role))
    return found


def bucket_request(asked: Asked) -> Request | None:
    """Return the call that lists the buckets of the histogram in a selector; None if it does not choose a bucket."""
    selector = parse_selector(asked.good or asked.bad)
    rest = tuple(one for one in selector.matchers if one.label != "le")
    if len(rest) == len(selector.matchers):
        return None
    text = f"count by (le) ({Selector(selector.name, rest).text})"
    return Request("query", (("query", text), ("time", str(asked.edges[-1]))))


def bucket_fault(reply: Reply | None, asked: Asked) -> NoCounts:
    """Return the fault of an objective whose good (or bad) selector has no series; with the buckets that there are."""
    selector = one_line(asked.good or asked.bad, 160)
    buckets: list[str] = []
    if reply is not None and not isinstance(answer := _answer(reply), NoCounts):
        buckets = sorted(
            {dict(one.labels).get("le", "") for one in answer.series} - {""},
            key=lambda text: float(text) if re.fullmatch(r"[0-9.eE+-]+", text) else float("inf"),
        )
    if buckets:
        shown = one_line(", ".join(buckets), 200)
        return NoCounts(f"no series is {selector}: the bucket must exist exactly; there are le = {shown}")
    return NoCounts(f"no series is {selector}, so nothing is known about good requests")


def parse_interval(reply: Reply) -> float | NoCounts:
    """Return the scrape interval in s: the median distance of raw samples; 0 if there are too few of them."""
    answer = _answer(reply)
    if isinstance(answer, NoCounts):
        return answer
    found = [b - a for one in answer.series[:100] for a, b in pairwise(one.at_ms)]
    return median(found) / 1_000 if found else 0.0


def parse_edges(reply: Reply, asked: Asked) -> Edges | NoCounts:
    """Return the values at the edges from an answer to `edges_request`.

    A partial answer is a fault: how much of it is missing is not known.
    """
    answer = _answer(reply)
    if isinstance(answer, NoCounts):
        return answer
    edges = Edges()
    parts: dict[tuple[str, Labels], dict[str, SeriesValues]] = {}
    for one in answer.series:
        marks = dict(one.labels)
        role, _, part = marks.pop(_MARK, "").partition(" ")
        if role not in ("total", "good", "bad"):
            return NoCounts("the answer has series that were not asked for")
        labels = tuple(sorted(marks.items()))
        edges.roles.add(role)
        if part in parts.setdefault((role, labels), {}):
            return NoCounts(f"two series have the same labels: write the name of one metric for {role}")
        parts[role, labels][part] = one
    for (role, labels), found in parts.items():
        instance = edges.instances.setdefault(group_of(labels), Instance())
        edges.names |= {value for name, value in labels if name == "instance"}
        stamps = dict(_pairs(found.get("at")))
        values = [(at, value) for at, value in _pairs(found.get("value")) if at in stamps]
        instance.add(
            (role, _text(labels)), (round(stamps[at] * 1_000) for at, _ in values), (value for _, value in values)
        )
        instance.resets |= {at // 1_000 for at, value in _pairs(found.get("resets")) if value > 0}
        instance.seen |= {at // 1_000 for at, value in _pairs(found.get("seen")) if value > 0}
    return edges


def parse_samples(reply: Reply, role: str, edges: Edges) -> NoCounts | None:
    """Add the raw samples of an answer to `edges`. Return its fault; None: it has none."""
    answer = _answer(reply)
    if isinstance(answer, NoCounts):
        return answer
    for one in answer.series:
        if role == "up":
            if (known := edges.instances.get(group_of(one.labels))) is not None:
                known.up |= set(one.at_ms)
            continue
        instance = edges.instances.setdefault(group_of(one.labels), Instance())
        instance.add((role, _text(one.labels)), one.at_ms, one.values)
    return None


def slices_of(edges: Edges, asked: Asked, interval_s: float, evidence: str) -> tuple[list[Slice], list[str]]:
    """Return the slices, and notes; see `counted`."""
    return counted(edges.instances, asked, interval_s, evidence)


def unclear(edges: Edges, asked: Asked, interval_s: float) -> list[int]:
    """Return the starts of the slices whose raw samples are needed; see `needs_samples`."""
    return needs_samples(edges.instances, asked, interval_s)


# -- within ---------------------------------------------------------------------------------------


def _answer(reply: Reply) -> Answer | NoCounts:
    if (fault := fault_of(reply)) is not None:
        return fault
    try:
        answer = parse_answer(reply.body)
    except NotRead as error:
        is_cut = not _is_json(reply.body)
        return NoCounts(f"{error}, or it was cut off" if is_cut else str(error), may_pass=is_cut)
    if answer.has_histograms:
        return NoCounts("native histograms are not read: a share of one is interpolated; use a counter or a bucket")
    if warnings := [text for text in answer.warnings if not _INFO.match(text)]:
        return NoCounts(f"the answer is partial: {warnings[0]}", may_pass=True)
    return answer


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _pairs(one: SeriesValues | None) -> Iterable[tuple[int, float]]:
    return () if one is None else zip(one.at_ms, one.values, strict=True)


def _text(labels: Labels) -> str:
    return ",".join(f"{name}={value}" for name, value in labels)


def _spans(starts: Sequence[int], width: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start in starts:
        if found and found[-1][1] == start and start + width - found[-1][0] <= max(_RANGE_MOST_S, width):
            found[-1] = found[-1][0], start + width
        else:
            found.append((start, start + width))
    return found
