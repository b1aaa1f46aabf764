"""The confidence interval of a proportion, from a few cases.

    clopper_pearson(1, 24)        # (0.001, 0.211): 1 of 24 means a proportion between 0.1 and 21 %

This is the exact interval of Clopper and Pearson (Biometrika 26, 1934). Its coverage is at least the stated level.
"""

from __future__ import annotations

from scipy import special

__all__ = ["clopper_pearson"]


def clopper_pearson(seen: int, of: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return both ends of the exact confidence interval of a proportion, 0 to 1; (0, 1) without cases.

    Args:
        seen: cases with the property, 0 to `of`.
        of: the number of independent cases.
        level: the two-sided confidence level, between 0 and 1.

    Raises:
        ValueError: an argument is out of range.
    """
    if not 0 <= seen <= of:
        raise ValueError(f"{seen} of {of} is not a proportion: seen must be between 0 and of")
    if not 0 < level < 1:
        raise ValueError(f"level is {level:g}, but must be between 0 and 1")
    tail = (1 - level) / 2
    low = float(special.betaincinv(seen, of - seen + 1, tail)) if seen else 0.0
    high = float(special.betaincinv(seen + 1, of - seen, 1 - tail)) if seen < of else 1.0
    return low, high
