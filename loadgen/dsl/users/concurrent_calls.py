"""Awaiting several calls of one user at once, each with a place of its own.

A user is in one step at a time, and holds one provisional sample. Where its calls
run beside each other (`user.gather`), each must have its own, or steps would nest
in steps of other calls and an `expect` would find its sample settled. So the
user's place is swapped whenever such a call gets or gives up its turn
(`engine/recording/concurrent_meter.py`). Costs 1 µs a turn of the loop, for those who use it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from loadgen.engine.recording.concurrent_meter import TURN, Mine, Turn, current_turn, swap
from loadgen.engine.recording.meter import Meter
from loadgen.engine.recording.series import Place, RequestSeries

__all__ = ["Apart", "PollPlace"]

T = TypeVar("T")


class PollPlace(Place):
    """A place in which every request has the same series: the polls of one wait, whatever they are named."""

    __slots__ = ("_polls",)

    def __init__(self, outer: Place, name: str) -> None:
        for slot in Place.__slots__:
            setattr(self, slot, getattr(outer, slot))
        self._polls = outer.names.get(name) or outer.resolve(name)
        self.names = {}

    def resolve(self, name: str) -> RequestSeries:
        return self._polls


class Apart(Generic[T]):
    """Awaits `call` in a place that begins as the user's, or as `place`. What fails in it fails outside, too."""

    __slots__ = ("_call", "_meter", "_turn")

    def __init__(self, meter: Meter, call: Awaitable[T], place: Place | None = None) -> None:
        self._meter = meter
        self._call = call
        mine: Mine = (place if place is not None else meter.place, meter.failed, None, False)
        self._turn = Turn(meter, mine, current_turn(meter))

    def __await__(self) -> Generator[Any, Any, T]:
        meter, mine = self._meter, self._turn
        token = TURN.set(mine)
        inner = _awaited(self._call)
        error: BaseException | None = None
        try:
            while True:
                others = swap(meter, mine.mine)
                mine.is_on = True
                try:
                    turn = inner.send(None) if error is None else inner.throw(error)
                except StopIteration as stop:
                    meter.settle()
                    result: T = stop.value
                    others = _failing(others, meter)
                    return result
                except BaseException:
                    meter.settle()
                    others = _failing(others, meter)
                    raise
                finally:
                    mine.is_on = False
                    mine.mine = swap(meter, others)
                try:
                    yield turn
                    error = None
                except BaseException as thrown:  # noqa: BLE001  # it goes into the call, and out of it
                    error = thrown
        finally:
            mine.is_over = True
            with suppress(ValueError):  # closed by the garbage collector, in another context
                TURN.reset(token)


def _failing(others: Mine, meter: Meter) -> Mine:
    """The place around, which has failed if the call did."""
    place, failed, sample, is_held = others
    return place, failed if failed is not None else meter.failed, sample, is_held


async def _awaited(call: Awaitable[T]) -> T:
    return await call
