"""Compares the counts that agents reported with the plan. Pure.

For each agent: due by the plan = started + missed + missing. This holds whether or not the agent sent a Fin or empty
intervals. A difference makes a run incomplete, and the result names the agent, the seconds and the number:

    missing   the plan gave the agent more iterations than it started or missed
    extra     the agent started or missed more iterations than the plan gave it: it started some twice, or started
              iterations of another agent

Only numbers are compared. An agent that starts another agent's iterations in place of its own has the right number,
and this module does not find it.

At the planned end both are exact. If the load was stopped early, each agent stopped when the stop reached it. It had
at least the iterations that were due before the stop, and at most those that were due by the end of its own data.

Times are ns from T0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from loadgen.measure.merging.load_progress import LoadProgress
from loadgen.measure.merging.merge import Epoch, Merge
from loadgen.profiles.profile import UserProfile
from loadgen.units import NS_PER_MS, NS_PER_S, format_count
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.iterations_due_by_plan import (
    Basis,
    ClosedDue,
    CountedDue,
    LoadChange,
    OpenDue,
    dues_of,
    total_by_area,
)

__all__ = ["Against", "AgentDue", "Difference", "compare_with_plan"]

STOP_SLACK_NS: Final = 100 * NS_PER_MS
"""Allowed error of an agent's clock: by its own clock, a stop may reach it this much earlier."""
_SETTLE_NS: Final = NS_PER_S
"""Users of a closed load may start this much later than planned."""
_CLOSED_SAMPLES: Final = 240
"""Most times at which the users of a closed load are compared: every interval of a run of four minutes."""
_LOCATED: Final = 20
"""Most differences for which the time span is searched, since that costs a pass over the agent's samples."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between one agent's load and its plan."""

    load: str
    """Name of the load; empty if the plan does not name it."""
    kind: str
    """ "iterations" or "users"."""
    planned: int
    reported: int
    number: int
    """Iterations or user-seconds. Above 0: that many are missing; below 0: that many are too many."""
    from_ns: int | None = None
    to_ns: int | None = None
    """The span in which the difference arose; None: unknown."""

    def __str__(self) -> str:
        whose = f" of load {self.load}" if self.load else ""
        when = ""
        if self.from_ns is not None and self.to_ns is not None:
            when = f" between {self.from_ns / NS_PER_S:.1f} s and {self.to_ns / NS_PER_S:.1f} s"
        if self.kind == "users":
            what = "missing" if self.number > 0 else "more than planned"
            return f"{format_count(abs(self.number))} user-seconds{whose} are {what}{when}"
        if self.number > 0:
            return (
                f"{format_count(self.number)} of {format_count(self.planned)} iterations{whose} that were due by the"
                f" plan are missing{when}: the agent neither started them nor counted them as missed"
            )
        return (
            f"{format_count(self.reported)} iterations{whose} were started or missed{when}:"
            f" {format_count(-self.number)} iterations more than the plan gives it"
        )


@dataclass(frozen=True, slots=True)
class AgentDue:
    """The result of the comparison for one agent."""

    planned: int | None = None
    """Iterations of open and counted loads that were due; after an early stop, the least. None: no such load."""
    missing: int = 0
    planned_user_s: float = 0.0
    missing_user_s: float = 0.0
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Against:
    """The result of the comparison for a whole run."""

    agents: Mapping[str, AgentDue]
    planned: int
    """Planned iterations of all agents."""
    planned_user_s: float
    is_whole: bool
    """Whether every load could be compared with the plan."""
    fleet: tuple[str, ...] = ()
    """Differences of the fleet as a whole, as sentences."""

    def missing_share(self, agent: str, unended: int = 0) -> float:
        """Return which part of the whole planned load is missing from this agent or has an unknown end, 0 to 1.

        Iterations and user-seconds cannot be added up, so with both kinds of load the greater part counts.

        unended: iterations that the agent started and whose end it never reported.
        """
        due = self.agents.get(agent, AgentDue())
        of_iterations = (due.missing + unended) / self.planned if self.planned else 0.0
        of_users = due.missing_user_s / self.planned_user_s if self.planned_user_s else 0.0
        return min(1.0, max(of_iterations, of_users))


