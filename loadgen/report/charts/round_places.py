"""Round numbers for the axis of a chart."""

from __future__ import annotations

from math import floor, log10

__all__ = ["log_places", "round_places"]


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


def log_places(low: float, high: float, most: int = 4) -> list[float]:
    """Return round values within [low, high], ascending, for a logarithmic axis: at most about `most`.

    low: above 0. They are 1, 2 and 5 times powers of ten, or powers of ten alone; in a narrow range those of
    `round_places`.
    """
    powers = range(floor(log10(low)), floor(log10(high)) + 1)
    for digits in ((1, 2, 5), (1,)):
        found = [round(digit * 10.0**power, max(0, -power)) for power in powers for digit in digits]
        found = [place for place in found if low <= place <= high]
        if len(found) < 2:
            return round_places(low, high, most)
        if len(found) <= most:
            return found
    return found[:: -(-len(found) // most)]
