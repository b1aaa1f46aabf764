"""Reads finished searches and confirmations from their run folders."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite
from typing import Final, Literal

import msgspec

from loadgen.dsl.executors.capacity import Search
from loadgen.dsl.executors.rate_results import Aim, Stay, pooled, same_rate
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.dsl.plans.spec import SteeringSpec
from loadgen.dsl.source_location import Origin
from loadgen.errors import UsageError
from loadgen.measure.objectives.steering_observation import Look
from loadgen.report.run_as_dataframes import Run
from loadgen.report.summary_reader import Found, Summary
from loadgen.units import format_rate

__all__ = ["HeldRun", "MeasuredRate", "SearchEnd", "SearchRun", "read_held", "read_search"]

SearchEnd = Literal[
    "found", "not reached", "never met", "not decided", "generator was the limit", "stopped", "incomplete"
]
_JUDGED: Final = ("passed", "failed")
"""Results of runs whose figures are complete and were measured correctly."""
_BY_A_PERSON: Final = ("stopped", "killed")
_DRAINS: Final = 0.55
"""A search halves its rate to let a backlog drain; what it measures then is of the higher rate."""
_SAME: Final = 1e-6
"""Rates that differ by less than this share are equal."""
_WHAT: Final = "search "
"""The beginning of the description of a search in the manifest."""


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """The results of a search at one rate, over all windows at this rate, without their beginnings."""

    rate_per_s: float
    seconds: float
    results: int
    """Iterations that were judged by the objective that was closest to its limit, or furthest beyond it."""
    bad: int
    """Those of them that missed it."""
    objective: str
    figure: float | None
    """The estimated percentile in ms, or the share of bad results if the objective has no time limit. None: the
    percentile is so far above the limit that it is unknown.
    """
    limit: float
    """In the unit of `figure`."""
    is_time: bool

    @property
    def is_met(self) -> bool:
        return self.figure is not None and self.figure <= self.limit


@dataclass(frozen=True, slots=True)
class SearchRun:
    """One finished search. Rates are iterations/s."""

    run_id: str
    folder: str
    end: SearchEnd
    why: str
    """The end as a sentence, with its reason."""
    objectives: tuple[str, ...]
    scenario: str
    plan: str
    target: str
    labels: Mapping[str, str]
    started_at: str
    duration_s: float
    start_per_s: float
    upto_per_s: float
    rate_per_s: float | None
    low_per_s: float | None
    high_per_s: float | None
    """The 90 % interval of `rate_per_s`; None unless the search found or narrowed down the rate."""
    unfit_share: float
    """Share of the agents' intervals in which the generator could not measure; the search ignored them."""
    tested: tuple[MeasuredRate, ...] = ()

    @property
    def is_found(self) -> bool:
        return self.end == "found"


@dataclass(frozen=True, slots=True)
class HeldRun:
    """One finished confirmation: a load at a constant rate, judged by the objective over its whole time."""

    run_id: str
    folder: str
    rate_per_s: float
    """The rate to confirm, iterations/s."""
    seconds: float
    """Time of the load, without warm-up."""
    is_confirmed: bool | None
    """Whether the objective was met at this rate for the whole time; None if the run does not decide it."""
    why: str
    observed: tuple[str, ...]
    """The measured value of each objective, as text."""


