"""Lives on canned replies and a time that jumps: what the language's words do, without network or waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from time import perf_counter_ns
from typing import Any

from loadgen.clients.net.canned_replies import CannedNetwork, reply
from loadgen.clients.pool.connection_policy import Connections
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.dsl.users.user_runner import BoundJourney, JourneyLife
from loadgen.engine.load.rendezvous import Points
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.recorder import Recorder

__all__ = ["REPLIES", "Bench", "JumpTime", "QuickLife", "bound"]

REPLIES: Mapping[str, Any] = {
    "GET /": reply(200, text="hello"),
    "GET /json": reply(200, json={"state": "done"}),
    "GET /missing": reply(404),
    "GET /broken": reply(503),
    "POST /login": reply(200, json={"token": "t"}, headers={"Set-Cookie": "id=1"}),
}


class QuickLife:
    """A person whose iterations take no time and are noted."""

    begun_ns = ended_ns = idle_ns = set_up_ns = 0
    outcome, censored = "ok", False
    tags, noted, spans = (), None, None

    def __init__(self, seen: list[Arrival]) -> None:
        self.seen = seen
        self.closed = False

    async def iterate(self, arrival: Arrival, *, pool_limited: bool) -> None:
        self.seen.append(arrival)

    def idle_until(self, now_ns: int) -> int:
        return 0

    def resisted(self) -> None: ...

    async def preconnect(self) -> None: ...

    async def close(self) -> None:
        self.closed = True


class JumpTime:
    """A clock and a sleep that takes no time. `work` lets time pass as a slow target would."""

    def __init__(self) -> None:
        self.jumped_ns = 0
        self.slept_s: list[float] = []

    def clock(self) -> int:
        return perf_counter_ns() + self.jumped_ns

    async def sleep(self, wait_s: float) -> None:
        self.slept_s.append(wait_s)
        self.jumped_ns += round(wait_s * 1e9)
        await asyncio.sleep(0)

    def work(self, took_s: float) -> None:
        self.jumped_ns += round(took_s * 1e9)

    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(microseconds=self.jumped_ns / 1000)


class Bench:
    """One person of a worker, and what is recorded of it. Several benches may share a recorder, as people do."""

    def __init__(
        self,
        *journeys: BoundJourney,
        fresh: bool = True,
        seed: int = 7,
        load: int = 0,
        replies: Mapping[str, Any] = REPLIES,
        targets: Mapping[str, str] | None = None,
        connections: str = "kept",
        recorder: Recorder | None = None,
        time: JumpTime | None = None,
        points: Points | None = None,
    ) -> None:
        self.recorder = recorder or Recorder()
        self.said: list[str] = []
        self.time = time or JumpTime()
        self.network = CannedNetwork(replies)
        self.user_factory = UserFactory(
            Ways(targets or {"": "http://shop.test"}, connections=Connections.parse(connections)),
            self.network,
            None,
            seed=seed,
            sleep=self.time.sleep,
            clock=self.time.clock,
            now=self.time.now,
            points=points,
        )
        self.life = self.user_factory.life(self.recorder, journeys, fresh=fresh, report=self.said.append, load=load)

    async def run(self, times: int = 1, *, first: int = 0, row: int | None = None, journey: int = 0) -> JourneyLife:
        for n in range(first, first + times):
            self.life.begun_ns = self.life.ended_ns = self.life.idle_ns = self.life.set_up_ns = 0
            await self.life.iterate(Arrival(None, n, journey, False, row=row), pool_limited=False)
        return self.life

    def rows(self) -> dict[tuple[str, str | None, str | None, str], int]:
        """(kind, step, request, outcome) -> count of response times."""
        delta = self.recorder.flip(0, 1)
        return {
            (k.kind, k.step, k.request, k.outcome): s.n
            for s in delta.stats
            if (k := delta.new_series[s.series]).metric == "response"
        }

    def counted(self) -> dict[str, tuple[int, int]]:
        """Custom metric -> (how often it was recorded, total)."""
        return {one.name: (one.n, one.total) for source in self.recorder.customs if (one := source.take()) is not None}


def bound(fn: Callable[..., Awaitable[None]], **more: Any) -> BoundJourney:
    return BoundJourney("j", fn, **more)