def _reported_first_arrivals(assignment: Assignment, merge: Merge) -> tuple[dict[tuple[int, int], int], list[str]]:
    """Return the arrival with which each share change begins, by majority of the agents, and sentences that name agents
    that disagree.

    The keys are (load, number of the share change); number 0 is the end of the load.
    """
    votes: dict[tuple[int, int], dict[str, int]] = {}
    has_share = any(assignment.weights_now)
    for agent, weight in zip(assignment.agents, assignment.weights_now, strict=False):
        for epoch in merge.epochs(agent):
            for (load, number), n in epoch.first_arrivals.items():
                # An agent that left has no vote on the end of a load, which may have moved since.
                if number or weight or not has_share:
                    votes.setdefault((load, number), {})[agent] = n
    found: dict[tuple[int, int], int] = {}
    wrong: list[str] = []
    for (load, number), by_agent in sorted(votes.items()):
        most = found[load, number] = Counter(by_agent.values()).most_common(1)[0][0]
        what = f"share change {number}" if number else "the end of the load"
        wrong += [
            f"agent {agent} reports {what} at arrival {format_count(n)},"
            f" but most agents report arrival {format_count(most)}"
            for agent, n in sorted(by_agent.items())
            if n != most
        ]
    return found, wrong


def compare_with_plan(basis: Basis, assignment: Assignment, merge: Merge, load_ns: int | None) -> Against:
    """Compare the load that the agents reported with the plan, after the run has ended; return all differences.

    Args:
        load_ns: when the load ended, as planned or by a stop; None: after a number of iterations.
    """
    firsts, disagreeing = _reported_first_arrivals(assignment, merge)
    opens, counted, closed = dues_of(basis, assignment, firsts)
    tally = _Tally(basis, assignment, merge)
    for one in opens:
        _compare_open(one, basis, tally, load_ns)
    for each in counted:
        tally.compare(each.planned.name, each.load, low=_least(each, basis), high=each.by_agent())
    tally.compare_uncounted()
    for users in closed:
        _compare_closed(users, tally, load_ns)
    fleet = [*disagreeing, *_compare_by_area(basis, tally)]
    return tally.result(fleet)


def _least(counted: CountedDue, basis: Basis) -> np.ndarray:
    whole = counted.by_agent()
    return np.zeros_like(whole) if basis.is_stopped else whole


def _compare_open(one: OpenDue, basis: Basis, tally: _Tally, load_ns: int | None) -> None:
    if not one.is_known:
        return
    if one.schedule is not None and basis.is_stopped and load_ns is not None:
        # A copy, because `by_agent` keeps and returns the same array, and `high` is changed below.
        low = one.by_agent(one.count_at(load_ns - STOP_SLACK_NS)).copy()
        high = low.copy()
        covered = [(tally.covered_ns(agent), at) for at, agent in enumerate(tally.assignment.agents)]
        for covered_ns, at in sorted(covered):  # `by_agent` is cheap only in increasing order
            high[at] = one.by_agent(one.count_at(max(covered_ns, load_ns) + STOP_SLACK_NS))[at]
    elif one.total is not None:
        low = high = one.by_agent(one.total)
    else:
        return
    tally.compare(one.planned.name, one.load, low, high, one, load_ns)


