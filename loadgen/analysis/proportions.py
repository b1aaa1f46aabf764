"""How large is a share of which a few cases were seen?

    clopper_pearson(1, 24)        # (0.001, 0.211): 1 of 24 may be anything between 0.1 and 21 %

The exact interval of Clopper and Pearson (Biometrika 26, 1934), which holds at least as often as it says.
"""

from __future__ import annotations

from scipy import special

__all__ = ["clopper_pearson"]


def clopper_pearson(seen: int, of: int, *, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share, both ends in 0 to 1; (0, 1) where nothing was looked at.

    Args:
        seen: 0 to `of`.
        of: independent cases.
        level: of the interval, two-sided.

    Raises:
        ValueError: not so.
    """
    if not 0 <= seen <= of:
        raise ValueError(f"{seen} of {of} is no share")
    if not 0 < level < 1:
        raise ValueError(f"level is {level:g}, and has to be between 0 and 1")
    tail = (1 - level) / 2
    low = float(special.betaincinv(seen, of - seen + 1, tail)) if seen else 0.0
    high = float(special.betaincinv(seen + 1, of - seen, 1 - tail)) if seen < of else 1.0
    return low, high
