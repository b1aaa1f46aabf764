"""Computes the result of a sweep from its plan and its journal: the effects on each response, and their limits. Pure.

    result = result_of(read_plan(folder), read_journal(folder))
    study = study_of(result)                       # tables, page, JSON: `loadgen/sweep/study.py`

The first response decides; the others are shown beside it, each with Holm's correction over its own terms. Only runs
that can be compared are used. A run with too many errors has an error ratio and no response time, so its cell may lack
one; its texts then name the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, log

from loadgen.analysis.factors.cells import Design
from loadgen.analysis.factors.drift import Drift, drift_of
from loadgen.analysis.factors.looks import Looks
from loadgen.analysis.factors.order import Planned
from loadgen.analysis.factors.terms import FactorAnalysis, Observation, analyse
from loadgen.sweep.could_find import CouldFind, could_find
from loadgen.sweep.findings import Finding, findings_of
from loadgen.sweep.journal import RunRecord
from loadgen.sweep.plan import SweepPlan
from loadgen.sweep.responses import ERROR_RATIO, Response, parse_responses
from loadgen.sweep.texts import value_text

__all__ = ["CellState", "ResponseResult", "SweepResult", "result_of"]

_LEAST_ERRORS = 1e-12


@dataclass(frozen=True, slots=True)
class CellState:
    """The runs of one cell."""

    cell: int
    levels: dict[str, str]
    planned: int
    fit: int
    """Runs that can be compared."""
    unfit: int
    """Runs that cannot, after their repetition."""
    error_ratio: float | None
    """The mean of the fit runs."""
    uncompared: int
    """Fit runs without a value of the first response."""
    worst_run: RunRecord | None
    """The fit run with the largest first response, or with the most errors if no run has one."""


@dataclass(frozen=True, slots=True)
class ResponseResult:
    """The effects on one response."""

    response: Response
    analysis: FactorAnalysis | None
    why_not: str
    """Why there is no analysis."""
    findings: tuple[Finding, ...]
    """Found terms by rank, without the main effects that an interaction explains."""
    drift: Drift | None
    """The trend of the control runs; None with fewer than 3 of them."""
    design: Design
    is_constant: bool = False
    """Whether all runs have the same value; `why_not` is the fact then."""
    repeats: int = 0
    """The smallest number of runs with a value of any cell."""

    @property
    def lacks_terms(self) -> bool:
        """Return whether terms that the cells cannot estimate seem to matter, so that the found ones may mislead."""
        one = self.analysis
        if one is None or one.lack_of_fit_p is None or not one.not_estimable:
            return False
        return one.lack_of_fit_p < 1 - one.level

    @property
    def could_find(self) -> CouldFind | None:
        """Return what would have been found at the noise of this sweep; None if that is unknown.

        A sweep with missing runs is treated as one whose every cell has the smallest number of runs. Effects on error
        ratios have no power table. Cost: that of `detectable`, once.
        """
        if self.analysis is None or self.analysis.sd is None or not self.response.is_log:
            return None
        pooled = self.analysis.df if self.analysis.error_source == "store" else None
        return could_find(self.design, self.repeats, self.analysis.sd, pooled)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The result of a sweep, whole or not."""

    plan: SweepPlan
    runs: tuple[RunRecord, ...]
    """The last attempt of each run, in the order of the runs; without the runs that are not made yet."""
    responses: tuple[ResponseResult, ...]
    cells: tuple[CellState, ...]
    not_made: tuple[Planned, ...]
    """Runs that were planned and not made."""
    missing: tuple[RunRecord, ...]
    """Runs that could not be compared, even after their repetition."""
    repeated: tuple[RunRecord, ...]
    """Runs whose repetition could be compared."""
    ending: str
    """Why the sweep ended, such as "stopped early: found"; "" if unknown."""

    @property
    def first(self) -> ResponseResult:
        """Return the first response of `--of`."""
        return self.responses[0]

    @property
    def is_stopped_early(self) -> bool:
        """Return whether --early ended the sweep before its last planned run."""
        return self.ending.startswith("stopped early")

    @property
    def decisive(self) -> ResponseResult:
        """Return the response that decides: the first one, or the error ratio where errors hide the first one.

        Runs with too many errors have no comparable response time. If something was found about errors, and nothing
        about the first response in the other runs, the errors are the answer.
        """
        errors = next((one for one in self.responses if one.response.text == ERROR_RATIO), None)
        are_hidden = any(state.uncompared for state in self.cells)
        is_hidden = errors is not None and errors.findings and are_hidden and not self.first.findings
        return errors if errors is not None and is_hidden else self.first

    @property
    def is_complete(self) -> bool:
        """Return whether each planned run was made, and can be compared."""
        return not (self.not_made or self.missing)


