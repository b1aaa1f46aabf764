"""Makes slices from raw samples of counters. Pure.

`increase` of Prometheus extrapolates to the edges of its range, so it gives fractions and sums that are not those of
the target. Here the difference between two samples is counted, so neighbouring slices share the sample at their edge,
and every request is in exactly one slice:

- The value at an edge is the last sample at or before it. If none is *near* (within 1.25 scrape intervals), the slices
  on both sides are partial: the time without samples is missing.
- A counter that falls was reset. Its new value counts; the time since the sample before is missing, because requests
  between that sample and the restart were in no sample.
- A series that begins while its instance is scraped was created at 0, as Prometheus clients do with new labels. Its
  first value counts. The first sample of a new instance is only a beginning.
- An instance may come and go. Where the series `up` shows that Prometheus did not know the instance before or after,
  only one scrape interval is missing; otherwise all of the time without samples is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Final

from loadgen.programme.ledger.slices import Slice
from loadgen.programme.sources.asked import Asked

__all__ = ["NEAR", "Instance", "counted", "needs_samples"]

NEAR: Final = 1.25
"""A sample is near an edge if it is at most this many scrape intervals older."""
_MISSING_MS: Final = 1_000

SeriesKey = tuple[str, str]
"""The role ("total", "good" or "bad") and the labels of a series."""


@dataclass(slots=True)
class Instance:
    """One scraped address: the samples of its series by time in ms, and edges before which a counter was reset."""

    series: dict[SeriesKey, dict[int, float]] = field(default_factory=dict)
    resets: set[int] = field(default_factory=set)
    """Edges, s: in the time before them, some counter fell."""
    seen: set[int] = field(default_factory=set)
    """Edges, s: in the slice before them there were samples."""
    up: set[int] = field(default_factory=set)
    """The times, ms, of samples of `up`: Prometheus has one for each try to scrape, also for those that failed."""

    def add(self, key: SeriesKey, at_ms: Iterable[int], values: Iterable[float]) -> None:
        """Add samples of a series. A value that is not finite is no sample."""
        found = self.series.setdefault(key, {})
        for at, value in zip(at_ms, values, strict=True):
            if isfinite(value):
                found[at] = value

    def times(self) -> list[int]:
        """Return the times of all samples, ms, sorted."""
        return sorted({at for one in self.series.values() for at in one})


def needs_samples(instances: Mapping[str, Instance], asked: Asked, interval_s: float) -> list[int]:
    """Return the starts of the slices for which values at the edges are not enough: with a reset, a gap at an edge, or
    a series that begins or ends. Their raw samples are needed.
    """
    found: set[int] = set()
    tolerance = NEAR * interval_s * 1_000
    for instance in instances.values():
        times = instance.times()
        columns = [(one, sorted(one)) for one in instance.series.values()]
        for start in asked.edges[:-1]:
            a, b = start * 1_000, (start + asked.width) * 1_000
            is_seen = start + asked.width in instance.seen
            ends = [_last(times, edge, tolerance) for edge in (a, b)]
            if ends == [None, None] and not is_seen:
                continue
            if None in ends or start + asked.width in instance.resets:
                found.add(start)
                continue
            for values, at in columns:
                first, last = (_last(at, edge, tolerance) for edge in (a, b))
                if (first is None) != (last is None) or (
                    first is not None and last is not None and values[last] < values[first]
                ):
                    found.add(start)
    return sorted(found)


def counted(
    instances: Mapping[str, Instance], asked: Asked, interval_s: float, evidence: str
) -> tuple[list[Slice], list[str]]:
    """Return the slices of all instances together, and notes. Slices without any sample are left out: they are missing.

    interval_s: the scrape interval. A slice with more good (or bad) requests than requests is left out with a note.
    """
    known = [(name, one, one.times()) for name, one in instances.items()]
    slices: list[Slice] = []
    notes: list[str] = []
    for start in asked.edges[:-1]:
        part = _Part(start * 1_000, (start + asked.width) * 1_000, NEAR * interval_s * 1_000)
        for name, instance, times in known:
            part.take(name, instance, times)
        if not part.is_seen:
            continue
        total = part.counts.get("total", 0.0)
        good = part.counts.get("good", 0.0) if asked.good else total - part.counts.get("bad", 0.0)
        # Counters of recording rules and sampled ones have fractions.
        is_whole = all(value == round(value) for value in part.counts.values())
        if not 0 <= round(good) <= round(total):
            word = "good" if asked.good else "bad"
            count = part.counts.get(word, 0.0)
            notes.append(f"the slice at {start} is missing: {count:g} {word} requests of {total:g} are not possible")
            continue
        missing_s = min(asked.width, -(-_length(part.missing) // _MISSING_MS))
        text = f"{evidence}; {'; '.join(dict.fromkeys(part.why))}"[:600] if part.why else evidence
        slices.append(Slice(asked.slo, start, asked.width, round(good), round(total), missing_s, not is_whole, text))
    return slices, notes


@dataclass(slots=True)
class _Part:
    """The counts of one slice [a, b), ms. missing: pairs of times."""

    a: int
    b: int
    tolerance: float
    counts: dict[str, float] = field(default_factory=dict)
    missing: list[tuple[int, int]] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    is_seen: bool = False

    def take(self, name: str, instance: Instance, times: Sequence[int]) -> None:
        """Add the counts of an instance."""
        before, after = bisect_right(times, self.a), bisect_right(times, self.b)
        near_a, near_b = (_last(times, edge, self.tolerance) for edge in (self.a, self.b))
        begin = near_a if near_a is not None else times[before] if before < after else None
        if begin is None:
            if before and after < len(times):
                self._miss(self.a, self.b, f"no scrape of {name}")
                self.is_seen = True
            return
        self.is_seen = True
        finish = times[after - 1]
        is_known = any(begin <= at <= finish for at in instance.up)
        if near_a is None:
            is_new = is_known and not any(self.a - self.tolerance <= at < begin for at in instance.up)
            since = begin - int(self.tolerance) if is_new else self.a
            self._miss(since, begin, f"{name} is new" if is_new else f"no scrape of {name} near the beginning")
        if near_b is None:
            is_gone = is_known and not any(finish < at <= self.b + self.tolerance for at in instance.up)
            until = finish + int(self.tolerance) if is_gone else self.b
            self._miss(finish, until, f"{name} is gone" if is_gone else f"no scrape of {name} near the end")
        for (role, _), values in instance.series.items():
            self.counts[role] = self.counts.get(role, 0.0) + self._grown(name, values, begin, finish, times)

    def _grown(self, name: str, values: Mapping[int, float], begin: int, finish: int, times: Sequence[int]) -> float:
        at = sorted(values)
        at = at[bisect_left(at, begin) : bisect_right(at, finish)]
        if not at:
            return 0.0
        # A series that begins after its instance began at 0, when its labels came up.
        last_at, last = at[0], values[at[0]]
        grown = last if at[0] > begin else 0.0
        for one in at[1:]:
            if values[one] < last:
                grown += values[one]
                self._miss(last_at, one, f"restart of {name}")
            else:
                grown += values[one] - last
            last_at, last = one, values[one]
        if last_at < finish:
            self._miss(last_at, times[bisect_right(times, last_at)], f"a series of {name} ended")
        return grown

    def _miss(self, a: int, b: int, why: str) -> None:
        a, b = max(a, self.a), min(b, self.b)
        if b > a:
            self.missing.append((a, b))
            self.why.append(why)


def _last(times: Sequence[int], edge: int, tolerance: float) -> int | None:
    """Return the last time at or before an edge; None if it is not near."""
    n = bisect_right(times, edge)
    return times[n - 1] if n and edge - times[n - 1] <= tolerance else None


def _length(spans: Iterable[tuple[int, int]]) -> int:
    """Return the length of the union of spans."""
    found, end = 0, -1
    for a, b in sorted(spans):
        found += max(0, b - max(a, end))
        end = max(end, b)
    return found
