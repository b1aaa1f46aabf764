"""Durations in ns as the shop counts them: the number, the sum, and a histogram for `/stats`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from loadgen.measure.histograms.histogram import Histogram
from loadgen.target.stats import histogram_json

__all__ = ["Waits"]

_FOLD_AT: Final = 65_536


class Waits:
    """Durations since the start, or since the last `clear`.

    above_0: how many were longer than 0. sum_ns and above_0 also serve the page /metrics, which is read each second.
    """

    __slots__ = ("_folded", "_values", "above_0", "count", "sum_ns")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.count = self.above_0 = self.sum_ns = 0
        self._values: list[int] = []
        self._folded = Histogram()

    def add(self, ns: int) -> None:
        self.count += 1
        self.sum_ns += ns
        if ns:
            self.above_0 += 1
        self._values.append(ns)
        if len(self._values) >= _FOLD_AT:
            self._fold()

    def as_json(self) -> dict[str, Any]:
        """Return the histogram as `/stats` has it."""
        self._fold()
        return histogram_json(self._folded)

    def _fold(self) -> None:
        if self._values:
            self._folded.add_histogram(Histogram.of_ns(np.array(self._values, dtype=np.int64)))
            self._values.clear()
