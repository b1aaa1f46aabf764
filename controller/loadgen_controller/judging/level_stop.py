"""Ends a sweep after a saturated level, because higher levels would only make the queue longer.

Each level of `levels(..., stop_when_saturated=True)` is checked once, after its end. The check uses the same function
that marks saturated levels in the report (`loadgen/measure/statistics/saturation.py`).

    state after the end of a level                                        | result
    the level is the last one                                             | no check: the load ends anyway
    reports of the level's end are missing, and it ended < 10 s ago       | wait
    an agent was lost during the level                                    | go on
    less than 90 % of the level's intervals are known                     | go on
    saturated is unknown (level too short, or no ttft), or False          | go on
    saturated is True                                                     | stop

A lost agent's requests count as in flight for the rest of the run, which looks like growth. A load that was changed
during the run has no levels any more, so it is not checked. The reasons are in
docs/decisions/088-stop-a-sweep-after-a-saturated-level.md.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.level_intervals import EndedByInterval
from loadgen.profiles.levels import LevelSpan
from loadgen.units import NS_PER_S, format_duration

__all__ = ["LevelStop", "is_over"]

_PATIENCE_NS: Final = 10 * NS_PER_S
_SOON_NS: Final = 2 * NS_PER_S
_LEAST_KNOWN: Final = 0.9
_MOST_NAMED: Final = 5


def is_over(span: LevelSpan, ended: EndedByInterval, *, had_loss: bool) -> bool:
    """Return whether the run has to end after this level. had_loss: whether an agent was lost during the level."""
    return not had_loss and ended.known_share(span) >= _LEAST_KNOWN and ended.is_saturated(span) is True


class LevelStop:
    """Checks each level of one run once, after its end.

    Cost: 4 µs a call; once a second 0.25 ms for each interval that has changed; 0.6 ms for the check of a level of
    100 s (timeit on a busy machine, least of 7).
    """

    def __init__(self, spec: PlanSpec) -> None:
        self._ended = EndedByInterval(spec.interval_ns)
        self._taken: dict[int, int] = {}
        """The revision of each window that was taken."""
        self._spans: tuple[LevelSpan, ...] = ()
        self._take_ns = 0
        """The time when windows are taken again, ns from T0."""
        self._number = 0
        """The level that is checked next."""
        self._lost_before: frozenset[str] | None = None
        """The agents that were lost when this level began; None: it has not begun."""
        self.follow(spec)

    def follow(self, spec: PlanSpec) -> None:
        """Use the levels of this plan, with all load changes so far. A changed load has no levels."""
        self._spans = next((lane.level_spans for lane in spec.lanes if lane.levels), ())
        if not any(span.may_stop for span in self._spans):
            self._spans = ()

    @property
    def is_needed(self) -> bool:
        """Return whether a level may end the run."""
        return self._number < len(self._spans) - 1

    def know(self, ended: EndedByInterval) -> None:
        """Begin with the intervals that a controller had merged before it was restarted."""
        self._ended = ended

    def check(
        self, merge: Merge, live: Collection[str], finished: Collection[str], lost: Collection[str], clock_ns: int
    ) -> str:
        """Return why the run has to end, as a sentence; "" if it may go on.

        Args:
            live: agents that take part and are not lost.
            finished: agents that have delivered everything and will report no more intervals.
            lost: agents that are lost.
            clock_ns: now, ns from T0.
        """
        if not self.is_needed:
            return ""
        span = self._spans[self._number]
        if clock_ns >= min(self._take_ns, span.end_ns):
            self._take_ns = clock_ns + NS_PER_S
            self._take(merge)
        if self._lost_before is None and clock_ns >= span.start_ns:
            # A controller that was restarted within the level does not know when agents were lost.
            self._lost_before = frozenset(lost) if clock_ns < span.start_ns + _SOON_NS else frozenset()
        if clock_ns < span.end_ns:
            return ""
        reporting = [agent for agent in live if agent not in finished]
        if clock_ns < span.end_ns + _PATIENCE_NS and not _have_reported(merge, reporting, span.end_ns):
            return ""
        had_loss = not frozenset(lost) <= (self._lost_before or frozenset())
        self._number, self._lost_before = self._number + 1, None
        if not span.may_stop or not is_over(span, self._ended, had_loss=had_loss):
            return ""
        return _why(self._spans, self._number - 1)

    def _take(self, merge: Merge) -> None:
        for window in merge.windows():
            if self._taken.get(window.k) != window.revision:
                self._taken[window.k] = window.revision
                self._ended.take_window(window)


def _have_reported(merge: Merge, agents: Collection[str], end_ns: int) -> bool:
    """Return whether all of these agents have reported the time up to `end_ns`, within half an interval."""
    upto_ns = end_ns - merge.interval_ns // 2
    return all(
        max((stop_ns for epoch in merge.epochs(agent)[-1:] for _, stop_ns in epoch.spans[-1:]), default=0) >= upto_ns
        for agent in agents
    )


def _why(spans: Sequence[LevelSpan], number: int) -> str:
    span, left = spans[number], [one.text for one in spans[number + 1 :]]
    named = ", ".join(left[:_MOST_NAMED]) + (" ..." if left[_MOST_NAMED:] else "")
    unit = "" if span.text.endswith("/s") else " users"
    return (
        f"stopped after {format_duration(span.end_ns)}: level {span.text}{unit} is saturated, as requests in flight and"
        f" ttft both grew until it ended; not run: {named}{unit}"
    )
