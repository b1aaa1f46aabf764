"""What of a load may change while it is driven: who of our users is there when, and whether iterations may begin.

A crowd knows the plan and who iterates; `executor.py` asks it. A change takes
effect at each user's next look: when its iteration ends, or at once where it waits.
Times are ns from the load's beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from loadgen.engine.load.clock import Clock

__all__ = ["Changes", "Crowd", "Gate", "Spans", "Stay", "woken_by"]

Spans = Callable[[int], Iterable[tuple[int, int]]]
"""Of a user (index in the fleet's): from when until when it is there, in order, the end not included."""


class Changes:
    """Lets any number of tasks wait for the next change. Make it within a running loop."""

    def __init__(self) -> None:
        self.next = asyncio.Event()
        """Set with the next change; another one stands here then."""

    def wake(self) -> None:
        changed, self.next = self.next, asyncio.Event()
        changed.set()

    async def until(self, clock: Clock, at_ns: int | None) -> None:
        """Return at `at_ns` or with the next change, whichever comes first. None: with the change."""
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
    """Within it, who waits for a change has another look when `stop` is set."""
    stopping = asyncio.ensure_future(stop.wait())
    stopping.add_done_callback(lambda _: changes.wake())
    try:
        yield
    finally:
        stopping.cancel()


class Stay:
    """A user that is there, and until when. HOT: read once an iteration of a closed load."""

    __slots__ = ("done", "end_ns", "is_here", "start_ns")

    def __init__(self) -> None:
        self.start_ns = self.end_ns = 0
        self.is_here = False
        """Its task runs, whether it iterates or waits for `start_ns`."""
        self.done = 0
        """Iterations that it has begun. Kept when it leaves, so that it goes on with the next one if it comes back."""


class Crowd:
    """Our users of a closed load. Make it within a running loop.

    Args:
        users: ours, of all that the plan ever has.
        from_ns: nobody is there before it.
    """

    def __init__(self, users: Sequence[int], spans: Spans, from_ns: int = 0) -> None:
        self._users, self._spans, self._from_ns = users, spans, from_ns
        self._stays: dict[int, Stay] = {}
        self.changes = Changes()
        self.is_held = False
        """Nobody leaves, whatever the plan: the load is paused, and they will go on as who they are."""

    def change(self, at_ns: int, users: Sequence[int], spans: Spans, *, is_held: bool) -> None:
        """Another plan, which is the same as the old one before `at_ns`."""
        self._users, self._spans, self.is_held = users, spans, is_held
        for stay in self._stays.values():
            stay.end_ns = min(stay.end_ns, at_ns)
        self.changes.wake()

    def stay_of(self, user: int) -> Stay:
        return self._stays.setdefault(user, Stay())

    def present(self, now_ns: int) -> int:
        """How many users are there at `now_ns`. One that still iterates after its time counts, too. 60 ns a user."""
        return sum(1 for stay in self._stays.values() if stay.is_here and stay.start_ns <= now_ns)

    def next_span(self, user: int, now_ns: int) -> tuple[int, int] | None:
        """The one that `user` is in, or is in next; None: it is not to be there any more."""
        for start_ns, end_ns in self._spans(user):
            if end_ns > max(now_ns, self._from_ns):
                return max(start_ns, self._from_ns), end_ns
        return None

    def wanted(self, now_ns: int, here: Container[int]) -> Iterator[int]:
        """Who is to be there now or later, and is not `here`. 5 µs each; those that are here cost nothing."""
        return (user for user in self._users if user not in here and self.next_span(user, now_ns) is not None)


class Gate:
    """Whether iterations of a counted load may begin. Open, until it is shut."""

    __slots__ = ("_opened", "is_shut")

    def __init__(self) -> None:
        self.is_shut = False
        self._opened = asyncio.Event()

    def shut(self) -> None:
        self.is_shut = True
        self._opened.clear()

    def open(self) -> None:
        self.is_shut = False
        self._opened.set()

    async def opened(self) -> None:
        """Return when it is open."""
        while self.is_shut:
            await self._opened.wait()
