"""Compares two releases, name by name: which differences are certain, and which only look like it. Pure.

    compared = compare(Side("1.4", runs_of_1_4), Side("1.5", runs_of_1_5), history=accepted)
    compared.outcome, [row for row in compared.rows if row.is_clear]

A side is one run, or several runs of the same release. The values of several runs are averaged as logarithms. Names
that both sides have are compared at each percentile: over all regions, for each region, and for each agent.

Three things are checked before a difference is attributed to the code:

- the run-to-run variation (`loadgen.analysis.compare`). If it is unknown, the outcome is inconclusive;
- errors. Response times are those of successful requests, so a target that rejects slow requests looks faster;
- its origin. A difference at a single region or agent is attributed to that region or agent.

Among many names, some look different by chance. So p-values are adjusted over the names of a percentile (Benjamini
and Hochberg), and a row is marked if its adjusted p-value is below 5 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import exp, isfinite, log, nan
from typing import Final

from loadgen.analysis.compare import (
    LEAST_RUNS,
    Between,
    Shift,
    benjamini_hochberg,
    between,
    between_ratios,
    odd_one_out,
    ratio_shift,
    shift,
    shift_pairs,
    stated,
)
from loadgen.errors import UsageError
from loadgen.history.compare.comparison import (
    PRIMARY,
    Comparison,
    ErrorRow,
    Odd,
    Outcome,
    Row,
    Side,
    Verdict,
)
from loadgen.history.store.extract import unfit_of
from loadgen.history.store.names_in_sentence import listed
from loadgen.history.store.stored_run import ALL, STATISTICS, Accepted, Errors, Figure

__all__ = ["LEVEL", "NEWEST", "compare"]

LEVEL: Final = 0.05
"""Adjusted p-value below which a difference is marked."""
NEWEST: Final = 20
"""Number of newest runs of the history from which the run-to-run variation is estimated."""
LEAST_POINTS: Final = 0.001
"""Least change of an error ratio that is marked: 0.1 percentage points. Less does not matter, however certain."""

Place = tuple[str, str, str, str]
"""(name, percentile, region, agent)."""


def compare(
    base: Side,
    new: Side,
    *,
    history: Sequence[Accepted] = (),
    between_runs: float | None = None,
    is_paired: bool = False,
) -> Comparison:
    """Compare two releases name by name, and return the rows of figures, the outcome and possible other causes.

    Args:
        base, new: the runs of both releases.
        history: accepted runs of the same key, oldest first. The newest 20 give the run-to-run variation; runs that are
            compared are left out.
        between_runs: the run-to-run variation as the operator states it, relative: 0.03. It replaces the history.
        is_paired: the runs of both sides alternated, so the n-th run of one side is compared with the n-th run of the
            other, and the pairs give the run-to-run variation. Error ratios are not compared in pairs.

    Raises:
        UsageError: a side has no run; the sides have no name in common; or for pairs, the sides have different numbers
            of runs or fewer than two.
        ValueError: `between_runs` is not above 0.

    Cost: 0.7 s of CPU for 60 names in 3 regions of 4 agents and a history of 20 runs.
    """
    if empty := [side.label for side in (base, new) if not side.runs]:
        raise UsageError(
            f"no run of {' and none of '.join(empty)}", hint="name runs that exist; `loadgen runs` lists them"
        )
    if is_paired and (len(base.runs) != len(new.runs) or len(base.runs) < 2):
        raise UsageError(
            f"cannot pair {len(base.runs)} and {len(new.runs)} runs of {base.label} and {new.label}",
            hint="give the same number of runs of both sides, at least two",
        )
    sides = _figures(base.runs), _figures(new.runs)
    common = [place for place in sides[0] if place in sides[1]]
    if not any(place[2:] == (ALL, ALL) for place in common):
        raise UsageError(
            f"{base.label} and {new.label} have no name in common",
            hint="compare runs of one scenario; `loadgen runs show RUN` lists the names of a run",
        )
    asked = {run.run_id for side in (base, new) for run in side.runs}
    known = _Variation([run for run in history if run.run_id not in asked], between_runs)
    errors = _error_rows(base.runs, new.runs, known)
    failing = {row.name for row in errors if row.verdict is Verdict.MORE_ERRORS and row.region == ALL}
    rows = _rows(sides[0], sides[1], common, known, failing, len(base.runs) if is_paired else 0)
    suspicious = {row.name for row in rows if row.percentile == PRIMARY and row.agent == ALL and _may_differ(row)}
    reasons, outcome = _outcome(base, new, rows, known)
    return Comparison(
        base=base,
        new=new,
        outcome=outcome,
        reasons=tuple(reasons),
        differences=tuple(_differences(base, new)),
        missing=tuple(_missing(base, new, *sides)),
        rows=tuple(rows),
        errors=tuple(errors),
        odd=tuple(_odd_ones(base, new, *sides, names=[n for n in _names(common) if n in suspicious])),
        faster_by_failing=tuple(
            dict.fromkeys(row.name for row in rows if row.is_whole and row.verdict is Verdict.MORE_ERRORS)
        ),
    )


# -- run-to-run variation -------------------------------------------------------------------------


class _Variation:
    """The run-to-run variation from the history or as stated; computed for each place when it is needed."""

    def __init__(self, history: Sequence[Accepted], between_runs: float | None) -> None:
        fit = [run for run in history if not unfit_of(run)][-NEWEST:]
        self._stated = None if between_runs is None else stated(between_runs)
        self.runs = len(fit)
        self._figures = _figures(fit)
        self._errors = _error_counts(fit)

    def of(self, place: Place) -> Between | None:
        if self._stated is not None:
            return self._stated
        usable = [one for one in self._figures.get(place, ()) if _is_number(one.value_ms)]
        return between([log(one.value_ms) for one in usable], [one.error for one in usable]) if usable else None

    def of_ratio(self, at: tuple[str, str]) -> Between | None:
        runs = self._errors.get(at)
        return between_ratios([one.ratio for one in runs], [one.error for one in runs]) if runs else None


# -- rows -----------------------------------------------------------------------------------------

_Figures = Mapping[Place, list[Figure]]


def _figures(runs: Iterable[Accepted]) -> _Figures:
    """Return the figures of several runs by place (name, percentile, region, agent): one of each run that has it."""
    found: dict[Place, list[Figure]] = {}
    for run in runs:
        for one in run.figures:
            found.setdefault((one.name, one.percentile, one.region, one.agent), []).append(one)
    return found


def _rows(
    base: _Figures, new: _Figures, places: Sequence[Place], known: _Variation, failing: set[str], pairs: int
) -> list[Row]:
    """Return a row with the difference and the verdict for each place, sorted by name and percentile.

    known: the run-to-run variation. failing: names with more errors, which are not reported as faster. pairs: number of
    pairs of runs; 0 if the runs are not paired.
    """
    order = {name: n for n, name in enumerate(_names(places))}
    statistics = {name: n for n, name in enumerate(STATISTICS)}
    compared = [place for place in places if place[1] in statistics]
    found = [_row(p, base[p], new[p], None if pairs else known.of(p), pairs) for p in compared]
    found.sort(key=lambda row: (order[row.name], statistics[row.percentile], not row.is_whole, row.region, row.agent))
    families: dict[tuple[str, bool, bool], list[int]] = {}
    for n, row in enumerate(found):
        if row.shift is not None and row.shift.is_known:
            families.setdefault((row.percentile, row.region == ALL, row.agent == ALL), []).append(n)
    for numbers in families.values():
        shifts = [one for one in (found[n].shift for n in numbers) if one is not None]
        for n, adjusted in zip(numbers, benjamini_hochberg([one.p for one in shifts]), strict=True):
            found[n] = _judged(found[n], float(adjusted), found[n].name in failing)
    return found


def _row(place: Place, base: Sequence[Figure], new: Sequence[Figure], known: Between | None, pairs: int) -> Row:
    name, percentile, region, agent = place
    numbers = [[value for one in side if (value := one.log_value) is not None] for side in (base, new)]
    is_whole = all(len(values) == len(side) for values, side in zip(numbers, (base, new), strict=True))
    found, why = None, ""
    if pairs and not len(base) == len(new) == pairs:
        why = "missing in some pairs"
    elif pairs and is_whole:
        found = shift_pairs(*numbers)
    elif is_whole:
        errors = [[one.error for one in side] for side in (base, new)]
        found = shift(*numbers, base_errors=errors[0], new_errors=errors[1], known=known)
        why = _why(found, known, (base[0].why or new[0].why) if len(base) == len(new) == 1 else "")
    else:
        why = "only a lower bound is known"
    return Row(
        name=name,
        kind=new[0].kind,
        percentile=percentile,
        region=region,
        agent=agent,
        base_ms=_mean(base),
        new_ms=_mean(new),
        base_count=sum(one.count for one in base),
        new_count=sum(one.count for one in new),
        shift=found,
        p_adjusted=1.0,
        verdict=Verdict.UNKNOWN,
        why=why,
        between=known,
    )


def _why(found: Shift, known: Between | None, within: str) -> str:
    """Return why a row is inconclusive, or what its interval leaves out, as text; "" if neither.

    within: why one of two single runs has no error estimate, such as "too short".
    """
    if not found.is_known and known is None:
        return "the run-to-run variation is unknown"
    return f"{within} to estimate the error within a run" if within else ""


def _judged(row: Row, p_adjusted: float, is_failing: bool) -> Row:
    assert row.shift is not None
    verdict = Verdict.NO_CLEAR
    if p_adjusted < LEVEL:
        verdict = Verdict.SLOWER if row.shift.change > 0 else Verdict.MORE_ERRORS if is_failing else Verdict.FASTER
    return replace(row, p_adjusted=p_adjusted, verdict=verdict)


def _may_differ(row: Row) -> bool:
    """Return whether the row has a clear difference, or it is unknown whether it has one."""
    return row.verdict is not Verdict.NO_CLEAR


def _mean(of: Sequence[Figure]) -> float:
    """Return the geometric mean of the figures in ms; nan if there are no figures.

    If only a lower bound is known of a figure, the result is the largest figure (inf).
    """
    if all(_is_number(one.value_ms) for one in of):
        return exp(sum(log(one.value_ms) for one in of) / len(of))
    return max((one.value_ms for one in of), default=nan)


def _is_number(value: float) -> bool:
    return isfinite(value) and value > 0


def _names(places: Iterable[Place]) -> list[str]:
    return list(dict.fromkeys(place[0] for place in places))


# -- errors ---------------------------------------------------------------------------------------


def _error_counts(runs: Iterable[Accepted]) -> dict[tuple[str, str], list[Errors]]:
    """Return the error counts of several runs by (name, region): one of each run that has any judged requests there."""
    found: dict[tuple[str, str], list[Errors]] = {}
    for run in runs:
        for one in run.errors:
            if one.total:
                found.setdefault((one.name, one.region), []).append(one)
    return found


def _error_rows(base: Sequence[Accepted], new: Sequence[Accepted], known: _Variation) -> list[ErrorRow]:
    before, after = _error_counts(base), _error_counts(new)
    found = []
    for at in before:
        if at not in after:
            continue
        sides = before[at], after[at]
        counts = [[(one.errors, one.total) for one in side] for side in sides]
        errors = [[one.error for one in side] for side in sides]
        of = ratio_shift(*counts, base_errors=errors[0], new_errors=errors[1], known=known.of_ratio(at))
        found.append(ErrorRow(at[0], sides[1][0].kind, at[1], of, 1.0, Verdict.NO_CLEAR))
    for numbers in ([n for n, row in enumerate(found) if (row.region == ALL) is whole] for whole in (True, False)):
        for n, adjusted in zip(numbers, benjamini_hochberg([found[n].shift.p for n in numbers]), strict=True):
            change = found[n].shift.change
            verdict = Verdict.NO_CLEAR
            if adjusted < LEVEL and abs(change) >= LEAST_POINTS:
                verdict = Verdict.MORE_ERRORS if change > 0 else Verdict.FEWER_ERRORS
            found[n] = replace(found[n], p_adjusted=float(adjusted), verdict=verdict)
    return found


# -- where it comes from --------------------------------------------------------------------------


def _odd_ones(base: Side, new: Side, before: _Figures, after: _Figures, names: Sequence[str]) -> Iterator[Odd]:
    for name in names:
        regions = {place[2] for place in after if place[0] == name and place[3] == ALL} - {ALL}
        places = {region: (name, PRIMARY, region, ALL) for region in regions}
        shifts = {r: _difference(before.get(at), after.get(at)) for r, at in places.items()}
        weights = {r: float(sum(one.count for one in after.get(at, ()))) for r, at in places.items()}
        if (odd := odd_one_out(shifts, weights)) is not None:
            yield Odd("region", odd.name, "", name, odd.change, odd.rest)
            continue
        yield from _odd_agents(name, new.label, before, after, 1)
        yield from _odd_agents(name, base.label, after, before, -1)


def _odd_agents(name: str, label: str, others: _Figures, own: _Figures, sign: int) -> Iterator[Odd]:
    """Yield an `Odd` if exactly one agent of a side changed at this name, while that side's other agents did not.

    Each agent is compared with the same agent of the other side, or if there is none, with its region there.

    label: the side's label. own, others: figures of the side, and of the other one. sign: 1 if the side is the new one,
    -1 for the base.
    """
    shifts, weights = {}, {}
    agents = [p for p in own if p[0] == name and p[1] == PRIMARY and p[3] != ALL]
    if len({place[2] for place in agents}) == len(agents):
        return  # one agent in each region: the regions have been compared already
    for place in agents:
        other = others.get(place) or others.get((*place[:3], ALL)) or others.get((*place[:2], ALL, ALL))
        shifts[place[3]] = sign * _difference(other, own[place])
        weights[place[3]] = float(sum(one.count for one in own[place]))
    if (odd := odd_one_out(shifts, weights)) is not None:
        yield Odd("agent", odd.name, label, name, odd.change, odd.rest)


def _difference(base: Sequence[Figure] | None, new: Sequence[Figure] | None) -> float:
    """Return the difference of the logarithms of both sides' means; nan if a side has no known value."""
    if not base or not new:
        return nan
    before, after = _mean(base), _mean(new)
    return log(after / before) if _is_number(before) and _is_number(after) else nan


