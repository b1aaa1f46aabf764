"""Word the limit that a steered load found, for the headline of a run.

The wording is the same everywhere: "Limit found: 79.9/s (90 %: 75.9 to 81.8) for p(99) < 300ms".
"""

from __future__ import annotations

from loadgen.report.summary_reader import Found, Summary
from loadgen.units import format_rate

__all__ = ["limit_found", "limit_text"]


def limit_found(summary: Summary) -> str:
    """Return what the steered loads of a run found, without a stop at the end; "" if no load gave a result.

    It is also "" for a run that neither passed nor failed, because its figures cannot be trusted or are not complete.
    """
    if summary.result not in ("passed", "failed"):
        return ""
    several = len(summary.steering) > 1
    found = ((one, limit_text(one)) for one in summary.steering)
    return "; ".join(f"{one.load}: {text}" if several and one.load else text for one, text in found if text)


def limit_text(one: Found) -> str:
    """Return the result of one steered load as a phrase; "" without one, or if it is a reason of the verdict anyway."""
    objectives = f" for {' and '.join(one.objectives)}" if one.objectives else ""
    rate = "" if one.rate_per_s is None else format_rate(one.rate_per_s)
    match one.verdict:
        case "found" if one.held_per_s is not None and rate:
            return f"Held {format_rate(one.held_per_s)}; the limit{objectives} is about {rate}"
        case "found" if rate:
            return f"Limit found: {rate}{_interval(one)}{objectives}"
        case "not reached" if rate:
            return f"Limit not reached: {' and '.join(one.objectives) or 'the load'} held up to {rate}"
        case "not decided":
            return f"Limit not found: {one.text.rstrip('.').removeprefix('not decided: ')}"
    return ""


def _interval(one: Found) -> str:
    if one.low is None or one.high is None:
        return ""
    low, high = (format_rate(rate).removesuffix("/s") for rate in (one.low, one.high))
    return f" (90 %: {low} to {high})"
