"""A bad network as a TCP proxy: late, slow, cut, frozen, half-open, one-way, and with bits that flip.

    with chaos_proxy("127.0.0.1:5557", seed=7) as net:
        agent --controller {net.address}
        net.latency(0.2, jitter_s=0.05)      # each way
        net.cut()                            # every connection, by RST
        net.cutting(0.1, 0.4)                # again and again, after a random time of that range
        net.freeze(2.0)                      # nothing passes, nothing is lost
        net.swallow(up=True, down=False)     # what comes is read and forgotten: one way, or half-open with both
        net.flip(3)                          # one bit in each of the next 3 chunks
        net.heal()
        net.counts                           # what it has done to whom

It runs in a thread of its own, so it works beside a blocked test, and every call may come from any thread.
*Up* is from the one who connects. Chance is the seed's, but not the moment at which bytes come: a seed gives the same
faults, not the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

__all__ = ["ChaosProxy", "chaos_proxy"]

_CHUNK: Final = 16 * 1024
_QUEUED: Final = 64
"""Chunks that may be on their way in one direction of one connection; then it pushes back, as a full pipe does."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of a socket that is closed by RST."""


@dataclass(frozen=True, slots=True)
class _Weather:
    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    """Of each connection and direction."""
    swallows_up: bool = False
    swallows_down: bool = False


