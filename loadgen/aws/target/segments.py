"""To which spans of a trace its time went. Pure.

A trace of X-Ray is segments (one a service) with subsegments (calls within it); a segment that answered such
a call has it as its parent. At each moment the time belongs to the deepest spans that are open then, in equal
parts where several are: so the parts of a trace add up to the time in which anything of the request was open. What
goes on after its parent has ended is work that nobody waited for, and belongs to nobody.

Times are seconds; those of segments are Unix times of the machines that wrote them, so a child whose clock
is wrong is cut at its parent's ends.

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
"""Of one trace: X-Ray takes 500 kB."""


@dataclass(slots=True)
class _Span:
    name: str
    begin: float
    end: float
    parent: str
    children: list[str] = field(default_factory=list)


def segments_of(documents: Iterable[str]) -> list[dict[str, Any]] | None:
    """The documents of a trace, as BatchGetTraces gives them; None where one is none."""
    found: list[dict[str, Any]] = []
    for document in documents:
        try:
            found.append(msgspec.json.decode(document, type=dict[str, Any]))
        except msgspec.DecodeError:
            return None
    return found


def parts_of(segments: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds by span: "shop", and "shop: query" of a call within it.

    Of a span without an end nothing is known: it is left out, and what is within it stands for itself.
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
    """By going through the moments at which a span begins or ends. above: the span that each is within."""
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
