"""What is lost with a worker that dies, as a value: nobody knows what it did after it last told.

Times are on the run's clock, ns from T0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from loadgen.errors import WireError
from loadgen.units import NS_PER_S

__all__ = ["MAX_LOSSES", "NOBODY", "Loss", "check_losses"]

NOBODY: Final = -1
MAX_LOSSES: Final = 1_000
"""Of one delta."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One process that had the place of a worker, and died under load. Told at once, and again when it is replaced.

    worker, workers: which of the agent's, from 0, and how many there are.
    died_ns: when the supervisor saw it.
    told_ns: the end of the last interval that it told of.
    resumed_ns: from when another process drives its share; NOBODY: none does, or not yet.
    in_flight: iterations that it had begun by `told_ns`, and never told the end of.
    left_out: what the process after it could not take over, and why; empty where it took over everything.
    """

    worker: int
    workers: int
    died_ns: int
    told_ns: int
    resumed_ns: int
    in_flight: int
    cause: str
    left_out: str = ""

    def __str__(self) -> str:
        text = f"{self.cause} at {self.died_ns / NS_PER_S:.1f} s"
        if self.resumed_ns == NOBODY:
            return text
        text += f"; another process goes on with its share from {self.resumed_ns / NS_PER_S:.1f} s"
        return f"{text}, without {self.left_out}" if self.left_out else text

    def gone_until_ns(self, end_ns: int) -> int:
        """Up to when nobody drove all of its share, `end_ns` being the end of the load."""
        return end_ns if self.resumed_ns == NOBODY or self.left_out else min(self.resumed_ns, end_ns)

    @property
    def place(self) -> tuple[int, int]:
        """What tells it from other losses of its agent."""
        return self.worker, self.died_ns


def check_losses(name: str, losses: Iterable[Loss]) -> None:
    """Raises WireError unless those of delta `name` can be true."""
    for count, one in enumerate(losses):
        if count >= MAX_LOSSES:
            raise WireError(f"{name} brings more than {MAX_LOSSES:,} losses")
        is_odd = not 0 <= one.worker < one.workers or one.in_flight < 0 or one.told_ns < 0 or one.died_ns < 0
        if is_odd or (one.resumed_ns != NOBODY and one.resumed_ns < one.told_ns) or len(one.cause) > 2_000:
            raise WireError(f"{name} tells of an impossible loss: {one}")
