"""Collects the attributes of a trace that can explain the time of one path: those along the path, and our own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from loadgen.traces.model import Path, Value
from loadgen.traces.span_facts import SpanFacts
from loadgen.traces.timed import Parted
from loadgen.traces.what_if import Timeline

__all__ = ["Attributes", "attributes_along"]

Attributes = dict[tuple[str, str], Sequence[Value]]
"""For (service, key) all values of the spans of a trace; the service is "" for attributes of our own."""


def attributes_along(one: Parted, timeline: Timeline, path: Path, service: str = "") -> Attributes:
    """Return the attributes of the spans on the way to a path, of all its spans, and of our own request.

    Args:
        path: of the target; for another one, such as the time between client and server, the root's attributes count.
        service: for a path that has no spans, the service whose spans count (an instance that stands still).
    """
    found: dict[tuple[str, str], dict[tuple[type, Value], Value]] = {}

    def add(where: str, attributes: Mapping[str, Value]) -> None:
        for key, value in attributes.items():
            # 1, 1.0 and True are equal, but different values here.
            found.setdefault((where, key), {})[type(value), value] = value

    add("", one.observed.attributes)
    for key, value in (("region", one.observed.region),):
        if value:
            add("", {key: value})
    seen: set[int] = set()
    for facts in _along(timeline, path, service):
        if id(facts) not in seen:  # most spans of a path share theirs
            seen.add(id(facts))
            add(facts.service, facts.attributes)
            add(facts.service, facts.resource)
    return {key: tuple(values.values()) for key, values in found.items()}


def _along(timeline: Timeline, path: Path, service: str) -> Iterator[SpanFacts]:
    yield timeline.facts[0]
    for length in range(2, len(path) + 1):
        yield from timeline.facts_at(path[:length])
    if service:
        yield from (facts for facts in timeline.facts if facts.service == service)
