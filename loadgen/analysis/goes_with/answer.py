"""Finds the series of the target that go with an objective, beyond what the load explains.

    found = goes_with((Judged("share above 300 ms", values, counts),), is_fit, loads, probes)
    found.named[0].title            # "lock waits"

The method, in the order of the calls: each probe's series is put on the steps of the run, or on longer ones if its
period is longer (`steps.py`); load, time and each series' own past are taken out (`whitened.py`); what is left is
correlated at lags up to 10 s, and compared with what chance can do (`chance.py`). A found correlation is no proof of a
cause, because both may follow something that was not measured.

Never named: series of the load, which are input of their own, and series that are the load by another name: the load of
the same, the last and the next step explains at least 98 % of their variance. Not tested, with the reason: series that
are constant, that change fewer than 8 times, or that are known at fewer than 120 steps at which the objective is known.

Series of one host that move together share one line: if the residuals of two series correlate by 0.7 or more, the
weaker series joins the line of the stronger one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np

from loadgen.analysis.goes_with.chance import Agreement, agreement, rests_on_few
from loadgen.analysis.goes_with.sizes import moved, shared_part, size_of
from loadgen.analysis.goes_with.steps import coarser_judged, coarser_load, on_steps, step_of
from loadgen.analysis.goes_with.values import (
    ALPHA,
    LAG_S,
    LEAST_POINTS,
    Bools,
    Floats,
    GoesWith,
    Judged,
    LeftOut,
    Load,
    Named,
    ProbeSeries,
)
from loadgen.analysis.goes_with.whitened import innovations, load_columns, residuals, softened

__all__ = ["MOST_SERIES", "MOST_STEPS", "goes_with"]

MOST_SERIES: Final = 500
MOST_STEPS: Final = 3_600
"""Longer runs are put on longer steps."""
_LEAST_CHANGES: Final = 8
_IS_LOAD: Final = 0.98
_TOGETHER: Final = 0.7


def goes_with(
    judged: Sequence[Judged],
    is_fit: Bools,
    loads: Sequence[Load],
    probes: Sequence[ProbeSeries],
    *,
    step_s: float = 1.0,
    seed: int = 0,
) -> GoesWith:
    """Return which series of `probes` go with the objective.

    Args:
        judged: the series of one objective, the most important first. All have the shape (n,).
        is_fit: whether the generator was able to measure in each step. Shape (n,).
        loads: offered rate and requests in flight, or users. Shape (n,) each.
        probes: series of the target's side. Those after the first 500 are left out.
        step_s: the length of a step of the run, s.
        seed: of the permutations. The same input and seed give the same result.

    Series with different periods are tested in separate groups. Each group has an equal part of the allowed error rate:
    its p is multiplied by the number of groups.

    Cost: 0.9 s for 200 series of 1,800 steps, 2 to 3 s with gaps of 20 % (`python -m bench goes_with`).
    """
    left_out = [LeftOut(one.title, one.host, f"more than {MOST_SERIES} series") for one in probes[MOST_SERIES:]]
    longest = max(1, ceil(len(is_fit) / MOST_STEPS))
    groups: dict[int, list[ProbeSeries]] = {}
    for one in probes[:MOST_SERIES]:
        groups.setdefault(max(longest, step_of(one.period_s, step_s)), []).append(one)
    results = [_of_group(judged, is_fit, loads, groups[times], times, step_s, seed) for times in sorted(groups)]
    tested = [one for one in results if one.tested]
    named = [
        replace(one, p=min(1.0, one.p * len(tested)))
        for result in tested
        for one in result.named
        if one.p * len(tested) <= ALPHA
    ]
    for result in results:
        left_out += result.left_out
    points = max((result.points for result in results), default=0)
    return GoesWith(
        named=tuple(sorted(named, key=lambda one: (-one.strength, one.title))),
        left_out=tuple(left_out),
        tested=sum(result.tested for result in results),
        points=points,
        loads=tuple(one.title for one in loads),
        not_tested="" if tested else _reason(results, probes),
        seed=seed,
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The values of one group of series on common steps, what the load leaves of them, and innovations."""

    raw: Floats
    rest: Floats
    innovations: Floats

    @staticmethod
    def of(raw: Floats, columns: Floats) -> _Prepared:
        return _Prepared(raw, residuals(raw, columns), innovations(softened(raw), columns))


