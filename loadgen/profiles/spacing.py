"""Random positions of arrivals: sums of random spacings, as a pure function of a seed and n.

An open load has a rate curve, and each arrival n of the fleet has a position on the area under it. The arrival is due
when the area reaches its position. Even positions are 0, 1, 2, ... Here the positions are those of a renewal process,
whose spacings have mean 1 and a gamma distribution. Shape 1 is exponential, which makes a Poisson process. The
arrivals follow any curve on average, and are irregular around it.

Positions are the leaves of a tree, so any n costs one path instead of a sum over all earlier spacings. A node stands
for 16^k arrivals, and the node alone determines how its length is divided among its 16 children. The sum of m gamma
spacings of shape k is gamma with shape m·k, and independent of the m shares in it. So drawing the sum first and the
shares later gives the same distribution as adding spacings one by one.

Positions have no unit: the unit of area is one arrival. Numbers come from a counter and a hash, and logarithms from the
four operations that IEEE 754 rounds exactly. So they are identical bit by bit on every machine and with every version
of numpy, and agents need not exchange them. (numpy's own `log` differs in the last bit between processors with and
without AVX-512.) There is no clock, and caches do not change any result.
"""

from __future__ import annotations

from fractions import Fraction
from math import isfinite
from typing import Final

import msgspec
import numpy as np

from loadgen.errors import ProfileError
from loadgen.splitmix import GOLDEN, mixed, mixed_each

__all__ = ["MAX_SHAPE", "MIN_SHAPE", "Renewal", "Spacing"]

MIN_SHAPE: Final = 1e-3
MAX_SHAPE: Final = 1e6
"""Limits of the gamma shape: coefficients of variation of 31.6 and 0.001. Beyond, arrivals are one burst, or even."""

_BITS: Final = 4
_FAN: Final = 1 << _BITS
"""Children of a node. More children make neighbouring arrivals cheaper; fewer make every 100th arrival cheaper.
Measured in µs per value (bench/share.py): with 64 children 0.3 and 4 if exponential, 0.8 and 12 if gamma; with 16
children 0.5 and 2.8 if exponential, 1.1 and 4.8 if gamma."""
_LEVELS: Final = 14
"""Levels of the tree: 16^14 = 2^56 arrivals are more than a profile may have."""


class Spacing(msgspec.Struct, frozen=True):
    """Random spacing of arrivals with a gamma distribution; shape 1 is a Poisson process.

    Raises:
        ProfileError: the shape is outside MIN_SHAPE to MAX_SHAPE.
    """

    shape: float = 1.0
    """Shape of the gamma distribution: 1 is Poisson, below 1 is burstier, above 1 is more even."""
    seed: int = 0
    """Seed of the random numbers, below 2^64."""

    def __post_init__(self) -> None:
        if not (isfinite(self.shape) and MIN_SHAPE <= self.shape <= MAX_SHAPE):
            raise ProfileError(
                f"arrivals cannot have a burstiness of {self.shape:g}",
                hint=f"use a value from {MIN_SHAPE:g} to {MAX_SHAPE:g}",
            )

    @property
    def cv(self) -> float:
        """Coefficient of variation of the times between arrivals: 1 for Poisson; even spacing would have 0."""
        return float(self.shape**-0.5)

    def describe(self) -> str:
        """Return the spacing in words: "Poisson" or "gamma with CV 2"."""
        return "Poisson" if self.shape == 1.0 else f"gamma with CV {self.cv:.3g}"


