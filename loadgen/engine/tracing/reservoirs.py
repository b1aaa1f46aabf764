"""Draws the stored ones among the sampled requests of one series and interval, each with its weight. Pure.

The sampled ones fall into four classes: failed; and of the ok ones the slowest, those *over* a threshold, and the rest.
Of each class the slowest 1, and 2 of the others, are kept. A class is a reservoir (algorithm R of J. S. Vitter, 1985):
each of its members is equally likely to be kept. One that was the slowest until a slower one came is offered to its
class then, so the slowest is a class of its own.

*Weights.* One kept of a class of n, of which k are kept, stands for n / k sampled ones, and for n / (k p) of all,
where p is the probability of a sample. The expectation of the weighted sum of any figure over the kept ones is the sum
of that figure over all: for the class by the reservoir, for the sampled ones by the draw of the iteration
(D. G. Horvitz and D. J. Thompson, 1952). That holds whatever the threshold is, if it does not depend on the draws.
tests/engine/test_weights.py proves it by counting all draws, and by simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Generic, TypeVar

from loadgen.measure.deltas.exemplar import Why

__all__ = ["KEPT_OF_CLASS", "Reservoir", "SampledPicks"]

T = TypeVar("T")

KEPT_OF_CLASS: Final = 2


class Reservoir(Generic[T]):
    """A random selection of at most `KEPT_OF_CLASS` of any number of values."""

    __slots__ = ("kept", "seen")

    def __init__(self) -> None:
        self.kept: list[T] = []
        self.seen = 0

    def offer(self, make: Callable[[], T], random: Callable[[], float]) -> None:
        """HOT, once a sampled request: some 0.1 µs. `make` returns the value; called only if the value is kept."""
        self.seen = seen = self.seen + 1
        kept = self.kept
        if len(kept) < KEPT_OF_CLASS:
            kept.append(make())
        elif (at := int(random() * seen)) < KEPT_OF_CLASS:
            kept[at] = make()


class SampledPicks(Generic[T]):
    """The sampled requests (or steps, or iterations) of one series that were kept in one interval."""

    __slots__ = ("_slowest", "_slowest_ns", "failed", "over", "rest")

    def __init__(self) -> None:
        self._slowest: T | None = None
        self._slowest_ns = -1
        self.failed: Reservoir[T] = Reservoir()
        self.over: Reservoir[T] = Reservoir()
        self.rest: Reservoir[T] = Reservoir()

    def failed_one(self, make: Callable[[], T], random: Callable[[], float]) -> None:
        """Offer one that failed."""
        self.failed.offer(make, random)

    def ok_one(self, response_ns: int, over_ns: int, make: Callable[[], T], random: Callable[[], float]) -> None:
        """HOT, once a sampled request. Offer an ok one. over_ns: its response time is over it, or not."""
        slowest_ns = self._slowest_ns
        if response_ns > slowest_ns:
            before, self._slowest, self._slowest_ns = self._slowest, make(), response_ns
            if before is None:
                return
            response_ns, make = slowest_ns, partial(_itself, before)
        (self.over if response_ns > over_ns else self.rest).offer(make, random)

    @property
    def slowest_ns(self) -> int:
        """The longest response time of the ok ones; -1 without any."""
        return self._slowest_ns

    def weighted(self, probability: float) -> Iterator[tuple[Why, T, float]]:
        """Yield each kept one with its class and the number that it stands for.

        probability: with which each was sampled, above 0.
        """
        if self._slowest is not None:
            yield "slowest", self._slowest, 1 / probability
        classes: tuple[tuple[Why, Reservoir[T]], ...] = (
            ("failed", self.failed),
            ("over", self.over),
            ("random", self.rest),
        )
        for why, of in classes:
            for one in of.kept:
                yield why, one, of.seen / len(of.kept) / probability


def _itself(one: T) -> T:
    return one
