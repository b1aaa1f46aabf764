"""Little's law, N = X R, as a check of a run's own numbers: in any steady window all three must agree.

N is the mean number of requests (or iterations) in the system, X their rate, and R their mean time in the system. The
law holds for any system and any distribution, if the window is long compared with R, and if N, X and R are about the
same requests. If it does not hold, one of the three is wrong: requests were lost, were counted twice, or waited outside
of the measured system.

Source: J. D. C. Little, Operations Research 9, 1961.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Final

__all__ = ["TOLERANCE", "LittlesLaw", "littles_law"]

TOLERANCE: Final = 0.02
"""N and X R of a steady window agree within this share."""
_SIGMAS: Final = 2.0


@dataclass(frozen=True, slots=True)
class LittlesLaw:
    """The check of one window."""

    in_system: float
    """N, as measured."""
    per_s: float
    """X."""
    mean_s: float
    """R, s."""
    tolerance: float
    """The share by which N may differ from X R."""

    @property
    def expected(self) -> float:
        """Return X R."""
        return self.per_s * self.mean_s

    @property
    def off_by(self) -> float:
        """Return N / (X R) - 1."""
        return self.in_system / self.expected - 1

    @property
    def agrees(self) -> bool:
        """Return whether the numbers agree."""
        return abs(self.off_by) <= self.tolerance


def littles_law(in_system: float, per_s: float, mean_s: float, *, standard_error: float = 0.0) -> LittlesLaw:
    """Check N = X R.

    Args:
        in_system: N, the mean over time, above 0.
        per_s: X, above 0. mean_s: R in s, above 0.
        standard_error: of N, if N is a mean of samples. The tolerance is 2 %, or two of them if that is
            more.

    Raises:
        ValueError: a value is not finite, or not above 0.
    """
    for name, value in (("in_system", in_system), ("per_s", per_s), ("mean_s", mean_s)):
        if not (isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value:g}, but must be a finite number above 0")
    if not (isfinite(standard_error) and standard_error >= 0):
        raise ValueError(f"standard_error is {standard_error:g}, but must be at least 0")
    return LittlesLaw(in_system, per_s, mean_s, max(TOLERANCE, _SIGMAS * standard_error / (per_s * mean_s)))
