"""The life of a run: every phase answers every event, and every run ends with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import Fault, IllegalTransition
from loadgen.units import NS_PER_S
from loadgen_controller.core.events import (
    Adjusted,
    AgentJoined,
    AgentLeaving,
    AgentLost,
    AgentReady,
    AgentRefused,
    AgentReturned,
    Effect,
    Event,
    FinReceived,
    Merged,
    Reason,
    Reassign,
    Resumed,
    SendPrepare,
    SendSetUp,
    SendStart,
    SendStop,
    SendTearDown,
    SetUpEnded,
    StopRequested,
    StorageFailed,
    TakeIn,
    TearDownEnded,
    Tick,
    WindUp,
)
from loadgen_controller.core.lifecycle import Phase, Run, Terms, step
from tests.support.examples import examples
from tests.support.steps import lines_of

TERMS = Terms(agents=2, regions=("eu", "us"), duration_ns=10 * NS_PER_S, drain_ns=5 * NS_PER_S)
A, B = "a-eu", "b-us"


def drive(run: Run, *events: Event) -> tuple[Run, list[Effect]]:
    effects: list[Effect] = []
    for event in events:
        run, new = step(run, event)
        effects += new
    return run, effects


def at(run: Run, seconds: float) -> Tick:
    """A tick that many seconds after T0, or after the clock's 0 before T0 is known."""
    return Tick((run.t0_ns or 0) + round(seconds * NS_PER_S))


def prepared(terms: Terms = TERMS) -> Run:
    run, _ = drive(Run.begin(terms, 0), AgentJoined(A, "eu"), AgentJoined(B, "us"))
    assert run.phase is Phase.PREPARING
    return run


def running(terms: Terms = TERMS) -> Run:
    run, _ = drive(prepared(terms), AgentReady(A), AgentReady(B))
    if terms.has_set_up:
        run, _ = drive(run, SetUpEnded())
    run, _ = drive(run, at(run, 0))
    assert run.phase is Phase.RUNNING
    return run


def alone() -> Run:
    terms = Terms(agents=1, regions=("eu",), duration_ns=10 * NS_PER_S)
    run, _ = drive(Run.begin(terms, 0), AgentJoined(A, "eu"), AgentReady(A))
    return drive(run, at(run, 0))[0]


def reasons(run: Run) -> list[Reason]:
    return [end.reason for end in run.ends]


def test_run_prepares_when_the_last_agent_has_joined() -> None:
    run, effects = drive(Run.begin(TERMS, 0), AgentJoined(A, "eu"))
    assert (run.phase, effects) == (Phase.WAITING, [])
    run, effects = drive(run, AgentJoined(B, "us"))
    assert (run.phase, effects) == (Phase.PREPARING, [SendPrepare((A, B))])


def test_run_waits_until_each_region_has_an_agent() -> None:
    run, _ = drive(Run.begin(TERMS, 0), AgentJoined(A, "eu"), AgentJoined("c-eu", "eu"), AgentJoined("x", "mars"))
    assert run.phase is Phase.WAITING
    run, _ = drive(run, AgentJoined(B, "us"))
    assert run.members == (A, B, "c-eu")


def test_run_forgets_an_agent_that_leaves_while_it_waits() -> None:
    run, _ = drive(Run.begin(TERMS, 0), AgentJoined(A, "eu"), AgentLost(A, "gone"), AgentJoined(B, "us"))
    assert run.phase is Phase.WAITING
    assert drive(run, AgentReturned(A, "eu"))[0].phase is Phase.PREPARING


def test_run_without_enough_agents_ends_and_says_which_region_has_none() -> None:
    run, _ = drive(Run.begin(TERMS, 0), AgentJoined(A, "eu"), Tick(121 * NS_PER_S))
    assert reasons(run) == [Reason.TOO_FEW_AGENTS]
    assert run.ends[0].detail == "1 of 2 agents joined within 120 s; no agent in us"