def _compare_closed(one: ClosedDue, tally: _Tally, load_ns: int | None) -> None:
    """Compare how many users each agent reported with the plan, at ends of intervals.

    Differences are added to `tally`.

    Missing users count only if they are missing at two samples in a row: a single one may be chance.
    """
    interval_ns, end_ns = tally.merge.interval_ns, one.end_ns
    ends = [ns for ns in (load_ns, end_ns) if ns is not None]
    if not ends:
        return
    first, last = one.planned.after_ns // interval_ns + 1, (min(ends) - 1) // interval_ns
    if last < first:
        return
    step = max(1, -(-(last - first + 1) // _CLOSED_SAMPLES))
    samples = list(range(first, last + 1, step))
    planned, lack = np.zeros(len(tally.assignment.agents)), []
    for k in samples:
        t_ns = k * interval_ns
        now = one.users_at(t_ns)
        planned = planned + now
        least = np.minimum.reduce([now, one.users_at(t_ns - _SETTLE_NS // 2), one.users_at(t_ns - _SETTLE_NS)])
        here = np.array([tally.users_at(agent, one.load, t_ns) for agent in tally.assignment.agents])
        lack.append(np.where(tally.counts_users, np.maximum(0, least - here), 0))
    most = np.maximum.reduce([one.users_at(edge_ns) for edge_ns in one.edges_ns()])
    seconds = step * interval_ns / NS_PER_S
    lacks = np.stack(lack)
    lasting = lacks > 0
    lasting[1:] &= (lacks[:-1] > 0) | np.concatenate((lacks[2:] > 0, np.zeros((1, lacks.shape[1]), dtype=bool)))
    if len(samples) > 1:
        lasting[0] &= lacks[1] > 0
    for at, agent in enumerate(tally.assignment.agents):
        tally.planned_user_s[agent] = tally.planned_user_s.get(agent, 0.0) + float(planned[at]) * seconds
        where = np.flatnonzero(lasting[:, at])
        if len(where):
            missing_s = float(lacks[where, at].sum()) * seconds
            tally.missing_user_s[agent] = tally.missing_user_s.get(agent, 0.0) + missing_s
            from_ns = max(one.planned.after_ns, (samples[int(where[0])] - step) * interval_ns)
            to_ns = min(min(ends), samples[int(where[-1])] * interval_ns)
            difference = Difference(
                one.planned.name, "users", 0, 0, max(1, round(missing_s)), from_ns=from_ns, to_ns=to_ns
            )
            tally.differences.setdefault(agent, []).append(difference)
        reported = tally.most_users(agent, one.load)
        if reported > int(most[at]):
            extra = reported - int(most[at])
            difference = Difference(one.planned.name, "users", int(most[at]), reported, -extra)
            tally.differences.setdefault(agent, []).append(difference)


def _compare_by_area(basis: Basis, tally: _Tally) -> Iterator[str]:
    """Yield a sentence for each load whose total of arrivals differs from the area under its rate curve.

    This check uses none of the code for shares.
    """
    if basis.is_stopped:
        return
    for load, planned in enumerate(basis.loads):
        bounds = total_by_area(
            planned, [one for one in basis.changes if isinstance(one, LoadChange) and one.load == load]
        )
        if bounds is None or load not in tally.accounted:
            continue
        least, most = bounds
        total = tally.accounted[load]
        if not least <= total <= most:
            whose = f"load {planned.name}: " if planned.name else ""
            there = format_count(least) if least == most else f"{format_count(least)} to {format_count(most)}"
            yield (
                f"{whose}the area under the rate curve is {there} arrivals, but the sum of started, missed and"
                f" missing ones is {format_count(total)}"
            )


class _Tally:
    """Compares load after load and collects the results by agent."""

    def __init__(self, basis: Basis, assignment: Assignment, merge: Merge) -> None:
        self.basis, self.assignment, self.merge = basis, assignment, merge
        self.epochs: dict[str, tuple[Epoch, ...]] = {agent: merge.epochs(agent) for agent in assignment.agents}
        counting = frozenset(basis.counting)
        self.counting = [agent in counting for agent in assignment.agents]
        self.counts_users = np.array(self.counting)
        self.differences: dict[str, list[Difference]] = {}
        self.planned: dict[str, int] = {}
        self.missing: dict[str, int] = {}
        self.planned_user_s: dict[str, float] = {}
        self.missing_user_s: dict[str, float] = {}
        self.accounted: dict[int, int] = {}
        """By load: started, missed and missing iterations of all agents."""
        self._uncounted: dict[str, list[int]] = {}
        """For each agent that does not count by load: the least and most due iterations of its loads so far."""
        self._located = 0

    def covered_ns(self, agent: str) -> int:
        """Return the end of the agent's last interval with data, ns from T0; 0 if there is none."""
        return max((epoch.spans[-1][1] for epoch in self.epochs[agent] if epoch.spans), default=0)

    def reported(self, agent: str, load: int) -> int:
        """Return the iterations that the agent started or missed, over all its registrations."""
        found = [epoch.loads[load] for epoch in self.epochs[agent] if load in epoch.loads]
        return sum(one.started + one.missed for one in found)

    def users_at(self, agent: str, load: int, t_ns: int) -> int:
        """Return the agent's users of a load at `t_ns`; 0 if no data of that time arrived."""
        for epoch in reversed(self.epochs[agent]):
            if load in epoch.loads and epoch.spans and any(start < t_ns <= end for start, end in epoch.spans):
                return epoch.loads[load].users_at(t_ns)
        return 0

    def most_users(self, agent: str, load: int) -> int:
        """Return the most users of a load that the agent ever reported."""
        found = [epoch.loads[load] for epoch in self.epochs[agent] if load in epoch.loads]
        return max((users for one in found for _, users in one.users), default=0)

    def compare(
        self,
        name: str,
        load: int,
        low: np.ndarray,
        high: np.ndarray,
        located_by: OpenDue | None = None,
        end_ns: int | None = None,
    ) -> None:
        """Compare the iterations of one load, open or with a fixed number of them, with the plan, agent by agent.

        Args:
            low, high: least and most iterations that were due on each agent: (agents,) int64.
            located_by: the load's arrivals, to find the span in which a difference arose; None: no search.
            end_ns: end of the load, for that search.
        """
        accounted = 0
        found: dict[str, Difference] = {}
        for at, agent in enumerate(self.assignment.agents):
            least, most = int(low[at]), int(high[at])
            self.planned[agent] = self.planned.get(agent, 0) + least
            if not self.counting[at]:
                before = self._uncounted.setdefault(agent, [0, 0])
                before[0], before[1] = before[0] + least, before[1] + most
                accounted += least
                continue
            reported = self.reported(agent, load)
            accounted += max(reported, least)
            if least <= reported <= most:
                continue
            planned = least if reported < least else most
            found[agent] = Difference(name, "iterations", planned, reported, planned - reported)
        self.accounted[load] = accounted
        spans: dict[str, tuple[int, int]] = {}
        if located_by is not None and located_by.is_located:
            located = dict(list(found.items())[: _LOCATED - self._located])
            self._located += len(located)
            spans = self._spans(located, located_by, end_ns)
        for agent, difference in found.items():
            self._add(agent, difference, *spans.get(agent, (None, None)))

    def compare_uncounted(self) -> None:
        """Compare agents of an older protocol, which count all loads together. With a closed load this is impossible.

        Call it after `compare` for each load.
        """
        has_users = any(isinstance(one.profile, UserProfile) for one in self.basis.loads)
        for agent, (least, most) in self._uncounted.items():
            counters = self.merge.counters(agent=agent)
            reported = counters.iterations_started + counters.iterations_missed
            if not has_users and not least <= reported <= most:
                planned = least if reported < least else most
                self._add(agent, Difference("", "iterations", planned, reported, planned - reported))

    def _add(self, agent: str, found: Difference, from_ns: int | None = None, to_ns: int | None = None) -> None:
        if found.number > 0:
            self.missing[agent] = self.missing.get(agent, 0) + found.number
        self.differences.setdefault(agent, []).append(replace(found, from_ns=from_ns, to_ns=to_ns))

    def _spans(
        self, differing: Mapping[str, Difference], due: OpenDue, end_ns: int | None
    ) -> dict[str, tuple[int, int]]:
        """Return for each agent the two times (ns from T0) between which its difference of an open load arose.

        Cost: one pass over the load's arrivals for all agents together, since the owners of arrivals are computed in
        order, and at most some seconds for ten million arrivals with 200 share changes.
        """
        last_ns = end_ns if end_ns is not None else due.planned.after_ns + (due.schedule.end_ns if due.schedule else 0)
        samples = {agent: self._samples(agent, due.load, last_ns) for agent in differing}
        settled: dict[str, list[int]] = {}
        for agent, (told_ns, of) in samples.items():
            # An arrival may be counted an interval after it was due, but not after the agent's last interval.
            lag_ns = self.merge.interval_ns if differing[agent].number > 0 else 0
            settled[agent] = [t_ns - lag_ns if t_ns < told_ns else t_ns for t_ns, _ in of]
        asked = sorted({t for _, of in samples.values() for t, _ in of} | {t for of in settled.values() for t in of})
        places = np.array([self.assignment.index(agent) for agent in differing], dtype=np.int64)
        counts = due.by_agent_at([due.count_at(t_ns) for t_ns in asked], places)
        planned = dict(zip(asked, counts, strict=True))
        spans: dict[str, tuple[int, int]] = {}
        for at, (agent, difference) in enumerate(differing.items()):
            number = difference.number
            from_ns, to_ns, is_past = 0, last_ns, False
            for (t_ns, done), settled_ns in zip(samples[agent][1], settled[agent], strict=True):
                here, by_then = int(planned[t_ns][at]), int(planned[settled_ns][at])
                if (by_then - done if number > 0 else done - here) <= 0:
                    from_ns, is_past = t_ns, False
                elif not is_past and abs(here - done) >= abs(number):
                    to_ns, is_past = t_ns, True
            spans[agent] = from_ns, max(from_ns, to_ns)
        return spans

    def _samples(self, agent: str, load: int, last_ns: int) -> tuple[int, list[tuple[int, int]]]:
        """Return the end of the agent's last interval, and (time, iterations by then) in order, until `last_ns`."""
        samples = list(_joined([epoch.loads[load] for epoch in self.epochs[agent] if load in epoch.loads]))
        told_ns = samples[-1][0] if samples else 0
        later = sorted({min(one.at_ns, last_ns) for one in self.basis.changes if one.at_ns > told_ns} | {last_ns})
        reported = self.reported(agent, load)  # arrivals that still waited in its last interval were never started
        return told_ns, [*samples, *((t_ns, reported) for t_ns in later if t_ns > told_ns)]

    def result(self, fleet: Sequence[str]) -> Against:
        """Return the differences of all agents, with the sentences in `fleet` as the differences of the whole fleet."""
        agents = {
            agent: AgentDue(
                self.planned.get(agent),
                self.missing.get(agent, 0),
                self.planned_user_s.get(agent, 0.0),
                self.missing_user_s.get(agent, 0.0),
                tuple(self.differences.get(agent, ())),
            )
            for agent in self.assignment.agents
        }
        is_whole = all(
            load in self.accounted or isinstance(one.profile, UserProfile) for load, one in enumerate(self.basis.loads)
        )
        return Against(agents, sum(self.planned.values()), sum(self.planned_user_s.values()), is_whole, tuple(fleet))


def _joined(progresses: Sequence[LoadProgress]) -> Iterator[tuple[int, int]]:
    """Yield (time, arrivals due so far) over all registrations of one agent, one after the other."""
    before = 0
    for one in progresses:
        for t_ns, due in one.due:
            yield t_ns, before + due
        before += one.started + one.missed
