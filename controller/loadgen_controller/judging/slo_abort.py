"""Stops a running run when it breaks an objective with `abort=True`. Pure.

Only full windows are judged, made of intervals that every live agent has reported or that ended more than 1.5 s
ago. Undecided requests and missing data of late or lost agents count as good. So a run is stopped only if later data
cannot change the result.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Gap, Objective, SloResult, describe, evaluate, time_text
from loadgen.units import NS_PER_S
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.gaps import gaps_of

__all__ = ["Aborts", "Breach", "breached"]


@dataclass(frozen=True, slots=True)
class Breach:
    """An objective that the run broke."""

    result: SloResult
    at_ns: int
    """End of the interval in which the breach was found, ns from T0."""

    @property
    def text(self) -> str:
        """Return the reason for the stop as a plain sentence."""
        whose = f" of {self.result.journey}" if self.result.journey else ""
        when = time_text(self.at_ns / NS_PER_S)
        return f"stopped at {when}: SLO {self.result.objective}{whose} is broken: {describe(self.result)}"


def breached(
    objectives: Sequence[Objective],
    merge: Merge,
    end_ns: int,
    journeys: Sequence[str] = (),
    *,
    from_ns: int = 0,
    load_ns: int | None = None,
    gaps: Sequence[Gap] = (),
) -> tuple[Breach, ...]:
    """Return a breach for each objective with `abort=True` that is broken in a window up to `end_ns`, in plan order.

    Args:
        objectives: all objectives of the plan, since agents count by the index of an objective.
        end_ns: end of the last complete interval, ns from T0, as are all times here.
        from_ns: end of the warm-up; windows begin after it.
        load_ns: planned end of the load; no window reaches beyond it. None: the load ends after a number of
            iterations, and windows reach to the last counted arrival.
        gaps: spans in [0, end_ns) without data; see `gaps_of`.
    """
    found: list[Breach] = []
    for index, objective in enumerate(objectives):
        if not objective.abort or not objective.window_ns:
            continue
        last_ns = merge.due.end(index) * merge.interval_ns if load_ns is None else load_ns
        results = evaluate(
            objective,
            merge,
            journeys=journeys,
            index=index,
            from_ns=from_ns,
            end_ns=min(end_ns, last_ns),
            gaps=gaps,
            is_over=False,
        )
        found += [Breach(result, end_ns) for result in results if result.verdict == "failed"]
    return tuple(found)


class Aborts:
    """Checks a running run for breaches, once for each complete interval.

    Cost with 100 agents: 9 µs a call if no interval is new, else 0.3 ms plus one `evaluate` for each objective with
    `abort=True` (timeit, least of 5).
    """

    def __init__(
        self, objectives: Sequence[Objective], journeys: Sequence[str], from_ns: int = 0, load_ns: int | None = None
    ) -> None:
        self._objectives, self._journeys = tuple(objectives), tuple(journeys)
        self._from_ns, self._load_ns = from_ns, load_ns
        self._is_needed = any(one.abort and one.window_ns for one in objectives)
        self._end_ns = 0

    def until(self, load_ns: int | None) -> None:
        """Set the new planned end of the load after a load change, ns from T0.

        None: it ends after a number of iterations.
        """
        self._load_ns = load_ns

    def check(
        self,
        merge: Merge,
        assignment: Assignment | None,
        live: Collection[str],
        finished: Collection[str],
        clock_ns: int,
    ) -> str:
        """Return why the run must be stopped, as a sentence; empty if it may continue.

        Args:
            assignment: the shares of all agents; None before they are assigned, when nothing is checked.
            live: agents that take part and are not lost.
            finished: agents that have delivered everything and will report no more intervals.
            clock_ns: now, ns from T0.
        """
        if not self._is_needed or assignment is None:
            return ""
        reporting = [agent for agent in live if agent not in finished]
        window = merge.latest_window(reporting or None, clock_ns)
        if window is None or window.end_ns <= self._end_ns:
            return ""
        self._end_ns = window.end_ns
        silent = [agent for agent in assignment.agents if agent not in finished]
        gaps = gaps_of(assignment, merge, silent, window.end_ns)
        found = breached(
            self._objectives,
            merge,
            window.end_ns,
            self._journeys,
            from_ns=self._from_ns,
            load_ns=self._load_ns,
            gaps=gaps,
        )
        return "; ".join(breach.text for breach in found)
