"""People who come to a flash sale, as the queue page in front of the shop lets them in."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import log
from random import Random

from loadgen import OpenExecutor


@dataclass(frozen=True)
class QueuePage(OpenExecutor):
    """All at once at the opening, half of those still to come in each `half_s`; so many a second are let in."""

    people: int
    half_s: float
    lets_in_per_s: float
    patience_s: float = 60.0  # who would wait longer goes away

    def wrong(self) -> Iterable[str]:
        if self.people < 1:
            yield f"people: {self.people}: nobody comes"
        if self.half_s <= 0 or self.lets_in_per_s <= 0:
            yield f"half_s={self.half_s:g}, lets_in_per_s={self.lets_in_per_s:g}: both above 0"

    def due(self, seed: int) -> Iterator[float]:
        dice = Random(seed)
        comes_s = sorted(dice.expovariate(log(2) / self.half_s) for _ in range(self.people))
        free_s = 0.0
        for at_s in comes_s:
            turn_s = max(at_s, free_s)
            if turn_s - at_s <= self.patience_s:
                yield turn_s
                free_s = turn_s + 1 / self.lets_in_per_s
