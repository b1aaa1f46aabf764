"""Judges a way to make a model from a log: is the model as similar to the log as two halves of the log are?

Properties of sessions are judged on halves: the model is made from one half of the sessions, and compared with the
other half. Properties of times are judged on the whole log, for two reasons. A half of the sessions has fewer bursts.
And the model repeats the curve of this log, so no other half has a curve to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.fidelity.compare import (
    Distances,
    session_distances,
    session_parts,
    time_distances,
    time_parts,
)
from loadgen.traffic.fidelity.floors import halved, session_floors, time_floors
from loadgen.traffic.fidelity.session_summary import summary_of
from loadgen.traffic.fidelity.time_summary import Times, TimeSummary, mean_of, time_summary, times_of
from loadgen.traffic.fidelity.verdict import Row, Verdict, judged, unmeasured, verdict_of
from loadgen.traffic.sessions.session_table import SessionTable

__all__ = [
    "LEAST_SESSIONS",
    "MOST_SESSIONS",
    "Fit",
    "Simulate",
    "judged_by_halves",
    "no_time_rows",
    "session_rows",
    "session_rows_of_halves",
    "simulated_times",
    "thinned",
    "thinned_numbers",
    "time_rows",
]

Simulate = Callable[[int, np.random.Generator], SessionTable]
"""Returns a number of simulated sessions, all of them whole."""
Fit = Callable[[SessionTable], Simulate]
"""Makes a model from sessions."""

LEAST_SESSIONS: Final = 50
"""With fewer sessions, chance hides everything."""
MOST_SESSIONS: Final = 10_000
"""More sessions make the floors slower, but not much lower than what passes anyway."""
_RUNS: Final = 4
"""Simulations of the times: the mean of several has less chance in it."""
_TIMES: Final = ("rate curve", "total", "burstiness", "inter-arrival", "concurrency")


def judged_by_halves(
    sample: SessionTable,
    fit: Fit,
    *,
    seed: int = 0,
    no_times: str = "",
    times: tuple[Times, TimeSummary] | None = None,
) -> Verdict:
    """Return the verdict on a way to make a model from these sessions, at least 4.

    no_times: why the log cannot show when sessions start; empty if it can.
    times: those of the whole log, and the simulated ones, made with `like=time_summary(...)` of them. Default: the
    sample is the whole log, and `fit` simulates its times, too.
    """
    rng = np.random.default_rng(seed)
    part = thinned(sample, MOST_SESSIONS, rng)
    rows = session_rows_of_halves(part, lambda half, count, chance: fit(part.chosen(half))(count, chance), rng)
    if no_times:
        rows += no_time_rows(no_times)
    else:
        if times is None:
            whole = times_of(sample)
            times = whole, simulated_times(fit(sample), sample.count, whole, rng)
        whole, simulated = times
        rows += time_rows(simulated, time_summary(whole), time_floors(whole, rng))
    return verdict_of(rows, {})


def session_rows_of_halves(
    sample: SessionTable,
    simulated: Callable[[NDArray[np.int64], int, np.random.Generator], SessionTable],
    rng: np.random.Generator,
) -> list[Row]:
    """Return the rows of sessions. They compare a model of one half of the sample with the other half.

    simulated: returns a number of sessions of the model that is made from the sessions with these numbers.
    """
    half, other = halved(sample.count, rng)
    table = sample.chosen(other)
    reference = summary_of(table)
    found = summary_of(simulated(half, len(half), rng), reference)
    return session_rows(
        session_distances(found, reference),
        session_floors(sample, rng),
        distances_of_times(sample),
        session_parts(found, reference),
    )


def thinned_numbers(sessions: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the numbers of at most `most` sessions, chosen at random, increasing."""
    return np.arange(sessions) if sessions <= most else np.sort(rng.permutation(sessions)[:most])


def thinned(sample: SessionTable, most: int, rng: np.random.Generator) -> SessionTable:
    """Return at most a number of sessions, chosen at random."""
    return sample if sample.count <= most else sample.chosen(thinned_numbers(sample.count, most, rng))


def distances_of_times(sample: SessionTable) -> Distances:
    """Return the distances between the sessions of the first and of the second half of the log's time."""
    middle = (int(sample.starts[0]) + int(sample.starts[-1])) // 2
    later = sample.starts > middle
    if not later.any() or later.all():
        return {}
    first, second = (sample.chosen(np.flatnonzero(side)) for side in (~later, later))
    reference = summary_of(second)
    return session_distances(summary_of(first, reference), reference)


def session_rows(
    distances: Distances,
    floors: Distances,
    halves: Distances,
    parts: Mapping[str, Mapping[str, tuple[float, float]]],
) -> list[Row]:
    """Return a row for each distance."""
    return [
        judged(name, distance, floors.get(name), halves=halves.get(name), parts=parts.get(name))
        for name, distance in distances.items()
    ]


def no_time_rows(why: str) -> list[Row]:
    """Return the rows of times that could not be measured. why: the reason."""
    return unmeasured(why, _TIMES)


def simulated_times(simulate: Simulate, sessions: int, log: Times, rng: np.random.Generator) -> TimeSummary:
    """Return the mean of several simulations, each as long as the log."""
    like = time_summary(log)
    runs = (times_of(simulate(sessions, rng), log.begin_s, log.span_s) for _ in range(_RUNS))
    return mean_of([time_summary(run, like) for run in runs])


def time_rows(simulated: TimeSummary, reference: TimeSummary, floors: Distances) -> list[Row]:
    """Return the rows of times."""
    parts = time_parts(simulated, reference)
    short = "the log is too short: at least two windows of a minute are needed"
    return [
        judged(name, distance, floors.get(name), why=short, parts=parts.get(name))
        for name, distance in time_distances(simulated, reference).items()
    ]
