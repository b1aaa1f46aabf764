"""A real worker process and its lease: it starts nothing more when that is over, whoever is frozen or blocked."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from loadgen.units import NS_PER_S
from loadgen.wire.messages import Fin, Heartbeat, Message, Prepare, Ready, StartAt
from loadgen_agent.shared_progress import Progress
from loadgen_agent.supervisor.worker_process import WORKER, Child
from loadgen_agent.worker_lease import Lease

pytestmark = pytest.mark.process

S = NS_PER_S
SCENARIO = """
import time
from loadgen import Plan, User, arrivals, journey, users

asked = 0

@journey
async def shop(user: User) -> None:
    global asked
    asked += 1  # loadgen: allow
    await user.http.get("/x")
    if asked == {blocks_at}:
        time.sleep(60)  # loadgen: allow

open = Plan(target="{url}", load=arrivals("50/s").hold("60s"), mix=shop, drain="1s")
closed = Plan(target="{url}", load=users(5).hold("60s"), mix=shop, drain="1s")
"""


class Target:
    """Answers at once, and knows when it was asked."""

    def __init__(self) -> None:
        self.asked_ns: list[int] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked_ns.append(time.perf_counter_ns())
                await asyncio.sleep(0.01)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()


class Act:
    """One worker under load, its target, and its lease."""

    def __init__(self, child: Child, lease: Lease, target: Target) -> None:
        self.child, self.lease, self.target = child, lease, target
        self.heard: list[Message] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while (message := await self.child.read()) is not None:
            self.heard.append(message)

    async def fin(self, within_s: float = 60) -> Fin:
        async with asyncio.timeout(within_s):
            while True:
                if (found := next((m for m in self.heard if isinstance(m, Fin)), None)) is not None:
                    return found
                await asyncio.sleep(0.02)

    async def loaded(self) -> None:
        async with asyncio.timeout(60):
            while len(self.target.asked_ns) < 20:
                await asyncio.sleep(0.02)

    async def gone(self) -> None:
        """Return when the process has ended by itself."""
        await self._reading
        assert await self.child.how_it_ended() == "was killed by SIGKILL"

    def asked_after(self, at_ns: int) -> int:
        return sum(1 for asked_ns in self.target.asked_ns if asked_ns > at_ns)

    async def close(self) -> None:
        self.child.kill()
        await self._reading
        await self.child.end()


@asynccontextmanager
async def act(folder: Path, plan: str = "open", blocks_at: int = -1) -> AsyncIterator[Act]:
    target, marks, lease = Target(), Progress(), Lease()
    server = await asyncio.start_server(target.answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    (folder / "s.py").write_text(SCENARIO.format(url=url, blocks_at=blocks_at))
    child = await Child.start(WORKER, "eu", memory_fds=(marks.fd, lease.fd))
    child.write(Prepare("r1", 1, "", 0, "s.py", plan, b"{}", 1, 0, (1.0,), S, bundle_dir=str(folder)))
    while not isinstance(message := await child.read(), Ready):
        assert isinstance(message, Heartbeat), message
    child.write(StartAt("r1", time.perf_counter_ns()))
    scene = Act(child, lease, target)
    try:
        yield scene
    finally:
        await scene.close()
        server.close()
        marks.close()
        lease.close()


@pytest.mark.fault("F2", "its supervisor alone")
@pytest.mark.parametrize("plan", ["open", "closed"])
async def test_when_the_lease_is_over_a_worker_stops_though_its_supervisor_says_nothing(
    tmp_path: Path, plan: str
) -> None:
    async with act(tmp_path, plan) as a:
        await a.loaded()
        until_ns = time.perf_counter_ns() + S
        a.lease.grant(until_ns, 8 * S)
        fin = await a.fin()
        assert fin.reason == "the controller acknowledged nothing for longer than the lease of 8 s"
        assert a.asked_after(until_ns + S) == 0
        assert a.asked_after(until_ns - S // 2) > 0


@pytest.mark.fault("F2", "a worker beyond its lease")
@pytest.mark.parametrize("plan", ["open", "closed"])
async def test_a_worker_that_was_frozen_beyond_its_lease_starts_nothing_when_it_thaws(
    tmp_path: Path, plan: str
) -> None:
    async with act(tmp_path, plan) as a:
        await a.loaded()
        a.lease.grant(time.perf_counter_ns() + S, 8 * S)
        os.kill(a.child.pid, signal.SIGSTOP)
        await asyncio.sleep(2.5)
        asked = len(a.target.asked_ns)
        os.kill(a.child.pid, signal.SIGCONT)
        fin = await a.fin()
        assert "lease" in fin.reason
        assert len(a.target.asked_ns) - asked <= 5  # of iterations that it had begun before


async def test_a_scenario_that_blocks_the_loop_for_longer_than_the_lease_ends_its_worker_and_is_named(
    tmp_path: Path,
) -> None:
    async with act(tmp_path, blocks_at=30) as a:
        a.lease.grant(time.perf_counter_ns() + 60 * S, 3 * S)
        async with asyncio.timeout(60):
            await a.gone()
        assert a.lease.said.startswith("s.py:13 (shop) blocked its loop for ")


@pytest.mark.fault("F3", "and loses its controller")
async def test_a_blocked_loop_does_not_outlive_its_lease(tmp_path: Path) -> None:
    """The loop cannot hear that it is to stop."""
    async with act(tmp_path, blocks_at=30) as a:
        a.lease.grant(time.perf_counter_ns() + 2 * S, 50 * S)
        async with asyncio.timeout(40):  # before it has been blocked for as long as a lease is
            await a.gone()
        assert "s.py:13 (shop)" in a.lease.said
