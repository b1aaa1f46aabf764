"""The weeks of a quarter for one promise: an arrow for each week and one for the quarter, and how many were reached.

An arrow compares facts, the shares of bad requests of whole weeks: ↗ more reliable, ↘ less reliable, → within a tenth
of the share before. A dot is a week without counts. Words stand beside the arrow, so the page can be read aloud and in
grey. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from loadgen.outside_text import one_line
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.promise_cells import percent, slice_inputs
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.page_values import Shown, Tone
from loadgen.programme.weekly.week_of import weeks_before
from loadgen.units import quantity

__all__ = ["Weeks", "trend_cell", "weeks_of_quarter"]

_BETTER, _WORSE, _SAME, _NONE = "↗", "↘", "→", "·"
_WORDS: Final = {_BETTER: "more reliable", _WORSE: "less reliable", _SAME: "the same"}
_BAND: Final = 0.1
"""Shares of bad requests within this part of each other are the same."""
_ENDS: Final = 4
_LEAST: Final = 2 * _ENDS
"""The quarter's arrow compares its last 4 weeks with its first 4, so it needs 8 with counts."""
_MOST_WEEKS: Final = 15
"""A quarter touches at most 15 ISO weeks."""


@dataclass(frozen=True, slots=True)
class Weeks:
    """The weeks of one promise. arrows: one for each week but the first. arrow: of the quarter; "" with too few weeks.

    text: as a sentence without a full stop. tone, id: of the sentence, and of its evidence. count: weeks with counts.
    """

    arrows: str
    arrow: str
    text: str
    tone: Tone
    id: str
    count: int


def weeks_of_quarter(promise: Promise, gathered: Gathered, book: EvidenceBook) -> Weeks | None:
    """Return the weeks of a promise; None without counts in the quarter."""
    units, objective, period = promise.units, promise.objective, gathered.period
    if units is None:
        return None
    inside = (units.start >= period.start) & (units.start < gathered.at)
    if not units.total[inside].sum():
        return None
    weeks = [one for one in weeks_before(period, _MOST_WEEKS, gathered.settings.tz) if one.start >= period.start]
    sums = [(units.start >= week.start) & (units.start < min(week.end, gathered.at)) for week in weeks]
    counted = [(float(units.bad[mask].sum()), float(units.total[mask].sum())) for mask in sums]
    shares = [bad / of if of else None for bad, of in counted]
    known = [one for one in shares if one is not None]
    reached = sum(ratio <= float(objective.budget) for ratio in known)
    arrows = " ".join(_arrow(before, after) for before, after in pairwise(shares))
    text = f"{one_line(objective.name, 63)} reached {percent(objective)} in {reached} of {quantity(len(known), 'week')}"
    arrow = ""
    if len(known) >= _LEAST:
        before, after = _mean(known[:_ENDS]), _mean(known[-_ENDS:])
        arrow = _arrow(before, after)
        text += f"; the last 4 weeks against the first 4: {arrow} {_WORDS[arrow]}"
        text += f" ({100 * after:.3g} % not good, {100 * before:.3g} % before)"
    text += f"; week by week: {arrows}" if arrows else ""
    good, of = float(units.good[inside].sum()), float(units.total[inside].sum())
    id_ = book.add(
        "slices",
        text,
        "each week by itself: good / total of the slices that begin in it, against the target; an arrow compares the"
        f" shares of bad requests of two weeks, and {_SAME} is within {_BAND:.0%} of the one before; the trend compares"
        " the means of the weekly shares",
        slice_inputs(promise, gathered, period.start, gathered.at, good, of),
        revisions=promise.revisions(period.start, gathered.at),
    )
    tone: Tone = "bad" if known and reached < len(known) / 2 else "plain"
    return Weeks(arrows, arrow, text, tone, id_, len(known))


def trend_cell(promise: Promise, gathered: Gathered, book: EvidenceBook) -> Shown:
    """Return the quarter's arrow with its words."""
    found = weeks_of_quarter(promise, gathered, book)
    if found is None:
        return Shown("not measured")
    if not found.arrow:
        return Shown("too few weeks", "open", count=found.count, unit="weeks", evidence=(found.id,))
    tone: Tone = "open" if found.arrow == _WORSE else "plain"
    return Shown(f"{found.arrow} {_WORDS[found.arrow]}", tone, count=found.count, unit="weeks", evidence=(found.id,))


def _arrow(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return _NONE
    if after > (1 + _BAND) * before:
        return _WORSE
    return _BETTER if after < (1 - _BAND) * before else _SAME


def _mean(shares: Sequence[float]) -> float:
    return sum(shares) / len(shares)
