"""The cells about a promise: kept, budget left, burn of 7 days, when the budget is gone, and bad requests. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from loadgen.analysis.burn.exhaustion import Exhaustion
from loadgen.analysis.burn.firing import burn_series, sums_before
from loadgen.outside_text import one_line
from loadgen.programme.estimates.sentences import is_left_open
from loadgen.programme.evidence.slices_entry import inputs_of_slices, slices_entry
from loadgen.programme.promises.objectives import Objective
from loadgen.programme.status import PromiseState
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.page_values import Shown, Tone
from loadgen.units import format_count, quantity

__all__ = [
    "WITH_EXCLUDED",
    "bad_cell",
    "burn_cell",
    "gone_cell",
    "is_gone_soon",
    "kept_cells",
    "percent",
    "promise_text",
    "slice_inputs",
    "when",
]

_BURN_S: Final = 7 * 86_400
WITH_EXCLUDED: Final = " with excluded times"
"""What the second figure of a promise with excluded times is."""
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
    ids = _evidence(promise, gathered, book)
    text = word if ratio is None else f"{word}, {state.attainment}"
    text += f" ({state.interval})" if state.interval else ""
    text += f" ({state.with_excluded}{WITH_EXCLUDED})" if state.excluded else ""
    kept = Shown(
        text,
        tone,
        ratio,
        judgement.lower,
        judgement.upper,
        "share",
        round(judgement.observed.of),
        judgement.observed.is_estimate,
        ids,
    )
    if left is None:
        return kept, Shown("no traffic", "open", evidence=ids[:1])
    is_spent = left <= 0
    low, high = state.budget_left if state.budget_left and judgement.observed.is_estimate else (None, None)
    tone = "open" if is_left_open(state) else "bad" if is_spent else "plain"
    return kept, Shown(state.budget_text, tone, round(left, 6), low, high, "share", evidence=ids[:1])


def _evidence(promise: Promise, gathered: Gathered, book: EvidenceBook) -> tuple[str, ...]:
    """Add the evidence of the attainment and the budget. `loadgen decide` uses the same maker, and so the same id."""
    state, objective = promise.state, promise.objective
    ids = (book.put(slices_entry(state, promise.revisions(state.start, state.end), gathered.as_of)),)
    if not state.excluded:
        return ids
    found = [one for one in gathered.exclusions if not one.slos or objective.name in one.slos]
    inputs = [
        (f"excluded {_utc(one.start)} to {_utc(one.end)}", one_line(f"{one.because} ({one.by})", 300)) for one in found
    ]
    with_excluded = book.add(
        "facts",
        f"{objective.name}: {state.with_excluded} with the excluded times, {state.attainment} without them",
        f"the same slices, of which {quantity(state.excluded, 'slice')} are excluded",
        tuple(inputs),
        revisions=promise.revisions(state.start, state.end),
    )
    return (*ids, with_excluded)


def burn_cell(promise: Promise, gathered: Gathered, book: EvidenceBook) -> Shown:
    """Return the burn of the last 7 days: how many times as fast as allowed the budget is spent."""
    state, objective = promise.state, promise.objective
    if promise.units is None or not len(promise.units) or state.judgement is None:
        return Shown("not measured")
    start, at = state.end - _BURN_S, np.array([float(state.end)])
    bad, of = (float(one[0]) for one in sums_before(promise.units, at, _BURN_S))
    burn = float(burn_series(promise.units, objective.target, _BURN_S, at)[0])
    if not isfinite(burn):
        return Shown("no traffic", "open")
    id_ = book.add(
        "slices",
        f"{objective.name}: the budget burned {burn:.3g} times as fast as allowed in 7 days",
        f"burn = (bad / total) / (1 - target) = ({_number(bad)} / {_number(of)}) / {objective.budget.normalize():f}"
        f" = {burn:.4g}",
        slice_inputs(promise, gathered, start, state.end, of - bad, of),
        revisions=promise.revisions(start, state.end),
        see="loadgen slo status --explain",
    )
    tone: Tone = "bad" if state.fires else "plain"
    return Shown(f"{burn:.2g}" if burn < 10 else f"{burn:.0f}", tone, round(burn, 6), count=round(of), evidence=(id_,))


def gone_cell(promise: Promise, gathered: Gathered, book: EvidenceBook) -> Shown:
    """Return when the budget will be gone, if the burn of the last hours or days goes on."""
    state = promise.state
    if state.gone is None or state.judgement is None or state.budget is None:
        return Shown("not measured")
    left, gone = state.budget.left, state.gone
    text = gone.text.removesuffix(", if it goes on").replace("spent", "gone")
    text = "gone" if left is not None and left <= 0 else text
    tone: Tone = "bad" if text == "gone" or is_gone_soon(state) else "plain"
    soonest, latest = (None if one is None else round(one / 86_400, 3) for one in (gone.soonest_s, gone.latest_s))
    observed = state.judgement.observed
    id_ = book.add(
        "slices",
        f"{promise.objective.name}: when the budget is gone: {gone.text}",
        "the slices are replayed forward: old ones leave the window, and new ones have a constant burn of"
        f" {_burn(gone.burn_6h)} (the last 6 h) or {_burn(gone.burn_3d)} (the last 3 d)",
        (
            *slice_inputs(promise, gathered, state.start, state.end, observed.good, observed.of),
            ("soonest, days", "never" if soonest is None else f"{soonest:g}"),
            ("latest, days", "never" if latest is None else f"{latest:g}"),
        ),
        revisions=promise.revisions(state.start, state.end),
        see="loadgen slo status --explain",
    )
    return Shown(text, tone, soonest, soonest, latest, "days", evidence=(id_,))


def is_gone_soon(state: PromiseState) -> bool:
    """Return whether a budget that is not spent will be gone within its window at both recent burns."""
    gone: Exhaustion | None = state.gone
    left = None if state.budget is None else state.budget.left
    return gone is not None and left is not None and left > 0 and gone.latest_s is not None


def bad_cell(promise: Promise, gathered: Gathered, book: EvidenceBook) -> Shown:
    """Return how many requests failed or were slow in the time of the page: the cost, where nobody gave a value.

    Excluded times are left out, as in the attainment.
    """
    counts, period = promise.counts, gathered.period
    if counts is None or promise.excluded is None or promise.state.judgement is None:
        return Shown("not measured")
    inside = (counts.start >= period.start) & (counts.start < gathered.at) & ~promise.excluded
    good, of = int(counts.good[inside].sum()), int(counts.total[inside].sum())
    if not of:
        return Shown("no traffic", "open")
    says = f"{promise.objective.name}: {format_count(of - good)} of {format_count(of)} requests were not good in"
    inputs = dict(slice_inputs(promise, gathered, period.start, gathered.at, good, of)) | {"method": "Occurrences"}
    id_ = book.add(
        "slices",
        f"{says} {period.text}",
        f"bad = total - good = {of} - {good} = {of - good}, without excluded times",
        tuple(inputs.items()),
        revisions=promise.revisions(period.start, gathered.at),
    )
    return Shown(
        quantity(of - good, "bad request"), "plain", float(of - good), unit="requests", count=of, evidence=(id_,)
    )


def slice_inputs(
    promise: Promise, gathered: Gathered, start: float, end: float, good: float, of: float
) -> tuple[tuple[str, str], ...]:
    """Return the inputs by which `loadgen evidence` computes the counts of a time again. good, of: in the units."""
    return tuple(inputs_of_slices(promise.objective, start, end, gathered.as_of, good, of).items())


def _number(value: float) -> str:
    return f"{value:.12g}"


def _burn(value: float | None) -> str:
    return "no traffic" if value is None else f"{value:.3g}"


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
