"""Measure the largest delay of a controller's event loop as an agent sees it, by repeated time requests.

A request goes out 10 ms after the reply to the one before. A controller with a backlog reads one message of each agent
in turn, so requests that did not wait for replies would queue behind each other, and not behind the controller's work.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from time import perf_counter_ns

from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.codec import decode, encode
from loadgen.wire.curve_keys import load_agent
from loadgen.wire.messages import PROTOCOL_MAJOR, PROTOCOL_MINOR, ClockPing, ClockPong, Hello
from loadgen.wire.sockets import Dealer

__all__ = ["Asker"]

_EACH_S = 0.01
_LOST_NS = 10 * NS_PER_S
"""Without a reply for this time, the request is lost, and another one goes out."""


class Asker:
    """An agent outside the run that sends time requests from its own thread as soon as it is created.

    Only replies between from_ns and a second after to_ns, on `perf_counter_ns`, count.
    """

    def __init__(self, address: str, keys: Path, from_ns: int, to_ns: int) -> None:
        self._worst_ns, self._answers, self._from_ns, self._to_ns = 0, 0, from_ns, to_ns
        self._waits_since_ns = 0
        """When the request was sent that has no reply yet; 0 if there is none."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask(address, keys)), name="asker")
        self._thread.start()

    def worst_ms(self) -> float:
        """Wait until `to_ns` and return the longest time from a request to its reply.

        Raises:
            RuntimeError: no reply arrived.
        """
        self._thread.join()
        if not self._answers:
            raise RuntimeError("the controller answered no time request")
        return self._worst_ns / NS_PER_MS

    async def _ask(self, address: str, keys: Path) -> None:
        dealer = Dealer(address, load_agent(keys), "asker", self._on_data)
        serving = asyncio.create_task(dealer.serve())
        hello = encode(Hello("asker", "elsewhere", PROTOCOL_MAJOR, PROTOCOL_MINOR, 1, "asker", 1))
        while not dealer.send(hello) and perf_counter_ns() < self._to_ns:
            await asyncio.sleep(_EACH_S)
        while perf_counter_ns() < self._to_ns:
            if not self._waits_since_ns or perf_counter_ns() - self._waits_since_ns > _LOST_NS:
                self._waits_since_ns = perf_counter_ns()
                dealer.send(encode(ClockPing(self._waits_since_ns)))
            await asyncio.sleep(_EACH_S)
        await asyncio.sleep(1)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        dealer.close()

    def _on_data(self, data: bytes) -> None:
        message, now_ns = decode(data), perf_counter_ns()
        if not isinstance(message, ClockPong):
            return
        if message.agent_ns == self._waits_since_ns:
            self._waits_since_ns = 0
        if now_ns > self._from_ns:
            self._answers += 1
            self._worst_ns = max(self._worst_ns, now_ns - message.agent_ns)