def result_of(plan: SweepPlan, records: Sequence[RunRecord], *, ending: str = "") -> SweepResult:
    """Return the result of the runs made so far. The sweep need not be complete.

    ending: why the sweep ended (`loadgen.sweep.lifecycle.Ending`).
    Cost: that of `analyse` for each response.
    """
    runs, repeated = _last_attempts(records)
    made = {one.number for one in runs}
    responses = parse_responses(plan.responses)
    if ERROR_RATIO not in {one.text for one in responses}:
        responses = (*responses, Response(ERROR_RATIO))
    return SweepResult(
        plan=plan,
        runs=runs,
        responses=tuple(_of_response(plan, runs, one) for one in responses),
        cells=tuple(_cell_states(plan, runs, responses[0])),
        not_made=tuple(one for one in plan.order if one.number not in made),
        missing=tuple(one for one in runs if not one.is_fit),
        repeated=repeated,
        ending=ending,
    )


def _last_attempts(records: Sequence[RunRecord]) -> tuple[tuple[RunRecord, ...], tuple[RunRecord, ...]]:
    """Return (one record for each run: a fit one if there is one; those whose repetition is fit)."""
    found: dict[int, RunRecord] = {}
    for one in sorted(records, key=lambda record: (record.number, record.attempt)):
        before = found.get(one.number)
        if before is None or not before.is_fit:
            found[one.number] = one
    runs = tuple(found[number] for number in sorted(found))
    return runs, tuple(one for one in runs if one.attempt > 1 and one.is_fit)


def _of_response(plan: SweepPlan, runs: Sequence[RunRecord], response: Response) -> ResponseResult:
    used = list(_valued(runs, response))
    drift = _drift(used, response)
    observations = [Observation(run.cell, run.block, value) for run, value in used if not run.is_control]
    if why := _why_not(observations, response):
        is_constant = why == _constant(observations, response) if observations else False
        return ResponseResult(response, None, why, (), drift, plan.design, is_constant)
    is_first = response.text == plan.responses[0]
    has_store = is_first and response.is_log and plan.noise.df > 0
    try:
        analysis = analyse(
            plan.design,
            observations,
            scale=response.scale,
            pooled_sd=plan.noise.sd if has_store else None,
            pooled_df=float(plan.noise.df) if has_store else None,
            looks=_looks(plan, runs),
        )
    except ValueError as error:
        return ResponseResult(response, None, str(error), (), drift, plan.design)
    counts = Counter(one.cell for one in observations)
    repeats = min(counts[cell] for cell in range(len(plan.design.cells)))
    return ResponseResult(response, analysis, "", findings_of(analysis, response), drift, plan.design, repeats=repeats)


def _looks(plan: SweepPlan, runs: Sequence[RunRecord]) -> Looks | None:
    """Return after how many whole repeats a sweep with --early is; None for a sweep with one look, at its end."""
    if not plan.is_early:
        return None
    made = {run.number for run in runs}
    open_repeats = {one.repeat for one in plan.order if one.number not in made and not one.is_control}
    return Looks(plan.repeats - len(open_repeats), plan.repeats)


def _valued(runs: Sequence[RunRecord], response: Response) -> Iterator[tuple[RunRecord, float]]:
    """Yield (run, value) of all runs that have a comparable value, control runs too."""
    for run in runs:
        value = run.values.get(response.text)
        if run.is_fit and value is not None and isfinite(value) and (value > 0 or not response.is_log):
            yield run, value


def _why_not(observations: Sequence[Observation], response: Response) -> str:
    if not observations:
        return f"no run has a value of {response.text} that can be compared"
    if len({one.cell for one in observations}) < 2:
        return f"only one cell has a value of {response.text}"
    return _constant(observations, response)


def _constant(observations: Sequence[Observation], response: Response) -> str:
    """Return a sentence if all runs have the same value, so that there is nothing to compare; otherwise ""."""
    values = [one.value for one in observations]
    if max(values) - min(values) > _LEAST_ERRORS * max(1.0, abs(max(values))):
        return ""
    if response.statistic == ERROR_RATIO and max(values) == 0:
        return f"there were no errors in any of the {len(values)} runs"
    return f"the value is the same in all {len(values)} runs: {value_text(values[0], response)}"


def _drift(used: Sequence[tuple[RunRecord, float]], response: Response) -> Drift | None:
    controls = [(run.number, value) for run, value in used if run.is_control]
    values = [log(value) if response.is_log else value for _, value in controls]
    return drift_of([number for number, _ in controls], values)


def _cell_states(plan: SweepPlan, runs: Sequence[RunRecord], first: Response) -> Iterator[CellState]:
    for cell in range(len(plan.design.cells)):
        mine = [run for run in runs if run.cell == cell and not run.is_control]
        fit = [run for run in mine if run.is_fit]
        ratios = [ratio for run in fit if (ratio := run.values.get(ERROR_RATIO)) is not None]
        yield CellState(
            cell=cell,
            levels=plan.levels(cell),
            planned=sum(one.cell == cell and not one.is_control for one in plan.order),
            fit=len(fit),
            unfit=len(mine) - len(fit),
            error_ratio=sum(ratios) / len(ratios) if ratios else None,
            uncompared=sum(run.values.get(first.text) is None for run in fit),
            worst_run=max(fit, key=lambda run: _badness(run, first), default=None),
        )


def _badness(run: RunRecord, first: Response) -> tuple[float, float]:
    value, errors = run.values.get(first.text), run.values.get(ERROR_RATIO) or 0.0
    if first.statistic == "throughput":
        return errors, -(value if value is not None else 0.0)
    return (value if value is not None else 0.0), errors