# -- the whole comparison -------------------------------------------------------------------------


def _outcome(base: Side, new: Side, rows: Sequence[Row], known: _Variation) -> tuple[list[str], Outcome]:
    runs = [run for side in (base, new) for run in side.runs]
    unfit = [f"{run.run_id}: {why}" for run in runs for why in unfit_of(run)]
    if any(run.result == "invalid" or run.validity == "invalid" for run in runs):
        return unfit, Outcome.INVALID
    reasons = unfit
    rows = [row for row in rows if row.is_whole and row.percentile == PRIMARY]
    unknown = [row for row in rows if row.shift is not None and not row.shift.is_known]
    if blind := [row for row in unknown if row.between is None]:
        why = f"the run-to-run variation of this code is unknown{_for(blind, rows)}"
        if 0 < known.runs < LEAST_RUNS:
            more = "1 other run" if known.runs == 1 else f"{known.runs} other runs"
            why += f": the history has only {more}, and at least {LEAST_RUNS} are needed"
        reasons = [*reasons, f"one run against one run, and {why}"]
    if short := [row for row in unknown if row.between is not None]:
        reasons = [*reasons, f"one run against one run{_for(short, rows)}, {short[0].why}"]
    if not any(row.shift is not None for row in rows):
        reasons = [*reasons, f"for every name, only a lower bound of {PRIMARY} is known"]
    return reasons, Outcome.INCONCLUSIVE if reasons else Outcome.COMPARED