def read_search(run: Run) -> SearchRun:
    """Return a finished search. Cost: some 0.1 ms for each second of the search.

    Raises:
        UsageError: the run is not a search, or has not ended.
        StorageError: a file of the run folder cannot be read.
    """
    summary, steering = run.summary, _steering_of(run)
    if summary is None or len(summary.steering) != 1:
        raise UsageError(f"run {run.id} has not ended, so its search has no result", hint="use a finished search")
    found, spec = summary.steering[0], run.manifest.get("spec", {})
    labels = spec.get("labels") or {}
    end, why = _end_of(run, summary, found, steering)
    low, high = _interval_of(found)
    return SearchRun(
        run_id=run.id,
        folder=str(run.path),
        end=end,
        why=why,
        objectives=tuple(one.text for one in steering.objectives),
        scenario=str(spec.get("scenario", "")),
        plan=str(spec.get("name", "")),
        target=str(spec.get("target", "")),
        labels={str(name): str(value) for name, value in labels.items()},
        started_at=str(run.manifest.get("created_at", "")),
        duration_s=summary.duration_s,
        start_per_s=steering.start_per_s,
        upto_per_s=steering.upto_per_s,
        rate_per_s=found.rate_per_s if _is_rate(found.rate_per_s) else None,
        low_per_s=low,
        high_per_s=high,
        unfit_share=_unfit_share(summary),
        tested=tuple(_tested(steering, _looks_of(run))),
    )


def read_held(run: Run, rate_per_s: float, objectives: Collection[str]) -> HeldRun:
    """Return a finished confirmation of `rate_per_s`. objectives: as text; others of the run are ignored.

    Raises:
        UsageError: the run has not ended.
        StorageError: a file of the run folder cannot be read.
    """
    summary = run.summary
    if summary is None:
        raise UsageError(f"run {run.id} has not ended, so it confirms nothing")
    judged = [one for one in summary.slos if one.objective in objectives]
    observed = tuple(
        f"{one.objective}{f' of {one.journey}' if one.journey else ''}: {one.observed} {one.unit} of {one.count}"
        if not one.detail
        else f"{one.objective}: {one.detail}"
        for one in judged
    )
    is_confirmed, why = _confirmed(run, summary, [one.verdict for one in judged], rate_per_s)
    seconds = max(0.0, summary.duration_s - summary.warmup.cut_s) if summary.warmup else summary.duration_s
    return HeldRun(run.id, str(run.path), rate_per_s, seconds, is_confirmed, why, observed)


def _confirmed(run: Run, summary: Summary, verdicts: Sequence[str], rate_per_s: float) -> tuple[bool | None, str]:
    at, early = format_rate(rate_per_s), _early_ends(run)
    if early:
        return None, f"the confirmation ended early: {early[0][1] or early[0][0]}"
    if summary.result not in _JUDGED:
        return None, f"the confirmation is {summary.result}: {'; '.join(summary.reasons[:2]) or 'no reason is stored'}"
    if "failed" in verdicts:
        return False, f"the objective was not met at {at}"
    if not verdicts or any(verdict != "passed" for verdict in verdicts):
        return None, "the confirmation is too short to judge the objective"
    return True, f"the objective was met at {at} over the whole time"


def _steering_of(run: Run) -> SteeringSpec:
    """Return how the only load of a run was steered.

    Raises:
        UsageError: its load was no search.
    """
    lanes = run.manifest.get("spec", {}).get("lanes") or ()
    found = [lane.get("steering") for lane in lanes if lane.get("steering")]
    if len(lanes) == 1 and len(found) == 1:
        try:
            steering = msgspec.convert(found[0], SteeringSpec)
        except msgspec.ValidationError as error:
            raise UsageError(f"the manifest of run {run.id} is damaged: {error}", hint="copy the run again") from None
        if steering.executor.startswith(_WHAT):
            return steering
    raise UsageError(
        f"run {run.id} is not a search for the highest rate",
        hint="name runs of `loadgen capacity find`, or of a plan whose only load is search(...)",
    )


def _end_of(run: Run, summary: Summary, found: Found, steering: SteeringSpec) -> tuple[SearchEnd, str]:
    early = _early_ends(run)
    if any(reason in _BY_A_PERSON for reason, _ in early):
        return "stopped", "it was stopped before its end"
    is_below_top = (found.rate_per_s or 0.0) < steering.upto_per_s * (1 - _SAME)
    if summary.result == "invalid" or (found.verdict == "not reached" and is_below_top):
        return "generator was the limit", "; ".join(summary.validity.reasons[:1]) or found.text
    if summary.result not in _JUDGED:
        reasons = "; ".join(summary.reasons[:2])
        return "incomplete", f"the run is {summary.result}" + (f": {reasons}" if reasons else "")
    if early:
        return "incomplete", "the run ended early: " + "; ".join(detail or reason for reason, detail in early[:2])
    match found.verdict:
        case "found" if _interval_of(found) != (None, None):
            return "found", found.text
        case "not reached" | "never met":
            return found.verdict, found.text
    return "not decided", found.text or "the search has no result"


