"""The random draws of the shop: the latency of each request, and which requests fail.

Every draw is a function of (seed, path, n), where n counts the requests of this path
from 0 in the order in which they arrived completely. So the right result of a run is
known beforehand, whatever the order of the paths: `latencies_ns` returns the latencies
that the shop serves in the first `count` requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import numpy as np

from loadgen.target.config import LogNormal

__all__ = ["Draws", "failures", "latencies_ns"]

_BLOCK = 1024
_LATENCY, _FAILURE = 0, 1


def _generator(seed: int, path: str, what: int) -> np.random.Generator:
    return np.random.default_rng([seed & 0xFFFF_FFFF_FFFF_FFFF, crc32(path.encode()), what])


def _latency_block(generator: np.random.Generator, law: LogNormal, count: int) -> np.ndarray:
    return np.rint(generator.lognormal(np.log(law.median_ns), law.sigma, count)).astype(np.int64)


def latencies_ns(seed: int, path: str, law: LogNormal, count: int) -> np.ndarray:
    """Return the first `count` latencies that the demo shop draws for a path: (count,) int64, in ns, without stalls and
    slow start.
    """
    return _latency_block(_generator(seed, path, _LATENCY), law, count)


def failures(seed: int, path: str, error_ratio: float, count: int) -> np.ndarray:
    """Return which of the first `count` requests of a path the demo shop answers with 503: (count,) bool."""
    return _generator(seed, path, _FAILURE).random(count) < error_ratio


class Draws:
    """The same numbers one by one, for one path."""

    __slots__ = ("_failures", "_latencies")

    def __init__(self, seed: int, path: str, law: LogNormal | None, error_ratio: float) -> None:
        self._latencies = self._each_latency(seed, path, law) if law is not None else None
        self._failures = self._each_failure(seed, path, error_ratio) if error_ratio > 0 else None

    def latency_ns(self) -> int:
        """Draw and return the latency of the next request of this path, in ns; 0 if the path has none."""
        return next(self._latencies) if self._latencies is not None else 0

    def fails(self) -> bool:
        return next(self._failures) if self._failures is not None else False

    @staticmethod
    def _each_latency(seed: int, path: str, law: LogNormal) -> Iterator[int]:
        generator = _generator(seed, path, _LATENCY)
        while True:
            yield from _latency_block(generator, law, _BLOCK).tolist()

    @staticmethod
    def _each_failure(seed: int, path: str, error_ratio: float) -> Iterator[bool]:
        generator = _generator(seed, path, _FAILURE)
        while True:
            yield from (generator.random(_BLOCK) < error_ratio).tolist()
