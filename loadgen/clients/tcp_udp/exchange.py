"""One row of TCP or UDP: what was sent and received, its times and its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from time import perf_counter_ns
from typing import Any, Final

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.outcomes import TIMEOUT, count_own_fault
from loadgen.clients.protocol.phased import UNKNOWN
from loadgen.clients.protocol.timeouts import NEVER_NS
from loadgen.clients.tcp_udp.bytes_as_text import MAX_SHOWN_BYTES, bytes_as_text
from loadgen.clients.tcp_udp.matching import Match, Waiting
from loadgen.clients.tcp_udp.place import Deadlines
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import ExpectFailed, RequestFailed, UsageError
from loadgen.hostport import host_port
from loadgen.measure.deltas.series_key import OK, Phase
from loadgen.units import NS_PER_S, format_duration

__all__ = ["EXPECT_MESSAGE", "Exchange", "Expected", "check_expected"]

EXPECT_MESSAGE: Final = "expect message"
"""Outcome: the answer is not the one that the call expects."""
Expected = bytes | Callable[[bytes], object]
"""The expected answer as bytes, or a function that returns True if the answer is right."""


class Exchange:
    """A row that has begun: the sample that the meter records. The timing wheel watches its deadline.

    Created right before something is sent; raises OverTheCap if the allow-list's cap is reached.

    sends: False if the row only waits for a message, so that no cap limits it.
    match, key: as in `Waiting.add`. given_up: is called if the wait ends at the deadline, or is cancelled.
    """

    __slots__ = (
        "_answer",
        "_meter",
        "_where",
        "asked_ns",
        "check_ns",
        "deadline_ns",
        "done_ns",
        "first_byte_ns",
        "given_up",
        "key",
        "limit_ns",
        "match",
        "opening_ns",
        "outcome",
        "received",
        "sent",
        "sent_ns",
        "series",
        "size_bytes",
        "written_ns",
    )

    def __init__(self, meter: Meter, name: str, where: str, limit_ns: int, *, sends: bool = True) -> None:
        self._meter, self._where, self.limit_ns = meter, where, limit_ns
        self.series = meter.ask(name) if sends else meter.ask_unsent(name)
        self.asked_ns = asked_ns = perf_counter_ns()
        self.deadline_ns, self.check_ns = asked_ns + limit_ns, NEVER_NS
        self.sent_ns = self.first_byte_ns = self.done_ns = self.size_bytes = 0
        self.written_ns = UNKNOWN
        self.outcome = OK
        self.sent = self.received = b""
        self.opening_ns: Mapping[Phase, int] = {}
        self.match: Any = None
        self.key: Hashable = None
        self.given_up: Callable[[Exchange], None] | None = None
        self._answer: asyncio.Future[bytes] | None = None
        if self.series.watch is not None:
            self.series.watch.begun(asked_ns)

    @property
    def peer(self) -> tuple[str, int]:
        """Return host and port of the target, for a span."""
        return host_port(self._where.rpartition("(")[2].removesuffix(")"))

    # -- opening a connection or a socket ---------------------------------------------------------

    async def open(self, connect: Callable[[Opening], Awaitable[None]], limit_ns: int, missing: str) -> Opening:
        """Wait until `connect` has opened a connection or socket, and return the times of its phases.

        missing: what the target has not provided at the time-out, for the message: "connection".

        Raises:
            RequestFailed: `refused`, `timeout`, `dns` ...; the failed row is recorded.
        """
        opening = Opening()
        try:
            async with asyncio.timeout(limit_ns / NS_PER_S) as limit:
                await connect(opening)
        except TimeoutError as error:
            if not limit.expired():
                raise
            self.done_ns = self.asked_ns + limit_ns
            self.opened(opening, TIMEOUT)
            text = f"{self._where}: no {missing} within {format_duration(limit_ns)}"
            raise self.failed(RequestFailed(TIMEOUT, text)) from error
        except RequestFailed as failure:
            self.opened(opening, failure.outcome)
            raise self.failed(failure) from failure.__cause__
        except BaseException:
            self.gone()
            raise
        return opening

    # -- the wait for an answer -------------------------------------------------------------------

    def begin_wait(self, wheel: Deadlines, given_up: Callable[[Exchange], None]) -> None:
        """Get ready for the answer. Call it before the request is written."""
        self._answer = asyncio.get_running_loop().create_future()
        self.given_up = given_up
        wheel.watch(self)

    def begin_ask(
        self,
        wheel: Deadlines,
        given_up: Callable[[Exchange], None],
        waiting: Waiting[Exchange],
        match: Match | None,
        data: bytes,
    ) -> None:
        """Get ready for the answer to `data`, which `waiting` will find by `match`.

        Raises:
            Exception: what `match` raises; the row is forgotten.
        """
        self.match = match
        self.begin_wait(wheel, given_up)
        try:
            self.key = waiting.add(self, match, data)
        except BaseException:
            wheel.forget(self)
            self.gone()
            raise

    async def answer(self, wheel: Deadlines) -> bytes:
        """Wait for the answer and return it; `expect` records the row then.

        Raises:
            RequestFailed: there is no answer; the failed row is recorded.
            Exception: the exception that was passed to `fail`.
        """
        assert self._answer is not None
        try:
            self.received = message = await self._answer
        except RequestFailed as failure:
            raise self.failed(failure) from failure.__cause__
        except BaseException as error:
            if self.given_up is not None and isinstance(error, asyncio.CancelledError):
                self.given_up(self)
            self.gone()
            raise
        finally:
            wheel.forget(self)
            self._answer = self.given_up = None  # they refer to us, directly or by a traceback
        return message

    def got(self, message: bytes, first_ns: int, now_ns: int) -> None:
        """Take the answer. first_ns, now_ns: when its first and its last byte arrived."""
        if self._answer is not None and not self._answer.done():
            self.first_byte_ns, self.done_ns, self.size_bytes = max(first_ns, self.sent_ns), now_ns, len(message)
            self._answer.set_result(message)

    def fail(self, error: Exception, at_ns: int) -> None:
        """End the wait without an answer."""
        if self._answer is not None and not self._answer.done():
            self.done_ns = at_ns
            self._answer.set_exception(error)

    def expire(self) -> None:
        """End the wait at its deadline. The timing wheel calls this."""
        if self.given_up is not None:
            self.given_up(self)
        limit = format_duration(self.limit_ns)
        self.fail(RequestFailed(TIMEOUT, f"{self._where}: no answer within {limit}"), self.deadline_ns)

    # -- the row ----------------------------------------------------------------------------------

    def opened(self, opening: Opening, outcome: str = OK) -> None:
        """Record how long each phase of opening a connection took; the phase that failed has `outcome`."""
        self.series.opened(opening.times, opening.failed_in(), outcome)
        self.opening_ns = opening.times

    def end(self, now_ns: int = 0) -> None:
        """Record the row with its present outcome. now_ns: its end, if `got` has not set it."""
        if now_ns:
            self.done_ns = now_ns
        self._meter.hold(self)
        self._meter.settle()

    def expect(self, message: bytes, expected: Expected | None) -> None:
        """Record the row of an answered request. If the answer is not the expected one, raise ExpectFailed."""
        try:
            is_so = expected is None or (message == expected if isinstance(expected, bytes) else expected(message))
        except BaseException:
            self.end()  # the target has answered; the exception is an error of the scenario
            raise
        if not is_so:
            self.outcome = EXPECT_MESSAGE
        self.end()
        if not is_so:
            wanted = f"not {bytes_as_text(expected)!r}" if isinstance(expected, bytes) else "not what expect= wants"
            raise ExpectFailed(EXPECT_MESSAGE, f"{self._where}: {bytes_as_text(message)[:200]!r} is {wanted}")

    def failed(self, failure: RequestFailed) -> RequestFailed:
        """Record the row with the outcome of a failure, and return the exception to raise."""
        self.outcome = failure.outcome
        count_own_fault(failure.outcome)
        self.end(self.done_ns or perf_counter_ns())
        return failure

    def gone(self) -> None:
        """Forget a row that was cut off: it counts as started, and not as finished."""
        if self.series.watch is not None:
            self.series.watch.gone(self.asked_ns)

    def exchange(self) -> tuple[str, str]:
        """Return what was sent and received as text, to store it with a failure."""
        return self._shown(self.sent), self._shown(self.received)

    def _shown(self, data: bytes) -> str:
        return f"{self._where}\n{bytes_as_text(data[:MAX_SHOWN_BYTES], len(data))}" if data else ""


def check_expected(word: str, expected: object) -> None:
    """Raise UsageError unless `expect=` of a call is bytes, a function or None."""
    if expected is not None and not isinstance(expected, bytes) and not callable(expected):
        raise UsageError(
            f"{word}: expect={expected!r} must be bytes or a function", hint='write expect=b"PONG", or a function'
        )
