"""A run is stopped for what cannot become good any more, and soon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.probes.limits.watch import Danger
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen_controller.core.events import Reason
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.gaps import gaps_of
from loadgen_controller.judging.slo_abort import Aborts, breached
from loadgen_controller.run.stop_checks import RunChecks
from tests.support.deltas import FakeAgent

ASSIGNMENT = Assignment(("a", "b"), ("eu", "us"), (3.0, 1.0))
P95 = Objective(
    kind="percentile",
    q=95,
    limit=300 * NS_PER_MS,
    window_ns=3 * NS_PER_S,
    abort=True,
    text='p(95, window="3s") < 300ms',
)
S = NS_PER_S


class Fleet:
    """Two agents that report an interval at a time."""

    def __init__(self) -> None:
        self.merge = Merge()
        self.agents = {name: FakeAgent(name) for name in ASSIGNMENT.agents}

    def report(self, agent: str, *rows: DueCounts) -> None:
        delta = replace(self.agents[agent].delta({}), due=rows)
        self.merge.accept(ASSIGNMENT.region(agent), delta)

    def good(self, agent: str, intervals: Sequence[int], each: int = 20) -> None:
        for k in intervals:
            self.report(agent, DueCounts(0, "shop", k, good=each))


def check(aborts: Aborts, fleet: Fleet, clock_s: float, finished: Sequence[str] = ()) -> str:
    return aborts.check(fleet.merge, ASSIGNMENT, ASSIGNMENT.agents, finished, round(clock_s * S))


def test_nothing_is_said_while_all_is_well() -> None:
    fleet, aborts = Fleet(), Aborts([P95], ["shop"])
    fleet.good("a", range(5))
    fleet.good("b", range(5))
    assert check(aborts, fleet, 5.2) == ""


def test_the_reason_says_which_objective_when_and_that_it_stopped() -> None:
    fleet, aborts = Fleet(), Aborts([P95], ["shop"])
    for agent in ASSIGNMENT.agents:
        fleet.good(agent, range(4))
        fleet.report(agent, DueCounts(0, "shop", 4, good=10, bad=6, overdue=4))
    assert check(aborts, fleet, 5.2) == (
        'stopped at 0:05: SLO p(95, window="3s") < 300ms of shop is broken: worst window 0:02 to 0:05: 83.3 % of 120'
        " ended ok within 300 ms (needs 95 %); 1 of 3 windows broke it"
    )


def test_an_interval_counts_when_every_live_agent_has_reported_it() -> None:
    fleet, aborts = Fleet(), Aborts([P95], ["shop"])
    for agent in ASSIGNMENT.agents:
        fleet.good(agent, range(3))
    fleet.report("a", DueCounts(0, "shop", 3, bad=50))
    assert check(aborts, fleet, 4.1) == ""
    fleet.report("b", DueCounts(0, "shop", 3, good=20))
    assert "is broken" in check(aborts, fleet, 4.2)


def test_an_agent_that_is_late_is_not_waited_for_and_counts_as_good() -> None:
    few, many = Fleet(), Fleet()
    for fleet, bad in ((few, 5), (many, 50)):
        for agent in ASSIGNMENT.agents:
            fleet.good(agent, range(2))
        fleet.report("a", DueCounts(0, "shop", 2, good=10, bad=bad))
    assert check(Aborts([P95], ["shop"]), many, 3.1) == "", "agent b may still come"
    assert "is broken" in check(Aborts([P95], ["shop"]), many, 4.6)
    rows = evaluate(P95, few.merge, index=0, end_ns=3 * S)
    assert rows[0].windows_failed == 1, "5 of 95 are bad"
    assert check(Aborts([P95], ["shop"]), few, 4.6) == "", "with what agent b has not told they are 5 of 104"


def test_only_objectives_that_say_so_stop_a_run() -> None:
    fleet = Fleet()
    only_told = msgspec.structs.replace(P95, abort=False)
    for agent in ASSIGNMENT.agents:
        for k in range(4):
            fleet.report(agent, DueCounts(0, "shop", k, bad=20), DueCounts(1, "shop", k, bad=20))
    assert check(Aborts([only_told], ["shop"]), fleet, 4.2) == ""
    assert len(breached([only_told, P95], fleet.merge, 4 * S, ["shop"], load_ns=10 * S)) == 1


def test_it_is_asked_again_only_when_an_interval_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, aborts = Fleet(), Aborts([P95], ["shop"])
    asked: list[int] = []

    def ask(_objectives: object, _merge: object, end_ns: int, *_: object, **__: object) -> tuple[()]:
        asked.append(end_ns)
        return ()

    monkeypatch.setattr("loadgen_controller.judging.slo_abort.breached", ask)
    for k in range(3):
        fleet.good("a", [k])
        fleet.good("b", [k])
        for tick in range(5):
            check(aborts, fleet, k + 1.1 + tick / 20)
    assert asked == [S, 2 * S, 3 * S]


def test_windows_reach_neither_into_the_warm_up_nor_behind_the_load() -> None:
    fleet = Fleet()
    for agent in ASSIGNMENT.agents:
        fleet.report(agent, DueCounts(0, "shop", 0, bad=20))
        fleet.good(agent, range(1, 5))
        fleet.report(agent, DueCounts(0, "shop", 5, bad=20))
    assert "is broken" in check(Aborts([P95], ["shop"]), fleet, 6.1)
    assert check(Aborts([P95], ["shop"], from_ns=S, load_ns=5 * S), fleet, 6.1) == ""


def test_an_agent_that_has_finished_is_neither_waited_for_nor_missing() -> None:
    fleet, aborts = Fleet(), Aborts([P95], ["shop"])
    fleet.good("b", range(2))
    fleet.good("a", range(3))
    fleet.report("a", DueCounts(0, "shop", 3, good=10, bad=5))
    assert "is broken" in check(aborts, fleet, 4.1, finished=["b"])


def test_nothing_is_asked_before_there_is_anything() -> None:
    aborts = Aborts([P95], ["shop"])
    assert aborts.check(Merge(), None, (), (), 0) == ""
    assert aborts.check(Merge(), ASSIGNMENT, (), (), 0) == ""


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), max_size=8), st.integers(1, 6))
def test_gaps_are_what_no_delta_covers(reports: list[tuple[str, int]], end: int) -> None:
    """Each report skips some intervals before it, and brings one."""
    merge, at = Merge(), dict.fromkeys(ASSIGNMENT.agents, 0)
    agents = {name: FakeAgent(name) for name in ASSIGNMENT.agents}
    told: set[tuple[str, int]] = set()
    for agent, skipped in reports:
        at[agent] += skipped
        merge.accept(ASSIGNMENT.region(agent), agents[agent].delta({}, k=at[agent]))
        told.add((agent, at[agent]))
        at[agent] += 1
    for agent in ASSIGNMENT.agents:
        gaps = gaps_of(ASSIGNMENT, merge, [agent], end * S)
        within = {k for gap in gaps for k in range(gap.start_ns // S, gap.end_ns // S)}
        assert within == {k for k in range(end) if (agent, k) not in told}
        assert all(before.end_ns < after.start_ns for before, after in pairwise(gaps))
        assert {(gap.region, gap.share, gap.region_share) for gap in gaps} <= {
            (ASSIGNMENT.region(agent), ASSIGNMENT.share(agent), 1.0)
        }


def test_a_danger_that_probes_found_drains_the_run_with_its_own_reason() -> None:
    found = RunChecks.danger(Danger("target in danger: shopdb connections above 95 % for 30 s"))
    assert found is not None
    assert (found.reason, found.now) == (Reason.TARGET_IN_DANGER, False)
    broken = RunChecks.danger(Danger("stopped at 0:30: SLO ... is broken", is_objective=True))
    assert broken is not None
    assert broken.reason is Reason.SLO_BREACHED
    assert RunChecks.danger(None) is None
