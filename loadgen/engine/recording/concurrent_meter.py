"""Whose turn it is, where calls of one user run beside each other.

A meter knows one place of its user, and one provisional sample. Calls that run
beside each other (`dsl/users/concurrent_calls.py`) each have their own, which are swapped in while
the call has its turn. What a call starts as a task of its own (a library that
sends three requests at once) runs between the turns: it finds the call's turn in
its context, which tasks inherit, and swaps it in for as long as it records.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from loadgen.engine.recording.meter import Meter, Sample
from loadgen.engine.recording.series import Place

__all__ = ["TURN", "Mine", "Turn", "current_turn", "swap", "within"]

Mine = tuple[Place, str | None, Sample | None, bool]
"""Place, first error, last sample and whether it is held: what a meter knows of where its user is."""


class Turn:
    """What a meter knows while one of several calls is on. `mine` is up to date while it is not `is_on`."""

    __slots__ = ("is_on", "is_over", "meter", "mine", "outer")

    def __init__(self, meter: Meter, mine: Mine, outer: Turn | None) -> None:
        self.meter, self.mine, self.outer = meter, mine, outer
        self.is_on = self.is_over = False


TURN: Final[ContextVar[Turn | None]] = ContextVar("turn", default=None)
"""The innermost call of this context."""


def current_turn(meter: Meter) -> Turn | None:
    """The call of `meter`'s user that this task belongs to and that is not over; None: the user itself."""
    turn = TURN.get()
    while turn is not None and (turn.is_over or turn.meter is not meter):
        turn = turn.outer
    return turn


def swap(meter: Meter, to: Mine) -> Mine:
    before = (meter._place, meter.failed, meter._sample, meter._is_held)
    meter._place, meter.failed, meter._sample, meter._is_held = to
    return before


@contextmanager
def within(turn: Turn | None) -> Generator[None, None, None]:
    """What is done in here with the meter is done in this call's place. Nothing in here may await."""
    while turn is not None and turn.is_over:
        turn = turn.outer
    if turn is None or turn.is_on:
        yield
        return
    others = swap(turn.meter, turn.mine)
    turn.is_on = True
    try:
        yield
    finally:
        turn.is_on = False
        turn.mine = swap(turn.meter, others)
