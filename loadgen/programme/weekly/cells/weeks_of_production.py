"""Sentences about a promise from the weeks of a quarter: when its share of bad requests found a new level, and how many
months would keep it with weeks like these. Pure.

The second one resamples weeks, as context. The attainment itself is a fact without such an interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan, nan
from typing import Final

from loadgen.analysis.attainment.months_like_these import months_like_these
from loadgen.analysis.week_on_week.weekly_levels import weekly_levels
from loadgen.outside_text import one_line
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.promise_cells import percent, slice_inputs
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.page_values import Said, Tone
from loadgen.programme.weekly.week_of import Period, weeks_before

__all__ = ["levels_said", "months_said"]

_MOST_WEEKS: Final = 15
"""A quarter touches at most 15 ISO weeks."""


def levels_said(promise: Promise, gathered: Gathered, book: EvidenceBook) -> Iterator[Said]:
    """Yield a sentence for each week of the quarter in which the share of bad requests found a new level."""
    if promise.units is None:
        return
    weeks = _weeks(gathered)
    known = [_share(promise, week, gathered.at) for week in weeks]
    for step in weekly_levels([one[0] for one in known]).steps:
        more = "higher" if step.change > 0 else "lower"
        low, high = sorted((abs(step.low), abs(step.high)))
        between = "" if isnan(step.low) else f" ({100 * low:.0f} to {100 * high:.0f} %)"
        text = f"{one_line(promise.objective.name, 63)} has another level since week {weeks[step.at].number}:"
        text += f" its weekly share of bad requests is {100 * abs(step.change):.0f} % {more}{between}"
        first, last = weeks[0].start, min(weeks[-1].end, gathered.at)
        id_ = book.add(
            "slices",
            text,
            "the share of each week that was observed as a whole; change points of their logarithms, as for runs",
            slice_inputs(promise, gathered, first, last, sum(one[1] for one in known), sum(one[2] for one in known)),
            revisions=promise.revisions(first, last),
        )
        tone: Tone = "bad" if step.change > 0 else "plain"
        yield Said(f"{text}.", tone, (id_,), one_line(promise.objective.owner, 120), "weekly level")


def months_said(promise: Promise, gathered: Gathered, book: EvidenceBook) -> Iterator[Said]:
    """Yield how many months would keep the promise, from 12 weeks on that were observed as a whole."""
    state, units = promise.state, promise.units
    if units is None or state.judgement is None or state.judgement.observed.is_estimate:
        return
    found = months_like_these(units, promise.objective.target, end=float(state.end))
    if found is None:
        return
    name = one_line(promise.objective.name, 63)
    text = f"{name}: {found.text(percent(promise.objective))}"
    first = state.end - found.weeks * 604_800
    inside = units.take((units.start >= first) & (units.start < state.end))
    id_ = book.add(
        "slices",
        text,
        "10,000 months of 4 weeks, drawn with replacement from the weeks that were observed as a whole; seed 1",
        slice_inputs(promise, gathered, first, state.end, float(inside.good.sum()), float(inside.total.sum())),
        revisions=promise.revisions(first, state.end),
    )
    yield Said(f"{text}.", "plain", (id_,), "", "months like these")


def _weeks(gathered: Gathered) -> list[Period]:
    period = gathered.period
    return [one for one in weeks_before(period, _MOST_WEEKS, gathered.settings.tz) if one.start >= period.start]


def _share(promise: Promise, week: Period, at: int) -> tuple[float, float, float]:
    """Return the share of bad requests of a week, nan if it was not observed as a whole; and its good and all ones."""
    units = promise.units
    assert units is not None
    inside = units.take((units.start >= week.start) & (units.start < min(week.end, at)))
    good, total = float(inside.good.sum()), float(inside.total.sum())
    observed_s = float((inside.width - inside.missing).sum())
    is_whole = total > 0 and observed_s >= (week.end - week.start) * (1 - 1e-9)
    return ((total - good) / total if is_whole else nan), good, total