def test_run_starts_when_the_last_agent_is_ready() -> None:
    run, effects = drive(prepared(), Tick(NS_PER_S), AgentReady(A), AgentReady(A))
    assert (run.phase, effects) == (Phase.PREPARING, [])
    run, effects = drive(run, AgentReady(B))
    assert effects == [SendStart((A, B), t0_ns=NS_PER_S + TERMS.start_lead_ns)]
    run, _ = drive(run, at(run, -0.001))
    assert run.phase is Phase.STARTING
    assert drive(run, at(run, 0))[0].phase is Phase.RUNNING


def test_run_that_is_not_ready_in_time_ends_with_the_names_of_the_missing() -> None:
    run, effects = drive(prepared(), AgentReady(A), Tick(120 * NS_PER_S))
    assert effects == [WindUp()]
    assert reasons(run) == [Reason.NOT_READY]
    assert run.ends[0].agents == (B,)


def test_run_ends_with_the_faults_of_the_agent_that_refuses() -> None:
    fault = Fault("s.py", 3, "no module named x")
    run, _ = drive(prepared(), AgentRefused(A, "the scenario is wrong", (fault,)))
    assert (run.phase, reasons(run), run.ends[0].faults) == (Phase.DONE, [Reason.REFUSED], (fault,))


def test_run_that_loses_an_agent_before_the_start_is_done() -> None:
    run, _ = drive(prepared(), AgentReady(A), AgentLost(B, "its process exited"))
    assert (run.phase, reasons(run)) == (Phase.DONE, [Reason.LOST_BEFORE_START])


def test_set_up_runs_in_one_agent_before_the_start() -> None:
    terms = replace(TERMS, has_set_up=True)
    run, effects = drive(prepared(terms), AgentReady(A), AgentReady(B))
    assert effects == [SendSetUp(A)]
    run, effects = drive(run, SetUpEnded())
    assert isinstance(effects[0], SendStart)


def test_run_whose_set_up_fails_tears_down_and_is_done() -> None:
    terms = replace(TERMS, has_set_up=True, has_tear_down=True)
    run, effects = drive(prepared(terms), AgentReady(A), AgentReady(B), SetUpEnded("s.py:3: KeyError"))
    assert effects == [SendSetUp(A), SendTearDown(A)]
    run, effects = drive(run, TearDownEnded())
    assert (run.phase, effects, reasons(run)) == (Phase.DONE, [WindUp()], [Reason.SET_UP_FAILED])


def test_set_up_that_hangs_ends_the_run() -> None:
    run, _ = drive(prepared(replace(TERMS, has_set_up=True)), AgentReady(A), AgentReady(B), Tick(60 * NS_PER_S))
    assert reasons(run) == [Reason.SET_UP_FAILED]


def test_run_is_finished_when_all_data_of_all_agents_are_merged() -> None:
    run = running()
    run, effects = drive(run, at(run, 10), FinReceived(A), Merged(A), FinReceived(B))
    assert (run.phase, effects) == (Phase.FINISHING, [])
    run, effects = drive(run, Merged(B))
    assert (run.phase, reasons(run), effects) == (Phase.DONE, [Reason.FINISHED], [WindUp()])


def test_load_that_ends_by_count_ends_with_the_last_fin() -> None:
    run = running(replace(TERMS, duration_ns=None))
    run, _ = drive(run, at(run, 100_000))
    assert run.phase is Phase.RUNNING
    assert drive(run, FinReceived(A), Merged(A), FinReceived(B), Merged(B))[0].phase is Phase.DONE


def test_run_that_loses_its_only_agent_is_done() -> None:
    run, _ = drive(alone(), AgentLost(A, "silent for 10 s"))
    assert (run.phase, reasons(run)) == (Phase.DONE, [Reason.ALL_LOST])


TURN = Tick(0)
"""Of the same time."""
SILENT = AgentLost(A, "silent for 10 s", is_silent=True)


