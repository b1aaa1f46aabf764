"""Executors of an author's own, in a module beside the scenario."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import log2

from loadgen import ClosedExecutor, OpenExecutor


@dataclass(frozen=True)
class FlashSale(OpenExecutor):
    """People arrive in a burst, half of those that are left in each `half_s`."""

    people: int
    half_s: float

    def wrong(self) -> Iterable[str]:
        if self.people < 1:
            yield f"people: {self.people}"

    def due(self, seed: int) -> Iterator[float]:
        for k in range(self.people):
            yield -self.half_s * log2(1 - k / self.people)


@dataclass(frozen=True)
class Shifts(ClosedExecutor):
    people: int
    duration: str = "3s"

    def levels(self, seed: int) -> Iterator[tuple[float, int]]:
        yield 0, self.people
        yield 1, 2 * self.people
        yield 2, 1


class OfTheProcess(OpenExecutor):
    """No pure function: other times in each process."""

    def due(self, seed: int) -> Iterator[float]:
        yield from (k / 10 for k in range(10 + os.getpid() % 1_000))
