"""The clock of answers of one worker: counts by clock, the read lag, and its place in the verdict on a second."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadgen.engine.health.answer_reads import JUMP_NOTE, AnswerReads
from loadgen.engine.health.selfcheck import SelfCheck
from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.read_health import (
    ReadFitness,
    ReadHealth,
    clock_in_force,
    reads_in_time,
    reads_of_workers,
)
from loadgen.measure.deltas.run_fitness import Fitness
from loadgen.measure.results.clock_figures import answer_clock_notes, clock_block
from loadgen.units import NS_PER_MS, NS_PER_US


def reads_of(*lags_ms: float, **counts: int) -> AnswerReads:
    reads = AnswerReads()
    reads.lags_ns.extend(round(ms * NS_PER_MS) for ms in lags_ms)
    for name, count in counts.items():
        setattr(reads, name, count)
    return reads


def test_reads_are_counted_by_clock_with_the_lag_that_one_in_100_exceeds() -> None:
    reads = reads_of(*range(200))

    health, p99_ns = reads.take()

    assert (health.kernel_reads, health.loop_reads, health.read_lag_p50_us) == (200, 0, 99_000)
    assert (health.read_lag_p99_us, health.read_lag_max_us, p99_ns) == (197_000, 199_000, 197 * NS_PER_MS)
    assert health.is_possible(1)
    assert reads.take()[0] == ReadHealth()


@pytest.mark.parametrize("counts", [{"loop_reads": 1}, {"loop_connections": 1}])
def test_the_read_lag_is_no_verdict_on_answers_that_the_loop_times(counts: dict[str, int]) -> None:
    assert reads_of(3.0, 3.0, **counts).take()[1] is None
    assert AnswerReads().take()[1] is None


def test_a_connection_of_the_loop_counts_for_the_rest_of_the_run() -> None:
    reads = reads_of(1.0, loop_connections=2)
    reads.take()
    reads.lags_ns.append(5)

    health, p99_ns = reads.take()

    assert (health.loop_connections, health.kernel_reads, p99_ns) == (2, 1, None)


# -- the verdict ----------------------------------------------------------------------------------


async def health_of(folder: Path, answers: AnswerReads | None, *, loop_lag_ms: int) -> Health:
    check = SelfCheck(folder, lambda: (0, 0, 0), answers=answers)
    check._lags_ns = [loop_lag_ms * NS_PER_MS] * 100
    return await asyncio.to_thread(check.health, 0, 10 * NS_PER_MS, ())


async def test_the_read_lag_takes_the_place_of_the_loops_lag(tmp_path: Path) -> None:
    late_loop = await health_of(tmp_path, reads_of(*[0.1] * 100), loop_lag_ms=20)
    late_reads = await health_of(tmp_path, reads_of(*[20.0] * 100), loop_lag_ms=0)
    guess = await health_of(tmp_path, None, loop_lag_ms=20)

    assert not any("lag p99" in reason for reason in late_loop.unfit)
    assert late_loop.lag_p99_us == 100
    assert any("lag p99 20.0 ms" in reason for reason in late_reads.unfit)
    assert any("lag p99 20.0 ms" in reason for reason in guess.unfit)
    assert (guess.reads, guess.lag_p99_us) == (None, 20_000)


async def test_a_jump_of_the_systems_time_is_reported(tmp_path: Path) -> None:
    health = await health_of(tmp_path, reads_of(0.1, jumps=1), loop_lag_ms=0)

    assert JUMP_NOTE in health.notes
    assert health.reads is not None
    assert health.reads.jumps == 1


# -- adding up ------------------------------------------------------------------------------------


def test_successive_intervals_and_workers_add_their_reads_and_keep_the_worst_lag() -> None:
    first = ReadHealth(kernel_reads=7, loop_connections=2, read_lag_p99_us=90, read_lag_max_us=100)
    second = ReadHealth(kernel_reads=3, loop_reads=1, loop_connections=2, jumps=1, read_lag_max_us=40)

    joined, together = reads_in_time(first, second), reads_of_workers([first, None, second])

    assert joined == ReadHealth(2, 10, 1, 2, 1, 0, 90, 100)
    assert together == ReadHealth(1, 10, 1, 4, 1, 0, 90, 100)
    assert reads_in_time(None, second) is second
    assert reads_of_workers([None]) is None


@pytest.mark.parametrize(
    "wrong",
    [{"intervals": 0}, {"kernel_reads": -1}, {"jumps": 1 << 50}, {"read_lag_p50_us": 8}, {"read_lag_max_us": 6}],
)
def test_impossible_reads_are_found(wrong: dict[str, int]) -> None:
    right = ReadHealth(kernel_reads=7, read_lag_p99_us=7, read_lag_max_us=7)
    assert right.is_possible(1)
    assert not msgspec.structs.replace(right, **wrong).is_possible(1)


def of_run(*healths: ReadHealth | None) -> Fitness:
    fitness = Fitness()
    for one in healths:
        fitness.add(Health(reads=one))
    return fitness


@pytest.mark.parametrize(
    ("runs", "clock", "asked"),
    [
        ([of_run(None)], "loop", "loop"),
        ([of_run(ReadHealth(kernel_reads=900))], "kernel", "kernel"),
        ([of_run(ReadHealth(kernel_reads=990, loop_reads=10))], "kernel", "kernel"),
        ([of_run(ReadHealth(kernel_reads=980, loop_reads=20))], "kernel and loop", "kernel"),
        ([of_run(ReadHealth(kernel_reads=9, loop_connections=1))], "kernel and loop", "kernel"),
        ([of_run(ReadHealth(loop_connections=8))], "loop", "kernel"),
        ([of_run(ReadHealth(kernel_reads=9)), of_run(None)], "kernel and loop", "kernel"),  # an older agent
        ([of_run(ReadHealth(kernel_reads=9)), Fitness()], "kernel", "kernel"),  # an agent that measured nothing
    ],
)
def test_the_summary_names_the_clock_in_force_and_the_clock_of_the_plan(
    runs: list[Fitness], clock: str, asked: str
) -> None:
    block: dict[str, Any] = clock_block(runs)

    assert (block["in_force"], block["asked"]) == (clock, asked)
    notes = list(answer_clock_notes(runs))
    assert len(notes) == (asked == "kernel")
    assert all(("event loop" in note) == (clock != "kernel") for note in notes)


def test_a_run_without_agents_has_the_loops_clock() -> None:
    assert clock_in_force([]) == "loop"
    assert clock_in_force([ReadFitness()]) == "loop"


def test_the_lag_of_the_worst_second_is_in_the_note() -> None:
    (note,) = answer_clock_notes([of_run(ReadHealth(kernel_reads=5, read_lag_p99_us=1_500, read_lag_max_us=1_600))])
    assert f"{1_500 * NS_PER_US / NS_PER_MS:.2f} ms" in note
