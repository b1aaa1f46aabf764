"""Sentences about estimated counts: whether their error leaves a promise undecided, and what would settle it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from loadgen.analysis.attainment.attain import Attainment
from loadgen.analysis.attainment.slices import CountedBy
from loadgen.programme.programme_toml import FILE_NAME
from loadgen.programme.promises.objectives import Objective
from loadgen.programme.status import PromiseState
from loadgen.units import format_count, format_ratio, format_share, quantity

__all__ = ["is_left_open", "minutes_text", "undecided_text"]

_PARTS: Final = np.arange(1, 100) / 100


def is_left_open(state: PromiseState) -> bool:
    """Return whether the error of estimated counts alone leaves a promise undecided, whatever is missing."""
    if state.word != "undecided" or state.judgement is None or not state.judgement.observed.is_estimate:
        return False
    low, high = state.judgement.observed.low, state.judgement.observed.high
    target = float(state.objective.target)
    return low is not None and high is not None and low < target <= high


def undecided_text(state: PromiseState) -> str:
    """Return why a promise is undecided and what would settle it, without a full stop; "" for other promises."""
    return "; ".join(_reasons(state)) if state.word == "undecided" and state.judgement is not None else ""


def _reasons(state: PromiseState) -> Iterator[str]:
    judgement = state.judgement
    assert judgement is not None
    is_open = is_left_open(state)
    if judgement.missing_s:
        text = f"{minutes_text(judgement.missing_s)} have no counts"
        if judgement.minutes_if_good is not None and not is_open:
            needed = minutes_text(60 * judgement.minutes_if_good)
            text += f"; it is kept if {needed} of them had only good requests"
        yield text
    if is_open:
        yield from _settling(judgement.observed, state.objective)


def _settling(observed: Attainment, objective: Objective) -> Iterator[str]:
    if observed.unknown:
        unit = "requests" if objective.method == "Occurrences" else "requests of its slices"
        yield (
            f"nothing is known about the error of {format_count(round(observed.unknown))} {unit}, so any number of them"
            f' may have been good: write how the source counts into {FILE_NAME}, for example sampled = "10 %" or'
            ' error = "0.2 %", and pull again, or use a counter with a bucket at the threshold'
        )
    elif observed.is_interpolated:
        yield (
            "the target lies between the bounds of the interpolated counts: a counter with a bucket at the threshold"
            " would settle it"
        )
    if observed.kept < 1:
        needed = None if observed.unknown or observed.is_interpolated else _kept_needed(observed, objective)
        more = (
            f"a sample of {format_share(needed)} would be enough" if needed else "only a count of all would settle it"
        )
        yield f"the source samples only {format_ratio(observed.kept)} of the requests: {more}"


def _kept_needed(observed: Attainment, objective: Objective) -> float | None:
    """Return the smallest part in whole percent that settles a promise with this attainment; None: less than all
    settles it not, or its slices are samples of their own.
    """
    if observed.method is not CountedBy.OCCURRENCES:
        return None
    # scipy is imported for sampling sources only.
    from loadgen.analysis.attainment.estimates import bad_range

    allowed = float(objective.budget) * observed.of
    fewest, most = bad_range(np.full(len(_PARTS), observed.of - observed.good), _PARTS)
    settled = _PARTS[(observed.kept < _PARTS) & ((most <= allowed) | (fewest > allowed))]
    return float(settled[0]) if len(settled) else None


def minutes_text(seconds: float) -> str:
    """Return a time in minutes, rounded up, or in hours from 600 minutes on: "40 minutes", "12.5 hours"."""
    minutes = -(-int(seconds) // 60)
    return quantity(minutes, "minute") if minutes < 600 else f"{minutes / 60:,.1f} hours".replace(".0 ", " ")
