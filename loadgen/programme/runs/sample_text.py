"""Texts of the sample of a run, which the command line and the pages share. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from loadgen.analysis.attainment.shown import interval_text, percent_text
from loadgen.units import format_count

__all__ = ["STRICTER", "figure_text"]

STRICTER: Final = "a test is stricter by the time spent in the client's queue"
"""The note for every line on which a run and production stand side by side."""


def figure_text(bad: float, total: float, interval: tuple[float, float] | None, target: Decimal | float) -> str:
    """Return a good share with its interval: "99.71 % (95 %: 99.63 to 99.78 %) of 30,000 requests".

    interval: of the good share, 0 to 1; None: the run is too short.
    """
    text = percent_text(total - bad, total, target=target)
    if interval is not None:
        text += f" (95 %: {interval_text(*interval, target=target)})"
    return f"{text} of {format_count(round(total))} requests"