class Renewal:
    """The positions of arrivals 0, 1, 2 ... of a stationary renewal process with gamma spacings of mean 1.

    Stationary means that time 0 is not an arrival, but a random moment of an endless process. So up to any area, the
    average number of arrivals equals the area, whatever the shape. The first position is then the rest of a spacing
    that contains a random moment. Such a spacing is chosen in proportion to its length, so its length has a gamma
    distribution with shape + 1, and the rest is a uniform part of it. For a Poisson process the rest is exponential.

    Args:
        shape: shape of the gamma distribution, MIN_SHAPE to MAX_SHAPE.
        seed: any integer.
    Cost: in blocks of 1,000 neighbours 0.5 µs per value if exponential, 1.1 µs if gamma; for every 100th arrival 3 and
        5 µs; a single n 4 ms. Memory is bounded. (Measured: `bench/share.py`.)
    Sources: SplitMix64 (Steele, Lea, Flood 2014) over a counter, as a hash; Marsaglia, Tsang, "A simple method for
        generating gamma variables" (2000); independence of shares and sum: Lukacs (1955); the first position: Cox,
        "Renewal theory" (1962), chapter 5.
    """

    __slots__ = ("_first", "_kept", "_keys", "_shape")

    def __init__(self, shape: float, seed: int) -> None:
        self._shape = shape
        key = _mixed(_mixed(seed) ^ 0x6A09E667F3BCC908)  # mixed twice, so that neighbouring seeds are unrelated
        self._keys = [_mixed(key + 1 + level) for level in range(_LEVELS + 2)]
        self._kept: dict[int, tuple[int, np.ndarray]] = {}
        """Cache by level: the last node that was computed alone, and its edges."""
        zero = np.zeros(1, dtype=np.int64)
        by_length = _gammas(self._keys[_LEVELS], zero, shape + 1)[0] / shape
        self._first = float(by_length * _uniforms(self._keys[_LEVELS + 1], zero)[0])

    def areas(self, n: np.ndarray) -> np.ndarray:
        """Return the random positions of arrivals `n`, measured as area under the rate curve.

        The result is float64, non-decreasing in n. `n` may have any array shape, 0 <= n < 2^53.
        """
        n = np.asarray(n, dtype=np.int64)
        begins, _ = self._spans(0, n.ravel())
        return (self._first + begins).reshape(n.shape)

    def count_below(self, area: Fraction | float) -> int:
        """Return how many arrivals have a position below `area`. Cost: 3 ms."""
        area = float(area)
        node = 0
        for level in reversed(range(_LEVELS)):
            edges = self._first + self._edges(level, np.array([node], dtype=np.int64))[0]
            # side="left": an arrival exactly at `area` is not below it.
            child = int(np.searchsorted(edges[:-1], area, side="left")) - 1
            if child < 0:
                return 0
            node = (node << _BITS) + child
        return node + 1

    def _spans(self, level: int, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (begins, ends) of the tree's nodes at a level, counted from the first position: (count,) float64 each.

        A node is a group of 16^level arrivals that follow each other.
        """
        parents, at = np.unique(nodes >> _BITS, return_inverse=True)
        edges = self._edges(level, parents)
        child = nodes & (_FAN - 1)
        return edges[at, child], edges[at, child + 1]

    def _edges(self, level: int, parents: np.ndarray) -> np.ndarray:
        """Return the edges between the children of each parent node, where the children are at `level`.

        The result is (parents, 17) float64, non-decreasing in a row.
        """
        alone = int(parents[0]) if len(parents) == 1 else -1
        kept = self._kept.get(level)
        if kept is not None and kept[0] == alone:
            return kept[1]
        children = (parents[:, None] << _BITS) + np.arange(_FAN, dtype=np.int64)
        shape = self._shape * float(_FAN**level)
        parts = _gammas(self._keys[level], children.ravel(), shape).reshape(children.shape)
        sums = np.cumsum(parts, axis=1)  # adds in order: the same bits everywhere, which `sum` does not guarantee
        edges = np.zeros((len(parents), _FAN + 1))
        if level == _LEVELS - 1:
            edges[:, 1:] = sums / self._shape
        else:
            begin, end = (edge[:, None] for edge in self._spans(level + 1, parents))
            edges[:, :1] = begin
            edges[:, 1:] = np.minimum(begin + sums / np.maximum(sums[:, -1:], _TINY) * (end - begin), end)
            edges[:, -1:] = end
        if alone >= 0:
            self._kept[level] = alone, edges
        return edges


# -- numbers from counters: (key, n) -> uniform, gamma -----------------------------------------------

_TINY: Final = np.finfo(np.float64).tiny


def _mixed(z: int) -> int:
    """Return a 64-bit hash of an integer, unrelated to the hashes of its neighbours."""
    return mixed(z * GOLDEN + GOLDEN)


def _uniforms(key: int, n: np.ndarray) -> np.ndarray:
    """Return a random number in (0, 1] for each n, a multiple of 2^-53. The same key and n give the same number."""
    with np.errstate(over="ignore"):
        z = n.astype(np.uint64) * np.uint64(GOLDEN) + np.uint64(key)
    uniform: np.ndarray = ((mixed_each(z) >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53
    return uniform


def _gammas(key: int, n: np.ndarray, shape: float) -> np.ndarray:
    """Return a random number with a gamma distribution of this shape and scale 1 for each n: (count,) float64.

    The same key and n give the same number.
    """
    if shape == 1.0:
        exponential: np.ndarray = -_log(_uniforms(key, n))
        return exponential
    if shape < 1.0:  # the boost: gamma(k) = gamma(k + 1) · U^(1/k)
        boosted: np.ndarray = _gammas_from_1(key, n, shape + 1.0) * _exp(_log(_uniforms(_mixed(key), n)) / shape)
        return boosted
    return _gammas_from_1(key, n, shape)


def _gammas_from_1(key: int, n: np.ndarray, shape: float) -> np.ndarray:
    """Return a random number with a gamma distribution for each n, for a shape of at least 1."""
    d = shape - 1.0 / 3.0
    c = 1.0 / float(np.sqrt(9.0 * d))
    found = np.empty(len(n))
    left = np.arange(len(n))
    while len(left):
        key = _mixed(key)
        own = n[left]
        x, is_normal = _normals(key, own)
        v = 1.0 + c * x
        v *= v * v
        u = _uniforms(_mixed(key ^ 1), own)
        square = x * x
        is_taken = is_normal & (v > 0.0) & (u < 1.0 - 0.0331 * square * square)
        # This test without a logarithm accepts 92 to 99.9 %; only the others need the exact test.
        unsure = np.flatnonzero(is_normal & (v > 0.0) & ~is_taken)
        if len(unsure):
            v_u = v[unsure]
            is_taken[unsure] = _log(u[unsure]) < 0.5 * square[unsure] + d - d * v_u + d * _log(v_u)
        found[left[is_taken]] = d * v[is_taken]
        left = left[~is_taken]
    return found


def _normals(key: int, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (random numbers with a normal distribution, whether each is valid), for each n."""
    a = 2.0 * _uniforms(_mixed(key ^ 2), n) - 1.0
    b = 2.0 * _uniforms(_mixed(key ^ 3), n) - 1.0
    square = a * a + b * b
    is_normal = (square > 0.0) & (square < 1.0)
    square = np.where(is_normal, square, 1.0)
    return a * np.sqrt(-2.0 * _log(square) / square), is_normal


# -- log and exp of what IEEE 754 rounds exactly -----------------------------------------------------

_LN2_HIGH: Final = float.fromhex("0x1.62e42fee00000p-1")
"""The first 33 bits of ln 2; its product with an exponent is exact."""
_LN2_LOW: Final = float.fromhex("0x1.a39ef35793c76p-33")


def _log(x: np.ndarray) -> np.ndarray:
    """Return the natural logarithm of numbers above 0 (no subnormal ones), within 2 units in the last place.

    With s = (m - 1)/(m + 1) for a mantissa m in [0.707, 1.414), it sums 2(s + s³/3 + s⁵/5 ...). The first omitted term
    is below 1e-18. Each value takes 20 ns.
    """
    mantissa, exponent = np.frexp(x)
    is_low = mantissa < 0.7071067811865476
    mantissa = np.where(is_low, mantissa + mantissa, mantissa)
    power = (exponent - is_low).astype(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    series = np.full_like(s, 1.0 / 21.0)
    for odd in range(19, 1, -2):
        series *= square
        series += 1.0 / odd
    log: np.ndarray = power * _LN2_HIGH + (s + s + (s + s) * square * series + power * _LN2_LOW)
    return log


def _exp(x: np.ndarray) -> np.ndarray:
    """Return e^x for x <= 0, within 2 units in the last place; 0 below -708."""
    power = np.rint(x * 1.4426950408889634)
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    series = np.ones_like(x)
    for n in range(13, 0, -1):
        series = 1.0 + series * rest / n
    exp: np.ndarray = np.where(x < -708.0, 0.0, np.ldexp(series, np.maximum(power, -1_022.0).astype(np.int32)))
    return exp