def test_shares_are_moved_at_once_and_then_not_again_until_a_fleet_of_that_size_can_have_heard() -> None:
    names = [f"agent-{n:03}" for n in range(400)]
    run = Run.begin(Terms(agents=400, regions=("eu",), duration_ns=60 * NS_PER_S), 0)
    run, _ = drive(run, *(AgentJoined(name, "eu") for name in names), *(AgentReady(name) for name in names))
    run, _ = drive(run, at(run, 0), at(run, 1))
    lost = [AgentLost(name, "killed") for name in names]
    run, effects = drive(run, lost[0], Tick(run.now_ns, is_turn=False))
    assert effects == [], "more may be lost in this turn"
    run, effects = drive(run, TURN)
    assert [one.agents for one in effects if isinstance(one, Reassign)] == [(names[0],)]
    run, effects = drive(run, at(run, 1.1), lost[1], at(run, 2), lost[2])
    run, more = drive(run, at(run, 2.99))
    effects += more
    assert (effects, set(names[1:3]) & run.moved) == ([], set())
    run, effects = drive(run, at(run, 3))
    assert [one.agents for one in effects if isinstance(one, Reassign)] == [tuple(names[1:3])]
    assert not set(names[:3]) & set(run.drivers)


def lines_to_lose(count: int) -> int:
    """Lines of Python that the loss of all agents but one takes, and their return."""
    names = [f"agent-{n:03}" for n in range(count)]
    run = Run.begin(Terms(agents=count, regions=("eu",), duration_ns=60 * NS_PER_S), 0)
    run, _ = drive(run, *(AgentJoined(name, "eu") for name in names), *(AgentReady(name) for name in names))
    run, _ = drive(run, at(run, 0))
    lost = [AgentLost(name, "silent for 10 s", free_ns=run.now_ns + 5, is_silent=True) for name in names[1:]]
    back = [AgentReturned(name, "eu") for name in names[1:]]
    return lines_of(lambda: drive(run, *lost, at(run, 5), *back))


def test_the_loss_of_most_agents_at_once_costs_in_proportion_to_their_number() -> None:
    assert lines_to_lose(800) < 5 * lines_to_lose(200)


def test_an_end_without_agents_names_ten_of_them() -> None:
    names = [f"agent-{n:03}" for n in range(400)]
    run = Run.begin(Terms(agents=400, regions=("eu",), duration_ns=60 * NS_PER_S), 0)
    run, _ = drive(run, *(AgentJoined(name, "eu") for name in names), *(AgentReady(name) for name in names))
    run, _ = drive(run, at(run, 0), *(AgentLost(name, "killed") for name in names))
    assert run.ends[-1].reason is Reason.ALL_LOST
    assert run.ends[-1].detail == f"no agent is left; lost: {', '.join(names[:10])} and 390 more agents"
    assert run.ends[-1].agents == tuple(names)


def test_agents_that_come_in_one_turn_get_their_shares_together_and_after_those_of_the_gone_are_moved() -> None:
    run, _ = drive(running(), *(AgentJoined(name, "eu") for name in "cde"), *(AgentReady(name) for name in "cd"))
    run, effects = drive(run, AgentLost(A, "killed"), AgentLost("d", "killed"), AgentReady("e"), TURN)
    assert effects == [Reassign((A,), (B,)), TakeIn(("c", "e"), (B,))]
    assert (run.members, run.drivers, run.arrived) == ((A, B, "c", "e"), (B, "c", "e"), ())


def test_agents_that_come_while_the_load_ends_get_none() -> None:
    run, _ = drive(running(), AgentJoined("c", "eu"), AgentReady("c"), StopRequested("stop"))
    run, effects = drive(run, TURN)
    assert (effects, run.members, run.arrived) == ([], (A, B), ())


