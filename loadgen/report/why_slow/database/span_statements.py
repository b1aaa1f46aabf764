"""The statements that the spans of a path sent to a database, and database spans right below a path. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from loadgen.report.why_slow.database.parts import Below
from loadgen.traces.compact_trace import CompactTrace
from loadgen.traces.convert.attribute_names import QUERY_TEXT, SYSTEM
from loadgen.traces.model import Path, Value

__all__ = ["DatabaseCall", "below", "calls_of"]

_SUMMARY: Final = "db.query.summary"
_NAMESPACE: Final = "db.namespace"
_TRACES_MOST: Final = 500
_CALLS_MOST: Final = 20
_UNCHANGED: Final = 0.1


class DatabaseCall(NamedTuple):
    """A statement as spans have it: its text without values, its summary, the database system and the database."""

    text: str
    summary: str
    system: str
    namespace: str


def calls_of(traces: Sequence[CompactTrace], path: Path) -> tuple[DatabaseCall, ...]:
    """Return the statements of the spans with a path, the most frequent first, at most 20; () for other spans."""
    found: Counter[DatabaseCall] = Counter()
    for one in islice(traces, _TRACES_MOST):
        for facts in one.timeline.facts_at(path):
            if (call := _call(facts.attributes)) is not None:
                found[call] += 1
    return tuple(call for call, _ in found.most_common(_CALLS_MOST))


def below(slow: Sequence[CompactTrace], fast: Sequence[CompactTrace], path: Path, added_ns: float) -> Below | None:
    """Return the database spans right below a path, with their times; None without such spans.

    added_ns: of the path's own time. Spans below the database spans count as theirs.
    """
    paths = {
        other
        for one in islice(slow, _TRACES_MOST)
        for other in one.paths
        if len(other) == len(path) + 1
        and other[:-1] == path
        and any(_is_database(facts.attributes) for facts in one.timeline.facts_at(other)[:1])
    }
    if not paths:
        return None
    slow_ns, fast_ns = _mean_ns(slow, paths), _mean_ns(fast, paths)
    is_unchanged = slow_ns - fast_ns <= _UNCHANGED * added_ns
    return Below(paths=tuple(sorted(paths)), slow_ns=slow_ns, fast_ns=fast_ns, is_unchanged=is_unchanged)


def _call(attributes: Mapping[str, Value]) -> DatabaseCall | None:
    call = DatabaseCall(*(str(attributes.get(key, "")) for key in (QUERY_TEXT, _SUMMARY, SYSTEM, _NAMESPACE)))
    return call if call.text or call.summary else None


def _is_database(attributes: Mapping[str, Value]) -> bool:
    return SYSTEM in attributes or QUERY_TEXT in attributes


def _mean_ns(traces: Sequence[CompactTrace], paths: set[Path]) -> float:
    """Return the weighted mean time of a request on the critical path, at or below some paths, in ns."""
    if not traces:
        return 0.0
    length = len(next(iter(paths)))
    sums = [sum(time.own_ns for path, time in one.paths.items() if path[:length] in paths) for one in traces]
    return float(np.average(sums, weights=[one.observed.weight for one in traces]))
