"""Both ends of the wire within one test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from loadgen.wire.curve_keys import AgentKeys, ControllerKeys, KeyPair
from loadgen.wire.sockets import Dealer, Router


def key_ring(*names: str) -> tuple[ControllerKeys, dict[str, AgentKeys]]:
    """A controller that knows one key for each name, and those keys."""
    own = KeyPair.new()
    pairs = {name: KeyPair.new() for name in names}
    agents = {name: AgentKeys(pair, own.public, name) for name, pair in pairs.items()}
    return ControllerKeys(own, {pair.public: name for name, pair in pairs.items()}), agents


class RouterEnd:
    """A router that keeps what it is told."""

    def __init__(self, keys: ControllerKeys, bind: str = "127.0.0.1:0") -> None:
        self.received: asyncio.Queue[tuple[bytes, str, bytes]] = asyncio.Queue()
        self.refused: list[tuple[str, str]] = []
        self.router = Router(
            bind,
            keys,
            lambda *message: self.received.put_nowait(message),
            lambda kind, text: self.refused.append((kind, text)),
        )
        self.address = self.router.address

    async def next(self, within_s: float = 60.0) -> tuple[bytes, str, bytes]:
        async with asyncio.timeout(within_s):
            return await self.received.get()


class DealerEnd:
    """A dealer that keeps what it is told."""

    def __init__(self, address: str, keys: AgentKeys, agent: str) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.dealer = Dealer(address, keys, agent, self.received.put_nowait)

    async def next(self, within_s: float = 60.0) -> bytes:
        async with asyncio.timeout(within_s):
            return await self.received.get()

    async def send(self, data: bytes, within_s: float = 60.0) -> None:
        """Sends as soon as there is a connection."""
        await until(lambda: self.dealer.send(data), within_s)


@asynccontextmanager
async def serving(*ends: RouterEnd | DealerEnd) -> AsyncIterator[None]:
    """Serves and in the end closes all of them."""
    sockets = [end.router if isinstance(end, RouterEnd) else end.dealer for end in ends]
    tasks = [asyncio.create_task(socket.serve()) for socket in sockets]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
        for socket in reversed(sockets):
            socket.close()


async def until(holds: Callable[[], object], within_s: float = 60.0) -> None:
    """Waits for real processes and sockets; a test never waits longer than it must."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)