def test_data_of_a_silent_agent_are_waited_for_when_all_others_have_delivered() -> None:
    run = running()
    run, _ = drive(run, at(run, 9), SILENT, FinReceived(B), Merged(B))
    assert (run.phase, run.lost, run.awaited) == (Phase.FINISHING, frozenset({A}), (A,))
    run, effects = drive(run, at(run, 18.9))
    assert (run.phase, effects) == (Phase.FINISHING, [])
    back, _ = drive(run, AgentReturned(A, "eu"), at(run, 30))
    assert (back.phase, back.owing) == (Phase.FINISHING, (A,))
    back, _ = drive(back, FinReceived(A), Merged(A))
    assert (back.phase, reasons(back), back.lost) == (Phase.DONE, [Reason.FINISHED], frozenset())
    gone, effects = drive(run, at(run, 19))
    assert (gone.phase, effects, reasons(gone)) == (Phase.DONE, [WindUp()], [Reason.FINISHED])
    assert gone.lost == {A}


def test_nothing_is_waited_for_of_an_agent_that_fell_silent_long_ago_or_is_known_to_be_gone() -> None:
    run, _ = drive(running(), SILENT)
    run, _ = drive(run, at(run, 10), FinReceived(B), Merged(B))
    assert run.phase is Phase.DONE
    run, _ = drive(running(), AgentLost(A, "its process exited"), FinReceived(B), Merged(B))
    assert run.phase is Phase.DONE


def test_run_whose_agents_are_all_silent_is_over_when_none_comes_back() -> None:
    run, _ = drive(alone(), SILENT)
    assert run.phase is Phase.FINISHING
    run, _ = drive(run, at(run, 69))
    assert run.phase is Phase.FINISHING, "it is rather the way to all of them that is gone"
    run, _ = drive(run, at(run, 70))
    assert (run.phase, reasons(run)) == (Phase.DONE, [Reason.ALL_LOST])


def test_what_all_had_measured_is_taken_when_all_come_back_after_a_minute() -> None:
    run = running(replace(TERMS, duration_ns=200 * NS_PER_S))
    run, _ = drive(run, at(run, 3), SILENT, replace(SILENT, agent=B))
    run, _ = drive(run, at(run, 63), AgentReturned(B, "us"), FinReceived(B), Merged(B))
    assert (run.phase, run.awaited) == (Phase.FINISHING, (A,))
    run, effects = drive(run, at(run, 64), AgentReturned(A, "eu"), FinReceived(A), Merged(A))
    assert (run.phase, effects, reasons(run)) == (Phase.DONE, [WindUp()], [Reason.FINISHED])


def test_run_that_is_to_end_with_an_agent_drains_and_moves_nothing() -> None:
    run = running(replace(TERMS, aborts_on_loss=True))
    run, effects = drive(run, at(run, 3), AgentLost(A, "killed"))
    why = f"agent {A} was lost: killed"
    assert (run.phase, effects) == (Phase.DRAINING, [SendStop((B,), why, now=False)])
    run, effects = drive(run, FinReceived(B), Merged(B))
    assert (run.phase, effects, reasons(run)) == (Phase.DONE, [WindUp()], [Reason.AGENT_LOST, Reason.FINISHED])
    assert run.ends[0].agents == (A,)


def test_run_that_is_to_end_with_an_agent_does_so_once_and_not_when_it_is_ending_already() -> None:
    run = running(replace(TERMS, aborts_on_loss=True))
    run, _ = drive(run, at(run, 3), StopRequested("interrupted"), AgentLost(A, "killed"))
    assert reasons(run) == [Reason.STOPPED]
    run, effects = drive(running(replace(TERMS, aborts_on_loss=True)), SILENT, AgentReturned(A, "eu"), SILENT)
    assert reasons(run) == [Reason.AGENT_LOST]
    assert len(effects) == 1


def test_stop_at_once_does_not_wait_long_for_a_silent_agent() -> None:
    run = running()
    run, _ = drive(run, at(run, 3), SILENT, FinReceived(B), Merged(B), StopRequested("interrupted", now=True))
    assert run.phase is Phase.FINISHING
    run, _ = drive(run, at(run, 8))
    assert run.phase is Phase.DONE


