"""Awaits several calls of one user concurrently, each with its own place in the journey.

A user has one current step and one provisional sample. When its calls run concurrently
(`user.gather`), each call needs its own. Otherwise steps would nest in steps of other calls,
and an `expect` would find its sample already settled. So the user's place is swapped
whenever such a call starts or stops running (`engine/recording/concurrent_call_meter.py`).
This costs 1 µs per turn of the loop, and only for calls in `gather` and `poll`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from loadgen.engine.recording.concurrent_call_meter import TURN, Mine, Turn, current_turn, swap
from loadgen.engine.recording.recorded_series import Place, RequestSeries
from loadgen.engine.recording.user_meter import Meter
from loadgen.measure.deltas.series_key import Tags

__all__ = ["Apart", "PollPlace"]

T = TypeVar("T")


class PollPlace(Place):
    """A place in which all requests have the same series, whatever their names: the polls of one wait."""

    __slots__ = ("_name", "_polls")

    def __init__(self, outer: Place, name: str) -> None:
        for slot in Place.__slots__:
            setattr(self, slot, getattr(outer, slot))
        self._polls = outer.names.get(name) or outer.resolve(name)
        self.names = {}
        self._name = name

    def moved(self, base: Tags, scope: Tags) -> Place:
        return PollPlace(super().moved(base, scope), self._name)

    def resolve(self, name: str) -> RequestSeries:
        return self._polls


class Apart(Generic[T]):
    """Awaits `call` in a place of its own, which starts as a copy of the user's place, or as `place`.

    If the call fails, the surrounding step counts as failed, too.
    """

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
                except BaseException as thrown:  # noqa: BLE001  # thrown into the call, which raises it again
                    error = thrown
        finally:
            mine.is_over = True
            with suppress(ValueError):  # the garbage collector closes it in another context
                TURN.reset(token)


def _failing(others: Mine, meter: Meter) -> Mine:
    """Return the state `others` of the code around a call, marked as failed if the call has failed."""
    place, failed, sample, is_held = others
    return place, failed if failed is not None else meter.failed, sample, is_held


async def _awaited(call: Awaitable[T]) -> T:
    return await call