def _for(some: Sequence[Row], rows: Sequence[Row]) -> str:
    """Return " for " and the names in `some`, to be appended to a reason; "" if `some` are all rows."""
    return "" if len(some) == len(rows) else f" for {listed(_names_of(some))}"


def _differences(base: Side, new: Side) -> Iterator[str]:
    """Yield, as text and once each, the differences in conditions between the base's first run and all other runs.

    The conditions are those of the key, such as plan, target and machines, and the builds of Python if both are known.
    """
    first = base.runs[0]
    found: dict[str, list[str]] = {}
    for run in (*base.runs[1:], *new.runs):
        for words in first.key.differences(run.key):
            found.setdefault(words, []).append(run.run_id)
        if first.python and run.python and first.python != run.python:
            found.setdefault(f"Python: {first.python} here, {run.python} there", []).append(run.run_id)
    yield from found


def _missing(base: Side, new: Side, before: _Figures, after: _Figures) -> Iterator[str]:
    sides = ((base, before), (new, after))
    seen = [_names([*figures, *((*at, "", "") for at in _error_counts(side.runs))]) for side, figures in sides]
    for (side, _), own, others in zip(sides, seen, reversed(seen), strict=True):
        if only := [name for name in own if name not in others]:
            yield f"only in {side.label}: {listed(only)}"
    for (side, figures), own in zip(sides, seen, strict=True):
        runs = {place[0]: len(of) for place, of in figures.items() if place[1:] == (PRIMARY, ALL, ALL)}
        if none := [name for name in own if not runs.get(name)]:
            yield f"nothing succeeded in {side.label}: {listed(none)}"
        if some := [name for name, n in runs.items() if n < len(side.runs)]:
            yield f"missing in some of the {len(side.runs)} runs of {side.label}: {listed(some)}"


def _names_of(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row.name for row in rows))
