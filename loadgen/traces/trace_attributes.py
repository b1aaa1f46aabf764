"""Collects the attributes of a trace that can explain the time of one path: those along the path, and our own.

Only the first call counts on each step of the path: the first child with the next name, and below it only its own
children. So each trace has one chance to have an attribute, however many calls it makes. If all calls counted, a trace
with 41 calls would touch each instance, and N+1 queries and retries would seem to be the fault of all instances. In
traces with one call of each step nothing changes. If slow traces have as many calls as fast ones, the first call shows
less than all calls would: a fault of one in ten calls needs more traces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from loadgen.traces.model import Path, Value
from loadgen.traces.timed import Parted
from loadgen.traces.what_if import Timeline

__all__ = ["STATUS", "Attributes", "attributes_along"]

Attributes = dict[tuple[str, str], Sequence[Value]]
"""For (place, key) all values of a trace. The place is a service, `service: operation` for STATUS, or "" for attributes
of our own."""

STATUS: Final = "status"
"""The key of the status of a span. Its only value is "error"."""


def attributes_along(one: Parted, timeline: Timeline, path: Path, service: str = "") -> Attributes:
    """Return the attributes of the spans on the way to a path, of its first span, and of our own request.

    The status of spans counts, too, except that of the root, which is the status of the response.

    Args:
        path: of the target; for another one, such as the time between client and server, the root's attributes count.
        service: for a path that has no spans, the service whose first span counts (an instance that stands still).
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
    for number in _along(timeline, path, service):
        facts = timeline.facts[number]
        add(facts.service, facts.attributes)
        add(facts.service, facts.resource)
        if facts.is_error and number:
            add(timeline.path_of(number)[-1], {STATUS: "error"})
    return {key: tuple(values.values()) for key, values in found.items()}


def _along(timeline: Timeline, path: Path, service: str) -> Iterator[int]:
    yield from timeline.first_calls(path)
    if service and (first := timeline.first_of(service)) is not None:
        yield first