def test_run_goes_on_with_the_agents_that_are_left() -> None:
    run = running()
    run, effects = drive(run, AgentLost(A, "killed"), TURN)
    assert (run.phase, effects, run.lost) == (Phase.RUNNING, [Reassign((A,), (B,))], frozenset({A}))
    run, _ = drive(run, at(run, 10), FinReceived(B), Merged(B))
    assert (run.phase, reasons(run), run.lost) == (Phase.DONE, [Reason.FINISHED], frozenset({A}))


def test_agent_that_is_lost_after_it_delivered_is_not_missed() -> None:
    run, _ = drive(running(), FinReceived(A), Merged(A), AgentLost(A, "exited"))
    assert run.lost == frozenset()


def test_lost_agent_that_is_heard_again_counts_again() -> None:
    run, _ = drive(running(), AgentLost(A, "silent"), AgentReturned(A, "eu"))
    assert run.lost == frozenset()
    run, _ = drive(run, AgentLost(A, "silent"), FinReceived(A), Merged(A), FinReceived(B), Merged(B))
    assert (run.phase, run.lost) == (Phase.DONE, frozenset())


def test_first_stop_drains_and_the_second_cuts_off() -> None:
    run = running()
    run, effects = drive(run, at(run, 2), StopRequested("interrupted"))
    assert (run.phase, effects) == (Phase.DRAINING, [SendStop((A, B), "interrupted", now=False)])
    run, effects = drive(run, FinReceived(A), Merged(A), StopRequested("interrupted again", now=True))
    assert (run.phase, effects) == (Phase.FINISHING, [SendStop((B,), "interrupted again", now=True)])
    run, effects = drive(run, at(run, 2 + 5))
    assert (run.phase, effects) == (Phase.DONE, [WindUp()])
    assert reasons(run) == [Reason.STOPPED, Reason.STOPPED, Reason.OVERDUE]


def test_broken_objective_stops_the_load_and_lets_iterations_finish() -> None:
    why = "stopped at 0:02: SLO p(95) is broken"
    run, effects = drive(running(), at(running(), 2), StopRequested(why, reason=Reason.SLO_BREACHED))
    assert (run.phase, effects) == (Phase.DRAINING, [SendStop((A, B), why, now=False)])
    run, effects = drive(run, StopRequested(why, reason=Reason.SLO_BREACHED))
    assert effects == [], "it is ending already"
    run, _ = drive(run, FinReceived(A), Merged(A), FinReceived(B), Merged(B))
    assert (run.phase, reasons(run)) == (Phase.DONE, [Reason.SLO_BREACHED, Reason.FINISHED])


def test_stop_close_to_the_planned_end_does_not_prolong_the_run() -> None:
    run = running()
    run, _ = drive(run, at(run, 9.9), StopRequested("interrupted"))
    assert run.t0_ns is not None
    assert run.deadline_ns == run.t0_ns + round(14.9 * NS_PER_S)


def test_run_that_does_not_hear_everything_in_time_names_who_owes() -> None:
    run = running()
    run, effects = drive(run, at(run, 10), at(run, 15), FinReceived(A), Merged(A), at(run, 45))
    assert effects == [SendStop((A, B), "the time to drain is over", now=True), WindUp()]
    assert [(end.reason, end.agents) for end in run.ends] == [(Reason.OVERDUE, (B,))]


def test_storage_that_fails_stops_the_load_at_once() -> None:
    run, effects = drive(running(), StorageFailed("no space left"))
    assert effects == [SendStop((A, B), "no space left", now=True), WindUp()]
    assert reasons(run) == [Reason.STORAGE_FAILED]


