"""The workers of an agent as one: row by row of the table, and that a crew always comes to an end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import IllegalTransition
from loadgen.profiles.stage import Stage as LoadStage
from loadgen.wire.messages import (
    Adjust,
    Fin,
    Ready,
    Refused,
    ReleaseAt,
    SetUp,
    SetUpDone,
    StartAt,
    Steer,
    Stop,
    TearDown,
    TornDown,
)
from loadgen_agent.supervisor.worker_group_state import (
    LIVES,
    AllLost,
    Answer,
    Begin,
    Died,
    Drop,
    Effect,
    Ended,
    Event,
    Finished,
    Lost,
    Resume,
    SentByAgent,
    SentByWorker,
    Stage,
    TellOne,
    WorkerGroup,
    WorkerSlot,
    step,
)

READY, FIN = Ready("r1", 1, "sha"), Fin("r1", 0, 3)
START, STOP, DOWN = StartAt("r1", 5), Stop("r1", "enough"), TearDown("r1")


def adjust(number: int) -> Adjust:
    return Adjust("r1", number, 0, number * 10, (LoadStage(1, 1, 10**9),))


def walk(crew: WorkerGroup, *events: Event) -> tuple[WorkerGroup, list[Effect]]:
    done: list[Effect] = []
    for event in events:
        crew, effects = step(crew, event)
        done += effects
    return crew, done


def running(workers: int = 2) -> WorkerGroup:
    crew, _ = walk(
        WorkerGroup.of(workers), *(SentByWorker(worker, READY) for worker in range(workers)), SentByAgent(START)
    )
    return crew


def test_the_first_worker_that_runs_is_asked_to_steer() -> None:
    steer = Steer("r1", 0, 0, 0, ())

    crew, _ = walk(running(), Died(0, "killed"))

    assert walk(running(), SentByAgent(steer))[1] == [TellOne(0, steer)]
    assert walk(crew, SentByAgent(steer))[1] == [TellOne(1, steer)]
    assert walk(WorkerGroup.of(2), SentByAgent(steer))[1] == []


def test_a_crew_is_ready_when_its_last_worker_is_and_all_start_at_one_instant() -> None:
    crew, effects = walk(WorkerGroup.of(2), SentByWorker(1, READY))
    assert effects == []
    crew, effects = walk(crew, SentByWorker(0, READY), SentByAgent(START))
    assert effects == [Answer(READY), TellOne(0, START), TellOne(1, START)]


def test_a_ready_crew_reports_the_longest_busy_wait_of_its_workers() -> None:
    waits_ns = {0: 45_000, 1: 52_000, 2: 0}
    answers = [SentByWorker(worker, replace(READY, busy_wait_ns=ns)) for worker, ns in waits_ns.items()]
    assert walk(WorkerGroup.of(3), *answers)[1] == [Answer(replace(READY, busy_wait_ns=52_000))]


def test_the_crew_has_finished_when_its_last_worker_has() -> None:
    _, effects = walk(running(), SentByWorker(1, FIN), SentByWorker(0, FIN))
    assert effects == [Ended(1, FIN), Ended(0, FIN), Finished()]


def test_the_set_up_is_done_by_one_worker() -> None:
    crew, _ = walk(WorkerGroup.of(3), *(SentByWorker(worker, READY) for worker in range(3)))
    done = SetUpDone("r1", b"5")
    assert walk(crew, SentByAgent(SetUp("r1")), SentByWorker(0, done))[1] == [TellOne(0, SetUp("r1")), Answer(done)]


def test_a_worker_that_dies_under_load_is_replaced_and_the_others_go_on() -> None:
    crew, effects = walk(running(), Died(1, "killed"))
    assert effects == [Drop(1), Lost(1, "killed", True), Begin(1, 1)]
    crew, effects = walk(crew, SentByWorker(0, FIN))
    assert effects == [Ended(0, FIN)]
    assert walk(crew, SentByWorker(1, READY), SentByWorker(1, FIN))[1] == [Resume(1, ""), Ended(1, FIN), Finished()]


def test_each_change_of_the_load_is_told_once_and_in_its_turn() -> None:
    crew, effects = walk(running(), *(SentByAgent(adjust(n)) for n in (1, 1, 3, 2, 2, 3)))
    assert effects == [TellOne(worker, adjust(n)) for n in (1, 2, 3) for worker in (0, 1)]
    assert len(crew.adjusts) == 3


def test_changes_before_the_start_are_told_to_those_that_are_ready() -> None:
    ready, _ = walk(WorkerGroup.of(1), SentByWorker(0, READY))
    assert walk(ready, SentByAgent(adjust(1)), SentByAgent(START))[1] == [TellOne(0, adjust(1)), TellOne(0, START)]


def test_one_that_takes_over_hears_all_changes_before_it_is_told_from_when() -> None:
    crew, _ = walk(running(), SentByAgent(adjust(1)), Died(1, "killed"))
    crew, effects = walk(crew, SentByAgent(adjust(2)))
    assert effects == [TellOne(0, adjust(2))]
    assert walk(crew, SentByWorker(1, READY))[1] == [TellOne(1, adjust(1)), TellOne(1, adjust(2)), Resume(1, "")]


def test_a_load_that_stops_is_changed_no_more() -> None:
    assert walk(running(), SentByAgent(STOP), SentByAgent(adjust(1)))[1] == [TellOne(0, STOP), TellOne(1, STOP)]


def test_a_place_is_filled_three_times_at_most_and_the_others_finish_without_it() -> None:
    crew = running()
    for life in range(1, LIVES):
        crew, effects = walk(crew, Died(1, "killed"))
        assert effects[-1] == Begin(1, life)
        crew, _ = walk(crew, SentByWorker(1, READY))
    crew, effects = walk(crew, Died(1, "killed"))
    assert effects == [Drop(1), Lost(1, "killed", False)]
    assert walk(crew, SentByWorker(0, FIN))[1][-1] == Finished()


def test_a_release_goes_to_the_worker_that_it_names_and_to_no_process_after_it() -> None:
    release = ReleaseAt("r1", 1, 0, 0, "sale opens", 5, 1)
    crew, effects = walk(running(), SentByAgent(release))
    assert effects == [TellOne(1, release)]
    crew, _ = walk(crew, Died(1, "killed"))
    assert walk(crew, SentByAgent(release))[1] == []
    crew, _ = walk(crew, SentByWorker(1, READY))
    assert walk(crew, SentByAgent(release))[1] == []
    again = ReleaseAt("r1", 1, 1, 0, "sale opens", 5, 1)
    assert walk(crew, SentByAgent(again))[1] == [TellOne(1, again)]
    assert walk(crew, SentByAgent(ReleaseAt("r1", 7, 0, 0, "sale opens", 5, 1)))[1] == []


def test_one_that_dies_before_it_has_taken_over_has_used_up_a_life() -> None:
    _, effects = walk(running(1), *[Died(0, "killed")] * LIVES)
    assert effects[-1] == AllLost("killed")
    assert sum(isinstance(effect, Begin) for effect in effects) == LIVES - 1


def test_when_all_places_are_given_up_the_crew_is_lost() -> None:
    crew = running()
    events: list[Event] = []
    for worker in range(2):
        for _ in range(LIVES - 1):
            events += (Died(worker, "killed"), SentByWorker(worker, READY))
        events.append(Died(worker, "at last"))
    assert walk(crew, *events)[1][-1] == AllLost("at last")


def test_nobody_is_replaced_once_the_load_stops() -> None:
    crew, effects = walk(running(), SentByAgent(STOP), Died(1, "killed"))
    assert effects == [TellOne(0, STOP), TellOne(1, STOP), Drop(1), Lost(1, "killed", False)]
    assert walk(crew, SentByWorker(0, FIN))[1] == [Ended(0, FIN), Finished()]


def test_one_that_was_to_take_over_does_not_when_the_load_stops_meanwhile() -> None:
    _, effects = walk(running(), Died(1, "killed"), SentByAgent(STOP), SentByWorker(1, READY), SentByWorker(0, FIN))
    assert effects[-3:] == [Drop(1), Ended(0, FIN), Finished()]
    assert not any(isinstance(effect, Resume) for effect in effects)


@pytest.mark.parametrize("before", [[], [SentByWorker(0, READY)], [SentByWorker(0, READY), SentByWorker(1, READY)]])
def test_one_that_dies_before_the_start_is_the_end_of_it(before: list[Event]) -> None:
    assert walk(WorkerGroup.of(2), *before, Died(0, "killed"))[1][-1] == AllLost("killed")


def test_faults_of_the_scenario_are_answered_at_once_and_before_the_others_are_ready() -> None:
    refused = Refused("r1", "faults")
    assert walk(WorkerGroup.of(2), SentByWorker(1, refused))[1] == [Answer(refused)]


def test_a_worker_whose_drive_fails_is_lost_like_one_that_died() -> None:
    _, effects = walk(running(), SentByWorker(1, Refused("r1", "worker failed: KeyError")))
    assert effects == [Drop(1), Lost(1, "worker failed: KeyError", True), Begin(1, 1)]


def test_the_tear_down_is_done_by_the_first_that_can_and_where_none_can_that_is_said() -> None:
    crew, _ = walk(running(), Died(0, "killed"), *[Died(0, "killed")] * (LIVES - 1), SentByWorker(1, FIN))
    assert walk(crew, SentByAgent(DOWN))[1] == [TellOne(1, DOWN)]
    lost, _ = walk(running(1), *[Died(0, "killed")] * LIVES)
    (answer,) = walk(lost, SentByAgent(DOWN))[1]
    assert isinstance(answer, Answer)
    assert isinstance(answer.message, TornDown)
    assert "no worker is left" in answer.message.error


def test_a_worker_that_has_finished_may_die() -> None:
    crew, effects = walk(running(), SentByWorker(0, FIN), Died(0, "killed"))
    assert effects == [Ended(0, FIN), Drop(0)]
    assert walk(crew, SentByWorker(1, FIN), SentByAgent(DOWN))[1] == [Ended(1, FIN), Finished(), TellOne(1, DOWN)]


MESSAGES = (READY, Refused("r1", "x"), SetUpDone("r1", b"1"), FIN, TornDown("r1"))
EVENTS: tuple[Event, ...] = (
    *(SentByWorker(0, message) for message in MESSAGES),
    Died(0, "killed"),
    *(
        SentByAgent(message)
        for message in (SetUp("r1"), START, adjust(1), ReleaseAt("r1", 0, 0, 0, "sale opens", 5, 1), STOP, DOWN)
    ),
)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("is_stopping", [False, True])
def test_every_stage_answers_every_event(stage: Stage, is_stopping: bool) -> None:
    crew = WorkerGroup((WorkerSlot(stage), WorkerSlot(Stage.RUNNING)), is_stopping)
    for event in EVENTS:
        try:
            step(crew, event)
        except IllegalTransition:
            assert not isinstance(event, SentByAgent), event  # only a worker can be out of turn


@given(st.integers(1, 4), st.data())
def test_whatever_order_workers_die_and_finish_in_the_crew_ends_exactly_once(workers: int, data: st.DataObject) -> None:
    crew, ends = running(workers), 0
    while any(hand.stage.owes for hand in crew.hands):
        worker = data.draw(st.sampled_from([w for w, hand in enumerate(crew.hands) if hand.stage.owes]))
        comes = crew.hands[worker].stage is Stage.COMING
        may_come: list[Event] = [
            Died(worker, "killed"),
            SentByWorker(worker, READY if comes else FIN),
            SentByAgent(STOP),
        ]
        crew, effects = step(crew, may_come[data.draw(st.integers(0, 2))])
        ends += sum(isinstance(effect, Finished | AllLost) for effect in effects)
        assert max(hand.life for hand in crew.hands) < LIVES
    assert ends == 1
