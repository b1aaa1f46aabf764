"""The life of an agent, row by row of its table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loadgen.errors import ExitCode, IllegalTransition
from loadgen.profiles.stage import Stage
from loadgen.wire.messages import (
    Adjust,
    Bye,
    Fin,
    Prepare,
    Ready,
    Reassign,
    Refused,
    Rejected,
    ReleaseAt,
    SetUp,
    SetUpDone,
    StartAt,
    Steer,
    Stop,
    TearDown,
    TornDown,
    Welcome,
)
from loadgen_agent.supervisor.lifecycle import (
    CUT_NS,
    FAREWELL_NS,
    GRACE_NS,
    KILL_NS,
    LEAVE_NS,
    LEAVING_S,
    WATCHDOG_NS,
    Agent,
    Beat,
    BundleFailed,
    BundleHere,
    CloseBooks,
    Effect,
    EndWorkers,
    Event,
    Exit,
    Fetch,
    Forget,
    KillWorkers,
    Phase,
    RenewLease,
    SendAgain,
    StartWorkers,
    Tell,
    TellWorkers,
    Terminated,
    Tick,
    TickState,
    WorkersLost,
    step,
)

PREPARE = Prepare("r1", 1, "sha", 10, "s.py", "plan", b"{}", 1, 0, (1.0,), 10**9)
OTHER = replace(PREPARE, run_id="r2")
START = StartAt("r1", 5)
RELEASE = ReleaseAt("r1", 0, 0, 0, "sale opens", 10, 5)
FIN = Fin("r1", 0, 3)
S = 10**9
ADJUST = Adjust("r1", 1, 0, 5, (Stage(1, 1, 10**9),))

EVENTS: tuple[Event, ...] = (
    Welcome(1, 8.0),
    Welcome(2, 8.0),
    Welcome(1, 8.0, "r2"),
    Rejected("another major"),
    PREPARE,
    replace(PREPARE, generation=2),
    OTHER,
    SetUp("r1"),
    START,
    StartAt("r2", 5),
    RELEASE,
    ReleaseAt("r2", 0, 0, 0, "sale opens", 10, 5),
    ADJUST,
    replace(ADJUST, run_id="r2"),
    Reassign("r1", 2, 2, 5, (1.0, 0.0)),
    Stop("r1", "asked"),
    Stop("r1", "asked", now=True),
    Stop("r2", "asked"),
    TearDown("r1"),
    Bye("r1"),
    Bye("r1", leave=True),
    Steer("r1", 0, 0, 0, ()),
    Bye("", leave=True),
    Bye("r2", leave=True),
    BundleHere("/there"),
    BundleFailed("wrong sha256"),
    Ready("r1", 1, "sha"),
    Refused("r1", "faults"),
    SetUpDone("r1", b"null"),
    FIN,
    TornDown("r1"),
    WorkersLost("killed"),
    Terminated("SIGTERM"),
    Terminated("SIGTERM", now=True),
    Tick(1),
    Tick(S, TickState(S, S)),
    Tick(9 * S, TickState(0, 9 * S)),
    Tick(9 * S, TickState(9 * S, 9 * S, is_lapsed=True)),
    Tick(S, TickState(S, S, is_orphan=True)),
    Tick(S, TickState(S, S, is_delivered=False)),
    Tick(S, TickState(S, S, owing=(0,), silent=((0, 100 * S),))),
    Tick(4_000 * S, TickState(4_000 * S, 0)),
)


def at(phase: Phase, *, is_leaving: bool = False, reason: str = "") -> Agent:
    in_run = phase not in (Phase.JOINING, Phase.IDLE)
    epoch = -1 if phase is Phase.JOINING else 1
    return Agent(
        phase,
        epoch,
        PREPARE if in_run else None,
        reason,
        is_leaving,
        t0_ns=0 if phase.has_load or phase is Phase.FINISHED else None,
        join_s=60.0,
    )


def tick(now_ns: int, **seen: Any) -> Tick:
    """A tick of an agent whose controller answers at once, unless told otherwise."""
    return Tick(now_ns, TickState(**{"acked_ns": now_ns, "heard_ns": now_ns, **seen}))


def renewed(acked_ns: int) -> RenewLease:
    return RenewLease(acked_ns + 8 * S, 8 * S)


def walk(agent: Agent, *events: Event) -> tuple[Agent, list[Effect]]:
    done: list[Effect] = []
    for event in events:
        agent, effects = step(agent, event)
        done += effects
    return agent, done


@pytest.mark.parametrize("is_leaving", [False, True])
@pytest.mark.parametrize("phase", Phase)
def test_every_phase_answers_every_event(phase: Phase, is_leaving: bool) -> None:
    for event in EVENTS:
        try:
            agent, effects = step(at(phase, is_leaving=is_leaving), event)
        except IllegalTransition:
            # Nothing that the controller or the world does may be illegal: only our own parts can be out of turn.
            ours = BundleHere | BundleFailed | Ready | Refused | SetUpDone | Fin | TornDown | WorkersLost
            assert isinstance(event, ours), event
            continue
        is_gone = phase is Phase.GONE or any(isinstance(e, Exit) for e in effects)
        assert (agent.phase is Phase.GONE) == is_gone, event
        assert (agent.prepare is not None) or agent.phase in (Phase.JOINING, Phase.IDLE, Phase.GONE), event
        if phase.has_load and not agent.phase.has_load and agent.phase is not Phase.GONE:
            # A load never ends without a word.
            assert any(isinstance(e, CloseBooks | Forget) for e in effects), event


def test_who_steers_is_asked_while_the_load_goes_on_and_not_after() -> None:
    steer = Steer("r1", 0, 0, 0, ())

    assert step(at(Phase.RUNNING), steer)[1] == (TellWorkers(steer),)
    assert [step(at(phase), steer)[1] for phase in (Phase.READY, Phase.STOPPING, Phase.FINISHED)] == [(), (), ()]


def test_every_event_has_been_thought_of() -> None:
    assert {type(event) for event in EVENTS} == set(Event.__args__)


@pytest.mark.parametrize("phase", Phase)
def test_a_change_of_the_load_goes_to_workers_that_are_ready_or_drive_and_to_no_others(phase: Phase) -> None:
    told = [TellWorkers(ADJUST)] if phase in (Phase.READY, Phase.RUNNING) else []
    assert walk(at(phase), ADJUST) == (at(phase), told)
    assert walk(at(phase), replace(ADJUST, run_id="r2"))[1] == []


def test_a_whole_life() -> None:
    agent, effects = walk(
        Agent(), Welcome(1, 8.0), PREPARE, BundleHere("/b"), Ready("r1", 1, "sha"), START, FIN, Bye("r1", leave=True)
    )
    assert agent.phase is Phase.GONE
    assert effects == [
        SendAgain(),
        Fetch(PREPARE),
        StartWorkers(replace(PREPARE, bundle_dir="/b")),
        Tell(Ready("r1", 1, "sha")),
        TellWorkers(START),
        CloseBooks(FIN, ""),
        EndWorkers(),
        Exit(ExitCode.PASSED, "the controller released this agent"),
    ]


def test_an_agent_of_a_fleet_is_idle_after_a_run_and_takes_the_next() -> None:
    agent, effects = walk(at(Phase.FINISHED), Bye("r1"), OTHER)
    assert agent.phase is Phase.FETCHING
    assert effects == [EndWorkers(), Forget(), Fetch(OTHER)]


def test_prepare_of_a_newer_generation_begins_anew_and_of_an_older_one_is_ignored() -> None:
    newer = replace(PREPARE, generation=2)
    agent, effects = step(at(Phase.READY), newer)
    assert (agent.phase, agent.prepare) == (Phase.FETCHING, newer)
    assert effects == (EndWorkers(), Forget(), Fetch(newer))
    assert step(replace(at(Phase.READY), prepare=newer), PREPARE)[1] == ()


def test_prepare_again_is_answered_again() -> None:
    assert step(at(Phase.READY), PREPARE) == (at(Phase.READY), (Tell(Ready("r1", 1, "sha")),))


def test_under_load_no_other_run_is_taken() -> None:
    for phase in (Phase.RUNNING, Phase.STOPPING):
        assert step(at(phase), OTHER) == (at(phase), ())


def test_a_bundle_that_does_not_verify_is_refused_and_the_agent_is_free_again() -> None:
    agent, effects = step(at(Phase.FETCHING), BundleFailed("wrong sha256"))
    assert agent.phase is Phase.IDLE
    assert effects[0] == Tell(Refused("r1", "wrong sha256"))


def test_a_worker_that_dies_before_the_start_is_refused_and_later_closes_the_books() -> None:
    assert step(at(Phase.READY), WorkersLost("killed"))[1][0] == Tell(Refused("r1", "killed"))
    agent, effects = step(at(Phase.RUNNING), WorkersLost("killed"))
    assert (agent.phase, effects) == (Phase.FINISHED, (EndWorkers(), CloseBooks(None, "killed")))


def test_a_stop_that_the_controller_asked_for_is_no_early_end() -> None:
    agent, effects = walk(at(Phase.RUNNING), Stop("r1", "the run is over"), FIN)
    assert effects == [TellWorkers(Stop("r1", "the run is over")), CloseBooks(FIN, "")]
    assert not agent.is_leaving


def test_a_silent_controller_stops_the_load_and_the_fin_says_so() -> None:
    agent, effects = walk(at(Phase.RUNNING), tick(8 * S, acked_ns=0))
    assert (agent.phase, effects) == (Phase.RUNNING, [renewed(0)])
    agent, effects = walk(agent, tick(8_100_000_000, acked_ns=0), FIN)
    why = "the controller was silent for 8.1 s"
    assert effects == [renewed(0), TellWorkers(Stop("r1", why)), CloseBooks(FIN, why)]
    assert agent.phase is Phase.FINISHED


def test_a_lease_that_a_worker_found_lapsed_stops_the_others_though_it_was_renewed() -> None:
    agent, effects = walk(at(Phase.RUNNING), tick(9 * S, is_lapsed=True))
    why = "the controller acknowledged nothing for longer than the lease of 8 s"
    assert (agent.phase, effects) == (Phase.STOPPING, [renewed(9 * S), TellWorkers(Stop("r1", why))])


def test_the_lease_is_as_long_as_the_last_welcome_says() -> None:
    agent, effects = walk(at(Phase.RUNNING), Welcome(1, 2.0, "r1"), tick(3 * S, acked_ns=2 * S))
    assert (agent.phase, effects[-1]) == (Phase.RUNNING, RenewLease(4 * S, 2 * S))
    assert walk(agent, tick(4 * S + 1, acked_ns=2 * S))[0].phase is Phase.STOPPING


def test_a_lost_controller_cuts_a_load_off_that_it_had_told_to_drain() -> None:
    draining, _ = walk(at(Phase.RUNNING), tick(S), Stop("r1", "the run is over"))
    agent, effects = walk(draining, tick(9 * S + 1, acked_ns=S))
    assert effects[-1] == TellWorkers(Stop("r1", "the controller was silent for 8.0 s", now=True))
    assert agent.kill_at_ns == 9 * S + 1 + CUT_NS


def test_workers_that_the_agent_stopped_drain_for_the_grace_and_are_then_cut_off_and_then_killed() -> None:
    agent, _ = walk(at(Phase.RUNNING), tick(10 * S, acked_ns=0))
    why = agent.reason
    cut_ns = 10 * S + GRACE_NS + 1
    agent, effects = walk(agent, tick(cut_ns - 1, owing=(0, 1)))
    assert effects == [renewed(cut_ns - 1)]
    agent, effects = walk(agent, tick(cut_ns, owing=(0, 1)))
    assert effects == [renewed(cut_ns), TellWorkers(Stop("r1", why, now=True))]
    assert walk(agent, tick(cut_ns + CUT_NS, owing=(1,)))[1] == [renewed(cut_ns + CUT_NS)]
    late_ns = cut_ns + CUT_NS + 1
    killed = KillWorkers((1,), "did not stop on request; its loop is blocked")
    assert walk(agent, tick(late_ns, owing=(1,)))[1] == [renewed(late_ns), killed]
    assert walk(agent, tick(late_ns))[1] == [renewed(late_ns)]


def test_workers_that_the_controller_stopped_have_no_grace_of_the_agents() -> None:
    agent, _ = walk(at(Phase.RUNNING), tick(S), Stop("r1", "the run is over"))
    assert walk(agent, tick(S + 10 * GRACE_NS, owing=(0,)))[1] == [renewed(S + 10 * GRACE_NS)]


def test_a_kill_waits_less_than_a_cut_and_the_earliest_deadline_counts() -> None:
    cut, _ = walk(at(Phase.RUNNING), tick(S), Stop("r1", "x", now=True))
    assert cut.kill_at_ns == S + CUT_NS
    killed, _ = walk(cut, tick(2 * S), Stop("r1", "x", now=True, kill=True))
    assert killed.kill_at_ns == 2 * S + KILL_NS
    again, _ = walk(killed, tick(2 * S + 1), Stop("r1", "x", now=True, kill=True))
    assert again.kill_at_ns == killed.kill_at_ns
    late_cut, _ = walk(cut, tick(S + CUT_NS - 1), Stop("r1", "x", now=True, kill=True))
    assert late_cut.kill_at_ns == S + CUT_NS


def test_a_worker_that_is_silent_is_killed_sooner_while_it_is_to_stop() -> None:
    stopping, _ = walk(at(Phase.RUNNING), tick(S), Stop("r1", "the run is over"))
    silent = {"silent": ((0, 8 * S), (1, 8 * S + 1))}
    killed = KillWorkers((1,), "was silent while it was to stop; its loop is blocked")
    assert walk(stopping, tick(10 * S, **silent))[1] == [renewed(10 * S), killed]
    assert walk(at(Phase.RUNNING), tick(10 * S, **silent))[1] == [renewed(10 * S)]
    running = {"silent": ((0, 8 * S + WATCHDOG_NS), (1, 8 * S + WATCHDOG_NS + 1))}
    killed = KillWorkers((1,), "was silent for more than 10 s")
    assert walk(at(Phase.RUNNING), tick(10 * S, **running))[1] == [renewed(10 * S), killed]


def test_deadlines_of_one_run_are_not_those_of_the_next() -> None:
    agent, _ = walk(at(Phase.RUNNING), tick(S), Terminated("SIGTERM"), Terminated("SIGTERM", now=True), FIN)
    assert (agent.grace_ends_ns, agent.kill_at_ns) == (None, None)
    agent, _ = walk(at(Phase.STOPPING), tick(S), Stop("r1", "x", now=True), Welcome(2, 8.0))
    assert (agent.t0_ns, agent.leaves_ns, agent.grace_ends_ns, agent.kill_at_ns) == (None, 0, None, None)


def test_an_agent_that_is_not_taken_in_gives_up_when_its_time_is_over() -> None:
    joining = at(Phase.JOINING)
    assert walk(joining, tick(60 * S)) == (replace(joining, now_ns=60 * S), [])
    assert walk(joining, tick(60 * S + 1, trouble="no answer"))[1][-1] == Exit(
        ExitCode.FLEET, "not accepted by the controller within 60 s: no answer"
    )
    assert walk(replace(joining, join_s=None), tick(10**6 * S))[1] == []


def test_measurements_that_no_controller_takes_are_given_up_in_time() -> None:
    finished = at(Phase.FINISHED)
    silent = {"heard_ns": 0, "unacked": 3, "is_delivered": False}
    gave_up = "the controller was silent for {} s: 3 deltas are not delivered"
    assert walk(finished, tick(1800 * S, **silent))[1] == []
    assert walk(finished, tick(1800 * S + 1, **silent))[1][-1] == Exit(ExitCode.FLEET, gave_up.format(1800))
    leaving, limit_ns = at(Phase.FINISHED, is_leaving=True), round(LEAVING_S * S)
    assert walk(leaving, tick(limit_ns, **silent))[1] == []
    assert walk(leaving, tick(limit_ns + 1, **silent))[1][-1] == Exit(ExitCode.FLEET, gave_up.format(20))
    assert walk(leaving, tick(S, is_orphan=True, **silent))[1][-1] == Exit(ExitCode.FLEET, gave_up.format(1))


def test_one_that_leaves_waits_for_its_bye_from_when_all_is_delivered() -> None:
    leaving = at(Phase.FINISHED, is_leaving=True, reason="SIGTERM")
    agent, _ = walk(leaving, tick(S), tick(2 * S, is_delivered=False), tick(2 * S + FAREWELL_NS))
    assert agent.phase is Phase.FINISHED
    assert walk(agent, tick(2 * S + FAREWELL_NS + 1))[1][-1] == Exit(ExitCode.PASSED, "SIGTERM")
    assert walk(at(Phase.FINISHED), tick(S), tick(100 * S))[0].phase is Phase.FINISHED


def test_one_that_leaves_with_everything_delivered_still_waits_for_its_bye() -> None:
    leaving, _ = walk(at(Phase.RUNNING), Tick(10 * S), Terminated("SIGTERM"), FIN)
    assert walk(leaving, tick(10 * S + FAREWELL_NS))[0].phase is Phase.FINISHED
    assert walk(leaving, tick(10 * S + FAREWELL_NS + 1))[0].phase is Phase.GONE


@pytest.mark.parametrize("phase", [Phase.JOINING, Phase.IDLE, Phase.FETCHING, Phase.LOADING, Phase.READY])
def test_an_orphan_without_a_load_leaves_at_once(phase: Phase) -> None:
    assert walk(at(phase), tick(S, is_orphan=True))[1][-1] == Exit(
        ExitCode.PASSED, "the process that started this agent has ended"
    )


def test_an_orphan_with_a_load_ends_it_at_once() -> None:
    agent, effects = walk(at(Phase.RUNNING), tick(S, is_orphan=True))
    why = "the process that started this agent has ended"
    assert TellWorkers(Stop("r1", why, now=True, kill=True)) in effects
    assert (agent.phase, agent.is_leaving, agent.kill_at_ns) == (Phase.STOPPING, True, S + KILL_NS)
    assert walk(agent, tick(S + 1, is_orphan=True))[1] == [renewed(S + 1)]


def test_a_clock_that_goes_back_stands_still() -> None:
    assert walk(at(Phase.RUNNING), tick(9 * S), tick(S, acked_ns=S))[0].now_ns == 9 * S


def test_a_controller_that_comes_back_does_not_start_the_load_again() -> None:
    agent, _ = walk(at(Phase.RUNNING), tick(9 * S, acked_ns=0), Welcome(1, 8.0, "r1"), START)
    assert agent.phase is Phase.STOPPING


def test_a_controller_that_knows_nothing_of_the_run_ends_it() -> None:
    for welcome in (Welcome(2, 8.0), Welcome(1, 8.0, "r2")):
        agent, effects = step(at(Phase.RUNNING), welcome)
        assert (agent.phase, agent.epoch) == (Phase.IDLE, welcome.epoch)
        assert effects == (EndWorkers(), Forget(), SendAgain())


def test_sigterm_under_load_stops_hands_over_and_leaves_with_0() -> None:
    done_ns = S + FAREWELL_NS + 1
    agent, effects = walk(at(Phase.RUNNING), Tick(S), Terminated("SIGTERM"), FIN, tick(done_ns))
    assert effects == [
        TellWorkers(Stop("r1", "SIGTERM", at_ns=S + LEAVE_NS)),
        Beat(),
        CloseBooks(FIN, "SIGTERM"),
        EndWorkers(),
        Exit(ExitCode.PASSED, "SIGTERM"),
    ]
    assert agent.phase is Phase.GONE


def test_it_leaves_no_sooner_than_the_last_change_holds_and_never_at_0() -> None:
    change = Terminated("SIGTERM", changed_ns=60 * S)
    assert walk(at(Phase.RUNNING), Tick(S), change)[0].leaves_ns == 60 * S
    early = replace(at(Phase.RUNNING), t0_ns=100 * S)
    assert walk(early, Tick(S), Terminated("SIGTERM"))[0].leaves_ns == 1


def test_until_others_have_its_share_one_that_leaves_follows_what_changes_and_then_only_ends() -> None:
    leaving, _ = walk(at(Phase.RUNNING), Tick(S), Terminated("SIGTERM"))
    change = Reassign("r1", 1, 2, 7, (0.0, 1.0))
    assert step(leaving, change)[1] == (TellWorkers(change),)
    assert walk(leaving, tick(S + LEAVE_NS - 1))[0].phase is Phase.RUNNING
    left, effects = walk(leaving, tick(S + LEAVE_NS))
    assert (left.phase, left.is_leaving, effects) == (Phase.STOPPING, True, [renewed(S + LEAVE_NS)])
    assert left.grace_ends_ns == S + LEAVE_NS + GRACE_NS
    assert step(left, change)[1] == ()
    after_ns = S + LEAVE_NS + GRACE_NS + 1
    killed = walk(left, tick(after_ns))[1]
    assert killed == [renewed(after_ns), TellWorkers(Stop("r1", "SIGTERM", now=True, kill=True))]


def test_a_second_sigterm_cuts_off_and_a_third_leaves_at_once() -> None:
    agent, effects = walk(at(Phase.RUNNING), Terminated("SIGTERM"), Terminated("SIGTERM", now=True))
    assert effects[-1] == TellWorkers(Stop("r1", "SIGTERM", now=True, kill=True))
    _, effects = walk(agent, FIN, Terminated("SIGTERM", now=True))
    assert isinstance(effects[-1], Exit)
    assert effects[-1].code is ExitCode.FLEET


def test_sigterm_before_the_start_tells_the_controller() -> None:
    _, effects = step(at(Phase.READY), Terminated("SIGTERM"))
    assert effects == (Tell(Refused("r1", "SIGTERM")), EndWorkers(), Exit(ExitCode.PASSED, "SIGTERM"))


def test_a_bye_for_agents_that_took_no_part_ends_them() -> None:
    for phase in (Phase.JOINING, Phase.IDLE):
        assert step(at(phase), Bye("", leave=True))[0].phase is Phase.GONE
    assert step(at(Phase.IDLE), Bye("r2", leave=True))[0].phase is Phase.IDLE


@pytest.mark.parametrize("phase", Phase)
def test_users_may_leave_a_rendezvous_while_there_is_load_and_only_then(phase: Phase) -> None:
    agent, effects = step(at(phase), RELEASE)
    assert agent == at(phase)
    assert effects == ((TellWorkers(RELEASE),) if phase in (Phase.RUNNING, Phase.STOPPING) else ())