def test_tear_down_runs_where_set_up_ran() -> None:
    terms = replace(TERMS, has_set_up=True, has_tear_down=True)
    done = (FinReceived(A), Merged(A), FinReceived(B), Merged(B))
    run, effects = drive(running(terms), *done)
    assert (run.phase, effects) == (Phase.TEARING_DOWN, [SendTearDown(A)])
    run, _ = drive(run, TearDownEnded("KeyError"))
    assert reasons(run) == [Reason.FINISHED, Reason.TEAR_DOWN_FAILED]


def test_tear_down_is_left_out_when_nobody_is_left_to_run_it() -> None:
    run, _ = drive(running(replace(TERMS, has_tear_down=True)), AgentLost(A, "killed"), AgentLost(B, "killed"))
    assert reasons(run) == [Reason.ALL_LOST, Reason.TEAR_DOWN_FAILED]


def test_tear_down_that_hangs_or_dies_does_not_hold_the_run() -> None:
    run, _ = drive(running(replace(TERMS, has_tear_down=True)), FinReceived(A), Merged(A), FinReceived(B), Merged(B))
    assert drive(run, AgentLost(A, "killed"))[0].phase is Phase.DONE
    assert drive(run, Tick(run.now_ns + 61 * NS_PER_S))[0].phase is Phase.DONE
    assert drive(run, StopRequested("interrupted", now=True))[0].phase is Phase.DONE


def test_agent_that_is_no_member_changes_nothing() -> None:
    for run in (prepared(), running()):
        for event in (AgentRefused("x", "no"), AgentLost("x", "gone"), FinReceived("x"), AgentReady("x")):
            assert drive(run, event) == (run, [])


def test_the_share_of_one_that_says_when_it_leaves_is_the_others_from_that_very_instant_once() -> None:
    run, effects = drive(running(), AgentLeaving(A, 3 * NS_PER_S))
    assert effects == [Reassign((A,), (B,), 3 * NS_PER_S)]
    assert (run.left, run.drivers, run.live) == (((A, 3 * NS_PER_S),), (B,), (A, B))
    assert drive(run, AgentLeaving(A, 3 * NS_PER_S)) == (run, [])
    assert drive(run, FinReceived(A, "SIGTERM"))[1] == [], "it is moved already"


def test_nobody_takes_over_from_the_last_one_that_leaves() -> None:
    run, _ = drive(running(), AgentLeaving(A, 3 * NS_PER_S))
    assert drive(run, AgentLeaving(B, 4 * NS_PER_S))[1] == []


EVENTS: tuple[Event, ...] = (
    Tick(0),
    Tick(10**15),
    *(
        kind(agent)
        for agent in (A, B, "x")
        for kind in (
            AgentReady,
            Merged,
            FinReceived,
            lambda a: AgentJoined(a, "eu"),
            lambda a: AgentReturned(a, "us"),
            lambda a: AgentRefused(a, "no"),
            lambda a: AgentLost(a, "gone"),
            lambda a: AgentLost(a, "gone", 10**16),
            lambda a: AgentLost(a, "silent", is_silent=True),
            AgentLeaving,
            lambda a: AgentLeaving(a, 3 * NS_PER_S),
        )
    ),
    SetUpEnded(),
    SetUpEnded("error"),
    TearDownEnded(),
    TearDownEnded("error"),
    StopRequested("stop"),
    StopRequested("stop", now=True),
    Adjusted(20 * NS_PER_S),
    Adjusted(None),
    Resumed(20 * NS_PER_S),
    StorageFailed("full"),
)


def one_of_each_phase() -> list[Run]:
    terms = replace(TERMS, has_set_up=True, has_tear_down=True)
    waiting = Run.begin(terms, 0)
    setting_up, _ = drive(prepared(terms), AgentReady(A), AgentReady(B))
    starting, _ = drive(setting_up, SetUpEnded())
    draining, _ = drive(running(terms), StopRequested("stop"))
    finishing, _ = drive(draining, StopRequested("stop", now=True))
    tearing_down, _ = drive(finishing, FinReceived(A), Merged(A), AgentLost(B, "gone"))
    done, _ = drive(tearing_down, TearDownEnded())
    return [waiting, prepared(terms), setting_up, starting, running(terms), draining, finishing, tearing_down, done]


