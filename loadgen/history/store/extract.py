"""Extracts from a run folder the data that the history stores, and decides whether a run can be a baseline.

Figures are response times of successes, without the warm-up: otherwise a target that quickly rejects requests would
look faster than one that answers. Error counts are stored as well.

The error of a figure is estimated from 5 batches (`measure/statistics/batch_means.py`), counted again from the log:
once by region and, if there are several agents, once by agent.

Cost: 0.3 to 1 ms for each delta, and 2 ms for each name in each region and agent.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import inf, nan
from typing import Final

import msgspec

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import IncompleteError, StorageError
from loadgen.history.store.comparability_key import key_of, pythons_of
from loadgen.history.store.stored_run import ALL, PERCENTILES, STATISTICS, Accepted, Errors, Figure, ObjectiveVerdict
from loadgen.history.store.unfit_reasons import faults_of
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.histograms.histogram import mean_us, percentiles
from loadgen.measure.merging.queries import Row
from loadgen.measure.objectives.objective import is_judged
from loadgen.measure.statistics.batch_means import Batches
from loadgen.report.run_as_dataframes import Run
from loadgen.report.summary_reader import Summary
from loadgen.units import NS_PER_S

__all__ = ["LEAST_RATE", "MOST_AGENTS", "accepted_of", "counted_of", "names_of", "unfit_of"]

LEAST_RATE: Final = 0.99
"""Least part of the planned rate that a run must achieve. With less load a target is faster without any improvement."""
MOST_AGENTS: Final = 64
"""Most agents for which figures are stored by agent; with more, they are stored by region only."""

_QS: Final = tuple(float(name[1:]) for name in PERCENTILES)
_KINDS: Final = ("journey", "step", "request")
_AT_ONCE: Final = 200
_ENDS: Final = {
    "incomplete": "data are missing",
    "interrupted": "it was interrupted",
    "error": "it ended with an error",
    "invalid": "the generator was not fit to measure",
}


def unfit_of(run: Accepted) -> tuple[str, ...]:
    """Return the reasons why a run can be neither judged nor a baseline, as texts; empty if it can.

    A run that failed its objectives can: it measured a slow target correctly.
    """
    found = []
    reasons = ": " + "; ".join(run.reasons) if run.reasons else ""
    if run.result in _ENDS:
        found.append(f"{_ENDS[run.result]}{reasons}")
    elif run.validity == "invalid":
        found.append(f"{_ENDS['invalid']}{reasons}")
    if not run.limited_by and run.achieved_rate < LEAST_RATE * run.planned_rate:
        found.append(
            f"only {run.achieved_rate:,.1f} of {run.planned_rate:,.1f} iterations/s were started,"
            f" which is less than {LEAST_RATE:.0%}"
        )
    return (*found, *run.faults)


def accepted_of(run: Run) -> Accepted:
    """Return the figures, errors and conditions of a run in the form in which the history stores them.

    Nothing is stored yet; `Store.add` does that.

    Raises:
        IncompleteError, StorageError: as `counted_of`.
    """
    return counted_of(run)[0]


def counted_of(run: Run) -> tuple[Accepted, Batches]:
    """Return (the result of `accepted_of`, the batches by region from which it was computed).

    Raises:
        IncompleteError: the run has not ended, or it was killed.
        StorageError: a file in its folder cannot be read, or was written by an incompatible loadgen.
    """
    summary, spec = _summary(run), _spec(run)
    load_s = _load_ns(run, summary, spec) / NS_PER_S
    planned = spec.total_arrivals
    by_region, by_agent = _counted(run, summary, spec)
    named = names_of(by_region)
    accepted = Accepted(
        run_id=run.id,
        key=key_of(run.manifest, spec, summary.clock.in_force),
        started_at=summary.started_at,
        duration_s=summary.duration_s,
        commit=spec.commit,
        labels=dict(spec.labels),
        result=summary.result,
        validity=summary.validity.verdict,
        reasons=tuple(dict.fromkeys((*summary.reasons, *summary.validity.reasons))),
        planned_rate=nan if planned is None or not spec.duration_ns else planned * NS_PER_S / spec.duration_ns,
        achieved_rate=nan if planned is None or not load_s else summary.iterations.started / load_s,
        figures=tuple(_figures(run, by_region, by_agent, named)),
        errors=tuple(_errors(by_region, named)),
        limited_by="target" if summary.pool_limited.share > 0 and summary.validity.verdict == "valid" else "",
        faults=faults_of(summary, spec, by_region),
        objectives=tuple(ObjectiveVerdict(one.objective, one.verdict, one.journey) for one in summary.slos),
        python=pythons_of(run.manifest),
    )
    return accepted, by_region


def names_of(batches: Batches) -> dict[Row, str]:
    """Return the unique name of each row, such as "checkout > login"; journeys come first.

    A request that would have the name of a step gets " (request)" appended.
    """
    found: dict[Row, str] = {}
    taken: set[str] = set()
    for row in sorted(batches.rows(), key=lambda row: _KINDS.index(row.kind) if row.kind in _KINDS else len(_KINDS)):
        if row.kind in _KINDS:
            name = " > ".join(filter(None, (row.journey, row.step, row.request)))
            while name in taken:
                name += f" ({row.kind})"
            taken.add(name)
            found[row] = name
    return found


def _summary(run: Run) -> Summary:
    if run.summary is None:
        raise IncompleteError(
            f"{run.id} has no summary: it has not ended, or it was killed", hint="wait until it ends, or run it again"
        )
    return run.summary


def _spec(run: Run) -> PlanSpec:
    try:
        return msgspec.convert(run.manifest.get("spec"), PlanSpec)
    except msgspec.ValidationError as exc:
        raise StorageError(
            f"cannot read the plan of {run.id}: {exc}", hint="use the version of loadgen that made the run"
        ) from exc


# -- counting again --------------------------------------------------------------------------------


def _counted(run: Run, summary: Summary, spec: PlanSpec) -> tuple[Batches, Batches | None]:
    """Return (the run's batches by region, its batches by agent). The log is read once.

    The second is None if the run has one agent or more than 64. In it, agents take the place of regions.
    """
    interval_ns = round(run.interval_s * NS_PER_S)
    cut_ns = round(summary.warmup.cut_s * NS_PER_S) if summary.warmup is not None else 0
    is_found = summary.warmup is not None and summary.warmup.how == "found" and cut_ns > 0
    end_ns = _load_ns(run, summary, spec)
    by_region, by_agent = (Batches(cut_ns, end_ns, interval_ns, recount=is_found) for _ in range(2))
    has_agents = 1 < len(run.agents) <= MOST_AGENTS
    coming = run.deltas()
    while some := list(islice(coming, _AT_ONCE)):
        by_region.read(some)
        if has_agents:
            by_agent.read((delta.agent, delta) for _, delta in some)
    return by_region, by_agent if has_agents else None


def _load_ns(run: Run, summary: Summary, spec: PlanSpec) -> int:
    """Return the time of the end of the load, ns from T0: the one that the verdict used, or else that of the plan."""
    for event in reversed(run.events):
        if event.get("kind") == "facts" and isinstance(found := (event.get("facts") or {}).get("load_ns"), int):
            return found
    return spec.duration_ns or round(summary.duration_s * NS_PER_S)


def _figures(run: Run, by_region: Batches, by_agent: Batches | None, named: dict[Row, str]) -> Iterator[Figure]:
    regions = by_region.regions()
    for row, name in named.items():
        yield from _of_row(by_region, row, name, ALL, ALL, ALL)
        for region in regions if len(regions) > 1 else ():
            yield from _of_row(by_region, row, name, region, region, ALL)
        if by_agent is not None:
            for agent in run.agents:
                yield from _of_row(by_agent, row, name, agent.id, agent.region, agent.id)


def _of_row(batches: Batches, row: Row, name: str, part: str, region: str, agent: str) -> Iterator[Figure]:
    """Yield one figure of a row for each percentile and the mean; nothing if nothing succeeded.

    part: the region or agent whose values in `batches` are used. name, region, agent: those of the figures.
    """
    observed, censored = batches.select_row(row, OK, region=part)
    count = observed.total + censored.total
    if not count:
        return
    values = (*percentiles(observed, censored, _QS), mean_us(observed, censored))
    errors = batches.errors(row, (*_QS, None), OK, part)
    for statistic, value, error in zip(STATISTICS, values, errors, strict=True):
        yield Figure(
            name=name,
            kind=row.kind,
            percentile=statistic,
            value_ms=inf if value is None or value.is_bound else value.ms,
            error=nan if error.value is None else error.value,
            why=error.why,
            count=count,
            region=region,
            agent=agent,
        )


def _errors(batches: Batches, named: dict[Row, str]) -> Iterator[Errors]:
    regions = batches.regions()
    for row, name in named.items():
        for region in (ALL, *(regions if len(regions) > 1 else ())):
            outcomes = batches.row_outcomes(row, region)
            total = sum(n for outcome, n in outcomes.items() if is_judged(outcome))
            if total:
                error = batches.ratio_error(row, region).value
                bad = total - outcomes.get(OK, 0)
                yield Errors(name, row.kind, total, bad, nan if error is None else error, region)