class _Pipe:
    """One direction of one connection."""

    def __init__(self, net: ChaosProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_up: bool):
        self._net, self._reader, self._writer, self._is_up = net, reader, writer, is_up
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)

    async def take_in(self) -> None:
        """Until the sender ends. Order is kept, as TCP does, so jitter delays what comes behind as well."""
        loop, due_s = asyncio.get_running_loop(), 0.0
        while data := await self._reader.read(_CHUNK):
            due_s = max(due_s, loop.time() + self._net._lateness_s())
            await self._queue.put((due_s, data))
        await self._queue.put((due_s, b""))

    async def hand_on(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s, data = await self._queue.get()
            if (wait_s := due_s - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            await self._net._flowing.wait()
            if not data and self._net._swallows(self._is_up):
                await asyncio.Event().wait()  # the end is swallowed, too
            if not data:
                return
            if (passed := self._net._passed(data, self._is_up)) is None:
                continue
            self._writer.write(passed)
            await self._writer.drain()
            if (rate := self._net._weather.bytes_per_s) is not None:
                await asyncio.sleep(len(data) / rate)


class ChaosProxy:
    """Use `chaos_proxy`. What is said of the network holds for all connections, also for those to come."""

    def __init__(self, upstream: str, seed: int, listen: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._listen = listen
        self.upstream = upstream
        """HOST:PORT that it connects to; may be changed, for connections to come."""
        self.address = ""
        """Where it listens."""
        self.seed = seed
        self.counts: Counter[str] = Counter()
        """connections, refused, cuts, freezes, flips, bytes up, bytes down, swallowed bytes."""
        self._random = random.Random(seed)
        self._weather = _Weather()
        self._flips, self._flips_up, self._flips_down = 0, True, True
        self._bit: int | None = None
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._live: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._cutting: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._serve, name="chaos proxy")
        self._ready = threading.Event()
        self._server: asyncio.Server | None = None

    @property
    def live(self) -> int:
        """Connections that are open now."""
        return len(self._live)

    # -- the weather ----------------------------------------------------------------------------

    def latency(self, latency_s: float, jitter_s: float = 0.0) -> None:
        """Each way; `jitter_s` more or less, evenly."""
        self._change(latency_s=latency_s, jitter_s=jitter_s)

    def bandwidth(self, bytes_per_s: float | None) -> None:
        """Of each connection and direction; None: as it comes."""
        self._change(bytes_per_s=bytes_per_s)

    def swallow(self, *, up: bool, down: bool) -> None:
        """What is sent is taken and never arrives, and nobody is told."""
        self._change(swallows_up=up, swallows_down=down)

    def flip(self, chunks: int, *, up: bool = True, down: bool = True, bit: int | None = None) -> None:
        """One bit in each of the next so many chunks that go these ways: a random one, or this one."""

        def flip() -> None:
            self._flips, self._flips_up, self._flips_down, self._bit = chunks, up, down, bit

        self._on_loop(flip)

    def cut(self) -> None:
        """Every connection that is open now, by RST."""
        self._on_loop(self._cut)

    def cutting(self, least_s: float, most_s: float) -> None:
        """Cut one connection at random, again and again, until `heal`."""
        self._on_loop(lambda: self._cut_for_ever(least_s, most_s))

    def freeze(self, seconds: float) -> None:
        """Nothing passes for so long; then everything does."""

        def freeze() -> None:
            self.counts["freezes"] += 1
            self._flowing.clear()
            self._loop.call_later(seconds, self._flowing.set)

        self._on_loop(freeze)

    def heal(self) -> None:
        """As good a network as any from here on. Bytes that were swallowed stay lost."""

        def heal() -> None:
            self._weather, self._flips = _Weather(), 0
            self._flowing.set()
            if self._cutting is not None:
                self._cutting.cancel()
                self._cutting = None

        self._on_loop(heal)

    # -- of the pipes ---------------------------------------------------------------------------

    def _lateness_s(self) -> float:
        weather = self._weather
        return max(0.0, weather.latency_s + self._random.uniform(-1, 1) * weather.jitter_s)

    def _swallows(self, is_up: bool) -> bool:
        return self._weather.swallows_up if is_up else self._weather.swallows_down

    def _passed(self, data: bytes, is_up: bool) -> bytes | None:
        """What arrives of it; None: nothing."""
        if self._swallows(is_up):
            self.counts["swallowed bytes"] += len(data)
            return None
        self.counts["bytes up" if is_up else "bytes down"] += len(data)
        if not self._flips or not (self._flips_up if is_up else self._flips_down):
            return data
        self._flips -= 1
        self.counts["flips"] += 1
        at = self._random.randrange(len(data) * 8) if self._bit is None else self._bit
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        return bytes(flipped)

    # -- the loop -------------------------------------------------------------------------------

    def _on_loop(self, do: Callable[[], None]) -> None:
        """Done when this returns, so that a test knows what holds."""
        done = threading.Event()

        def both() -> None:
            do()
            done.set()

        self._loop.call_soon_threadsafe(both)
        if not done.wait(60):
            raise AssertionError("the chaos proxy does not answer")

    def _change(self, **weather: float | bool | None) -> None:
        self._on_loop(lambda: setattr(self, "_weather", replace(self._weather, **weather)))  # type: ignore[arg-type]

    def _cut(self, one: asyncio.Task[None] | None = None) -> None:
        for task in [one] if one is not None else list(self._live):
            self.counts["cuts"] += 1
            for writer in self._live[task]:
                _reset(writer)
            task.cancel()

    def _cut_for_ever(self, least_s: float, most_s: float) -> None:
        async def cut() -> None:
            while True:
                await asyncio.sleep(self._random.uniform(least_s, most_s))
                if open_ := [task for task in self._live if not task.cancelling()]:
                    self._cut(self._random.choice(open_))

        self._cutting = self._loop.create_task(cut())

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _open(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._accept, *self._listen, backlog=4096)
        self.address = f"{self._listen[0]}:{self._server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [*self._live, *([self._cutting] if self._cutting is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.counts["connections"] += 1
        self._live[task] = (writer,)
        try:
            await self._join(task, reader, writer)
        except OSError:
            pass  # either end is gone: that is what a proxy sees all day
        except asyncio.CancelledError:
            pass  # cut
        finally:
            for one in self._live.pop(task):
                one.close()

    async def _join(self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.upstream.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            self.counts["refused"] += 1
            _reset(writer)
            return
        self._live[task] = (writer, far_writer)
        up = _Pipe(self, reader, far_writer, is_up=True)
        down = _Pipe(self, far_reader, writer, is_up=False)
        taking = [asyncio.ensure_future(pipe.take_in()) for pipe in (up, down)]
        handing = [asyncio.ensure_future(pipe.hand_on()) for pipe in (up, down)]
        waits: set[asyncio.Future[None]] = {*taking, *handing}
        try:
            while not any(part.done() for part in handing):
                done, waits = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for part in done:
                    part.result()
        finally:
            for part in (*taking, *handing):
                part.cancel()
            await asyncio.gather(*taking, *handing, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@contextlib.contextmanager
def chaos_proxy(upstream: str, seed: int = 0, listen: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[ChaosProxy]:
    """A proxy in its own thread; gone when the block is left. listen: by default a free loopback port."""
    net = ChaosProxy(upstream, seed, listen)
    net._thread.start()
    if not net._ready.wait(60):
        raise AssertionError("the chaos proxy did not open")
    try:
        yield net
    finally:
        net._loop.call_soon_threadsafe(net._loop.stop)
        net._thread.join(60)