def test_every_phase_answers_every_event() -> None:
    runs = one_of_each_phase()
    assert [run.phase for run in runs] == list(Phase)
    for run in runs:
        for event in EVENTS:
            try:
                after, effects = step(run, event)
            except IllegalTransition:
                continue
            assert (after.phase is Phase.DONE and run.phase is not Phase.DONE) == (WindUp() in effects)
            assert after.phase is not Phase.DONE or after.ends


def test_illegal_event_is_an_error_that_names_both() -> None:
    with pytest.raises(IllegalTransition) as caught:
        step(prepared(), TearDownEnded())
    assert (caught.value.state, caught.value.event) == (prepared(), TearDownEnded())


def test_controller_that_was_asleep_still_listens_to_what_waits_in_its_sockets() -> None:
    run = running()
    run, _ = drive(run, at(run, 1000), at(run, 1000.05), at(run, 1000.1))
    assert run.phase is Phase.FINISHING
    assert drive(run, FinReceived(A), Merged(A), FinReceived(B), Merged(B))[0].ends[0].reason is Reason.FINISHED


def test_a_load_that_was_changed_has_another_end() -> None:
    longer, effects = drive(running(), Adjusted(20 * NS_PER_S))
    assert effects == []
    assert drive(longer, at(longer, 19.9))[0].phase is Phase.RUNNING
    assert drive(longer, at(longer, 20))[0].phase is Phase.DRAINING


def test_a_paused_run_has_no_end_and_gets_one_when_it_is_resumed() -> None:
    paused, _ = drive(running(), Adjusted(None))
    paused, _ = drive(paused, at(paused, 10_000))
    assert (paused.phase, paused.deadline_ns) == (Phase.RUNNING, None)
    assert drive(paused, StopRequested("Ctrl-C"))[0].phase is Phase.DRAINING
    resumed, _ = drive(paused, Adjusted(10_005 * NS_PER_S))
    assert drive(resumed, at(resumed, 10_004))[0].phase is Phase.RUNNING
    assert drive(resumed, at(resumed, 10_005))[0].phase is Phase.DRAINING


def test_what_is_changed_before_the_start_counts_from_it() -> None:
    run, _ = drive(prepared(), Adjusted(3 * NS_PER_S), AgentReady(A), AgentReady(B), Adjusted(4 * NS_PER_S))
    run, _ = drive(run, at(run, 0))
    assert run.deadline_ns == (run.t0_ns or 0) + 4 * NS_PER_S


def test_a_change_does_not_take_back_the_drain() -> None:
    run, _ = drive(running(), at(running(), 10))
    assert drive(run, Adjusted(None))[0] == run


def test_done_ignores_everything() -> None:
    done = one_of_each_phase()[-1]
    assert all(step(done, event) == (done, ()) for event in EVENTS)


