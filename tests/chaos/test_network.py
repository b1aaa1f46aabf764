"""A bad network between the controller and simulated agents: all of it arrives, once, and nobody is given up."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.chaos.sims import SimRun, sim_run
from tests.support.chaos_proxy import chaos_proxy

Seen = Callable[[str], None]
AGENTS = 20


async def ends_well(run: SimRun, seen: Seen) -> None:
    await run.end()
    assert run.wrongs() == []
    assert run.lost() == []
    requests = run.conducted.summary()["requests"]["finished"]
    again = run.conducted.rejected_input()
    seen(
        f"{requests:,} of {requests:,} requests, every bucket equal; {again['duplicate']} duplicates and {again['gap']}"
        f" gaps refused; {run.net.counts['cuts']} cuts, {run.net.counts['flips']} flips"
    )


@contextmanager
def rabble(address: str, idle: int, garbage: int) -> Iterator[None]:
    """Connections that say nothing, and others that say anything."""
    host, _, port = address.rpartition(":")
    with ExitStack() as stack:
        for n in range(idle + garbage):
            one = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            if n >= idle:
                one.sendall(os.urandom(200))
            elif n % 10 == 0:
                one.sendall(b"\xff")  # how a greeting begins
        yield


@pytest.mark.fault("F9", "in one run with the rest: 200 ms ± 50 ms each way for 4 of 24")
@pytest.mark.fault("F11", "in one run with the rest: 4 kB/s for 4 of 24")
@pytest.mark.fault("F12", "in one run with the rest: a cut each 0.05 to 0.2 s of 4 of 24")
@pytest.mark.fault("F16", "in one run with the rest: 300 idle connections, 100 with garbage")
@pytest.mark.fault("F17", "in one run with the rest: 3 chunks of 4 of 24 flipped")
@pytest.mark.fault("F19", "in one run with the rest: 4 of 24 say all again, backwards, and as another epoch")
async def test_all_that_a_network_can_do_in_one_run(tmp_path: Path, seed: int, seen: Seen) -> None:
    async with sim_run(tmp_path, 8, 6, seed, more=16) as run:
        address = run.conducted.address
        with ExitStack() as stack:
            late, narrow, torn, bent = (stack.enter_context(chaos_proxy(address, seed + n)) for n in range(1, 5))
            for n, net in enumerate([late, narrow, torn, bent] * 4, 8):
                run.sims.join(f"sim.{n}", "ab"[n % 2], run.keys, net.address)
            late.latency(0.2, jitter_s=0.05)
            await run.sims.running()
            torn.cutting(0.05, 0.2)  # not before: one that is torn while it joins may have no part in 6 s of load
            narrow.bandwidth(4_000)
            bent.flip(3)
            stack.enter_context(rabble(address, idle=300, garbage=100))
            await asyncio.sleep(2.5)
            repeated = sum(run.sims.agents[f"sim.{n}"].repeat_itself() for n in range(4))
            await run.end()
            assert run.wrongs() == []
            # A damaged connection costs 5.5 s, one damaged in its handshake 5 s; after both its agent is given up.
            assert set(run.lost()) <= {f"sim.{n}" for n in range(11, 24, 4)}
            assert torn.counts["cuts"] > 0
            assert bent.counts["flips"] == 3
        refused = run.conducted.rejected_input()
        assert repeated > 0
        assert refused["other agent"] + refused["duplicate"] >= repeated
        requests = run.conducted.summary()["requests"]["finished"]
        seen(f"{requests:,} of {requests:,} requests, every bucket equal; {torn.counts['cuts']} cuts; {dict(refused)}")


@pytest.mark.slow
@pytest.mark.parametrize("latency_s", [0.05, 0.2, 0.5])
@pytest.mark.fault("F9", "50, 200 or 500 ms ± half of it, each way")
async def test_latency_and_jitter_lose_nothing(tmp_path: Path, latency_s: float, seed: int, seen: Seen) -> None:
    async with sim_run(tmp_path, AGENTS, 15, seed) as run:
        run.net.latency(latency_s, jitter_s=latency_s / 2)
        await ends_well(run, seen)


@pytest.mark.slow
@pytest.mark.fault("F11", "32 kB/s (256 kbit/s) for each agent and direction")
async def test_a_narrow_pipe_loses_nothing(tmp_path: Path, seed: int, seen: Seen) -> None:
    async with sim_run(tmp_path, AGENTS, 15, seed) as run:
        run.net.bandwidth(32_000)
        await ends_well(run, seen)


@pytest.mark.slow
@pytest.mark.fault("F12", "one of 20 each 0.02 to 0.08 s")
async def test_cuts_lose_nothing(tmp_path: Path, seed: int, seen: Seen) -> None:
    async with sim_run(tmp_path, AGENTS, 15, seed) as run:
        run.net.cutting(0.02, 0.08)
        await ends_well(run, seen)


@pytest.mark.slow
@pytest.mark.fault("F13", "all, for 5 s, both ways")
async def test_connections_that_lead_nowhere_are_found_and_made_anew(tmp_path: Path, seed: int, seen: Seen) -> None:
    async with sim_run(tmp_path, AGENTS, 15, seed) as run:
        await run.sims.running()
        run.net.swallow(up=True, down=True)
        await asyncio.sleep(5)
        run.net.heal()
        await ends_well(run, seen)


@pytest.mark.slow
@pytest.mark.fault("F16", "1,500 idle connections, 200 with garbage")
async def test_idle_and_garbage_connections_harm_nobody(tmp_path: Path, seed: int, seen: Seen) -> None:
    async with sim_run(tmp_path, AGENTS, 15, seed) as run:
        with rabble(run.conducted.address, idle=1_500, garbage=200):
            await ends_well(run, seen)


@pytest.mark.slow
@pytest.mark.fault("F17", "a bit flipped in 10 chunks, either way")
async def test_flipped_bits_are_noticed_and_sent_again(tmp_path: Path, seed: int, seen: Seen) -> None:
    async with sim_run(tmp_path, AGENTS, 15, seed) as run:
        await run.sims.running()
        run.net.flip(10)
        await ends_well(run, seen)
