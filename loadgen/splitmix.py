"""Chance that follows from a counter: the same number for whoever asks, in any order, on any machine.

A generator that walks would have to be walked by every agent, and numpy's may change
with its version. Here number n of a seed is a hash of both, so an agent looks at its
own n only, and what an iteration drew can be drawn again by itself.

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
    """64 bits of any integer, of which the lower 64 count: SplitMix64's finaliser. 0.3 µs."""
    z &= MASK
    z = (z ^ z >> 30) * _FIRST & MASK
    z = (z ^ z >> 27) * _SECOND & MASK
    return z ^ z >> 31


def mixed_each(z: np.ndarray) -> np.ndarray:
    """The same of each of an array of uint64, in place: the array is given back. 3 ns a value."""
    with np.errstate(over="ignore"):
        z ^= z >> np.uint64(30)
        z *= np.uint64(_FIRST)
        z ^= z >> np.uint64(27)
        z *= np.uint64(_SECOND)
        z ^= z >> np.uint64(31)
    return z
