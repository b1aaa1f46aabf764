"""Computes the difference of two sides at each quantile from 1 to 99, with a confidence band.

Single percentiles may show no change although a tenth of the requests takes another path. A flat curve means that all
requests changed; a curve that rises at its end means that the slowest ones changed.

Values come from the run folders, as the figures of the history do: successful requests without the warm-up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log, nan
from typing import Final

from loadgen.analysis.compare import Basis, Between, Shift, shift, shift_pairs
from loadgen.history.compare.comparison import Comparison
from loadgen.history.store.extract import names_of
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.histograms.histogram import percentiles
from loadgen.measure.statistics.batch_means import Batches

__all__ = ["QUANTILES", "Curve", "Quantiles", "curve_of", "known_of", "quantiles_of"]

QUANTILES: Final = tuple(range(1, 100))
_NEAREST: Final = ((72, "p50"), (97, "p95"), (99, "p99"))
"""(quantile, percentile): up to this quantile, the run-to-run variation of this percentile is used."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The quantiles of one name in one run, one for each of `QUANTILES`."""

    values_ms: tuple[float, ...]
    """nan where only a bound is known."""
    errors: tuple[float, ...]
    """Standard error of the logarithm within the run; nan if unknown."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The relative difference at each of `QUANTILES`; nan where it is unknown."""

    name: str
    change: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Ends of the 95 % interval of each quantile by itself."""
    is_known: bool
    """Whether the band includes the run-to-run variation, or only the error within each side."""

    @property
    def band(self) -> str:
        """Return a sentence that explains to the reader what the curve's confidence band includes."""
        if not any(isfinite(value) for value in self.low):
            return "No band: the runs are too short to estimate the error within them."
        content = "the run-to-run variation"
        if not self.is_known:
            content = "only the error within each side, since the run-to-run variation is unknown"
        return f"The band is the 95 % interval of each quantile by itself. It includes {content}."


def quantiles_of(batches: Batches, names: Collection[str]) -> dict[str, Quantiles]:
    """Return the quantiles 1 to 99 of response times of those `names` that the run has, by name.

    batches: the run's second result of `extract.counted_of`. names: written as in `Figure.name`.

    Cost: 40 ms for each name.
    """
    qs = [float(q) for q in QUANTILES]
    found = {}
    for row, name in names_of(batches).items():
        observed, censored = batches.select_row(row, OK)
        if name not in names or not observed.total + censored.total:
            continue
        values = [nan if one is None or one.is_bound else one.ms for one in percentiles(observed, censored, qs)]
        errors = [nan if one.value is None else one.value for one in batches.errors(row, qs, OK)]
        found[name] = Quantiles(tuple(values), tuple(errors))
    return found


def curve_of(
    name: str,
    base: Sequence[Quantiles],
    new: Sequence[Quantiles],
    known: Mapping[str, Between],
    *,
    is_paired: bool = False,
) -> Curve:
    """Return the relative difference of one name between two sides at each quantile, with its confidence band.

    Args:
        base, new: the quantiles of the name, one for each run of the side.
        known: the run-to-run variation by percentile ("p50", "p95", "p99"); each quantile uses the nearest one.
        is_paired: as in `compare.compare`.
    """
    shifts = [_at(n, base, new, _known_at(q, known), is_paired) for n, q in enumerate(QUANTILES)]
    return Curve(
        name=name,
        change=tuple(one.change for one in shifts),
        low=tuple(one.low for one in shifts),
        high=tuple(one.high for one in shifts),
        is_known=all(one.is_known or not isfinite(one.change) for one in shifts),
    )


def known_of(comparison: Comparison, name: str) -> dict[str, Between]:
    """Return the run-to-run variation of a name by percentile ("p50", "p95" ...), where the comparison has it."""
    return {row.percentile: row.between for row in comparison.whole if row.name == name and row.between is not None}


def _at(n: int, base: Sequence[Quantiles], new: Sequence[Quantiles], known: Between | None, is_paired: bool) -> Shift:
    sides = [[one.values_ms[n] for one in side] for side in (base, new)]
    if not all(isfinite(value) and value > 0 for side in sides for value in side):
        return Shift(nan, nan, nan, 1.0, Basis.UNKNOWN, nan)
    before, after = ([log(value) for value in side] for side in sides)
    if is_paired and len(before) == len(after) >= 2:
        return shift_pairs(before, after)
    errors = [[one.errors[n] for one in side] for side in (base, new)]
    return shift(before, after, base_errors=errors[0], new_errors=errors[1], known=known)


def _known_at(q: int, known: Mapping[str, Between]) -> Between | None:
    return known.get(next(name for upto, name in _NEAREST if q <= upto))
