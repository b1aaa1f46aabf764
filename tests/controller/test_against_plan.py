"""Due by the plan = started + missed + missing, for each agent and in all, whatever agents report. G25, F35."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.dsl.plans.spec import JourneySpec, LaneSpec
from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Change, Deal
from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.deltas.load_counts import Ending, FirstArrival, LoadCounts
from loadgen.measure.merging.merge import Merge
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, UserProfile
from loadgen.profiles.spacing import Spacing
from loadgen.profiles.stage import Stage
from loadgen.wire.messages import Fin
from loadgen_controller.core.events import End, Reason
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.iterations_due_by_plan import (
    Basis,
    ClosedDue,
    LoadChange,
    OpenDue,
    PlannedLoad,
    ShareChange,
    total_by_area,
)
from loadgen_controller.judging.plan_watch import PlanWatch
from loadgen_controller.judging.reported_counts_vs_plan import Against, compare_with_plan
from loadgen_controller.judging.verdict import Facts, judge
from tests.support.driven import Driven, Played, merged
from tests.support.examples import examples

S, MS = 1_000_000_000, 1_000_000
TEN = ArrivalProfile((Stage(100, 100, 10 * S),))


def held(plan: Played, agents: list[Driven], end_ns: int = 10 * S) -> Against:
    return compare_with_plan(plan.basis, plan.assignment, merged(agents, end_ns), end_ns)


def numbers(against: Against) -> dict[str, list[int]]:
    """What each agent lacks (above 0) or has too much (below)."""
    return {agent: [one.number for one in due.differences] for agent, due in against.agents.items() if due.differences}


# -- the invariant ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    what: str
    gap_ns: int
    agent: int
    factor: float
    late_ns: tuple[int, ...]


steps = st.builds(
    Step,
    st.sampled_from(["scale", "lose", "leave", "join"]),
    st.integers(0, 3 * S),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.3, 1.7]),
    st.tuples(*[st.integers(-2 * S, 1500 * MS)] * 6),
)
stages = st.lists(
    st.builds(Stage, st.integers(0, 40), st.integers(0, 40), st.integers(1, 3 * S)), min_size=1, max_size=3
).map(tuple)


@given(
    st.builds(lambda some: ArrivalProfile((*some, Stage(15, 15, 3 * S))), stages),
    st.sampled_from([(1.0,), (3.0, 1.0)]),
    st.lists(st.integers(1, 4).map(float), min_size=2, max_size=3),
    st.lists(steps, max_size=5),
)
@settings(max_examples=examples(50), deadline=None)
def test_due_by_the_plan_is_started_missed_and_missing_for_each_agent_and_in_all(
    profile: ArrivalProfile, mix: tuple[float, ...], weights: list[float], some: list[Step]
) -> None:
    """Over plans, changes, leaves, joins and lost agents, each change heard early or late by each agent."""
    most = len(weights) + sum(one.what == "join" for one in some)
    plan = Played(profile, (*weights, *[0.0] * (most - len(weights))), mix)
    now, at_ns = list(plan.weights), 0
    lost: dict[int, int] = {}
    left: dict[int, int] = {}
    came: dict[int, int] = {}
    late: list[tuple[int, ...]] = []
    for one in some:
        at_ns += one.gap_ns
        here = [index for index, weight in enumerate(now) if weight]
        if one.what == "scale":
            plan.scale(at_ns, (Stage(20 * one.factor, 20, 2 * S), Stage(10, 10, S)))
        elif one.what == "join":
            at_ns += 1600 * MS  # one that joins begins when all others have got the change, so nobody gets it late
            index = len(weights) + len(came)
            now[index] = 1.0
            came[index] = at_ns
            plan.share(at_ns, tuple(now))
            late.append((-100 * MS,))
            continue
        elif len(here) > 1:
            index = here[one.agent % len(here)]
            (lost if one.what == "lose" else left)[index] = at_ns
            now[index] = 0.0
            plan.share(at_ns, tuple(now))
        else:
            continue
        late.append(one.late_ns)

    async def drive(index: int) -> Driven:
        joined_ns = came.get(index)
        lags = [lag[index % len(lag)] for lag in late]
        if joined_ns is not None:  # it gets all changes before it begins, and may begin late
            began_ns = joined_ns + 400 * MS * (index % 2)
            lags = [min(lag, -300 * MS) for lag in lags]
            return await plan.drive(index, lags, from_ns=began_ns, since_ns=joined_ns, leaves_ns=left.get(index))
        return await plan.drive(index, lags, leaves_ns=left.get(index))

    async def all_of_them() -> list[Driven]:
        return [await drive(index) for index in range(len(weights) + len(came))]

    found = asyncio.run(all_of_them())
    known = [one.until(max(0, lost[one.index] - 700 * MS)) if one.index in lost else one for one in found]
    load_ns = plan_end_ns(plan)
    against = held(plan, known, load_ns)
    due = OpenDue(0, plan.basis, plan.assignment)
    total = due.total
    assert total is not None
    planned = due.by_agent(total).tolist()
    early = {seen.index for seen in known if begun_by_an_old_curve(plan, seen)}
    for seen in known:
        agent = f"agent-{seen.index}"
        if seen.index in early:
            continue
        assert planned[seen.index] == seen.count + against.agents[agent].missing, agent
        if seen.index not in lost:
            assert not against.agents[agent].differences, (agent, against.agents[agent].differences)
    assert sum(planned) == total == ceil(due.schedule.timeline.area)  # type: ignore[union-attr]
    if not early:
        assert not against.fleet
        started = Counter(n for seen in known for n, _ in seen.started)
        assert not [n for n, times in started.items() if times > 1]


def plan_end_ns(plan: Played) -> int:
    schedule = OpenDue(0, plan.basis, plan.assignment).schedule
    assert schedule is not None
    return schedule.end_ns


def begun_by_an_old_curve(plan: Played, one: Driven) -> bool:
    """An agent that gets a change late may have begun arrivals that are due later by it, and then another agent's.

    The controller finds such an agent, too: it has more than the plan gives it.
    """
    schedule = OpenDue(0, plan.basis, plan.assignment).schedule
    assert schedule is not None
    begun = [(n, at_ns) for n, at_ns in (*one.started, *one.missed)]
    total = schedule.total()
    if any(n >= total for n, _ in begun):
        return True
    due_ns = schedule.due_ns(np.array([n for n, _ in begun], dtype=np.int64))
    return any(at_ns < due for (_, at_ns), due in zip(begun, due_ns.tolist(), strict=True))


@given(stages, st.lists(st.tuples(st.integers(0, 8 * S), stages), max_size=4))
@settings(max_examples=examples(100), deadline=None)
def test_the_area_under_the_curve_comes_to_the_same_total_as_the_agents_schedule(
    first: tuple[Stage, ...], changes: list[tuple[int, tuple[Stage, ...]]]
) -> None:
    planned = PlannedLoad("", 0, ArrivalProfile((*first, Stage(1, 1, S))), (1.0,))
    made = tuple(LoadChange(0, at_ns, new) for at_ns, new in sorted(changes, key=lambda one: one[0]))
    due = OpenDue(0, Basis((planned,), made), Assignment(("a",), ("eu",), (1.0,)))
    assert total_by_area(planned, made) == (due.total, due.total)


def test_chance_arrivals_are_within_six_deviations_of_the_area() -> None:
    for seed in range(20):
        planned = PlannedLoad("", 0, ArrivalProfile((Stage(50, 50, 20 * S),), Spacing(1.0, seed)), (1.0,))
        bounds = total_by_area(planned, ())
        assert bounds is not None
        assert isinstance(planned.profile, ArrivalProfile)
        assert bounds[0] <= planned.profile.total() <= bounds[1]
        assert bounds[1] - bounds[0] < 420


@given(
    st.lists(st.integers(1, 5).map(float), min_size=1, max_size=6),
    st.lists(st.integers(1, 3).map(float), min_size=1, max_size=3),
    st.integers(0, 5_000),
)
@settings(max_examples=examples(60), deadline=None)
def test_counts_of_all_agents_at_once_are_those_of_each_by_itself(
    weights: list[float], mix: list[float], total: int
) -> None:
    shares = [Share.of(index, weights, mix) for index in range(len(weights))]
    assert shares[0].counts_below(total).tolist() == [one.count_below(total) for one in shares]
    changes = [Change(2, 100, (*weights[1:], 0.5)), Change(3, 700, (1.0, *weights[1:]))]
    deals = [Deal(one, changes=tuple(changes)) for one in shares]
    owners = np.bincount(deals[0].owners(np.arange(total)), minlength=len(weights)) if total else np.zeros(len(weights))
    assert owners.tolist() == [sum(len(n) for n, _ in deal.blocks(0, total, 1_000)) for deal in deals]


# -- planted faults -----------------------------------------------------------------------------


def whole() -> tuple[Played, list[Driven]]:
    plan = Played(TEN, (1.0, 1.0, 2.0))
    plan.share(4 * S, (1.0, 0.0, 2.0))

    async def drive() -> list[Driven]:
        return [await plan.drive(0), await plan.drive(1, leaves_ns=4 * S), await plan.drive(2)]

    return plan, asyncio.run(drive())


def test_a_run_that_kept_to_its_plan_has_no_difference() -> None:
    plan, agents = whole()
    against = held(plan, agents)
    assert not numbers(against)
    assert not against.fleet
    assert (against.planned, against.is_whole) == (1_000, True)


def test_a_drive_that_ends_early_is_found_with_its_agent_its_number_and_its_seconds() -> None:
    plan, agents = whole()
    cut = [agents[0], agents[1], agents[2].until(6 * S)]
    against = held(plan, cut)
    lost = agents[2].count - cut[2].count
    assert numbers(against) == {"agent-2": [lost]}
    (difference,) = against.agents["agent-2"].differences
    assert difference.from_ns is not None
    assert 5 * S <= difference.from_ns <= 7 * S
    assert difference.to_ns == 10 * S
    assert "neither started them nor counted them as missed" in str(difference)


def test_the_seconds_of_a_lost_agent_end_where_others_have_its_share() -> None:
    plan, agents = whole()
    gone = agents[1].until(2 * S)
    merge = merged([agents[0], agents[2]], 10 * S)
    done = len(gone.started)
    for delta in counted("agent-1", (LoadCounts(0, done - 10),), (LoadCounts(0, 10, waiting=1),)):
        merge.accept("eu", delta)
    against = compare_with_plan(plan.basis, plan.assignment, merge, 10 * S)
    (difference,) = against.agents["agent-1"].differences
    assert (difference.from_ns, difference.to_ns) == (2 * S, 4 * S)
    assert difference.number == agents[1].count - done


def test_an_agent_that_says_fin_after_one_second_makes_the_run_incomplete() -> None:
    """F35: it reported nothing wrong, and a reason that looks like a good end."""
    plan, agents = whole()
    cut = [agents[0].until(1 * S), *agents[1:]]
    lost = agents[0].count - cut[0].count
    merge = merged(cut, 10 * S)
    fins = {
        agent: Fin("run", 1, 9, merge.counters(agent=agent), 0, 0, "", Ending.DONE) for agent in plan.assignment.agents
    }
    facts = Facts(
        ends=(End(Reason.FINISHED, "done"),),
        objectives=(),
        profile=TEN,
        assignment=plan.assignment,
        epochs=dict.fromkeys(plan.assignment.agents, 1),
        fins=fins,
        has_started=True,
        load_ns=10 * S,
        basis=plan.basis,
    )
    verdict = judge(facts, merge)
    text = next(reason for reason in verdict.reasons if "agent-0" in reason)
    assert f"{lost} of {agents[0].count} iterations that were due by the plan are missing" in text
    assert not verdict.completeness.is_complete
    assert verdict.completeness.missing_share == pytest.approx(lost / 1_000)
    assert {one.agent for one in verdict.completeness.agents if not one.is_complete} == {"agent-0"}


def test_a_share_that_nobody_takes_over_is_found_at_the_agents_that_should_have() -> None:
    plan, agents = whole()

    async def deaf() -> Driven:
        return await plan.drive(2, ignores=0)

    other = asyncio.run(deaf())
    against = held(plan, [agents[0], agents[1], other])
    assert numbers(against) == {"agent-2": [agents[2].count - other.count]}
    assert agents[2].count > other.count


def test_arrivals_that_a_lowered_cap_swallowed_are_found() -> None:
    plan, agents = whole()
    agents[0].started = [one for one in agents[0].started if not (one[1] > 3 * S and one[0] % 10 == 0)]
    lost = 1_000 - sum(one.count for one in agents)
    assert lost > 3
    assert numbers(held(plan, agents)) == {"agent-0": [lost]}


def test_arrivals_that_were_begun_twice_are_found_at_the_agent_that_should_not_have() -> None:
    plan, agents = whole()
    twice = [one for one in agents[2].started if one[1] > 8 * S][:7]
    agents[0].started += twice
    assert numbers(held(plan, agents)) == {"agent-0": [-7]}
    assert "7 iterations more than the plan gives it" in str(held(plan, agents).agents["agent-0"].differences[0])


def test_the_fleet_is_held_against_the_area_also_where_each_agent_fits() -> None:
    """A fault of the arithmetic that agents and controller share would show here."""
    slower = ArrivalProfile((Stage(90, 90, 10 * S),))
    plan = Played(slower, (1.0, 2.0))

    async def drive() -> list[Driven]:
        return [await plan.drive(index) for index in range(2)]

    merge = merged(asyncio.run(drive()), 10 * S)
    planned = ArrivalProfile((Stage(100, 100, 10 * S),))
    planned.__dict__["_schedule"] = slower.schedule()  # what all sides would compute
    wrong = Basis((PlannedLoad("", 0, planned, (1.0,)),), counting=plan.assignment.agents)
    against = compare_with_plan(wrong, plan.assignment, merge, 10 * S)
    assert not numbers(against)
    assert against.fleet == (
        "the area under the rate curve is 1,000 arrivals, but the sum of started, missed and missing ones is 900",
    )


def test_a_run_that_was_stopped_is_held_to_what_was_due_before_the_stop() -> None:
    plan, agents = whole()
    basis = Basis(plan.basis.loads, plan.basis.changes, is_stopped=True, counting=plan.basis.counting)
    stopped = [one.until(6 * S + 50 * MS) for one in agents]
    against = compare_with_plan(basis, plan.assignment, merged(stopped, 7 * S), 6 * S)
    assert not numbers(against)
    early = [stopped[0], stopped[1], stopped[2].until(5 * S)]
    against = compare_with_plan(basis, plan.assignment, merged(early, 7 * S), 6 * S)
    assert list(numbers(against)) == ["agent-2"]


def test_an_agent_of_an_older_protocol_is_held_to_all_its_loads_together() -> None:
    plan, agents = whole()
    basis = Basis(plan.basis.loads, plan.basis.changes, counting=())
    merge = merged(agents, 10 * S)
    assert not numbers(compare_with_plan(basis, plan.assignment, merge, 10 * S))
    merge = merged([agents[0].until(2 * S), *agents[1:]], 10 * S)
    assert list(numbers(compare_with_plan(basis, plan.assignment, merge, 10 * S))) == ["agent-0"]


# -- other loads --------------------------------------------------------------------------------

PAIR = Assignment(("a", "b"), ("eu", "us"), (1.0, 2.0))


def counted(agent: str, *loads: tuple[LoadCounts, ...], firsts: tuple[FirstArrival, ...] = ()) -> list[Delta]:
    """One delta a second."""
    return [
        Delta(
            agent,
            1,
            seq,
            seq * S,
            (seq + 1) * S,
            counters=Counters(
                iterations_started=sum(one.started for one in some), iterations_missed=sum(one.missed for one in some)
            ),
            loads=some,
            first_arrivals=firsts if not seq else (),
        )
        for seq, some in enumerate(loads)
    ]


def merge_of(*agents: list[Delta]) -> Merge:
    merge = Merge()
    for deltas in agents:
        for delta in deltas:
            merge.accept("eu" if delta.agent == "a" else "us", delta)
    return merge


@pytest.mark.parametrize(("per_user", "planned"), [(0, {"a": 30, "b": 70}), (10, {"a": 30, "b": 70})])
def test_a_counted_load_gives_each_agent_its_iterations(per_user: int, planned: dict[str, int]) -> None:
    profile = IterationProfile.of_each(per_user, 10) if per_user else IterationProfile(100, 10)
    basis = Basis((PlannedLoad("", 0, profile, (1.0,), stays=True),), counting=PAIR.agents)
    good = merge_of(*(counted(agent, (LoadCounts(0, n),)) for agent, n in planned.items()))
    assert not numbers(compare_with_plan(basis, PAIR, good, None))
    bad = merge_of(counted("a", (LoadCounts(0, 30),)), counted("b", (LoadCounts(0, 66),)))
    assert numbers(compare_with_plan(basis, PAIR, bad, None)) == {"b": [4]}


def test_a_load_with_times_of_its_own_is_held_to_its_total_and_agents_must_agree_where_shares_change() -> None:
    times = np.arange(300) / 100
    profile = TimedProfile.of(times, "replay")
    changed = Assignment(("a", "b"), ("eu", "us"), (1.0, 1.0))
    basis = Basis((PlannedLoad("", 0, profile, (1.0,)),), (ShareChange(2, S, (1.0, 0.0)),), counting=changed.agents)
    ends = (FirstArrival(0, 2, 100), FirstArrival(0, 0, 300))
    good = merge_of(
        counted("a", (LoadCounts(0, 250),), firsts=ends), counted("b", (LoadCounts(0, 50),), firsts=ends[:1])
    )
    against = compare_with_plan(basis, changed, good, 3 * S)
    assert (numbers(against), against.fleet) == ({}, ())
    other = (FirstArrival(0, 2, 90), FirstArrival(0, 0, 300))
    merge = merge_of(counted("a", (LoadCounts(0, 250),), firsts=ends), counted("b", (LoadCounts(0, 45),), firsts=other))
    against = compare_with_plan(basis, changed, merge, 3 * S)
    assert numbers(against) == {"b": [5]}
    assert against.fleet == ("agent b reports share change 2 at arrival 90, but most agents report arrival 100",)


def test_users_that_are_not_there_are_missing_for_as_long_as_that_lasts() -> None:
    profile = UserProfile((Stage(6, 6, 10 * S),))
    basis = Basis((PlannedLoad("", 0, profile, (1.0,)),), counting=PAIR.agents)
    there = merge_of(
        counted("a", *[(LoadCounts(0, 5, users=2),)] * 9, (LoadCounts(0, 5),)),
        counted("b", *[(LoadCounts(0, 5, users=4),)] * 9, (LoadCounts(0, 5),)),
    )
    assert not numbers(compare_with_plan(basis, PAIR, there, 10 * S))
    gone = merge_of(
        counted("a", *[(LoadCounts(0, 5, users=2),)] * 9, (LoadCounts(0, 5),)),
        counted("b", *[(LoadCounts(0, 5, users=4),)] * 4, *[(LoadCounts(0),)] * 6),
    )
    against = compare_with_plan(basis, PAIR, gone, 10 * S)
    assert numbers(against) == {"b": [20]}  # four users at the ends of the seconds 5 to 9
    assert against.missing_share("b") == pytest.approx(20 / 54)
    (difference,) = against.agents["b"].differences
    assert str(difference) == "20 user-seconds are missing between 4.0 s and 9.0 s"


def test_one_late_user_in_one_look_is_no_lack() -> None:
    profile = UserProfile((Stage(0, 6, 3 * S), Stage(6, 6, 7 * S)))
    basis = Basis((PlannedLoad("", 0, profile, (1.0,)),), counting=("a",))
    alone = Assignment(("a",), ("eu",), (1.0,))
    users = [2, 3, 6, 6, 5, 6, 6, 6, 6, 0]
    merge = merge_of(counted("a", *[(LoadCounts(0, 1, users=n),) for n in users]))
    assert not numbers(compare_with_plan(basis, alone, merge, 10 * S))


def test_more_users_than_an_agent_ever_has_by_the_plan_are_found() -> None:
    profile = UserProfile((Stage(6, 6, 3 * S),))
    basis = Basis((PlannedLoad("", 0, profile, (1.0,)),), counting=PAIR.agents)
    merge = merge_of(
        counted("a", *[(LoadCounts(0, 5, users=6),)] * 2, (LoadCounts(0),)),
        counted("b", *[(LoadCounts(0, 5, users=4),)] * 2, (LoadCounts(0),)),
    )
    assert numbers(compare_with_plan(basis, PAIR, merge, 3 * S)) == {"a": [-4]}


@given(st.lists(st.integers(1, 4).map(float), min_size=1, max_size=4), st.integers(1, 200))
@settings(max_examples=examples(40), deadline=None)
def test_users_of_all_agents_are_the_level_of_the_plan_at_any_time(weights: list[float], users: int) -> None:
    profile = UserProfile((Stage(0, users, 5 * S), Stage(users, users, 5 * S)))
    names = tuple(f"a{k}" for k in range(len(weights)))
    assignment = Assignment(names, ("eu",) * len(names), tuple(weights))
    due = ClosedDue(0, Basis((PlannedLoad("", 0, profile, (1.0,)),)), assignment)
    for t_ns in (-S, 0, S, 4 * S, 5 * S, 10 * S - 1, 10 * S, 11 * S):
        assert due.users_at(t_ns).sum() == profile.level_at(t_ns)


# -- while the run goes on ----------------------------------------------------------------------


def lane(profile: ArrivalProfile) -> LaneSpec:
    return LaneSpec(name="", load="", journeys=(JourneySpec(name="shop", weight=1.0),), profile=profile)


def test_an_agent_that_falls_behind_is_reported_while_the_run_goes_on_and_once() -> None:
    watch, merge, told = PlanWatch([lane(TEN)]), Merge(), []
    even = Assignment(("a", "b"), ("eu", "eu"), (1.0, 1.0))
    deltas = {
        "a": counted("a", *[(LoadCounts(0, 50),)] * 8),
        "b": counted("b", *[(LoadCounts(0, 50),)] * 3, *[(LoadCounts(0),)] * 5),
    }
    for second in range(1, 9):
        for agent in even.agents:
            merge.accept("eu", deltas[agent][second - 1])
        told += watch.look(merge, even, (), {"a", "b"}, second * S)
    assert len(told) == 1
    assert told[0].startswith("agent b is behind its plan since second")


def test_an_agent_that_starts_more_than_the_plan_gives_it_is_reported_at_once() -> None:
    watch, merge = PlanWatch([lane(TEN)]), Merge()
    merge.accept("eu", counted("a", (LoadCounts(0, 60),))[0])
    (text,) = watch.look(merge, PAIR, (), {"a", "b"}, S)
    assert text == ("agent a is ahead of its plan at 1 s: it reports 60 due iterations, but only 37 were due by then")
    assert watch.look(merge, PAIR, (), {"a", "b"}, 2 * S) == []


def test_an_interval_that_ended_late_has_arrivals_of_the_next_one_and_is_not_ahead() -> None:
    watch, merge = PlanWatch([lane(TEN)]), Merge()
    merge.accept("eu", counted("a", (LoadCounts(0, 36),))[0])  # 33 were due in its second, 37 by 1.1 s
    assert watch.look(merge, PAIR, (), {"a", "b"}, 1_100 * MS) == []


def test_an_agent_that_stands_still_is_not_judged_again_and_again_by_its_last_report() -> None:
    watch, merge = PlanWatch([lane(TEN)]), Merge()
    for delta in counted("a", (LoadCounts(0, 33),), (LoadCounts(0, 0),)):  # it stands still, and starts them later
        merge.accept("eu", delta)
    assert [watch.look(merge, PAIR, (), {"a", "b"}, second * S) for second in range(3, 9)] == [[]] * 6


def test_a_report_from_long_ago_would_be_counted_from_the_first_change_of_shares_on() -> None:
    """That costs 60 ns an arrival and change, so the watch leaves it out."""
    load = ArrivalProfile((Stage(1_000, 1_000, 100 * S),))
    due = OpenDue(0, Basis((PlannedLoad("", 0, load, (1.0,)),), (ShareChange(2, S, (1.0, 1.0)),)), PAIR)
    due.by_agent(90_000)
    assert not due.is_near(20_000)
    assert all(map(due.is_near, (500, 90_000, 95_000)))


async def test_arrivals_are_assigned_a_few_times_only_however_many_agents_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found in a soak: each of 20 agents cost a walk over all arrivals, 10 s each, before the run was sealed."""
    plan = Played(TEN, (1.0,) * 12)
    for second in range(9):
        plan.share(second * S + 550 * MS, (*(1.0,) * 11, 2.0 + second % 2))
    ends_ns = [(9 - index % 9) * S for index in range(12)]
    found = [(await plan.drive(index, [0] * 9)).until(end_ns) for index, end_ns in enumerate(ends_ns)]
    walked, owners = Counter[str](), Deal.owners

    def counted(self: Deal, n: np.ndarray) -> np.ndarray:
        walked["arrivals"] += len(n)
        return owners(self, n)

    monkeypatch.setattr(Deal, "owners", counted)
    # Each has share changes after its last interval that those before it do not have.
    against = compare_with_plan(plan.basis, plan.assignment, merged(found, ends_ns), 10 * S)
    assert len(numbers(against)) == 12
    assert all(one.from_ns is not None for due in against.agents.values() for one in due.differences)
    assert walked["arrivals"] <= 3 * 1_000, "once for the totals and once for all spans, not once an agent"


def test_counts_of_some_agents_at_many_arrivals_are_those_of_all_agents_at_each() -> None:
    plan = Played(TEN, (1.0, 2.0, 3.0, 1.0))
    for second in range(8):
        plan.share(second * S + 550 * MS, (1.0, 2.0 + second, 3.0, second % 2))
    due = OpenDue(0, plan.basis, plan.assignment)
    ns = [0, 1, 54, 55, 56, 300, 300, 301, 999, 1_000]
    some = np.array([3, 1])
    assert due.by_agent_at(ns, some).tolist() == [due.by_agent(n)[some].tolist() for n in ns]
    assert due.by_agent_at([], some).shape == (0, 2)
    assert due.by_agent_at([5], np.array([], dtype=np.int64)).shape == (1, 0)
