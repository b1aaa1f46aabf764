"""Chooses which rows of a recording are used when its load is scaled: the same ones in the load and in the feed.

A scale below 1 leaves rows out, each with the same probability. A scale above 1 repeats rows. Whether row n is used
follows from n alone. So `replay.timestamps(..., scale=0.5)` and a feed of the same file with `.scale(0.5)` agree,
without a message, and arrival n of the scaled load has the row that was recorded with it.
"""

from __future__ import annotations

from math import isfinite
from typing import Final

import numpy as np

from loadgen.splitmix import GOLDEN, mixed_each

__all__ = ["scaled_rows", "wrong_scale"]

_MAX_SCALE: Final = 1000
_SEED: Final = 0x5CA1E


def scaled_rows(count: int, scale: float) -> np.ndarray:
    """Return the row of each use, (uses,) int64, ascending: row n occurs `scale` times on average.

    A scale of 2.5 repeats each row 2 or 3 times.
    """
    whole = int(scale)
    numbers = mixed_each(np.uint64(_SEED) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN))
    shares = (numbers >> np.uint64(11)).astype(np.float64) / 2**53
    return np.repeat(np.arange(count, dtype=np.int64), whole + (shares < scale - whole))


def wrong_scale(scale: object) -> str:
    """Return the error in a scale, then " | " and the hint; "" if it is valid."""
    if isinstance(scale, int | float) and not isinstance(scale, bool) and isfinite(scale) and 0 < scale <= _MAX_SCALE:
        return ""
    return f"scale={scale!r} must be a number above 0, at most {_MAX_SCALE:,} | write scale=0.5 for half of the load"
