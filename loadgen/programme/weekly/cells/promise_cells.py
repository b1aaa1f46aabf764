"""The cells about a promise: kept, budget left, burn of 7 days, when the budget is gone, and bad requests. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from loadgen.analysis.attainment.shown import budget_text
from loadgen.analysis.burn.exhaustion import Exhaustion
from loadgen.analysis.burn.firing import burn_series, sums_before
from loadgen.programme.objectives import Objective
from loadgen.programme.status import PromiseState
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.page_values import Shown, Tone
from loadgen.units import format_count, quantity

__all__ = ["bad_cell", "burn_cell", "gone_cell", "is_gone_soon", "kept_cells", "percent", "promise_text", "when"]

_BURN_S: Final = 7 * 86_400
_KEPT: Final[dict[str, tuple[str, Tone]]] = {
    "kept": ("yes", "good"),
    "not kept": ("no", "bad"),
    "undecided": ("undecided", "open"),
    "no traffic": ("no traffic", "open"),
    "no data": ("no data", "open"),
    "not judged": ("not judged", "plain"),
}


def percent(objective: Objective) -> str:
    """Return the target in percent: "99.5 %"."""
    return f"{(objective.target * 100).normalize():f} %"


def promise_text(objective: Objective) -> str:
    """Return the promise in short: "99.5 % ≤ 300 ms, 4w"."""
    limit = ""
    if objective.threshold is not None:
        value, unit = f"{objective.threshold.value.normalize():f}", objective.threshold.unit
        limit = f" ≤ {value} {unit}"
    return f"{percent(objective)}{limit}, {objective.window.text}"


def when(at: float, zone: ZoneInfo) -> str:
    """Return a Unix time for people: "Tue 21 Jul 10:00"."""
    found = datetime.fromtimestamp(at, zone)
    return f"{found:%a} {found.day} {found:%b} {found:%H:%M}"


def kept_cells(promise: Promise, gathered: Gathered, book: EvidenceBook) -> tuple[Shown, Shown]:
    """Return the cells "kept" and "budget left". Both come from the same counts, so they have the same evidence."""
    state = promise.state
    word, tone = _KEPT[state.word]
    judgement, budget = state.judgement, state.budget
    if judgement is None or budget is None:
        return Shown(word, tone), Shown("not measured")
    ratio, left = judgement.observed.ratio, budget.left
    id_ = _evidence(promise, gathered, book)
    text = word if ratio is None else f"{word}, {state.attainment}"
    text += " (estimate)" if judgement.observed.is_estimate else ""
    text += f" ({state.with_excluded} with excluded times)" if state.excluded else ""
    kept = Shown(
        text,
        tone,
        ratio,
        judgement.lower,
        judgement.upper,
        "share",
        round(judgement.observed.of),
        judgement.observed.is_estimate,
        (id_,),
    )
    if left is None:
        return kept, Shown("no traffic", "open", evidence=(id_,))
    is_spent = left <= 0
    return kept, Shown(budget_text(left), "bad" if is_spent else "plain", round(left, 6), unit="share", evidence=(id_,))


def _evidence(promise: Promise, gathered: Gathered, book: EvidenceBook) -> str:
    state, objective = promise.state, promise.objective
    judgement, budget = state.judgement, state.budget
    assert judgement is not None
    assert budget is not None
    zone = gathered.settings.tz
    unit = "requests" if objective.method == "Occurrences" else "slices"
    good, of = (_number(value) for value in (judgement.observed.good, judgement.observed.of))
    formula = f"attainment = good / all = {good} / {of} = {state.attainment}, rounded down"
    formula += f"; allowed = (1 - {objective.target}) * {of} = {budget.allowed:.6g} bad {unit}, of which"
    formula += f" {budget.bad:.6g} were spent"
    if judgement.lower is not None and judgement.upper is not None and judgement.missing_s:
        formula += (
            f"; if all requests of the {_hours(judgement.missing_s)} without counts were bad: {judgement.lower:.6f};"
            f" if all were good: {judgement.upper:.6f}"
        )
    inputs = [
        ("promise", objective.name),
        ("method", str(objective.method)),
        ("target", str(objective.target)),
        ("from", _utc(state.start)),
        ("to", _utc(state.end)),
        ("good", good),
        ("all", of),
        ("seconds without counts", f"{judgement.missing_s:.0f}"),
        ("slices without traffic", str(judgement.observed.without_traffic)),
    ]
    if state.excluded:
        inputs.append(("excluded slices", str(state.excluded)))
        inputs.append(("attainment with the excluded times", state.with_excluded))
    inputs += [("query", query.text) for query in objective.queries if query.text]
    inputs += [("source", source) for source in objective.sources]
    says = f"{objective.name}: {state.word}, {state.attainment} of {unit} against {percent(objective)}"
    says += f", from {when(state.start, zone)} to {when(state.end, zone)} ({gathered.settings.zone})"
    return book.add(
        "slices",
        says,
        formula,
        tuple(inputs),
        revisions=_revisions(promise, state.start, state.end),
        see=f"loadgen slo status --as-of {_utc(state.end)} --explain",
    )


def burn_cell(promise: Promise, book: EvidenceBook) -> Shown:
    """Return the burn of the last 7 days: how many times as fast as allowed the budget is spent."""
    state, objective = promise.state, promise.objective
    if promise.units is None or not len(promise.units) or state.judgement is None:
        return Shown("not measured")
    at = np.array([float(state.end)])
    bad, of = (float(one[0]) for one in sums_before(promise.units, at, _BURN_S))
    burn = float(burn_series(promise.units, objective.target, _BURN_S, at)[0])
    start = state.end - _BURN_S
    if not isfinite(burn):
        return Shown("no traffic", "open")
    says = f"{objective.name}: the budget burned {burn:.3g} times as fast as allowed in 7 days"
    id_ = book.add(
        "slices",
        says,
        f"burn = (bad / all) / (1 - target) = ({_number(bad)} / {_number(of)}) / {objective.budget.normalize():f}"
        f" = {burn:.4g}",
        (
            ("promise", objective.name),
            ("from", _utc(start)),
            ("to", _utc(state.end)),
            ("bad", _number(bad)),
            ("all", _number(of)),
        ),
        revisions=_revisions(promise, start, state.end),
    )
    tone: Tone = "bad" if state.fires else "plain"
    return Shown(f"{burn:.2g}" if burn < 10 else f"{burn:.0f}", tone, round(burn, 6), count=round(of), evidence=(id_,))


def gone_cell(promise: Promise, book: EvidenceBook) -> Shown:
    """Return when the budget will be gone, if the burn of the last hours or days goes on."""
    state = promise.state
    if state.gone is None or state.judgement is None or state.budget is None:
        return Shown("not measured")
    left, gone = state.budget.left, state.gone
    if left is not None and left <= 0:
        text, tone = "gone", "bad"
    else:
        text = gone.text.removesuffix(", if it goes on").replace("spent", "gone")
        tone = "bad" if is_gone_soon(state) else "plain"
    formula = "the slices are replayed forward: old ones leave the window, and new ones have a constant burn of "
    formula += f"{_burn(gone.burn_6h)} (the last 6 h) or {_burn(gone.burn_3d)} (the last 3 d)"
    days = [None if one is None else round(one / 86_400, 3) for one in (gone.soonest_s, gone.latest_s)]
    id_ = book.add(
        "slices",
        f"{promise.objective.name}: the budget is gone: {gone.text}",
        formula,
        (
            ("promise", promise.objective.name),
            ("at", _utc(state.end)),
            ("soonest, days", str(days[0])),
            ("latest, days", str(days[1])),
        ),
        revisions=_revisions(promise, state.start, state.end),
    )
    return Shown(text, tone, days[0], days[0], days[1], "days", evidence=(id_,))  # type: ignore[arg-type]


def is_gone_soon(state: PromiseState) -> bool:
    """Return whether a budget that is not spent will be gone within its window at both recent burns."""
    gone: Exhaustion | None = state.gone
    left = None if state.budget is None else state.budget.left
    return gone is not None and left is not None and left > 0 and gone.latest_s is not None


def bad_cell(promise: Promise, gathered: Gathered, book: EvidenceBook) -> Shown:
    """Return how many requests failed or were slow in the time of the page: the cost, where nobody gave a value."""
    counts, period = promise.counts, gathered.period
    if counts is None or promise.state.judgement is None:
        return Shown("not measured")
    inside = (counts.start >= period.start) & (counts.start < gathered.at)
    good, of = int(counts.good[inside].sum()), int(counts.total[inside].sum())
    if not of:
        return Shown("no traffic", "open")
    says = f"{promise.objective.name}: {format_count(of - good)} of {format_count(of)} requests were not good in"
    says += f" {period.text}"
    id_ = book.add(
        "slices",
        says,
        f"bad = all - good = {of} - {good} = {of - good}; excluded times are included",
        (
            ("promise", promise.objective.name),
            ("from", _utc(period.start)),
            ("to", _utc(gathered.at)),
            ("good", str(good)),
            ("all", str(of)),
        ),
        revisions=_revisions(promise, period.start, gathered.at),
    )
    return Shown(
        f"{quantity(of - good, 'bad request')}", "plain", float(of - good), unit="requests", count=of, evidence=(id_,)
    )


def _revisions(promise: Promise, start: float, end: float) -> tuple[str, ...]:
    """Return the revisions of the days of a time, which contain all slices of it."""
    first, last = (_utc(at)[:10] for at in (start, end - 1))
    return tuple(one for one in promise.revisions if first <= one[:10] <= last)


def _number(value: float) -> str:
    return str(round(value)) if float(value).is_integer() else f"{value:.6f}"


def _burn(value: float | None) -> str:
    return "no traffic" if value is None else f"{value:.3g}"


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 36_000 else f"{seconds / 3_600:.1f} hours"


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")
