"""The agent's line to its controller: messages, whether it is alive, and how its clock stands to ours.

Whatever comes from the controller is a sign that it lives. That it hears us, too, says its answer to what we
sent: from then the lease counts, so it also ends where only one direction is cut. What cannot be read is
counted and said at most once in 10 s; it never ends the agent.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from loadgen.errors import WireError
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.codec import decode, encode
from loadgen.wire.keys import AgentKeys
from loadgen.wire.messages import ClockPing, ClockPong, Message
from loadgen.wire.sockets import Dealer

__all__ = ["ClockOffset", "Link"]

log = logging.getLogger(__name__)

_SAY_AGAIN_NS = 10 * NS_PER_S


class ClockOffset:
    """Controller's clock minus ours, from round trips: the shortest one is the least disturbed.

    Off by at most half of that round trip; within 0.06 ms on an idle machine and
    0.18 ms on a busy one, where the mean of all is off by 1 ms (RELIABILITY section 3).
    """

    PINGS = 16
    AGAIN_NS = 200 * NS_PER_MS
    """After so long without an answer the next one is sent beside it."""
    UNKNOWN_NS = 3600 * NS_PER_S
    """How far off it may be before the first answer: nothing is known."""

    def __init__(self, before: ClockOffset | None = None) -> None:
        """`before`: what stands until the first answer."""
        self.offset_ns: int = 0 if before is None else before.offset_ns
        self.error_ns: int = self.UNKNOWN_NS if before is None else before.error_ns
        """How far off the offset may be."""
        self.round_trip_ns: int | None = None
        self.pongs = 0
        self._asked: deque[int] = deque(maxlen=64)
        """When those were sent that have no answer yet: on a slow line the second goes before the first is answered."""

    @property
    def is_measured(self) -> bool:
        return self.pongs >= self.PINGS

    def next_ping(self, now_ns: int) -> ClockPing | None:
        """One at a time while answers come soon, until there were enough."""
        waits = bool(self._asked) and now_ns - self._asked[-1] < self.AGAIN_NS
        if self.is_measured or waits:
            return None
        self._asked.append(now_ns)
        return ClockPing(now_ns)

    def pong(self, pong: ClockPong, now_ns: int) -> None:
        if pong.agent_ns not in self._asked:  # of a heartbeat, or of a life before
            return
        self._asked.remove(pong.agent_ns)
        self.pongs += 1
        round_trip_ns = now_ns - pong.agent_ns
        if self.round_trip_ns is None or round_trip_ns < self.round_trip_ns:
            self.round_trip_ns = round_trip_ns
            self.offset_ns = pong.controller_ns - (pong.agent_ns + now_ns) // 2
            self.error_ns = round_trip_ns // 2

    def to_own_ns(self, controller_ns: int) -> int:
        return controller_ns - self.offset_ns


class Link:
    """`on_message(message)` for everything but clock pongs; `on_connect()` for each new connection."""

    def __init__(
        self,
        controller: str,
        keys: AgentKeys,
        agent: str,
        on_message: Callable[[Message], None],
        on_connect: Callable[[], None],
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.clock = ClockOffset()
        self.unreadable = 0
        self.heard_ns = clock_ns()
        """When the controller last said anything; the beginning counts."""
        self.acked_ns = self.heard_ns
        """When that was sent which the controller has acknowledged last; the lease counts from here."""
        self._now_ns, self._on_message = clock_ns, on_message
        self._said_ns: int | None = None
        self._nonsense = ""
        """What was wrong with the last message, e.g. of another version; empty where it could be read."""
        self._dealer = Dealer(controller, keys, agent, self._on_data, on_connect)

    @property
    def trouble(self) -> str:
        """Why there is no connection, or no sense in it; empty while all is well."""
        return self._dealer.trouble or self._nonsense

    async def serve(self) -> None:
        await self._dealer.serve()

    def send(self, message: Message) -> bool:
        """Whether it is on its way."""
        return self.send_encoded(encode(message))

    def send_encoded(self, data: bytes) -> bool:
        return self._dealer.send(data)

    def measure_clock(self) -> None:
        """Anew. The old estimate stands until the first answer is here."""
        self.clock = ClockOffset(self.clock)
        self.ping()

    def ping(self) -> None:
        """The next exchange of the measurement, if one is due."""
        if (ping := self.clock.next_ping(self._now_ns())) is not None:
            self.send(ping)

    def close(self) -> None:
        self._dealer.close(linger_ms=500)

    def _on_data(self, data: bytes) -> None:
        now_ns = self._now_ns()
        try:
            message = decode(data)
        except WireError as error:
            self.unreadable += 1
            self._nonsense = f"{error.message}: {error.hint}" if error.hint else error.message
            if self._said_ns is None or now_ns - self._said_ns > _SAY_AGAIN_NS:
                self._said_ns = now_ns
                log.warning("%d messages of the controller were unreadable, the last: %s", self.unreadable, error)
            return
        self.heard_ns, self._nonsense = now_ns, ""
        if isinstance(message, ClockPong):
            if self.acked_ns < message.agent_ns <= now_ns:
                self.acked_ns = message.agent_ns
            self.clock.pong(message, now_ns)
            self.ping()
        else:
            self._on_message(message)
