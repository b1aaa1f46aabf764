"""Keeps the state of a user's meter apart for calls that run concurrently.

A meter has one place of its user, and one provisional sample. Concurrent calls
(`dsl/users/concurrent_calls.py`) each have their own state, which is swapped in while the call has its
turn. A task that a call starts (such as a library that sends three requests at once) runs between the
turns. It finds the call's turn in its context, which tasks inherit, and swaps the state in while it
records.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from loadgen.engine.recording.recorded_series import Place
from loadgen.engine.recording.user_meter import Meter, Sample

__all__ = ["TURN", "Mine", "Turn", "current_turn", "swap", "within"]

Mine = tuple[Place, str | None, Sample | None, bool]
"""Place, first error, last sample and whether that is held: the state of a meter."""


class Turn:
    """The state of the meter for one of several concurrent calls. `mine` is current while the turn is not `is_on`."""

    __slots__ = ("is_on", "is_over", "meter", "mine", "outer")

    def __init__(self, meter: Meter, mine: Mine, outer: Turn | None) -> None:
        self.meter, self.mine, self.outer = meter, mine, outer
        self.is_on = self.is_over = False


TURN: Final[ContextVar[Turn | None]] = ContextVar("turn", default=None)
"""The innermost call of this context."""


def current_turn(meter: Meter) -> Turn | None:
    """Return the concurrent call of `meter`'s user in which this task runs; None if it runs in none.

    A call that is over does not count.
    """
    turn = TURN.get()
    while turn is not None and (turn.is_over or turn.meter is not meter):
        turn = turn.outer
    return turn


def swap(meter: Meter, to: Mine) -> Mine:
    """Replace the meter's place, first error and last sample by `to`, and return the old ones."""
    before = (meter._place, meter.failed, meter._sample, meter._is_held)
    meter._place, meter.failed, meter._sample, meter._is_held = to
    return before


@contextmanager
def within(turn: Turn | None) -> Generator[None, None, None]:
    """Return a context in which the meter has the state of this concurrent call. The block must not await."""
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
