"""Counts of users that wait at a rendez-vous. Workers send them, and the controller adds them up.

Counts cover a worker's whole life and only grow. So a value that arrives twice, late or not at all
does no harm: the next one replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from loadgen.errors import WireError
from loadgen.measure.deltas.limits import SAME_VERSION

__all__ = ["MAX_POINTS", "MAX_POINT_NAME", "WaitingAt", "check_waiting"]

MAX_POINTS: Final = 50
"""Most rendez-vous of one worker. Their names come from the scenario and contain no ids, so they are few."""
MAX_POINT_NAME: Final = 100
_MAX_WAITING: Final = 100_000
"""Most users that wait at one rendez-vous of a worker: more than a worker can have."""


@dataclass(frozen=True, slots=True)
class WaitingAt:
    """One worker's users at one rendez-vous.

    load: index of the plan's load; a rendez-vous belongs to one load.
    users: number of users that make a group.
    arrived: users that have arrived so far.
    gone: arrived users that no longer wait, for any reason: released, timed out, cut off.
    """

    load: int
    name: str
    users: int
    arrived: int
    gone: int

    @property
    def waiting(self) -> int:
        """Return the number of this worker's users that are waiting at the rendez-vous now."""
        return self.arrived - self.gone


def check_waiting(points: Iterable[WaitingAt]) -> None:
    """Check a worker's counts of users at its rendez-vous, and raise WireError if one is impossible.

    Also rejected are more than 50 rendez-vous, and the same rendez-vous twice.
    """
    seen: set[tuple[int, str]] = set()
    for one in points:
        is_odd = one.users < 1 or not 0 <= one.gone <= one.arrived or len(one.name) > MAX_POINT_NAME
        if is_odd or one.waiting > _MAX_WAITING or (one.load, one.name) in seen or len(seen) >= MAX_POINTS:
            raise WireError(f"impossible counts of a rendez-vous: {one}", hint=SAME_VERSION)
        seen.add((one.load, one.name))
