"""An agent by script: real socket, no worker. Does as an agent does, or as it is told not to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from loadgen.wire.codec import decode_with_answer, encode
from loadgen.wire.curve_keys import AgentKeys
from loadgen.wire.messages import (
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Ack,
    BundleChunk,
    BundleRequest,
    Bye,
    ClockPong,
    Fin,
    Heartbeat,
    Hello,
    Message,
    Prepare,
    Ready,
    StartAt,
    Stop,
    Welcome,
)
from loadgen.wire.sockets import Dealer
from tests.support.recording import Recording
from tests.support.wire import until

M = TypeVar("M")


class FakeAgent:
    """Speaks for `agent`; everything heard is kept in `heard`."""

    def __init__(self, address: str, keys: AgentKeys, agent: str, region: str, pid: int = 1) -> None:
        self.agent, self.region, self.pid = agent, region, pid
        self.instance_type = ""
        self.python = ""
        self.busy_wait_ns = 0
        self.heard: list[Message] = []
        self.acked = -1
        self.answered: list[int] = []
        """`sent_ns` of the heartbeats that were answered, by themselves or with an acknowledgement."""
        self.recording = Recording(agent)
        self._dealer = Dealer(address, keys, agent, self._on_data)
        self._serving = asyncio.create_task(self._dealer.serve())

    @property
    def trouble(self) -> str:
        return self._dealer.trouble

    def _on_data(self, data: bytes) -> None:
        message, answers_ns = decode_with_answer(data)
        self.heard.append(message)
        if isinstance(message, ClockPong):
            answers_ns = message.agent_ns
        if answers_ns:
            self.answered.append(answers_ns)
        if isinstance(message, Ack):
            self.acked = max(self.acked, message.seq)

    # -- saying -------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        await self.send_bytes(encode(message))

    async def send_bytes(self, data: bytes) -> None:
        await until(lambda: self._dealer.send(data))

    async def next(self, kind: type[M], where: Callable[[M], bool] = lambda _: True) -> M:
        """The first message of the kind that is or will be heard; taken out of `heard`."""
        found: list[M] = []

        def look() -> bool:
            found[:] = [m for m in self.heard if isinstance(m, kind) and where(m)]
            return bool(found)

        await until(look)
        self.heard.remove(found[0])  # type: ignore[arg-type]
        return found[0]

    # -- a life -------------------------------------------------------------------------------

    def hello(self, **other: Any) -> Hello:
        usual = Hello(self.agent, self.region, PROTOCOL_MAJOR, PROTOCOL_MINOR, self.pid, "here", 2)
        usual = replace(usual, instance_type=self.instance_type, python=self.python)
        return replace(usual, **other)

    async def join(self) -> Welcome:
        await self.send(self.hello())
        return await self.next(Welcome)

    async def get_ready(self) -> Prepare:
        """Registers, is asked to prepare, and is ready."""
        welcome = await self.join()
        prepare = await self.next(Prepare)
        self.recording.run_id, self.recording.epoch = prepare.run_id, welcome.epoch
        await self.ready(prepare)
        return prepare

    async def ready(self, prepare: Prepare) -> None:
        await self.send(
            Ready(prepare.run_id, prepare.generation, prepare.bundle_sha256, 1000, busy_wait_ns=self.busy_wait_ns)
        )

    async def fetch(self, prepare: Prepare) -> bytes:
        data = b""
        while len(data) < prepare.bundle_bytes:
            await self.send(BundleRequest(prepare.bundle_sha256, len(data)))
            data += (await self.next(BundleChunk)).data
        return data

    async def start(self) -> StartAt:
        await self.get_ready()
        return await self.next(StartAt)

    async def deliver(self, *seqs: int) -> None:
        """Send these deltas; all that were recorded when none is named."""
        for seq in seqs or range(len(self.recording.deltas)):
            await self.send(self.recording.deltas[seq])

    async def acknowledged(self, seq: int) -> None:
        await until(lambda: self.acked >= seq)

    async def finish(self, **other: Any) -> Fin:
        fin = replace(self.recording.fin(), **other)
        await self.send(fin)
        return fin

    async def run(self, seconds: int = 3, **what: Any) -> None:
        """A whole, good life."""
        await self.start()
        for _ in range(seconds):
            self.recording.interval(**what)
        await self.deliver()
        await self.finish()
        await self.next(Bye)

    async def beat(self, phase: str = "running", adjusted: int = 0) -> None:
        await self.send(Heartbeat(self.recording.run_id, phase, adjusted=adjusted))

    async def stopped(self) -> Stop:
        return await self.next(Stop)

    async def close(self) -> None:
        self._serving.cancel()
        with suppress(asyncio.CancelledError):
            await self._serving
        self._dealer.close()
