"""A controller by script: real socket, takes deltas strictly in order, may be told to be deaf, forgetful or unkind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from loadgen.measure.deltas.delta import Counters
from loadgen.wire.codec import decode_with_beat, encode, with_answer
from loadgen.wire.curve_keys import ControllerKeys
from loadgen.wire.messages import (
    CHUNK_BYTES,
    PROTOCOL_MINOR,
    Ack,
    BundleChunk,
    BundleRequest,
    Bye,
    ClockPing,
    ClockPong,
    Delta,
    Fin,
    Heartbeat,
    Hello,
    Message,
    Prepare,
    Ready,
    StartAt,
    Welcome,
)
from loadgen.wire.sockets import Router
from tests.support.wire import RouterEnd, until

M = TypeVar("M")


class FakeController(RouterEnd):
    """Welcomes, answers pings, serves the bundle, acknowledges. Everything heard is in `heard`."""

    def __init__(
        self, keys: ControllerKeys, bind: str = "127.0.0.1:0", *, bundle: bytes = b"", sha256: str = ""
    ) -> None:
        self.keys, self.bundle, self.sha256 = keys, bundle, sha256
        self.heard: list[Message] = []
        self.taken: list[Delta] = []
        """As a merge would: each once and in order."""
        self.identity = b""
        self.lease_s, self.epoch, self.run_id = 8.0, 1, "r1"
        self.minor = PROTOCOL_MINOR
        self.beats_within = 0
        """Heartbeats that came within another message."""
        self.is_mute = False
        """Says nothing at all."""
        self.drops_ack: Callable[[int], bool] = lambda number: False
        """Of the n-th delta that arrived, whether its acknowledgement is lost."""
        self.arrived = 0
        self.asks_ns = 0
        """The interval that it asks for."""
        self.chunk_bytes = CHUNK_BYTES
        self.ahead_ns = 0
        """Its clock is ahead of the machine's by so much."""
        self.router = Router(bind, keys, self._on_data)
        self.address = self.router.address

    def again(self) -> FakeController:
        """The same controller after its socket was closed and opened again."""
        other = FakeController(self.keys, self.address, bundle=self.bundle, sha256=self.sha256)
        other.heard, other.taken, other.arrived = self.heard, self.taken, self.arrived
        other.lease_s, other.epoch, other.run_id, other.drops_ack = (
            self.lease_s,
            self.epoch,
            self.run_id,
            self.drops_ack,
        )
        return other

    def _on_data(self, identity: bytes, agent: str, data: bytes) -> None:
        message, beat = decode_with_beat(data)
        self.beats_within += beat is not None
        self.heard += [message] if beat is None else [message, beat]
        self.identity = identity
        if self.is_mute:
            return
        match message:
            case Hello():
                self.say(Welcome(self.epoch, self.lease_s, self.run_id, self.minor))
            case ClockPing(agent_ns):
                self.say(ClockPong(agent_ns, self.now_ns()))
            case Heartbeat(sent_ns=sent_ns):
                self.say(ClockPong(sent_ns, self.now_ns()))
            case BundleRequest(sha256, offset):
                self.say(BundleChunk(sha256, offset, self.bundle[offset : offset + self.chunk_bytes]))
            case Delta():
                self._take(message, 0 if beat is None else beat.sent_ns)

    def _take(self, delta: Delta, answers_ns: int) -> None:
        if delta.seq == len(self.taken):
            self.taken.append(delta)
        self.arrived += 1
        if not self.drops_ack(self.arrived):
            ack = Ack(delta.run_id, delta.epoch, len(self.taken) - 1, self.asks_ns)
            self.router.send(self.identity, with_answer(encode(ack), answers_ns))

    def now_ns(self) -> int:
        return time.perf_counter_ns() + self.ahead_ns

    def say(self, message: Message) -> None:
        self.router.send(self.identity, encode(message))

    def of(self, kind: type[M]) -> list[M]:
        return [message for message in self.heard if isinstance(message, kind)]

    async def hear(self, kind: type[M], where: Callable[[M], bool] = lambda _: True, within_s: float = 60.0) -> M:
        """The first of the kind that was or will be heard."""
        await until(lambda: any(where(m) for m in self.of(kind)), within_s)
        return next(m for m in self.of(kind) if where(m))

    def prepare(self, plan: str, run_id: str = "r1") -> Prepare:
        return Prepare(run_id, 1, self.sha256, len(self.bundle), "s.py", plan, b"{}", 1, 0, (1.0,), 10**9)

    async def start(self, plan: str) -> None:
        """Up to a running load."""
        await self.hear(Hello)
        await until(lambda: self.of(ClockPing))
        self.say(self.prepare(plan))
        await self.hear(Ready)
        self.say(StartAt("r1", self.now_ns()))

    async def bye(self) -> None:
        self.say(Bye("r1", leave=True))

    def total(self) -> Counters:
        return sum((delta.counters for delta in self.taken), Counters())

    def is_complete(self) -> bool:
        """What the agent's Fin promises is here."""
        fins = self.of(Fin)
        return bool(fins) and fins[-1].last_seq == len(self.taken) - 1 and fins[-1].totals == self.total()
