"""A run's events come to the run's state again, whatever happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import IllegalTransition, StorageError
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.units import NS_PER_S
from loadgen_controller.core.event_replay import BEGUN, HAPPENED, begun, happened, replay
from loadgen_controller.core.events import Tick
from loadgen_controller.core.lifecycle import Phase, Run, step
from loadgen_controller.core.load_change_messages import LoadChange
from tests.controller.conftest import Play, on_disk
from tests.controller.test_run import EVENTS, TERMS
from tests.support.examples import examples
from tests.support.wire import until

Stage = Callable[..., Play]
Line = dict[str, object]


def written(kind: str, **fields: object) -> Line:
    """As it is when it was in a file."""
    return msgspec.json.decode(msgspec.json.encode({"kind": kind, **fields}, enc_hook=str), type=dict[str, object])


@given(data=st.data())
@settings(max_examples=examples(200), deadline=None)
def test_whatever_happens_its_lines_come_to_the_same_state(data: st.DataObject) -> None:
    terms = replace(TERMS, has_set_up=data.draw(st.booleans()), has_tear_down=data.draw(st.booleans()))
    run = Run.begin(terms, data.draw(st.integers(0, 2**62)))
    lines = [written(BEGUN, **begun(run)), written("trouble", text="a line of another kind")]
    moves = st.one_of(st.sampled_from(EVENTS[1:]), st.integers(1, 5 * NS_PER_S))
    for move in data.draw(st.lists(moves, max_size=60)):
        event = Tick(run.now_ns + move) if isinstance(move, int) else move
        try:
            after, _ = step(run, event)
        except IllegalTransition:
            continue
        if (line := happened(run, event, after)) is not None:
            lines.append(written(HAPPENED, **line))
        run = after
        told = replay(lines)
        assert replace(told, now_ns=run.now_ns) == run
        assert told.now_ns <= run.now_ns


async def test_the_journal_of_a_run_comes_to_the_state_of_its_conductor(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    play.conductor.adjust(LoadChange("scale", factor=2))
    for agent in (a, b):
        for _ in range(3):
            agent.recording.interval()
        await agent.deliver()
        await agent.finish()
    result = await play.result()
    assert play.conductor.run.phase is Phase.DONE
    assert replay(RunDir.open(result.run_dir).read_events()) == play.conductor.run


async def test_the_journal_of_a_run_that_is_cut_off_comes_to_where_it_was(stage: Stage) -> None:
    play = stage()
    await play.started()
    await until(lambda: play.conductor.run.phase is Phase.RUNNING)
    await on_disk(play)
    told = replay(RunDir.open(play.conductor.run_dir).read_events())
    assert told.phase is Phase.RUNNING
    assert replace(told, now_ns=0) == replace(play.conductor.run, now_ns=0)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "the line with the start of the run is missing"),
        ([{"kind": "event", "name": "Tick", "event": {"now_ns": 1}}], "the line with the start of the run is missing"),
        ([{"kind": "begun", "terms": {}, "now_ns": 1}], "the start of the run is invalid"),
        (
            [written(BEGUN, **begun(Run.begin(TERMS, 0))), {"kind": "event", "name": "Exploded"}],
            "unknown event Exploded",
        ),
        ([written(BEGUN, **begun(Run.begin(TERMS, 0))), {"kind": "event", "name": "Tick"}], "invalid event Tick"),
    ],
)
def test_lines_that_are_none_of_ours_are_an_error(lines: list[Line], why: str) -> None:
    with pytest.raises(StorageError, match=why):
        replay(lines)
