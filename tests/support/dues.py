"""Events that are due, told by agents interval by interval as they end; and the same counted plainly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from loadgen.engine.recording.slo_windows import Watches
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective
from tests.support.deltas import FakeAgent

__all__ = ["AGENTS", "T0", "Event", "L", "broken_windows", "told"]

L = 1_000
"""Length of an interval, ns: small, so that edges are met often."""
T0 = 5_000_000
AGENTS = (("a", "eu"), ("b", "eu"), ("c", "us"))


@dataclass(frozen=True)
class Event:
    """Due at `due_ns` from T0; it ends `response_ns` later with `outcome`."""

    agent: int
    due_ns: int
    response_ns: int
    outcome: str = OK

    @property
    def end_ns(self) -> int:
        return self.due_ns + self.response_ns


def told(
    events: Sequence[Event], objectives: Sequence[Objective], agents: int = 1, *, journey: str = "shop"
) -> Iterator[tuple[int, Merge]]:
    """(end of the interval, the merge by then) until all have ended, each agent telling of its own events."""
    merge = Merge(L)
    tellers = [_Teller(AGENTS[n], objectives, [e for e in events if e.agent == n], journey) for n in range(agents)]
    last_ns = max((event.end_ns for event in events), default=0)
    for k in range(last_ns // L + 2):
        for teller in tellers:
            merge.accept(teller.region, teller.delta(k))
        yield (k + 1) * L, merge


class _Teller:
    def __init__(
        self, who: tuple[str, str], objectives: Sequence[Objective], events: Sequence[Event], journey: str
    ) -> None:
        self.name, self.region = who
        self._events, self._told_ns = events, 0
        self._agent = FakeAgent(self.name, interval_ns=L)
        self._watches = Watches(objectives, [journey], L, self.region, self._in_flight)
        self._watches.t0_ns = T0
        self._watch = self._watches.of(SeriesKey("journey", journey, None, None, OK, "response"))

    def _in_flight(self, now_ns: int) -> Iterator[tuple[int, int, int]]:
        for event in self._events:
            if T0 + event.due_ns < now_ns <= T0 + event.end_ns:
                yield 0, T0 + event.due_ns, 0

    def delta(self, k: int) -> Delta:
        """What ended in [k L, (k + 1) L), and what is in flight at its end."""
        for event in self._events:
            if k * L <= event.end_ns < (k + 1) * L and self._watch is not None:
                self._watch.ended(T0 + event.due_ns, event.response_ns, event.outcome)
        return replace(self._agent.delta({}), due=self._watches.take(T0 + (k + 1) * L))


def broken_windows(events: Sequence[Event], objective: Objective, first: int, end: int) -> list[tuple[int, int, int]]:
    """(first interval, bad, count) of each full window within [first, end) that is broken. Counted one by one."""
    width = -(-objective.window_ns // L)
    found = []
    for start in range(first, end - width + 1):
        within = [e for e in events if start * L <= e.due_ns < (start + width) * L]
        within = [e for e in within if e.outcome != "skipped" and not e.outcome.startswith("script ")]
        if objective.kind == "percentile":
            bad = sum(e.outcome != OK or e.response_ns > objective.limit for e in within)
        else:
            bad = sum(e.outcome != OK for e in within)
        least, room = LEAST[objective.q]
        if _is_broken(objective, bad, len(within) if len(within) >= least else room):
            found.append((start, bad, len(within)))
    return found


LEAST: dict[float, tuple[int, int]] = {50: (2, 2), 75: (4, 4), 90: (10, 10), 99: (100, 100), 100: (1, 1), 0: (4, 4)}
"""By percentile, and by 0 for a ratio of 0.3: from which count on a window is judged, as how many a smaller counts."""


def _is_broken(objective: Objective, bad: int, count: int) -> bool:
    if objective.kind == "error_ratio":
        return bad > 0 and Fraction(bad, count) >= Fraction("0.3")
    return bad > 0 and Fraction(100 * (count - bad), count) < objective.q
