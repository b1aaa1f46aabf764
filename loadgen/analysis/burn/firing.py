"""When burn-rate rules fire over the slices of a ledger.

Windows end at the end of a slice, and they contain whole slices. A rule is as
blind as its slices are wide: with slices of 5 minutes it fires up to 5 minutes
late. Slices that are wider than the short window cannot answer it at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadgen.analysis.attainment.exact_share import exact_share
from loadgen.analysis.attainment.slices import Slices
from loadgen.analysis.burn.rules import BurnRule
from loadgen.analysis.values_to_float_array import Array

__all__ = ["Burning", "burn_at", "burn_series", "fires", "sums_before", "too_fine"]

_ROUNDING = 1e-9
"""14.4 is not a binary number: a burn of exactly the factor must fire."""


@dataclass(frozen=True, slots=True)
class Burning:
    """One rule at one moment. Burns are None if their window has no traffic."""

    rule: BurnRule
    is_firing: bool
    long_burn: float | None
    short_burn: float | None
    bad: float
    """Bad events in the long window."""
    is_held_back: bool
    """Whether both burns reach the factor, and only the number of bad events does not: too little traffic to say."""
    missing_s: float
    """The time of the long window that was not observed, s. If it is large, "not firing" is no good news."""
    is_blind: bool = False
    """Whether the slices are wider than the short window, so that the rule cannot be answered and never fires."""


def sums_before(units: Slices, at: Array, length_s: float) -> tuple[Array, Array]:
    """Return bad and total of the windows that end at `at`, shape (n,) each. A slice counts by its end.

    A window contains the slices that end after `at - length_s` and not after `at`.
    """
    end = units.end
    bad = np.concatenate(([0.0], np.cumsum(units.bad)))
    total = np.concatenate(([0.0], np.cumsum(units.total)))
    last = np.searchsorted(end, at + 1e-6, side="right")
    first = np.searchsorted(end, at - length_s + 1e-6, side="right")
    return bad[last] - bad[first], total[last] - total[first]


def burn_series(units: Slices, target: object, length_s: float, at: Array | None = None) -> Array:
    """Return the burn of the windows that end at `at`, by default at each slice's end; nan without traffic."""
    bad, total = sums_before(units, units.end if at is None else at, length_s)
    ratio = np.divide(bad, total, out=np.full(len(bad), np.nan), where=total > 0)
    burn: Array = ratio / float(1 - exact_share(target))
    return burn


def too_fine(rules: Iterable[BurnRule], units: Slices) -> tuple[BurnRule, ...]:
    """Return the rules whose short window is below the width of the widest slice. `fires` refuses them."""
    widest = float(units.width.max()) if len(units) else 0.0
    return tuple(rule for rule in rules if rule.short_s < widest)


def fires(units: Slices, rule: BurnRule, target: object) -> npt.NDArray[np.bool_]:
    """Return for each slice whether the rule fires at its end, shape (slices,).

    units: in the units of the method (`counted`), in order of time.

    Raises:
        ValueError: the slices are wider than the short window, or the target is invalid.
    """
    if too_fine([rule], units):
        raise ValueError(
            f"the slices are up to {units.width.max():g} s wide, and the rule has a window of {rule.short_s} s: "
            "use rules with longer windows"
        )
    bad, _ = sums_before(units, units.end, rule.long_s)
    long = burn_series(units, target, rule.long_s)
    short = burn_series(units, target, rule.short_s)
    least = float(rule.factor) * (1 - _ROUNDING)
    # A comparison with nan is false: a window without traffic never fires.
    return (long >= least) & (short >= least) & (bad >= rule.least_bad)


def burn_at(units: Slices, rule: BurnRule, target: object, now: float) -> Burning:
    """Return whether a rule fires at one moment, and why. now: s since the epoch.

    A rule whose short window is below the width of the slices is blind, and its burns are None.

    Raises:
        ValueError: the target is invalid.
    """
    at = np.array([now])
    bad = float(sums_before(units, at, rule.long_s)[0][0])
    long, short = (float(burn_series(units, target, length, at)[0]) for length in (rule.long_s, rule.short_s))
    least = float(rule.factor) * (1 - _ROUNDING)
    window = units.take((units.end > now - rule.long_s + 1e-6) & (units.end <= now + 1e-6))
    missing_s = max(rule.long_s - float((window.width - window.missing).sum()), 0.0)
    if too_fine([rule], units):
        return Burning(rule, False, None, None, bad, False, missing_s, is_blind=True)
    is_hot = long >= least and short >= least
    is_enough = bad >= rule.least_bad
    return Burning(
        rule,
        is_hot and is_enough,
        None if np.isnan(long) else long,
        None if np.isnan(short) else short,
        bad,
        is_hot and not is_enough,
        missing_s,
    )
