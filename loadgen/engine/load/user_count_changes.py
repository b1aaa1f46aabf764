"""Decides which users of a closed load are present, and whether iterations may begin, also while the load changes.

A `Crowd` holds the times at which the plan has each user present, and the users that iterate now. `start_loops.py`
queries it. A change takes effect when a user's iteration ends, or at once for a user that waits. Times are ns from the
load's beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from loadgen.engine.load.clock import Clock

__all__ = ["Changes", "Crowd", "Gate", "Spans", "Stay", "woken_by"]

Spans = Callable[[int], Iterable[tuple[int, int]]]
"""Returns, for a user (by its index in the fleet), the times [start, end) of its presence, in order."""


class Changes:
    """Lets any number of tasks wait for the next change. Create it within a running loop."""

    def __init__(self) -> None:
        self.next = asyncio.Event()
        """Set at the next change, and then replaced by a new event."""

    def wake(self) -> None:
        """Wake all tasks that wait for the next change."""
        changed, self.next = self.next, asyncio.Event()
        changed.set()

    async def until(self, clock: Clock, at_ns: int | None) -> None:
        """Wait until `at_ns` after T0 or until the next change, whichever comes first.

        None: only until the next change.
        """
        changed = self.next
        if at_ns is None:
            await changed.wait()
            return
        while not changed.is_set() and (wait_ns := at_ns - clock.elapsed_ns()) > 0:  # a timer may fire early
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_ns / 1e9):
                    await changed.wait()


@contextmanager
def woken_by(stop: asyncio.Event, changes: Changes) -> Iterator[None]:
    """Return a context in which setting `stop` also wakes all tasks that wait for a change."""
    stopping = asyncio.ensure_future(stop.wait())
    stopping.add_done_callback(lambda _: changes.wake())
    try:
        yield
    finally:
        stopping.cancel()


class Stay:
    """The presence of one user. HOT: read once an iteration of a closed load."""

    __slots__ = ("done", "end_ns", "is_here", "start_ns")

    def __init__(self) -> None:
        self.start_ns = self.end_ns = 0
        self.is_here = False
        """True while its task runs, whether it iterates or waits for `start_ns`."""
        self.done = 0
        """Iterations that it has begun. Kept when it leaves, so that it continues with the next one if it returns."""


class Crowd:
    """This worker's users of a closed load. Create it within a running loop.

    Args:
        users: this worker's users, by their index in the fleet, also those that are present only later.
        spans: returns the times at which a user is present.
        from_ns: no user is present before this time.
    """

    def __init__(self, users: Sequence[int], spans: Spans, from_ns: int = 0) -> None:
        self._users, self._spans, self._from_ns = users, spans, from_ns
        self._stays: dict[int, Stay] = {}
        self.changes = Changes()
        self.is_held = False
        """True while the load is paused: no user leaves, so that the same users continue afterwards."""

    def change(self, at_ns: int, users: Sequence[int], spans: Spans, *, is_held: bool) -> None:
        """Replace the users and their presence times. Before `at_ns` after T0 the new plan must equal the old one.

        `is_held` pauses the load: no user leaves.
        """
        self._users, self._spans, self.is_held = users, spans, is_held
        for stay in self._stays.values():
            stay.end_ns = min(stay.end_ns, at_ns)
        self.changes.wake()

    def stay_of(self, user: int) -> Stay:
        """Return the presence record of a user, which is created on first use."""
        return self._stays.setdefault(user, Stay())

    def present(self, now_ns: int) -> int:
        """Return the number of users that are present at `now_ns` after T0. Cost: 60 ns a user.

        A user that still iterates after its time counts as present.
        """
        return sum(1 for stay in self._stays.values() if stay.is_here and stay.start_ns <= now_ns)

    def next_span(self, user: int, now_ns: int) -> tuple[int, int] | None:
        """Return (start, end) of the user's present or next stay in ns after T0; None if it has no more."""
        for start_ns, end_ns in self._spans(user):
            if end_ns > max(now_ns, self._from_ns):
                return max(start_ns, self._from_ns), end_ns
        return None

    def wanted(self, now_ns: int, here: Container[int]) -> Iterator[int]:
        """Yield the users whose tasks must be started: those that are present now or later and are not in `here`.

        Cost: 5 µs for each user that is not in `here`.
        """
        return (user for user in self._users if user not in here and self.next_span(user, now_ns) is not None)


class Gate:
    """Blocks the start of iterations of a counted load while it is shut. Open at first."""

    __slots__ = ("_opened", "is_shut")

    def __init__(self) -> None:
        self.is_shut = False
        self._opened = asyncio.Event()

    def shut(self) -> None:
        """Block the start of iterations until `open` is called."""
        self.is_shut = True
        self._opened.clear()

    def open(self) -> None:
        """Allow iterations to start, and wake all users that wait for that."""
        self.is_shut = False
        self._opened.set()

    async def opened(self) -> None:
        """Wait until the gate is open."""
        while self.is_shut:
            await self._opened.wait()
