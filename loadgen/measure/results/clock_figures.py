"""The block `clock` of `summary.json`: the clock that timed the answers of a run, and the read lag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loadgen.measure.deltas.read_health import ReadFitness, clock_in_force
from loadgen.measure.deltas.run_fitness import Fitness
from loadgen.units import NS_PER_US, format_duration

__all__ = ["answer_clock_notes", "clock_block"]


def clock_block(fitness: Iterable[Fitness]) -> dict[str, object]:
    """Return the clock that timed the answers of all agents, with the counts of reads and connections.

    asked: the clock of the plan. in_force: "kernel", "loop", or "kernel and loop" if each timed some answers.
    """
    parts = _parts(fitness)
    return {
        "asked": "kernel" if any(one.intervals for one in parts) else "loop",
        "in_force": clock_in_force(parts),
        "kernel_reads": sum(one.kernel_reads for one in parts),
        "loop_reads": sum(one.loop_reads for one in parts),
        "loop_connections": sum(one.loop_connections for one in parts),
        "jumps": sum(one.jumps for one in parts),
        "read_lag_p99_max_ms": max((one.read_lag_p99_max_us for one in parts), default=0) / 1_000,
        "read_lag_max_ms": max((one.read_lag_max_us for one in parts), default=0) / 1_000,
    }


def answer_clock_notes(fitness: Iterable[Fitness]) -> Iterator[str]:
    """Yield a note on the clock of answers, if the plan asks for the kernel's."""
    parts = _parts(fitness)
    if not any(one.intervals for one in parts):
        return
    lag = format_duration(max(one.read_lag_p99_max_us for one in parts) * NS_PER_US)
    match clock_in_force(parts):
        case "kernel":
            yield f"the kernel's clock timed the answers; we read them late by up to {lag} (p99 of the worst second)"
        case "loop":
            yield (
                "the event loop timed all answers, although the plan asks for the kernel's clock: that exists for"
                " HTTP/1.1 over TCP on Linux (docs/clock-of-answers.md)"
            )
        case _:
            yield (
                "the kernel's clock timed only a part of the answers, and the event loop the others"
                " (docs/clock-of-answers.md)"
            )


def _parts(fitness: Iterable[Fitness]) -> list[ReadFitness]:
    """Return the reads of the agents that measured something."""
    return [one.reads for one in fitness if one.intervals]
