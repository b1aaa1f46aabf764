"""The law beside its two simpler forms, Amdahl's law and a straight line, compared by AICc."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log
from typing import Final

from loadgen.analysis.usl.curve import Coefficients, throughput_at
from loadgen.analysis.usl.least_squares import AMDAHL, FULL, LINEAR, Scaled
from loadgen.analysis.values_to_float_array import Array

__all__ = ["CLOSE", "Model", "compared_models"]

CLOSE: Final = 2.0
"""Models whose AICc differs by less than this explain the data equally well (Burnham and Anderson, 2002)."""
_FORMS: Final = (("USL", FULL), ("Amdahl", AMDAHL), ("linear", LINEAR))


@dataclass(frozen=True, slots=True)
class Model:
    """One model, fitted to the same data: "USL", "Amdahl" (beta 0) or "linear" (alpha and beta 0)."""

    name: str
    coefficients: Coefficients
    squares: float
    """The sum of squares of its residuals."""
    aicc: float | None
    """The corrected information criterion, lower is better; None if there are too few points for it."""
    behind: float | None
    """aicc minus the lowest one, at least 0; None without aicc."""


def compared_models(scaled: Scaled, load: Array, throughput: Array, full: Coefficients) -> tuple[Model, ...]:
    """Return the three models, USL first. full: the fit of the whole law."""
    found = [(name, full if free == FULL else scaled.fit(free), sum(free)) for name, free in _FORMS]
    squares = [float(((throughput - throughput_at(load, *one)) ** 2).sum()) for _, one, _ in found]
    floor = 1e-24 * float((throughput**2).sum())  # exact data: the rounding of floats decides nothing
    criteria = [_aicc(len(load), max(of, floor), count) for of, (_, _, count) in zip(squares, found, strict=True)]
    least = min((one for one in criteria if one is not None), default=inf)
    return tuple(
        Model(name, one, of, aicc, None if aicc is None else aicc - least)
        for (name, one, _), of, aicc in zip(found, squares, criteria, strict=True)
    )


def _aicc(points: int, squares: float, coefficients: int) -> float | None:
    """Return n ln(squares / n) + 2 k + 2 k (k + 1) / (n - k - 1), with k = coefficients + 1 for the variance."""
    k = coefficients + 1
    if points <= k + 1:
        return None
    return points * log(squares / points) + 2 * k + 2 * k * (k + 1) / (points - k - 1)
