"""Splits the time of an X-Ray trace among its spans. Pure.

A trace consists of segments (one for each service) and subsegments (calls within a service). A segment that answered
a call has that call's subsegment as its parent. At each moment, the time counts for the deepest open spans, in equal
parts if there are several. So the parts add up to the time in which any span of the request was open. Work that
continues after its parent has ended is not counted, because nothing waited for it.

Times are seconds. The times of segments are Unix times by the clocks of different machines, so a child is cut off
at the start and end of its parent.

Source: AWS, "X-Ray segment documents".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import msgspec

__all__ = ["parts_of", "segments_of"]

_MOST_SPANS = 10_000
"""Limit on the spans of one trace. X-Ray accepts at most 500 kB for a trace."""


@dataclass(slots=True)
class _Span:
    name: str
    begin: float
    end: float
    parent: str
    children: list[str] = field(default_factory=list)


def segments_of(documents: Iterable[str]) -> list[dict[str, Any]] | None:
    """Decode the JSON documents of a trace, as BatchGetTraces returns them. None if one is not a JSON object."""
    found: list[dict[str, Any]] = []
    for document in documents:
        try:
            found.append(msgspec.json.decode(document, type=dict[str, Any]))
        except msgspec.DecodeError:
            return None
    return found


def parts_of(segments: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the seconds spent in each span, by name: "shop", and "shop: query" for a call within it.

    A span without an end time is ignored, and its children count as if they had no parent.
    """
    spans = _spans(segments)
    for key, span in spans.items():
        if span.parent in spans and span.parent != key:
            spans[span.parent].children.append(key)
    roots = [key for key, span in spans.items() if span.parent not in spans]
    moments: list[tuple[float, bool, str]] = []
    above: dict[str, str] = {}
    waiting = [(key, "", spans[key].begin, spans[key].end) for key in roots]
    while waiting:
        key, parent, low, high = waiting.pop()
        span = spans[key]
        begin, end = max(span.begin, low), min(span.end, high)
        if key in above or end <= begin:
            continue
        above[key] = parent
        moments += [(begin, True, key), (end, False, key)]
        waiting += [(child, key, begin, end) for child in span.children]
    return _swept(sorted(moments), above, spans)


def _swept(
    moments: list[tuple[float, bool, str]], above: Mapping[str, str], spans: Mapping[str, _Span]
) -> dict[str, float]:
    """Go through the starts and ends of spans in time order, and add each stretch to the deepest open spans.

    moments: (time, is start, span id), sorted. above: the parent of each span.
    """
    parts: dict[str, float] = defaultdict(float)
    within: dict[str, int] = defaultdict(int)
    is_open: set[str] = set()
    deepest: set[str] = set()
    before = 0.0
    for at, begins, key in moments:
        for leaf in deepest if at > before else ():
            parts[spans[leaf].name] += (at - before) / len(deepest)
        before, parent = at, above[key]
        (is_open.add if begins else is_open.discard)(key)
        within[parent] += 1 if begins else -1
        for one in (key, parent):
            if one in is_open and not within[one]:
                deepest.add(one)
            else:
                deepest.discard(one)
    return dict(parts)


def _spans(segments: Iterable[Mapping[str, Any]]) -> dict[str, _Span]:
    spans: dict[str, _Span] = {}
    waiting = [(segment, "", str(segment.get("parent_id") or "")) for segment in segments]
    while waiting and len(spans) < _MOST_SPANS:
        one, service, parent = waiting.pop()
        name, key = str(one.get("name") or "without a name"), str(one.get("id") or "")
        begin, end = one.get("start_time"), one.get("end_time")
        inner = one.get("subsegments")
        if isinstance(inner, list):
            waiting += [(each, service or name, key) for each in inner if isinstance(each, dict)]
        if (
            key
            and isinstance(begin, int | float)
            and isinstance(end, int | float)
            and isfinite(begin)
            and isfinite(end)
        ):
            spans[key] = _Span(f"{service}: {name}" if service else name, float(begin), float(end), parent)
    return spans
