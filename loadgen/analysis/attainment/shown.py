"""Texts of attainments and budgets, rounded toward the bad side.

    percent_text(998_996, 1_000_000, target=0.999)      # "99.89 %": it did not reach 99.9 %

A figure that is rounded to the nearest value can show a target that was missed as reached. So the share of good
requests is rounded down, with one digit more than the target has, and the budget that is left is rounded down, too.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, isfinite

from loadgen.analysis.attainment.exact_share import exact_share

__all__ = ["NO_TRAFFIC", "budget_text", "digits_of", "interval_text", "percent_text"]

NO_TRAFFIC = "no traffic"
_MOST_DIGITS = 12


def digits_of(target: object) -> int:
    """Return the decimal places of a target in percent: 1 for 0.995, which is 99.5 %, and 0 for 0.99.

    Raises:
        ValueError: it is not above 0 and below 1.
    """
    percent, digits = exact_share(target) * 100, 0
    while percent.denominator != 1 and digits < _MOST_DIGITS:
        percent, digits = percent * 10, digits + 1
    return digits


def percent_text(good: float, total: float, *, target: object) -> str:
    """Return the share of good requests in percent, rounded down; "no traffic" for 0 of 0.

    good, total: counts, 0 <= good <= total, or the sum of the good shares of slices and their number. target: above 0
    and below 1; it has one digit less.
    """
    if not total:
        return NO_TRAFFIC
    share = Fraction(good) / Fraction(total)
    if Fraction(good).denominator != 1:
        # The sum of good shares of slices is not exact: three of 99 % must not become 98.9 %.
        share = _without_rounding(share, 15)
    return _floored(share, digits_of(target) + 1)


def interval_text(low: float, high: float, *, target: object) -> str:
    """Return an interval of the share of good requests in percent, rounded outward: "99.41 to 99.58 %".

    low, high: 0 to 1. target: above 0 and below 1; the interval has one digit more.
    """
    digits = digits_of(target) + 1
    # Differences in the 12th place are of the arithmetic: 0.9941 is a float just below 99.41 %.
    least, most = (_without_rounding(one) for one in (low, high))
    rounded = Fraction(ceil(most * 100 * 10**digits), 100 * 10**digits)
    return f"{_floored(least, digits).removesuffix(' %')} to {_floored(rounded, digits)}"


def budget_text(left: float | None, *, digits: int = 0) -> str:
    """Return the part of a budget that is left in percent, rounded down; negative if more than all is spent.

    left: 1 is the whole budget, 0 nothing, -0.18 an overspent one; None or nan: "no traffic".
    """
    if left is None or not isfinite(left):
        return NO_TRAFFIC
    # 1 - 0.9 is 0.09999999999999998, which must not become 9 %: differences in the 12th place are of the arithmetic.
    return _floored(_without_rounding(left), digits)


def _without_rounding(share: float | Fraction, places: int = 12) -> Fraction:
    """Return a share to some decimal places."""
    return Fraction(round(share * 10**places), 10**places)


def _floored(share: Fraction, digits: int) -> str:
    units = floor(share * 100 * 10**digits)
    sign, whole = ("-" if units < 0 else ""), abs(units)
    text = str(whole).rjust(digits + 1, "0")
    return f"{sign}{text[: len(text) - digits]}{'.' if digits else ''}{text[len(text) - digits :]} %"
