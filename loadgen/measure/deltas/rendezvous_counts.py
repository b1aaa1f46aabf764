"""Who waits at a rendez-vous, as a value that workers tell and the controller adds up.

Counts are of a worker's whole life and only ever grow, so a value that is told
twice, late, or not at all does no harm: the next one says it all again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from loadgen.errors import WireError

__all__ = ["MAX_POINTS", "MAX_POINT_NAME", "WaitingAt", "check_waiting"]

MAX_POINTS: Final = 50
"""Rendez-vous of one worker: names are the scenario's, and have no numbers or ids in them."""
MAX_POINT_NAME: Final = 100
_MAX_WAITING: Final = 100_000
"""Users that wait at one of a worker: more than a worker can have."""


@dataclass(frozen=True, slots=True)
class WaitingAt:
    """One worker's users at one rendez-vous.

    load: index of the plan's load; a name is known within its load.
    users: how many make a group.
    arrived: users that came to wait so far.
    gone: those of them that wait no more, for whatever reason: let go, timed out, cut off.
    """

    load: int
    name: str
    users: int
    arrived: int
    gone: int

    @property
    def waiting(self) -> int:
        return self.arrived - self.gone


def check_waiting(points: Iterable[WaitingAt]) -> None:
    """Raises WireError unless what a worker says can be true."""
    seen: set[tuple[int, str]] = set()
    for one in points:
        is_odd = one.users < 1 or not 0 <= one.gone <= one.arrived or len(one.name) > MAX_POINT_NAME
        if is_odd or one.waiting > _MAX_WAITING or (one.load, one.name) in seen or len(seen) >= MAX_POINTS:
            raise WireError(f"impossible users at a rendez-vous: {one}")
        seen.add((one.load, one.name))
