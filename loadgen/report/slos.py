"""Format objectives as texts: the observed value, its distance from the limit, and the used error budget."""

from __future__ import annotations

from dataclasses import dataclass

from loadgen.measure.objectives.objective import SloResult, span_text
from loadgen.measure.objectives.words import TWO_CLOCKS_WORDS
from loadgen.report.report_tables import bad_or_observed_text, observed_text
from loadgen.report.summary_reader import Slo
from loadgen.units import format_count, format_ratio

__all__ = ["SloWords", "margin_text", "slo_row", "slo_words", "used_text"]


@dataclass(frozen=True, slots=True)
class SloWords:
    """The texts about one objective that a table shows."""

    observed: str
    margin: str
    """The distance from the limit, such as "62 % below"; empty without data and for an objective over windows."""
    budget: str
    window: str
    """The worst window and the number of broken windows; empty for an objective over the whole run."""


def slo_words(slo: SloResult | Slo) -> SloWords:
    """Return the texts about an objective of a live or an ended run."""
    is_windowed = slo.window_s is not None
    return SloWords(
        bad_or_observed_text(slo),
        "" if is_windowed else margin_text(slo),
        used_text(slo.budget),
        _window(slo),
    )


def slo_row(slo: SloResult | Slo) -> dict[str, object]:
    """Return one item of `slos` in the report document."""
    words, unit = slo_words(slo), slo.unit
    return {
        "objective": slo.objective,
        "journey": slo.journey,
        "verdict": slo.verdict,
        "observed": words.observed,
        "count": slo.count,
        "low": None if slo.low is None else observed_text(slo.low, unit),
        "high": None if slo.high is None else observed_text(slo.high, unit),
        "margin": words.margin,
        "budget": words.budget,
        "window": words.window,
        "reason": slo.reason or (TWO_CLOCKS_WORDS if TWO_CLOCKS_WORDS in slo.detail else ""),
        "detail": slo.detail,
        "sure": slo.sure,
        "bad_share_low": slo.bad_share_low,
        "bad_share_high": slo.bad_share_high,
        "step": slo.step,
        "request": slo.request,
        "probe": slo.probe,
        # The chart of response times draws only limits of percentiles of response times.
        "limit_ms": None if slo.detail else slo.limit_ms,
        "percentile": None if slo.limit_ms is None or slo.detail else round(100 * (1 - slo.allowed), 6),
    }


def margin_text(slo: SloResult | Slo) -> str:
    """Return the distance from the limit as a text: "48 % below", "35 % above" or "at the limit"; "" if unknown."""
    if slo.margin is None:
        return ""
    if not slo.margin:
        return "at the limit"
    share = abs(slo.margin)
    percent = f"{share * 100:.0f} %" if share >= 0.1 else format_ratio(share)
    # A margin is positive on the good side of the limit, and that is above it in `goodput(...) > "95%"`.
    is_above = slo.margin < 0
    if isinstance(slo.observed, float) and isinstance(slo.limit, float):
        is_above = slo.observed > slo.limit
    return f"{percent} {'above' if is_above else 'below'}"


def used_text(used: float | None) -> str:
    """Return the used share of the error budget as "41 % of budget" or "12x the budget"; "" if unknown."""
    if used is None:
        return ""
    return f"{used:.3g}x the budget" if used >= 10 else f"{used * 100:.0f} % of budget"


def _window(slo: SloResult | Slo) -> str:
    """Return "worst window 2:10 to 3:10, 3 of 40 broke it"; "" if the objective is not over windows."""
    if slo.window_s is None or slo.worst_window_s is None:
        return ""
    text = f"worst window {span_text(slo.worst_window_s, slo.window_s)}"
    broke = f", {format_count(slo.windows_failed)} of {format_count(slo.windows)} broke it"
    return text + (broke if slo.windows_failed else "")
