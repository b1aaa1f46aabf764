"""Histories of runs by chance: heavy tails, outliers, drift that all names share, and days that runs share.

The laws of the gate and of the scan were fitted on other generators than these: see docs/how-often-wrong.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Noise", "history_and_new"]

Array = npt.NDArray[np.float64]
_SLOWER_MODE: Final = 0.06


@dataclass(frozen=True, slots=True)
class Noise:
    """What makes runs of the same code differ. Logarithms: 0.02 is 2 %."""

    deviation: float = 0.02
    tails: str = "normal"
    """"normal"; "t4", Student's t with 4 degrees of freedom; "laplace"."""
    drift: float = 0.0
    """The correlation of neighbouring runs, in a part that all names share: AR(1)."""
    common: float = 0.5
    """The share of the variance in that part."""
    day: float = 0.0
    """The share of the variance that runs of one day have in common. The new runs are of one day."""
    outliers: float = 0.0
    """The share of runs in which all names are off by 5 to 25 %, either way."""
    modes: float = 0.0
    """The share of runs in which all names are 6 % slower: a second mode, such as another placement of threads."""
    unit: float = 0.0
    """The unit to which values are rounded, as a share of them: 0.1 are values of some 105 ms in whole 10 ms."""

    @property
    def text(self) -> str:
        parts = [{"t4": "t(4)"}.get(self.tails, self.tails), f"rho {self.drift:g}", f"{self.deviation:.0%} noise"]
        if self.common != 0.5:
            parts.append(f"{self.common:.0%} in common")
        if self.day:
            parts.append(f"a day holds {self.day:.0%}")
        if self.outliers:
            parts.append(f"{self.outliers:.0%} outlier runs")
        if self.modes:
            parts.append(f"{self.modes:.0%} in a slower mode")
        if self.unit:
            parts.append(f"rounded to {self.unit:.0%}")
        return ", ".join(parts)


def history_and_new(chance: np.random.Generator, noise: Noise, names: int, history: int, new: int) -> Array:
    """Return logarithms of shape (names, history + new): runs of the same code, in the order of time."""
    n = history + new
    own = _tails(chance, noise.tails, (names, n))
    shared = _tails(chance, noise.tails, (n,))
    for k in range(1, n):
        shared[k] = noise.drift * shared[k - 1] + sqrt(1 - noise.drift**2) * shared[k]
    values = sqrt(1 - noise.common) * own + sqrt(noise.common) * shared
    if noise.day:
        days = chance.standard_normal(history + 1)[np.minimum(np.arange(n), history)]
        values = sqrt(1 - noise.day) * values + sqrt(noise.day) * days
    is_out = chance.random(n) < noise.outliers
    off = np.where(is_out, chance.choice([-1, 1], n) * chance.uniform(0.05, 0.25, n), 0.0)
    if noise.modes:
        off += np.where(chance.random(n) < noise.modes, _SLOWER_MODE, 0.0)
    found = np.asarray(values * noise.deviation + off)
    if noise.unit:
        # The middle between two units is the worst place: half of the runs are rounded up, half down.
        found = np.log(np.round((1 + noise.unit / 2) * np.exp(found) / noise.unit) * noise.unit)
    return found


def _tails(chance: np.random.Generator, tails: str, shape: tuple[int, ...]) -> Array:
    """Return values with mean 0 and variance 1."""
    if tails == "t4":
        return np.asarray(chance.standard_t(4, shape) / sqrt(2))
    if tails == "laplace":
        return np.asarray(chance.laplace(0, 1 / sqrt(2), shape))
    return chance.standard_normal(shape)
