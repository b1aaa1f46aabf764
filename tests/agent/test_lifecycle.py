"""The life of an agent, row by row of its table."""

from __future__ import annotations

from dataclasses import replace

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
    Agent,
    BundleFailed,
    BundleHere,
    CloseBooks,
    ControllerLost,
    Effect,
    EndWorkers,
    Event,
    Exit,
    Fetch,
    Forget,
    GaveUp,
    HandedOver,
    Leave,
    LeftOff,
    Phase,
    SendAgain,
    StartWorkers,
    Tell,
    TellWorkers,
    Terminated,
    WorkersLost,
    step,
)

PREPARE = Prepare("r1", 1, "sha", 10, "s.py", "plan", b"{}", 1, 0, (1.0,), 10**9)
OTHER = replace(PREPARE, run_id="r2")
START = StartAt("r1", 5)
RELEASE = ReleaseAt("r1", 0, 0, 0, "sale opens", 10, 5)
FIN = Fin("r1", 0, 3)
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
    ControllerLost(8.1),
    Terminated("SIGTERM"),
    Terminated("SIGTERM", now=True),
    LeftOff(),
    HandedOver(),
    GaveUp("silent"),
)


def at(phase: Phase, *, is_leaving: bool = False, reason: str = "") -> Agent:
    in_run = phase not in (Phase.JOINING, Phase.IDLE)
    epoch = -1 if phase is Phase.JOINING else 1
    return Agent(phase, epoch, PREPARE if in_run else None, reason, is_leaving)


def walk(agent: Agent, *events: Event) -> tuple[Agent, list[Effect]]:
    done: list[Effect] = []
    for event in events:
        agent, effects = step(agent, event)
        done += effects
    return agent, done


@pytest.mark.parametrize("is_leaving", [False, True])
@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("phase", Phase)
def test_every_phase_answers_every_event(phase: Phase, event: Event, is_leaving: bool) -> None:
    try:
        agent, effects = step(at(phase, is_leaving=is_leaving), event)
    except IllegalTransition:
        # Nothing that the controller or the world does may be illegal: only our own parts can be out of turn.
        assert isinstance(event, BundleHere | BundleFailed | Ready | Refused | SetUpDone | Fin | TornDown | WorkersLost)
        return
    assert (agent.phase is Phase.GONE) == (phase is Phase.GONE or any(isinstance(e, Exit) for e in effects))
    assert (agent.prepare is not None) or agent.phase in (Phase.JOINING, Phase.IDLE, Phase.GONE)
    if phase.has_load and not agent.phase.has_load and agent.phase is not Phase.GONE:
        assert any(isinstance(e, CloseBooks | Forget) for e in effects)  # a load never ends without a word


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
    agent, effects = walk(at(Phase.RUNNING), ControllerLost(8.1), FIN)
    why = "the controller was silent for 8.1 s"
    assert effects == [TellWorkers(Stop("r1", why)), CloseBooks(FIN, why)]
    assert agent.phase is Phase.FINISHED
    assert walk(agent, GaveUp("silent for 60 s"))[1][-1] == Exit(ExitCode.FLEET, "silent for 60 s")


def test_a_controller_that_comes_back_does_not_start_the_load_again() -> None:
    agent, _ = walk(at(Phase.RUNNING), ControllerLost(8.1), Welcome(1, 8.0, "r1"), START)
    assert agent.phase is Phase.STOPPING


def test_a_controller_that_knows_nothing_of_the_run_ends_it() -> None:
    for welcome in (Welcome(2, 8.0), Welcome(1, 8.0, "r2")):
        agent, effects = step(at(Phase.RUNNING), welcome)
        assert (agent.phase, agent.epoch) == (Phase.IDLE, welcome.epoch)
        assert effects == (EndWorkers(), Forget(), SendAgain())


def test_sigterm_under_load_stops_hands_over_and_leaves_with_0() -> None:
    agent, effects = walk(at(Phase.RUNNING), Terminated("SIGTERM"), FIN, HandedOver())
    assert effects == [
        Leave("SIGTERM"),
        CloseBooks(FIN, "SIGTERM"),
        EndWorkers(),
        Exit(ExitCode.PASSED, "SIGTERM"),
    ]
    assert agent.phase is Phase.GONE


def test_until_others_have_its_share_one_that_leaves_follows_what_changes_and_then_only_ends() -> None:
    leaving, _ = step(at(Phase.RUNNING), Terminated("SIGTERM"))
    change = Reassign("r1", 1, 2, 7, (0.0, 1.0))
    assert step(leaving, change)[1] == (TellWorkers(change),)
    left, effects = step(leaving, LeftOff())
    assert (left.phase, left.is_leaving, effects) == (Phase.STOPPING, True, ())
    assert step(left, change)[1] == ()


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
