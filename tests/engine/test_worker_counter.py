"""Counters of one worker: what a delta has of them, and the room that the names of checks leave for them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import loadgen
from loadgen.dsl.users.worker_tally import WorkerTally
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.worker_counter import MAX_OWN, WorkerCounter, WorkerCounters
from loadgen.measure.deltas.custom import CustomStats


def test_a_delta_has_what_was_counted_since_the_last_one_and_the_counter_has_it_all() -> None:
    hits = WorkerCounter("hits", "rate")
    assert hits.take() is None
    hits.add(4, 3)
    hits.add(total=0)
    assert hits.take() == CustomStats("hits", "rate", 5, 3)
    assert hits.take() is None
    hits.add()
    assert hits.take() == CustomStats("hits", "rate", 1, 1)
    assert (hits.n, hits.total) == (6, 4)


def test_a_worker_has_its_counters_once_and_another_worker_has_others() -> None:
    one, other = Recorder(), Recorder()
    assert WorkerTally.of(one) is WorkerTally.of(one)
    assert WorkerTally.of(one) is not WorkerTally.of(other)


def test_checks_leave_room_for_all_counters_of_a_worker() -> None:
    recorder = Recorder()
    root = Path(loadgen.__file__).parent
    for path in root.rglob("*.py"):
        if "(WorkerCounters):" in path.read_text():
            import_module(".".join(("loadgen", *path.relative_to(root).with_suffix("").parts)))
    made = [kind.of(recorder) for kind in WorkerCounters.__subclasses__()]
    assert len(made) > 5
    tally = WorkerTally.of(recorder)
    tally.skipped_cycles(1)
    tally.over_the_cap("10/s")
    tally.rendezvous("met")
    assert len(recorder.customs) == MAX_OWN
