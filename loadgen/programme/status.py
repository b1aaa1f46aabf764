"""The state of each promise from the ledger: kept or not, the budget, and whether it burns. Pure.

A window ends where the counts of its promise end, because the newest slices are always on their way. Promises without
counts for more than `STALE_S` are without data.

Excluded times are no part of the judgement, as if they had no traffic; the attainment with them is there as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from loadgen.analysis.attainment.attain import Judgement, attained, judge
from loadgen.analysis.attainment.budget import Budget, CalendarBudget, budget_of, calendar_budget
from loadgen.analysis.attainment.shown import budget_text, interval_text
from loadgen.analysis.attainment.slices import CountedBy, Slices, counted, slices_of, within
from loadgen.analysis.burn.exhaustion import Exhaustion, exhaustion
from loadgen.analysis.burn.firing import Burning, burn_at
from loadgen.analysis.burn.rules import BurnRule, rules_of_window
from loadgen.analysis.values_to_float_array import Array
from loadgen.programme.ledger.exclusions import Exclusion, is_excluded
from loadgen.programme.ledger.ledger import Counts, Reading
from loadgen.programme.ledger.slices import ALL_KEPT_PPM
from loadgen.programme.promises.objectives import Objective, RollingWindow
from loadgen.programme.pulling.pull import width_of

__all__ = ["STALE_S", "PromiseState", "Word", "judged_units", "state_of", "states_of", "time_text", "window_s"]

STALE_S: Final = 3 * 3_600
"""Without counts for longer than this, a promise has no data. Pulls are hourly."""
_VOLUME_S: Final = 4 * 7 * 86_400
Word = Literal["kept", "not kept", "undecided", "no traffic", "no data", "not judged"]


@dataclass(frozen=True, slots=True)
class PromiseState:
    """The state of one promise. start, end: of the judged window, Unix time in s; 0 without data.

    why: not empty for "no data" and "not judged". excluded: the number of excluded slices. with_excluded: the
    attainment as text with them; "" without excluded slices. burning: all rules, of which those with `is_firing` fire.
    """

    objective: Objective
    word: Word
    why: str = ""
    start: int = 0
    end: int = 0
    judgement: Judgement | None = None
    budget: Budget | None = None
    burning: tuple[Burning, ...] = ()
    excluded: int = 0
    with_excluded: str = ""
    gone: Exhaustion | None = None
    """When the budget will be spent, if the burn of the last hours or days goes on; None without data."""
    calendar: CalendarBudget | None = None
    """Both budgets of a calendar window; None for a rolling one, or without data."""

    @property
    def fires(self) -> tuple[Burning, ...]:
        """Return the rules that fire."""
        return tuple(one for one in self.burning if one.is_firing)

    @property
    def is_broken(self) -> bool:
        """Return whether the promise is not kept, or its budget burns."""
        return self.word == "not kept" or bool(self.fires)

    @property
    def is_kept(self) -> bool:
        """Return whether the promise is surely kept and its budget does not burn."""
        return self.word == "kept" and not self.fires

    @property
    def is_judged(self) -> bool:
        """Return whether this kind of promise is judged at all; see `Objective.why_not_judged`."""
        return self.word != "not judged"

    @property
    def attainment(self) -> str:
        """Return the attainment in percent, rounded down; "" without data."""
        return "" if self.judgement is None else self.judgement.observed.text(self.objective.target)

    @property
    def figure(self) -> str:
        """Return the attainment as sentences show it: estimated ones with the interval of their error."""
        return f"{self.attainment} ({self.interval})" if self.interval else self.attainment

    @property
    def interval(self) -> str:
        """Return the interval of an estimated attainment: "estimate, 99.66 to 99.76 %"; "" for exact counts."""
        if self.judgement is None or not self.judgement.observed.is_estimate:
            return ""
        low, high = self.judgement.observed.low, self.judgement.observed.high
        if low is None or high is None:
            return ""
        return f"estimate, {interval_text(low, high, target=self.objective.target)}"

    @property
    def budget_left(self) -> tuple[float, float] | None:
        """Return the least and the most of the error budget that may be left by the error of estimated counts.

        1 is all of it. Both are the same for exact counts; None without traffic.
        """
        if self.judgement is None or self.budget is None or self.budget.left is None:
            return None
        observed = self.judgement.observed
        if not observed.is_estimate or observed.low is None or observed.high is None:
            return self.budget.left, self.budget.left
        allowed = float(self.objective.budget)
        # A promise that is just kept must not have less than nothing left by the last digit of a float.
        return round(1 - (1 - observed.low) / allowed, 12), round(1 - (1 - observed.high) / allowed, 12)

    @property
    def budget_text(self) -> str:
        """Return the rest of the error budget, rounded down: "42 %"; that of estimates with its interval,
        "42 % (30 to 54 %)".
        """
        left = budget_text(None if self.budget is None else self.budget.left)
        if not self.interval or self.budget_left is None:
            return left
        least, most = map(budget_text, self.budget_left)
        return f"{left} ({least.removesuffix(' %')} to {most})"


def window_s(objectives: Iterable[Objective]) -> int:
    """Return the time of the ledger that judging needs, s: the longest window and some more.

    A calendar window also needs the four weeks before now, whose volume is that of the rest of the window.
    """
    return max(map(_needed_s, objectives), default=0) + 2 * STALE_S


def _needed_s(objective: Objective) -> int:
    window = objective.window
    least_s = 0 if isinstance(window, RollingWindow) else _VOLUME_S
    return max(window.nominal_s * 11 // 10, least_s)


def states_of(
    objectives: Iterable[Objective], reading: Reading, exclusions: Sequence[Exclusion], now: int
) -> list[PromiseState]:
    """Return the state of each promise at a Unix time, s."""
    return [state_of(one, reading.by_slo.get(one.name), exclusions, now) for one in objectives]


def state_of(objective: Objective, counts: Counts | None, exclusions: Sequence[Exclusion], now: int) -> PromiseState:
    """Return the state of one promise. counts: its slices of the ledger; None: it has none."""
    if objective.why_not_judged:
        return PromiseState(objective, "not judged", objective.why_not_judged)
    if counts is None or not len(counts):
        return PromiseState(objective, "no data", "the ledger has no counts of it in this time; run loadgen slo pull")
    end = int((counts.start + counts.width).max())
    if now - end > STALE_S:
        return PromiseState(objective, "no data", f"no counts since {time_text(end)}; run loadgen slo pull")
    try:
        everything, mask = _slices(objective, counts, exclusions)
    except ValueError as error:
        return PromiseState(objective, "no data", str(error))
    around = objective.window.around(datetime.fromtimestamp(end - 1, UTC))
    # A rolling window ends with the counts; a calendar window goes on, and is judged so far.
    start = end - objective.window.nominal_s if around[1].timestamp() <= end else int(around[0].timestamp())
    method = CountedBy(objective.method.value)
    slice_target = None if objective.slice_target is None else float(objective.slice_target)
    width = float(objective.slice_s or width_of(objective))
    judged = _emptied(everything, mask)
    found = judge(
        judged,
        objective.target,
        window=(start, end),
        method=method,
        slice_target=slice_target,
        gap_width_s=width,
    )
    units = counted(judged, method, slice_target)
    inside = within(judged, (start, end), gap_width_s=width)
    excluded = int(mask[(everything.start >= start) & (everything.start < end)].sum())
    every = attained(within(everything, (start, end), gap_width_s=width), method, slice_target)
    return PromiseState(
        objective,
        found.state,
        "",
        start,
        end,
        found,
        budget_of(counted(inside, method, slice_target), objective.target),
        tuple(burn_at(units, rule, objective.target, float(end)) for rule in _rules(objective)),
        excluded,
        every.text(objective.target) if excluded else "",
        exhaustion(units, objective.target, now=float(end), **_window_of(objective, around)),
        _calendar_budget(objective, units, around, end),
    )


def _calendar_budget(
    objective: Objective, units: Slices, around: tuple[datetime, datetime], end: int
) -> CalendarBudget | None:
    if isinstance(objective.window, RollingWindow):
        return None
    window = (around[0].timestamp(), around[1].timestamp())
    return calendar_budget(units, objective.target, window=window, now=float(end))


def _window_of(objective: Objective, around: tuple[datetime, datetime]) -> dict[str, Any]:
    """Return the window of a promise as arguments of `exhaustion`."""
    if isinstance(objective.window, RollingWindow):
        return {"rolling_s": float(objective.window.seconds)}
    return {"calendar": (around[0].timestamp(), around[1].timestamp())}


def _rules(objective: Objective) -> tuple[BurnRule, ...]:
    """Return the rules of a promise that can fire: its own alerts with two windows, or the standard ones."""
    own = tuple(
        BurnRule(Fraction(one.factor), one.long_s, one.short_s, one.severity) for one in objective.alerts if one.short_s
    )
    return tuple(
        rule
        for rule in own or rules_of_window(objective.window.nominal_s)
        if rule.factor <= Fraction(objective.largest_burn)
    )


def _slices(
    objective: Objective, counts: Counts, exclusions: Sequence[Exclusion]
) -> tuple[Slices, npt.NDArray[np.bool_]]:
    """Return the slices, in the width of the promise, and which of them are excluded.

    Raises:
        ValueError: slices overlap, such as those of two sources.
    """
    if (counts.start[1:] < counts.start[:-1] + counts.width[:-1]).any():
        raise ValueError("it has slices of two sources at the same time, which would count twice")
    mask = is_excluded(objective.name, counts.start, counts.width, exclusions)
    errors = counts.stated
    made = slices_of(
        counts.start,
        counts.width,
        counts.good,
        counts.total,
        counts.missing_s,
        counts.estimated,
        low=errors.low,
        high=errors.high,
        kept=errors.kept_ppm / ALL_KEPT_PPM,
    )
    if not objective.slice_s or (counts.width == objective.slice_s).all():
        return made, mask
    # Slices of 60 s of a promise with slices of 120 s: sums by the slice of the promise.
    slots, place = np.unique(counts.start // objective.slice_s, return_inverse=True)

    def summed(values: npt.ArrayLike) -> Array:
        return np.asarray(np.bincount(place, weights=np.asarray(values, np.float64), minlength=len(slots)), np.float64)

    absent = objective.slice_s - summed(made.width)
    if (absent < 0).any():
        raise ValueError("its slices are longer than those of the promise")
    joined = slices_of(
        slots * objective.slice_s,
        objective.slice_s,
        summed(made.good),
        summed(made.total),
        summed(made.missing) + absent,
        summed(made.estimated) > 0,
        low=summed(made.low),
        high=summed(made.high),
        # The smallest part of several samples gives the largest error.
        kept=np.minimum.reduceat(made.kept, np.unique(place, return_index=True)[1]),
    )
    return joined, summed(mask) > 0


def _emptied(slices: Slices, mask: npt.NDArray[np.bool_]) -> Slices:
    """Return the slices with the excluded ones as if they had been observed without traffic."""
    if not mask.any():
        return slices
    emptied = {name: np.where(mask, 0.0, getattr(slices, name)) for name in ("good", "total", "missing", "low", "high")}
    return replace(slices, estimated=slices.estimated & ~mask, kept=np.where(mask, 1.0, slices.kept), **emptied)


def time_text(at: int) -> str:
    """Return a Unix time, s, as text: "2026-07-20 06:00 UTC"."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def judged_units(objective: Objective, counts: Counts, exclusions: Sequence[Exclusion]) -> Slices:
    """Return the slices of a promise in the units of its method, with excluded times as if they had no traffic.

    Raises:
        ValueError: slices overlap, such as those of two sources.
    """
    slices, mask = _slices(objective, counts, exclusions)
    slice_target = None if objective.slice_target is None else float(objective.slice_target)
    return counted(_emptied(slices, mask), CountedBy(objective.method.value), slice_target)