def _early_ends(run: Run) -> list[tuple[str, str]]:
    """Return (reason, detail) of each end of the load before its time, as the controller stored them."""
    facts = [event.get("facts") for event in run.events if event.get("kind") == "facts"]
    ends = [end for one in facts if isinstance(one, Mapping) for end in one.get("ends", ()) if isinstance(end, Mapping)]
    named = [(str(end.get("reason", "")), str(end.get("detail", ""))) for end in ends]
    return [one for one in named if one[0] != "finished"]


def _interval_of(found: Found) -> tuple[float | None, float | None]:
    """Return the interval, with the rate in it; (None, None) if one of the three is missing or not above 0."""
    rate, low, high = found.rate_per_s, found.low, found.high
    if rate is None or low is None or high is None or not all(map(_is_rate, (rate, low, high))):
        return None, None
    return min(low, rate), max(high, rate)


def _is_rate(value: float | None) -> bool:
    return value is not None and isfinite(value) and value > 0


def _unfit_share(summary: Summary) -> float:
    intervals = sum(agent.intervals for agent in summary.agents)
    return sum(agent.unfit_intervals for agent in summary.agents) / intervals if intervals else 0.0


def _looks_of(run: Run) -> Iterable[Look]:
    for event in run.events:
        if event.get("kind") == "look" and isinstance(event.get("look"), Mapping):
            try:
                yield msgspec.convert(event["look"], Look)
            except msgspec.ValidationError:
                continue  # written by another version; the chart has fewer points


def _tested(steering: SteeringSpec, looks: Iterable[Look]) -> Iterable[MeasuredRate]:
    """Yield the tested rates, the lowest first, with the search's own estimate of the percentile at each."""
    slos = tuple(Slo(Origin("", 0), one) for one in steering.objectives)
    search = Search(slos, steering.start_per_s, steering.upto_per_s, "1h")
    aims = search.aims
    groups = [whole for group in same_rate(_stays(looks, search.terms.limit_s)) if (whole := pooled(group)) is not None]
    for stay in sorted(groups, key=lambda one: one.rate_per_s):
        worst = stay.worst(aims)
        if worst is None:
            continue
        aim = aims[worst.objective]
        figure, limit = _figure(aim, worst.distance(aim), worst.bad, worst.count)
        yield MeasuredRate(
            rate_per_s=stay.rate_per_s,
            seconds=stay.length_s,
            results=round(worst.count),
            bad=round(worst.bad),
            objective=aim.text,
            figure=figure,
            limit=limit,
            is_time=aim.limit_s is not None,
        )


def _stays(looks: Iterable[Look], limit_s: float) -> Iterable[Stay]:
    """Yield the stays at one rate, without their beginnings, and without those in which a backlog drained."""
    stay, before, from_s = Stay(0.0), 0.0, 0.0
    for look in looks:
        if not look.is_sound or not look.is_steady or look.rate_per_s <= 0:
            continue
        if look.rate_per_s != stay.rate_per_s:
            if stay.tallies:
                yield stay
            before, from_s = stay.rate_per_s, look.from_s + limit_s
            stay = Stay(look.rate_per_s)
        if look.from_s >= from_s and look.rate_per_s > before * _DRAINS:
            stay = stay.plus(look.parts, look.length_s)
    if stay.tallies:
        yield stay


def _figure(aim: Aim, distance: float, bad: float, count: float) -> tuple[float | None, float]:
    if aim.limit_s is None:
        return (bad / count if count else None), aim.allowed
    limit_ms = aim.limit_s * 1000
    return (None if distance >= 1.0 else exp(distance) * limit_ms), limit_ms
