"""Finds instances that stand still: garbage collection, a stopped process, a frozen disk.

A pause is not a property of a span: whatever was open on the instance becomes longer. So the waits of all
traces are compared by instance. A wait is a piece of the critical path on the instance, or in its caller while the call
has not begun there, or between client and server if the root is on it. In a pause

- at least two traces wait for 50 ms or more, and their waits end together, within 10 ms from one to the next;
- no span begins or ends on the instance meanwhile.

A few slow requests end together by chance, too. So pauses count only if more waits end together than in each of 99
copies of the data in which each trace is moved by up to 5 s; and of the groups of a size, at most a quarter may be
chance. Requests that also *began* together prove nothing: a
burst of arrivals does the same. So the begins must be twice as far apart as the ends.

Of some pauses the sample has one trace only. If at least a third of the long waits of a path on a standing instance end
together with others, its remaining ones count as pauses, too, unless they are much longer.

All times are ns since 1970 on one clock. Waits of an instance whose clock was not corrected are found all the same,
because they are compared with each other only.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.traces.compact_trace import CompactTrace
from loadgen.traces.model import Path
from loadgen.traces.span_facts import Instance
from loadgen.traces.timed import WIRE
from loadgen.traces.what_if import Timeline

__all__ = ["LEAST_WAIT_NS", "Pauses", "pauses_of"]

Integers = npt.NDArray[np.int64]
Moves = dict[Path, dict[Path, int]]

LEAST_WAIT_NS: Final = 50_000_000
_TOGETHER_NS: Final = 10_000_000
_COPIES: Final = 99
_SHIFT_NS: Final = 5_000_000_000
_APART: Final = 2.0
_LEAST_TOGETHER: Final = 2
_BY_CHANCE: Final = 0.25
_TOGETHER_SHARE: Final = 1 / 3
_LONGER: Final = 1.25
_LEAST_TRACES: Final = 3


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses of one instance.

    periods_ns: begin and end of each. traces: the number of traces that waited in at least one of them.
    moved: for each trace the critical time that belongs to the pauses, by path. saved_ns: by how much each trace would
    be shorter without them, shape (traces,).
    """

    instance: Instance
    periods_ns: tuple[tuple[int, int], ...]
    traces: int
    moved: tuple[Moves, ...]
    saved_ns: Integers

    @property
    def median_ns(self) -> int:
        """Return the median length of a pause."""
        return int(np.median([end - begin for begin, end in self.periods_ns]))


@dataclass(frozen=True, slots=True)
class _Wait:
    trace: int
    path: Path
    begin_ns: int
    end_ns: int


def pauses_of(traces: Sequence[CompactTrace], seed: int = 0) -> list[Pauses]:
    """Return the pauses of each instance that stood still, the one with most waiting first.

    Args:
        traces: those to compare.
        seed: of the copies.
    """
    long = _long_waits(traces)
    if not long:
        return []
    events: dict[Instance, array[int]] = {instance: array("q") for instance in long}
    for one in traces:
        for instance, start, end in one.events():
            if (moments := events.get(instance)) is not None:
                moments.append(start)
                moments.append(end)
    found = []
    for instance in sorted(long):
        periods = _periods(long[instance], events[instance], np.random.default_rng(seed))
        if periods:
            found.append(_pauses(instance, periods, traces))
    return sorted(found, key=lambda one: -sum(sum(map(sum, (to.values() for to in m.values()))) for m in one.moved))


def _long_waits(traces: Sequence[CompactTrace]) -> dict[Instance, list[_Wait]]:
    """Return the long waits by the instance that may have made them, if it has enough for a pause."""
    found: defaultdict[Instance, list[_Wait]] = defaultdict(list)
    for number, one in enumerate(traces):
        waits = one.waits
        for n, (begin, end) in enumerate(zip(waits.begins, waits.ends, strict=True)):
            if end - begin >= LEAST_WAIT_NS:
                found[waits.instances[n]].append(_Wait(number, waits.paths[n], begin, end))
    return {instance: some for instance, some in found.items() if len(some) >= _LEAST_TRACES}


def _periods(waits: Sequence[_Wait], events: array[int], chance: np.random.Generator) -> list[tuple[int, int]]:
    """Return the pauses that long waits show; empty if they end together no more often than by chance.

    events: starts and ends of all spans of the instance.
    """
    long = sorted(waits, key=lambda wait: wait.end_ns)
    ends = np.array([wait.end_ns for wait in long], dtype=np.int64)
    number = np.array([wait.trace for wait in long], dtype=np.int64)
    moments = np.unique(np.asarray(events, dtype=np.int64))
    groups: list[tuple[int, int, list[int]]] = []
    begins_apart = ends_apart = 0
    for group in _groups(ends):
        together = [long[n] for n in group]
        end = together[0].end_ns
        begin = max(min(wait.begin_ns for wait in together), _last_before(moments, end))
        if len({wait.trace for wait in together}) < _LEAST_TOGETHER or end - begin < LEAST_WAIT_NS:
            continue
        groups.append((begin, end, group.tolist()))
        begins_apart += max(wait.begin_ns for wait in together) - min(wait.begin_ns for wait in together)
        ends_apart += together[-1].end_ns - end
    count = sum(len(group) for *_, group in groups)
    if count < _LEAST_TRACES or begins_apart < _APART * ends_apart:
        return []
    most, by_size = _by_chance(ends, number, chance)
    if count <= most:
        return []
    clear = [one for one in groups if _is_clear(len(one[2]), groups, by_size)]
    periods = [(begin, end) for begin, end, _ in clear]
    longest = _LONGER * max((end - begin for begin, end in periods), default=0)
    for wait in _alone(long, {n for *_, group in clear for n in group}):
        begin = max(wait.begin_ns, _last_before(moments, wait.end_ns))
        if LEAST_WAIT_NS <= wait.end_ns - begin <= longest:
            periods.append((begin, wait.end_ns))
    return _apart(periods)


