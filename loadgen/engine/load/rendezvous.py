"""Rendez-vous: users of one worker wait until enough users of the whole fleet wait.

A worker has only its own users. It sends the counts of its waiting users to the controller (`tell`). The controller
decides for all workers which users may continue and when, and sends this back (`release`). Without a controller, the
worker is the whole fleet and decides itself.

A rendez-vous is a point with a queue of users and two counts that only grow, `arrived` and `gone`. A release names a
count of arrivals, such as "all users up to the 20th that arrived". So a release that is received twice has no further
effect, and it does not matter which users have left in between. No user waits for ever: each has a time-out, and the
end of the load releases all.

Nothing in this module costs anything while no journey has a rendez-vous. Times are ns of `perf_counter_ns`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count, islice
from time import perf_counter_ns
from typing import Final, Literal

from loadgen.engine.load.timer import Alarm, new_alarm
from loadgen.errors import UsageError
from loadgen.measure.deltas.limits import cut
from loadgen.measure.deltas.rendezvous_counts import MAX_POINT_NAME, MAX_POINTS, WaitingAt
from loadgen.units import NS_PER_MS, NS_PER_S, format_duration

__all__ = ["AHEAD_NS", "END_GRACE_S", "LATE_NS", "TELL_NS", "Ended", "Points"]

TELL_NS: Final = 50 * NS_PER_MS
"""Shortest time between two messages, so that users that arrive one by one cause at most 20 messages a second."""
END_GRACE_S: Final = 1.0
"""Wait after the planned end of the load, for the releases of groups that were complete by then."""
LATE_NS: Final = 20 * NS_PER_MS
"""A release that arrives later than this after its time is noted."""
AHEAD_NS: Final = 2 * NS_PER_S
"""A released user waits at most this long for the release time, so that a wrong clock cannot block users."""

Ended = Literal["met", "timed out", "load ended"]
"""How a wait ended. "load ended": no other users will come."""


class _Point:
    """One rendez-vous of one load."""

    __slots__ = ("arrived", "gone", "load", "name", "queue", "users")

    def __init__(self, load: int, name: str, users: int) -> None:
        self.load, self.name, self.users = load, name, users
        self.arrived = self.gone = 0
        self.queue: dict[asyncio.Future[Ended], None] = {}
        """Users that wait and are not released yet, in order of arrival."""

    def take(self, number: int) -> list[asyncio.Future[Ended]]:
        """Remove the `number` users that have waited longest, and return their futures."""
        taken = list(islice(self.queue, number))
        for one in taken:
            del self.queue[one]
        self.gone += len(taken)
        return taken


class Points:
    """All rendez-vous of one worker. Create it within the running loop, and close it.

    Args:
        tell: called with the counts of all points after a change, at most once in `TELL_NS`. None: this worker is the
            whole fleet.
        note: called with a remark for the operator.
        known: returns a name without its secrets, because names leave the worker.
    """

    def __init__(
        self,
        tell: Callable[[tuple[WaitingAt, ...]], None] | None = None,
        note: Callable[[str], None] = lambda _: None,
        known: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._send_counts, self._note, self._redact = tell, note, known
        self._points: dict[tuple[int, str], _Point] = {}
        """By load, and by the name that the journey uses."""
        self._public: dict[tuple[int, str], _Point] = {}
        """By load, and by the name that leaves the worker."""
        self._sent_ns = 0
        self._sending: asyncio.Handle | None = None
        self._ended: set[int] = set()
        self._is_over = self._is_closed = False
        self._alarm: Alarm | None = None
        self._due: list[tuple[int, int, list[asyncio.Future[Ended]]]] = []
        self._order = count()
        self._noted_late: set[str] = set()

    async def wait(self, load: int, name: str, users: int, timeout_s: float) -> Ended:
        """Let the calling user wait until `users` users of the whole fleet wait at this rendez-vous.

        Return how the wait ended. It ends after `timeout_s` at the latest. A cancelled caller stops waiting.

        Raises:
            UsageError: the rendez-vous was used with another number of users, or the worker has too many of them.
        """
        point = self._point(load, name, users)
        if self._is_over or load in self._ended:
            return "load ended"
        if users == 1:
            return "met"
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Ended] = loop.create_future()
        point.queue[waiter] = None
        point.arrived += 1
        timer = loop.call_later(timeout_s, self._leave, point, waiter, "timed out")
        self._changed(point)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._leave(point, waiter)  # for a cancelled caller; otherwise it does nothing

    def release(self, load: int, name: str, upto: int, at_ns: int) -> None:
        """Let waiting users of a rendez-vous continue at `at_ns` (`perf_counter_ns`), or at once if that is past.

        `upto` counts the arrivals at this worker since the start: the first `upto` users that ever arrived continue.
        """
        point = self._public.get((load, name))
        if point is None:
            return
        # `upto` counts all users that ever arrived, so a repeated message releases no user twice.
        taken = point.take(max(0, min(upto, point.arrived) - point.gone))
        if taken:
            now_ns = perf_counter_ns()
            at_ns, late_ns = min(at_ns, now_ns + AHEAD_NS), now_ns - at_ns
            if late_ns > LATE_NS and name not in self._noted_late:
                self._noted_late.add(name)
                self._note(
                    f"rendez-vous {name}: a release reached a worker {format_duration(late_ns)} late, "
                    "so its users went on after the others"
                )
            # The number breaks ties, so that the heap never compares lists of futures.
            heapq.heappush(self._due, (at_ns, next(self._order), taken))
            self._set_alarm()
        self._changed(point)  # also if no user was left: the controller may not have received the last counts

    def end(self, load: int, grace_s: float = 0.0) -> None:
        """End a load: after `grace_s` its waiting users continue, and from then on no user of it waits."""
        if grace_s:
            asyncio.get_running_loop().call_later(grace_s, self.end, load)
            return
        self._ended.add(load)
        for point in self._points.values():
            if point.load == load:
                self._let_go(point)

    def end_all(self) -> None:
        """End all loads: all waiting users continue, and from then on no user waits."""
        self._is_over = True
        for point in self._points.values():
            self._let_go(point)

    def close(self) -> None:
        """End all waits at once, and send the controller the last counts."""
        self.end_all()
        self._is_closed = True
        for _, _, waiters in self._due:
            _wake(waiters, "met")
        self._due.clear()
        if self._sending is not None:
            self._sending.cancel()
            self._send()
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    def standing(self) -> tuple[WaitingAt, ...]:
        """Return the numbers of arrived and gone users of every rendez-vous so far."""
        return tuple(
            WaitingAt(load, name, point.users, point.arrived, point.gone)
            for (load, name), point in self._public.items()
        )

    def _point(self, load: int, name: str, users: int) -> _Point:
        point = self._points.get((load, name))
        if point is None:
            if len(self._points) >= MAX_POINTS:
                raise UsageError(
                    f"more than {MAX_POINTS} rendez-vous in one worker",
                    hint="a name stands for one place in a journey: keep numbers and ids out of it",
                )
            shown = cut(self._redact(name)[:MAX_POINT_NAME])
            point = self._public.get((load, shown))
            if point is None:
                point = self._public[load, shown] = _Point(load, shown, users)
            self._points[load, name] = point
        if point.users != users:
            raise UsageError(
                f'the rendez-vous "{name}" has {point.users} users elsewhere, and {users} here',
                hint="use the same number of users in both places, or two names",
            )
        return point

    # -- leaving ------------------------------------------------------------------------------

    def _leave(self, point: _Point, waiter: asyncio.Future[Ended], how: Ended = "timed out") -> None:
        """Remove a user that stops waiting without a release; `how` is the result of its wait."""
        if waiter not in point.queue:
            return
        del point.queue[waiter]
        point.gone += 1
        _wake([waiter], how)
        self._changed(point)

    def _let_go(self, point: _Point) -> None:
        """End the wait of all users at a rendez-vous, because the load ended."""
        if taken := point.take(len(point.queue)):
            _wake(taken, "load ended")
            self._changed(point)

    def _set_alarm(self) -> None:
        if self._alarm is None:
            self._alarm = new_alarm(self._ring)
        self._alarm.set(self._due[0][0])

    def _ring(self) -> None:
        now_ns = perf_counter_ns()
        while self._due and self._due[0][0] <= now_ns:
            _wake(heapq.heappop(self._due)[2], "met")
        if self._due:
            self._set_alarm()

    # -- messages ---------------------------------------------------------------------------------

    def _changed(self, point: _Point) -> None:
        """Send the controller the changed counts soon. Without a controller, release complete groups of users here."""
        if self._send_counts is None:
            while len(point.queue) >= point.users:
                _wake(point.take(point.users), "met")
        elif self._sending is None and not self._is_closed:
            loop = asyncio.get_running_loop()
            wait_ns = self._sent_ns + TELL_NS - perf_counter_ns()
            # The first message goes at once, but with all users that arrive in the same turn of the loop.
            self._sending = (
                loop.call_later(wait_ns / NS_PER_S, self._send) if wait_ns > 0 else loop.call_soon(self._send)
            )

    def _send(self) -> None:
        self._sending, self._sent_ns = None, perf_counter_ns()
        assert self._send_counts is not None
        self._send_counts(self.standing())


def _wake(waiters: list[asyncio.Future[Ended]], how: Ended) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(how)
