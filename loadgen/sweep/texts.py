"""Texts of values, changes and intervals in the unit of a response. Everything that shows a sweep uses these."""

from __future__ import annotations

from collections.abc import Mapping
from math import expm1

from loadgen.analysis.factors.terms import Term
from loadgen.report.report_parts import PLACEHOLDER, milliseconds
from loadgen.sweep.responses import Response
from loadgen.units import format_change, format_changes, format_rate, format_ratio

__all__ = ["change_text", "effect_numbers", "effect_text", "interval_text", "levels_text", "value_text"]


def value_text(value: float | None, response: Response, *, with_unit: bool = True) -> str:
    """Return a value of a response as text: "412 ms", "0.12 %", "200/s"; "-" for None. with_unit: only about "ms"."""
    if value is None:
        return PLACEHOLDER
    if response.is_time:
        return f"{milliseconds(value)} ms" if with_unit else milliseconds(value)
    return format_rate(value) if response.unit else format_ratio(value)


def interval_text(low: float | None, high: float | None, response: Response) -> str:
    """Return an interval of values without the unit "ms": "360 to 470"; "-" if an end is None."""
    if low is None or high is None:
        return PLACEHOLDER
    return f"{value_text(low, response, with_unit=False)} to {value_text(high, response, with_unit=False)}"


def change_text(change: float, low: float | None, high: float | None, response: Response) -> str:
    """Return a change of a response with its interval: "+412 ms (360 to 470)", "-0.4 percentage points (-2.0 to 1.2)".

    All three numbers have the same number of decimals, which the largest of them decides.
    """
    factor = 1.0 if response.unit else 100.0
    unit = "" if response.unit == "/s" else f" {response.unit or 'percentage points'}"
    numbers = [number * factor for number in (change, low, high) if number is not None]
    size = max(map(abs, numbers))
    decimals = 0 if size >= 30 else 1 if size >= 3 else 2
    texts = [_number(number, decimals) for number in numbers]
    sign = "+" if numbers[0] > 0 and texts[0].strip("0.") else ""
    per_s = response.unit if response.unit == "/s" else ""
    interval = f" ({texts[1]}{per_s} to {texts[2]}{per_s})" if len(texts) == 3 else ""
    return f"{sign}{texts[0]}{per_s}{unit}{interval}"


def _number(number: float, decimals: int) -> str:
    text = f"{number:,.{decimals}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def effect_text(term: Term, response: Response) -> tuple[str, str]:
    """Return (effect, interval) of a term: ("+21.4 %", "+18.0 to +25.1 %"), or in percentage points of an error ratio.

    The interval is "-" if it is unknown. An error ratio is analysed on a scale of its own, so its effects are shown as
    changes of the ratio: of an interaction, in the cell where both factors have their last level.
    """
    effect, low, high = effect_numbers(term, response)
    if effect is None:
        return PLACEHOLDER, PLACEHOLDER
    if response.is_log:
        shown = PLACEHOLDER if low is None or high is None else format_changes(expm1(low), expm1(high))
        return format_change(expm1(effect)), shown
    shown = PLACEHOLDER if low is None or high is None else f"{low * 100:+.2f} to {high * 100:+.2f}"
    return f"{effect * 100:+.2f} points", shown


def effect_numbers(term: Term, response: Response) -> tuple[float | None, float | None, float | None]:
    """Return (effect, low, high) of a term: differences of logarithms, or changes of an error ratio."""
    if response.is_log:
        return term.effect, term.low, term.high
    return term.change, term.change_low, term.change_high


def levels_text(levels: Mapping[str, str]) -> str:
    """Return the levels of a cell as text: "settle 8, payout 0"."""
    return ", ".join(f"{name} {level}" for name, level in levels.items())
