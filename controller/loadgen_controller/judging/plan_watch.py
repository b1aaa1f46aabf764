"""Compares the agents' counts with the plan once an interval while a run goes on, as an early warning. Pure.

The final decision is in `reported_counts_vs_plan.py`. This module finds two kinds of agents:

- behind: it is more than one interval behind its plan in `PATIENCE` reports in a row;
- ahead: it reports more arrivals than are due now, though no arrival starts before it is due. The comparison is with
  now and not with the end of the reported interval: on a busy machine an interval may close late, and then it holds
  arrivals that were due after its end.

Only open loads with a rate curve are watched. For other loads, due iterations are unknown before the end.

Cost: some µs for each agent and check; after a share change, 60 ns for each arrival and share change.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from loadgen.dsl.plans.spec import LaneSpec
from loadgen.measure.merging.merge import Merge
from loadgen.profiles.profile import ArrivalProfile
from loadgen.units import NS_PER_S, format_count
from loadgen.wire.messages import Adjust, Reassign
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.iterations_due_by_plan import Basis, OpenDue, changed
from loadgen_controller.judging.reported_counts_vs_plan import STOP_SLACK_NS

__all__ = ["PATIENCE", "PlanWatch"]

PATIENCE: Final = 3
"""Number of reports in a row that must be behind before the agent is named."""
_MOST_WALKED: Final = 200_000
"""Most new arrivals in one check, 12 ms. A faster load whose shares have changed is compared at the end only."""


class PlanWatch:
    """Watches one run. Call `look` once an interval."""

    def __init__(self, lanes: Sequence[LaneSpec]) -> None:
        self._basis = Basis.of(lanes, ())
        self._loads: list[OpenDue] | None = None
        self._applied = 0
        self._checked_ns = 0
        self._behind: dict[tuple[str, int], int] = {}
        """Number of reports in a row that were behind, by agent and load."""
        self._judged_ns: dict[tuple[str, int], int] = {}
        """End of the last interval that was judged, by agent and load."""
        self._since_ns: dict[tuple[str, int], int] = {}
        """End of the last interval that was not behind, by agent and load."""
        self._reported: set[tuple[str, int, bool]] = set()

    def is_due(self, merge: Merge, now_ns: int) -> bool:
        """Return whether `look` would check the agents now: once in each interval."""
        return now_ns - self._checked_ns >= merge.interval_ns

    def look(
        self,
        merge: Merge,
        assignment: Assignment,
        changes: Sequence[Adjust | Reassign],
        live: Collection[str],
        now_ns: int,
    ) -> list[str]:
        """Return a sentence for each agent that is behind or ahead of its plan. Each load of an agent is named once.

        Args:
            changes: all load changes and share changes so far, in order.
            live: agents that are expected to report.
            now_ns: ns from T0. A second call within one interval returns nothing.
        """
        if not self.is_due(merge, now_ns):
            return []
        self._checked_ns = now_ns
        if self._loads is None:
            loads = enumerate(self._basis.loads)
            self._loads = [
                OpenDue(load, self._basis, assignment) for load, one in loads if isinstance(one.profile, ArrivalProfile)
            ]
        for change in changes[self._applied :]:
            for one in self._loads:
                one.change(changed(change))
        self._applied = len(changes)
        return [text for one in self._loads for text in self._check_load(one, merge, assignment, live, now_ns)]

    def _check_load(
        self, due: OpenDue, merge: Merge, assignment: Assignment, live: Collection[str], now_ns: int
    ) -> list[str]:
        reported = self._newly_reported(due, merge, assignment, live)
        found: list[str] = []
        due_n = due.count_at(now_ns + STOP_SLACK_NS)
        if due.is_walked and due_n - due.walked > _MOST_WALKED:
            return found
        # In order of time: `by_agent` walks forwards, and starts from 0 again for a smaller number.
        planned: dict[int, list[int] | None] = {}
        for end_ns in sorted(reported):
            for ns in (end_ns - merge.interval_ns, end_ns):  # the next check needs the second one
                if ns not in planned:
                    n = due.count_at(ns)
                    planned[ns] = due.by_agent(n).tolist() if due.is_near(n) else None  # too costly: the end decides
        most = due.by_agent(due_n).tolist()
        for end_ns in sorted(reported):
            settled = planned[end_ns - merge.interval_ns]
            if settled is not None:
                for at, agent, count in reported[end_ns]:
                    found += self._judge(due, agent, end_ns, count, settled[at], most[at])
        return found

    def _newly_reported(
        self, due: OpenDue, merge: Merge, assignment: Assignment, live: Collection[str]
    ) -> dict[int, list[tuple[int, str, int]]]:
        """Return, by the end of the newest interval of an agent: (index, agent, its due iterations so far) of each live
        agent whose newest interval was not judged yet. Most agents have the same interval.
        """
        found: dict[int, list[tuple[int, str, int]]] = {}
        for at, agent in enumerate(assignment.agents):
            if agent not in live:
                continue
            parts = [one.loads[due.load] for one in merge.epochs(agent) if due.load in one.loads]
            if parts and parts[-1].due:
                end_ns, count = parts[-1].due.last
                if end_ns > self._judged_ns.get((agent, due.load), -1):
                    self._judged_ns[agent, due.load] = end_ns
                    before = sum(one.started + one.missed for one in parts[:-1])
                    found.setdefault(end_ns, []).append((at, agent, before + count))
        return found

    def _judge(self, due: OpenDue, agent: str, end_ns: int, reported: int, least: int, most: int) -> list[str]:
        place = agent, due.load
        if reported >= least:
            self._behind.pop(place, None)
            self._since_ns[place] = end_ns
            if reported <= most:
                return []
        else:
            self._behind[place] = self._behind.get(place, 0) + 1
        whose = f" of load {due.planned.name}" if due.planned.name else ""
        if self._behind.get(place, 0) >= PATIENCE and (*place, False) not in self._reported:
            self._reported.add((*place, False))
            since_s = self._since_ns.get(place, 0) / NS_PER_S
            return [
                f"agent {agent} is behind its plan since second {since_s:.0f}: {format_count(least - reported)} of"
                f" {format_count(least)} due iterations{whose} were not reported as started, waiting or missed"
            ]
        if reported > most and (*place, True) not in self._reported:
            self._reported.add((*place, True))
            return [
                f"agent {agent} is ahead of its plan at {end_ns / NS_PER_S:.0f} s: it reports {format_count(reported)}"
                f" due iterations{whose}, but only {format_count(most)} were due by then"
            ]
        return []
