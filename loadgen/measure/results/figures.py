"""Mean and percentiles of a histogram as the plain values of `summary.json`: ms, or a text for a lower bound."""

from __future__ import annotations

from math import floor
from typing import Final

from loadgen.measure.histograms.histogram import Histogram, Value, mean_us, percentiles
from loadgen.measure.objectives.words import number_text

__all__ = ["PERCENTILES", "Figure", "figure", "figures"]

PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}

Figure = float | str | None


def figures(observed: Histogram, censored: Histogram | None = None) -> dict[str, Figure] | None:
    """Return {"mean": ..., "p50": ...}: the mean and the percentiles of observed and censored values in ms.

    None if there are no values.
    """
    mean = mean_us(observed, censored)
    if mean is None:
        return None
    values = percentiles(observed, censored, tuple(PERCENTILES.values()))
    return {"mean": figure(mean)} | {name: figure(v) for name, v in zip(PERCENTILES, values, strict=True)}


def figure(value: Value | None) -> Figure:
    """Return a value in ms with three decimals, or a text such as "> 1234.5" for a lower bound.

    A bound is rounded down, never up. None stays None.
    """
    if value is None:
        return None
    if value.is_bound:
        return f"> {number_text(floor(value.us) / 1_000)}"
    return round(value.ms, 3)
