"""Objectives in words: how far each is from its limit, and what is used of its error budget."""

from __future__ import annotations

from dataclasses import dataclass

from loadgen.measure.objectives.objective import SloResult, span_text
from loadgen.report.report_tables import observed_text
from loadgen.report.summary_reader import Slo
from loadgen.units import format_count, format_ratio

__all__ = ["SloWords", "margin_text", "slo_row", "slo_words", "used_text"]


@dataclass(frozen=True, slots=True)
class SloWords:
    observed: str
    margin: str
    """How far from the limit: "62 % below"; empty where there are no data, and over windows."""
    budget: str
    window: str
    """Over windows: which is the worst, and how many broke it."""


def slo_words(slo: SloResult | Slo) -> SloWords:
    is_windowed = slo.window_s is not None
    return SloWords(
        observed_text(slo.observed, "ratio" if is_windowed else slo.unit) + (" bad" if is_windowed else ""),
        "" if is_windowed else margin_text(slo.margin),
        used_text(slo.budget),
        _window(slo),
    )


def slo_row(slo: SloResult | Slo) -> dict[str, object]:
    """One of `slos` of the document."""
    words, unit = slo_words(slo), "ratio" if slo.window_s is not None else slo.unit
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
        "reason": slo.reason,
    }


def margin_text(margin: float | None) -> str:
    """Of (limit - observed) / limit: "48 % below", "35 % above"; empty where it is not known."""
    if margin is None:
        return ""
    if not margin:
        return "at the limit"
    share = abs(margin)
    percent = f"{share * 100:.0f} %" if share >= 0.1 else format_ratio(share)
    return f"{percent} {'below' if margin > 0 else 'above'}"


def used_text(used: float | None) -> str:
    """Share of the error budget that is used: "41 % of budget", "12x the budget"; empty where it is not known."""
    if used is None:
        return ""
    return f"{used:.3g}x the budget" if used >= 10 else f"{used * 100:.0f} % of budget"


def _window(slo: SloResult | Slo) -> str:
    """ "worst window 2:10 to 3:10", and how many of them broke it."""
    if slo.window_s is None or slo.worst_window_s is None:
        return ""
    text = f"worst window {span_text(slo.worst_window_s, slo.window_s)}"
    broke = f", {format_count(slo.windows_failed)} of {format_count(slo.windows)} broke it"
    return text + (broke if slo.windows_failed else "")
