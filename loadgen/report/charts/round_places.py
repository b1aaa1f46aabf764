"""Round numbers for the axis of a chart."""

from __future__ import annotations

from math import floor, log10

__all__ = ["round_places"]


def round_places(low: float, high: float, most: int = 4) -> list[float]:
    """Return round values within [low, high], ascending, for an axis: at least 2 if possible, at most `most`.

    They are multiples of 1, 2, 2.5 or 5 times a power of ten: the finest step that gives at most `most`.
    """
    power = floor(log10(high - low)) - 1
    found: list[float] = []
    for digit, shift in ((digit, shift) for shift in (2, 1, 0) for digit in (5.0, 2.5, 2.0, 1.0)):
        step = digit * 10.0 ** (power + shift)
        first, last = -int(-low / step // 1), int(high / step // 1)
        if last - first + 1 > most:
            break
        found = [round(n * step, max(0, 2 - power)) for n in range(first, last + 1)]
    return found