def _is_clear(size: int, groups: Sequence[tuple[int, int, list[int]]], by_size: npt.NDArray[np.float64]) -> bool:
    """Return whether at most a quarter of the groups of this size or a larger one are there by chance."""
    expected = float(by_size[size:].sum())
    return expected <= _BY_CHANCE * sum(len(group) >= size for *_, group in groups)


def _alone(long: Sequence[_Wait], members: set[int]) -> list[_Wait]:
    """Return the waits that end alone on paths on which at least a third of the waits end together."""
    counts = Counter(wait.path for wait in long)
    together = Counter(long[n].path for n in members)
    return [
        wait
        for n, wait in enumerate(long)
        if n not in members and together[wait.path] >= _TOGETHER_SHARE * counts[wait.path]
    ]


def _apart(periods: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the periods in order, those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(periods):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def _groups(ends: Integers) -> list[Integers]:
    """Return the indices of ends that follow each other within 10 ms. ends: sorted."""
    breaks = np.flatnonzero(np.diff(ends) > _TOGETHER_NS) + 1
    return [np.asarray(group, dtype=np.int64) for group in np.split(np.arange(len(ends)), breaks)]


def _last_before(moments: Integers, end: int) -> int:
    """Return the last event before a pause ended. Those within 10 ms of its end belong to the end itself."""
    at = int(np.searchsorted(moments, end - _TOGETHER_NS))
    return int(moments[at - 1]) if at else 0


def _by_chance(ends: Integers, number: Integers, chance: np.random.Generator) -> tuple[int, npt.NDArray[np.float64]]:
    """Return how many waits end together if each trace is moved by up to 5 s.

    The first value is the largest number in any copy, the second one the mean number of groups of each size.
    """
    most = 0
    by_size = np.zeros(len(ends) + 1)
    of_trace = np.unique(number, return_inverse=True)[1]
    for _ in range(_COPIES):
        shift = chance.integers(-_SHIFT_NS, _SHIFT_NS, of_trace.max() + 1)[of_trace]
        moved = ends + shift
        order = np.argsort(moved, kind="stable")
        is_break = (np.diff(moved[order]) > _TOGETHER_NS) | (np.diff(of_trace[order]) == 0)
        sizes = np.diff(np.concatenate(([0], np.flatnonzero(is_break) + 1, [len(ends)])))
        sizes = sizes[sizes >= _LEAST_TOGETHER]
        most = max(most, int(sizes.sum()))
        by_size += np.bincount(sizes, minlength=len(by_size))
    return most, by_size / _COPIES


def _pauses(
    instance: Instance,
    periods: Sequence[tuple[int, int]],
    traces: Sequence[CompactTrace],
) -> Pauses:
    begins, ends = np.array(sorted(periods), dtype=np.int64).T

    def overlap(begin: int, end: int) -> int:
        """Return how long the instance stood still between two times."""
        first, last = int(np.searchsorted(ends, begin, "right")), int(np.searchsorted(begins, end))
        return sum(min(end, int(ends[n])) - max(begin, int(begins[n])) for n in range(first, last))

    def without(begin: int, end: int) -> int:
        return end - begin - overlap(begin, end)

    target = instance.path
    moved: list[Moves] = [{} for _ in traces]
    for one, moves in zip(traces, moved, strict=True):
        waits = one.waits
        for n, at in enumerate(waits.instances):
            if (at is instance or at == instance) and (ns := overlap(waits.begins[n], waits.ends[n])):
                to = moves.setdefault(waits.paths[n], {})
                to[target] = to.get(target, 0) + ns
    saved = np.zeros(len(traces), dtype=np.int64)
    for n, moves in enumerate(moved):
        if moves:
            timeline = traces[n].timeline
            on_it = _held_up(timeline, instance)
            saved[n] = timeline.saved(dict.fromkeys(on_it, without))
            saved[n] += moves.get(WIRE, {}).get(target, 0)
    return Pauses(instance, tuple(sorted(periods)), sum(map(bool, moved)), tuple(moved), saved)


def _held_up(timeline: Timeline, instance: Instance) -> set[int]:
    """Return the numbers of the spans on an instance, and of their callers."""
    numbers = {n for n, facts in enumerate(timeline.facts) if facts.instance is instance or facts.instance == instance}
    return numbers | {parent for n in numbers if (parent := timeline.parent_of(n)) >= 0}