@pytest.mark.fault("G10", "whatever happens, without a clock")
@pytest.mark.parametrize("duration_ns", [10 * NS_PER_S, None])
@given(data=st.data())
@settings(max_examples=examples(200), deadline=None)
def test_whatever_happens_a_run_ends_in_time_and_with_a_reason(duration_ns: int | None, data: st.DataObject) -> None:
    terms = replace(
        TERMS,
        duration_ns=duration_ns,
        has_set_up=data.draw(st.booleans()),
        has_tear_down=data.draw(st.booleans()),
    )
    run = Run.begin(terms, 0)
    moves = st.one_of(st.sampled_from(EVENTS[2:]), st.integers(1, 5 * NS_PER_S))
    wound_up = 0
    for move in data.draw(st.lists(moves, max_size=60)):
        before = run
        try:
            run, effects = step(run, Tick(run.now_ns + move) if isinstance(move, int) else move)
        except IllegalTransition:
            continue
        wound_up += effects.count(WindUp())
        assert list(Phase).index(run.phase) >= list(Phase).index(before.phase), "a run never goes back"
        assert run.ends[: len(before.ends)] == before.ends, "an end is never taken back"
        assert run.is_owed == bool(run.owing), "counted as found"
        assert run.has_all_fins == all(agent in run.fins for agent in run.live)
    for _ in range(10):  # silence from here on
        planned_end_ns = (run.t0_ns or 0) + (run.duration_ns or 0)
        overdue_ns = planned_end_ns + terms.drain_ns + terms.finish_timeout_ns
        if run.t0_ns is not None and run.duration_ns is not None and run.now_ns >= overdue_ns:
            assert run.phase in (Phase.TEARING_DOWN, Phase.DONE)
        if run.deadline_ns is None and run.phase is Phase.RUNNING:
            run, effects = step(run, StopRequested("enough"))
        elif run.deadline_ns is not None:
            run, effects = step(run, Tick(run.deadline_ns))
            wound_up += effects.count(WindUp())
    assert run.phase is Phase.DONE
    assert run.ends
    assert wound_up == 1


# -- an agent that is restarted under its name --------------------------------------------------

REPLACED = AgentLost(A, "its process 1 was replaced by 2", free_ns=0)


def test_an_agent_that_is_back_as_another_process_gets_a_share_again() -> None:
    run, effects = drive(running(), AgentLost(A, "killed"), AgentJoined(A, "eu"))
    assert effects == [SendPrepare((A,))]
    run, effects = drive(run, TURN, AgentReady(A), at(run, 2))
    assert effects == [Reassign((A,), (B,)), TakeIn((A,), (B,))]
    assert (run.members, run.drivers, run.live) == ((A, B), (A, B), (A, B))
    assert run.rejoined == {A}
    assert not run.lost | run.moved | run.fins | run.merged


def test_it_waits_until_the_lease_of_its_earlier_process_is_over() -> None:
    run = running()
    free_ns = run.now_ns + 8 * NS_PER_S
    run, effects = drive(run, replace(REPLACED, free_ns=free_ns), AgentJoined(A, "eu"), AgentReady(A), at(run, 4))
    assert effects == [SendPrepare((A,))]
    assert run.arrived == (A,)
    run, effects = drive(run, at(run, 8))
    assert effects == [Reassign((A,), (B,)), TakeIn((A,), (B,))]


def test_one_that_had_left_and_is_back_is_a_driver_again_and_no_leaver() -> None:
    run, _ = drive(running(), AgentLeaving(A, 3 * NS_PER_S), FinReceived(A, "SIGTERM"), Merged(A))
    assert run.left == ((A, 3 * NS_PER_S),)
    run, _ = drive(run, AgentJoined(A, "eu"), AgentReady(A), at(run, 5))
    assert (run.left, run.drivers) == ((), (A, B))


def test_one_that_is_back_owes_its_data_anew() -> None:
    run, _ = drive(running(), AgentLost(A, "killed"), AgentJoined(A, "eu"), AgentReady(A), TURN)
    run, _ = drive(run, at(run, 10), FinReceived(B), Merged(B))
    assert run.owing == (A,)
    run, _ = drive(run, FinReceived(A), Merged(A))
    assert (run.phase, reasons(run)) == (Phase.DONE, [Reason.FINISHED])


def test_one_that_is_lost_again_is_lost_again() -> None:
    run, _ = drive(running(), AgentLost(A, "killed"), AgentJoined(A, "eu"), AgentReady(A), TURN)
    run, effects = drive(run, AgentLost(A, "killed again"), at(run, 5))
    assert effects == [Reassign((A,), (B,))]
    assert run.lost == {A}


def test_another_process_of_one_that_still_has_its_share_prepares_for_nothing() -> None:
    run, effects = drive(running(), AgentJoined(A, "eu"))
    assert (effects, run.joining) == ([], frozenset())