def _of_group(
    judged: Sequence[Judged],
    is_fit: Bools,
    loads: Sequence[Load],
    probes: Sequence[ProbeSeries],
    times: int,
    run_step_s: float,
    seed: int,
) -> GoesWith:
    """Test the series of one period; a step is `times` steps of the run."""
    step_s = times * run_step_s
    on_grid = [coarser_judged(one, is_fit, times) for one in judged]
    usable = [at for at, (values, _) in enumerate(on_grid) if _changes(values) >= _LEAST_CHANGES]
    n = len(is_fit) // times
    if not usable:
        points = max((int(np.isfinite(values).sum()) for values, _ in on_grid), default=0)
        return GoesWith(points=points, not_tested=_few(points, step_s) or "the objective's series hardly change")
    known = np.logical_and.reduce([np.isfinite(on_grid[at][0]) for at in usable])
    points = int(known.sum())
    if why := _few(points, step_s):
        left = tuple(LeftOut(one.title, one.host, why) for one in probes)
        return GoesWith(left_out=left, points=points, not_tested=why)
    load_rows = [coarser_load(one, times) for one in loads]
    series: list[tuple[ProbeSeries, Floats]] = []
    left_out: list[LeftOut] = []
    for one in probes:
        values = on_steps(one, step_s, n)
        if why := _why_not(values, known, load_rows, [load.title for load in loads], step_s):
            left_out.append(LeftOut(one.title, one.host, why))
        else:
            series.append((one, values))
    if not series:
        return GoesWith(left_out=tuple(left_out), points=points, not_tested="no series could be tested")
    columns = load_columns([row for row, one in zip(load_rows, loads, strict=True) if not one.follows], n)
    ours = _Prepared.of(np.stack([np.where(known, on_grid[at][0], np.nan) for at in usable]), columns)
    theirs = _Prepared.of(np.stack([values for _, values in series]), columns)
    most_lag = max(1, int(LAG_S // step_s))
    found = agreement(ours.innovations, theirs.innovations, most_lag, step_s, seed)
    named: list[tuple[Named, Floats]] = []
    for number, (one, values) in enumerate(series):
        clear = np.flatnonzero(found.p[:, number] <= ALPHA)
        steady = [at for at in clear if not found.is_rhythm[at, number]]
        if not len(clear):
            continue
        if not steady:
            shift_s = abs(int(found.shift[clear[0], number])) * step_s
            why = f"agrees as well when it is moved by {shift_s:.0f} s: both have a rhythm"
            left_out.append(LeftOut(one.title, one.host, why))
            continue
        steady = [
            at
            for at in steady
            if not rests_on_few(ours.innovations[at], theirs.innovations[number], int(found.lag[at, number]), step_s)
        ]
        if not steady:
            left_out.append(
                LeftOut(one.title, one.host, "rests on too few moments: without two of them little is left")
            )
            continue
        at = int(steady[0])
        of, counts = judged[usable[at]], on_grid[usable[at]][1]
        line = _named(one, values, of, counts, (ours, theirs), found, (at, number), step_s)
        named.append((line, theirs.rest[number]))
    return GoesWith(named=_joined(named), left_out=tuple(left_out), tested=len(series), points=points)


def _named(
    one: ProbeSeries,
    values: Floats,
    of: Judged,
    counts: Floats,
    prepared: tuple[_Prepared, _Prepared],
    found: Agreement,
    place: tuple[int, int],
    step_s: float,
) -> Named:
    (ours, theirs), (at, number) = prepared, place
    lag = int(found.lag[place])
    size = size_of(moved(values, lag), ours.raw[at], counts, ours.raw[at] - ours.rest[at])
    rest = moved(theirs.rest[number], lag)
    return Named(
        title=one.title,
        unit=one.unit,
        host=one.host,
        judged=of.title,
        judged_unit=of.unit,
        is_log=of.is_log,
        sign=1 if found.z[at, number, lag + (found.z.shape[2] - 1) // 2] > 0 else -1,
        lag_s=lag * step_s,
        lag_error_s=step_s + one.error_s + of.error_s,
        low=size.low,
        high=size.high,
        judged_low=float(np.exp(size.judged_low)) if of.is_log else size.judged_low,
        judged_high=float(np.exp(size.judged_high)) if of.is_log else size.judged_high,
        n_low=size.n_low,
        n_high=size.n_high,
        n=int((np.isfinite(ours.rest[at]) & np.isfinite(rest)).sum()),
        share=shared_part(ours.rest[at], rest),
        p=float(found.p[place]),
        strength=float(found.strength[place]),
    )


def _joined(named: Sequence[tuple[Named, Floats]]) -> tuple[Named, ...]:
    """Return one line for series of the same host that move together, named by the strongest."""
    heads: list[tuple[Named, Floats]] = []
    for one, rest in sorted(named, key=lambda pair: (-pair[0].strength, pair[0].title)):
        for at, (head, of_head) in enumerate(heads):
            if one.host and one.host == head.host and shared_part(rest, of_head) >= _TOGETHER**2:
                heads[at] = replace(head, together=(*head.together, one.title)), of_head
                break
        else:
            heads.append((one, rest))
    return tuple(head for head, _ in heads)


def _why_not(values: Floats, known: Bools, loads: Sequence[Floats], titles: Sequence[str], step_s: float) -> str:
    """Return why a series is not tested; "" if it is."""
    here = values[known]
    count = int(np.isfinite(here).sum())
    if not count:
        return "no values"
    if why := _few(count, step_s):
        return why
    if np.ptp(here[np.isfinite(here)]) == 0:
        return "constant"
    if (changes := _changes(here)) < _LEAST_CHANGES:
        return f"too few changes: {changes} of the {_LEAST_CHANGES} that are needed"
    for load, title in zip(loads, titles, strict=True):
        if (part := _explained(values, load)) >= _IS_LOAD:
            return f"it is the load: {part:.0%} of it follows the {title}"
    return ""


def _explained(values: Floats, load: Floats) -> float:
    """Return the share of a series' variance that the load of the same, the last and the next step explains."""
    near = np.stack((load, np.roll(load, 1), np.roll(load, -1), np.ones(len(load))), axis=1)[1:-1]
    here = np.isfinite(values[1:-1])
    rest = values[1:-1][here]
    whole = float(((rest - rest.mean()) ** 2).sum())
    if whole <= 0 or np.ptp(load) == 0:
        return 0.0
    weights, *_ = np.linalg.lstsq(near[here], rest, rcond=None)
    return 1.0 - float(((rest - near[here] @ weights) ** 2).sum()) / whole


def _changes(values: Floats) -> int:
    here = values[np.isfinite(values)]
    return int((np.diff(here) != 0).sum())


def _few(points: int, step_s: float) -> str:
    if points >= LEAST_POINTS:
        return ""
    return f"too few points: {points} steps of {step_s:g} s with a value, {LEAST_POINTS} are needed"


def _reason(results: Sequence[GoesWith], probes: Sequence[ProbeSeries]) -> str:
    if not probes:
        return "the run has no series of the target"
    return next((one.not_tested for one in results if one.not_tested), "no series could be tested")
