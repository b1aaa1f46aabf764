"""Pseudo-random numbers computed from a counter: the same for every caller, in any order, on any machine.

A sequential generator would have to be advanced by every agent, and numpy's generators may
change with its version. Here number n of a seed is a hash of both. So an agent computes
only its own numbers, and the draws of one iteration can be reproduced separately.

Source: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): output n
of seed s is `mixed(s + (n + 1) * GOLDEN)`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["GOLDEN", "MASK", "mixed", "mixed_each"]

GOLDEN: Final = 0x9E3779B97F4A7C15
"""The counter's step: 2^64 divided by the golden ratio, odd."""
MASK: Final = (1 << 64) - 1
_FIRST: Final = 0xBF58476D1CE4E5B9
_SECOND: Final = 0x94D049BB133111EB


def mixed(z: int) -> int:
    """Return a 64-bit hash of the lower 64 bits of an integer, computed by SplitMix64's finaliser. Takes 0.3 µs."""
    z &= MASK
    z = (z ^ z >> 30) * _FIRST & MASK
    z = (z ^ z >> 27) * _SECOND & MASK
    return z ^ z >> 31


def mixed_each(z: np.ndarray) -> np.ndarray:
    """Replace each value of an array of uint64 by its `mixed` hash, in place, and return the array. Takes 3 ns
    a value.
    """
    with np.errstate(over="ignore"):
        z ^= z >> np.uint64(30)
        z *= np.uint64(_FIRST)
        z ^= z >> np.uint64(27)
        z *= np.uint64(_SECOND)
        z ^= z >> np.uint64(31)
    return z
