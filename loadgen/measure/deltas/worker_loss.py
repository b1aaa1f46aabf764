"""The loss of a worker that died under load, as a value. Its work after its last report is unknown.

Times are on the run's clock, ns from T0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from loadgen.errors import WireError
from loadgen.measure.deltas.limits import SAME_VERSION
from loadgen.units import NS_PER_S

__all__ = ["MAX_LOSSES", "NOBODY", "Loss", "check_losses"]

NOBODY: Final = -1
MAX_LOSSES: Final = 1_000
"""Most losses in one delta."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker that died under load. The agent sends it at once, and again when the worker is replaced.

    worker, workers: index of the worker slot, from 0, and the number of slots of the agent.
    died_ns: when the supervisor noticed the death.
    told_ns: the end of the last interval that the worker reported.
    resumed_ns: when a replacement began to drive the share; NOBODY without a replacement.
    in_flight: iterations that had begun by `told_ns` and whose end was never reported.
    left_out: what the replacement could not take over, and why; empty if it took over everything.
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
        """Return the time until which the dead worker's share was driven only partly or not at all, ns from T0.

        That is when a replacement took over the whole share; otherwise `end_ns`, the end of the load.
        """
        return end_ns if self.resumed_ns == NOBODY or self.left_out else min(self.resumed_ns, end_ns)

    @property
    def place(self) -> tuple[int, int]:
        """Return (worker slot, time of death), which distinguishes this loss from other losses of the agent."""
        return self.worker, self.died_ns


def check_losses(name: str, losses: Iterable[Loss]) -> None:
    """Check the lost workers that one delta reports, and raise WireError if there are too many or one is impossible.

    `name` names the delta in the error message.
    """
    for count, one in enumerate(losses):
        if count >= MAX_LOSSES:
            raise WireError(f"{name} has more than {MAX_LOSSES:,} losses", hint=SAME_VERSION)
        is_odd = not 0 <= one.worker < one.workers or one.in_flight < 0 or one.told_ns < 0 or one.died_ns < 0
        if is_odd or (one.resumed_ns != NOBODY and one.resumed_ns < one.told_ns) or len(one.cause) > 2_000:
            raise WireError(f"{name} has an impossible loss: {one}", hint=SAME_VERSION)
