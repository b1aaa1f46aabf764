"""Where in the distribution two sides differ: the difference at each quantile from 1 to 99, with a band.

Two percentiles may say that nothing has changed where a tenth of the requests takes another way.
A curve that is flat is a change of everything; one that rises at its end is a tail.

Values come from the run folders, as the history's figures do: of what ended ok, without warm-up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log, nan
from typing import Final

from loadgen.analysis.compare import Basis, Between, Shift, shift, shift_pairs
from loadgen.history.compare.comparison import Comparison
from loadgen.history.store.extract import names_of
from loadgen.measure.deltas.series import OK
from loadgen.measure.histograms.histogram import percentiles
from loadgen.measure.statistics.batch_means import Batches

__all__ = ["QUANTILES", "Curve", "Quantiles", "curve_of", "known_of", "quantiles_of"]

QUANTILES: Final = tuple(range(1, 100))
_NEAREST: Final = ((72, "p50"), (97, "p95"), (99, "p99"))
"""Up to which quantile it is taken for how much runs differ."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of one name in one run; as many as `QUANTILES`."""

    values_ms: tuple[float, ...]
    """nan where only a bound is known."""
    errors: tuple[float, ...]
    """Of the logarithm, within the run; nan where there is none."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The difference at each of `QUANTILES`, relative; nan where there is none."""

    name: str
    change: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Of the 95 % interval of each quantile by itself."""
    is_known: bool
    """Whether the band holds how much runs differ, or only what either is off by within itself."""

    @property
    def band(self) -> str:
        """What it is, in a sentence."""
        if not any(isfinite(value) for value in self.low):
            return "No band: the runs are too short to know what either is off by."
        held = "how much runs differ" if self.is_known else "what either side is off by, and not how much runs differ"
        return f"The band is the 95 % interval of each quantile by itself; it holds {held}."


def quantiles_of(batches: Batches, names: Collection[str]) -> dict[str, Quantiles]:
    """Of those of these names that the run has, as `Figure.name` is written.

    batches: of `extract.counted_of`.
    Cost: 40 ms a name.
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
    """One of each run of a side.

    known: how much runs differ by "p50", "p95", "p99"; the nearest counts. is_paired: as in `comparing.compare`.
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
    """How much runs differ in this name, by percentile, as far as the comparison knows it."""
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
