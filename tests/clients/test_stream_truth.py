"""The time of each event against the log of the server that sent it: both processes read the same clock.

The kernel stamps a packet within the system call that sends it on the loopback, so its time lies between the clocks
that the server logs before and after its send. That holds on a busy machine, too.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

import httpx
import pytest

from loadgen.clients.http import HttpClient
from loadgen.clients.llm.client import LlmClient
from loadgen.clients.llm.reply import LlmReply
from loadgen.clients.llm.settings import Llm
from loadgen.clients.net.kernel_clock import KernelClock
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_meter import StreamMeter
from loadgen.measure.streams import TOKEN_KINDS
from loadgen.units import NS_PER_US
from tests.clients.test_kernel_clock import Place, linux
from tests.support.llm_target import running_llm, sends_of

pytestmark = pytest.mark.process

STREAMS, EVENTS = 20, 30
MAPPED_NS = 200 * NS_PER_US
"""Far above the error of the mapping between the clocks, and far below a turn of a busy loop."""


async def ask(url: str, reads: StreamReads) -> list[LlmReply]:
    clock = KernelClock(reads)
    clock.start()
    network = TcpNetwork(clock=clock)

    async def one() -> LlmReply:
        meter = StreamMeter(Recorder())
        meter.begin("ask", warmup=False, pool_limited=False)
        pool = ConnectionPool(network, has_stamps=True)
        client = LlmClient(HttpClient(meter, pool, url), Llm(model="loadgen-llm"), Place(), reads=reads)
        try:
            return await client.chat("hello", max_tokens=EVENTS, exactly=True)
        finally:
            pool.close()

    try:
        return list(await asyncio.gather(*(one() for _ in range(STREAMS))))
    finally:
        clock.close()
        await asyncio.sleep(0)


@linux
@pytest.mark.parametrize("mode", [(), ("--synchronous",), ("--tokens-per-event", "3")])
async def test_every_event_was_sent_at_the_time_that_the_client_says(tmp_path: Path, mode: tuple[str, ...]) -> None:
    reads = StreamReads()
    with running_llm("--log", str(tmp_path / "sends.jsonl"), "--ttft", "5ms", "--itl", "2ms", *mode) as url:
        replies = await ask(url, reads)
        rows = sends_of(httpx.get(f"{url}/log").content)
    sends: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        clocks = row["t_before_ns"], row["t_after_ns"]
        sends[row["request_id"]] += [clocks for kind in row["kinds"] if kind == "content"]
    health = reads.take(0, 0)

    assert health is not None
    assert health.loop_reads == 0
    for reply in replies:
        reading = reply.reading
        assert reading is not None
        came = [at for at, kind in zip(reading.t_ns, reading.kinds, strict=True) if kind in TOKEN_KINDS]
        sent = sends[(reply.head.get(b"x-request-id") or b"").decode()]
        assert len(came) == len(sent)
        assert came == sorted(came)
        for n, (at_ns, (before_ns, after_ns)) in enumerate(zip(came, sent, strict=True)):
            assert before_ns - MAPPED_NS <= at_ns
            # Events that share a read have the time of the last of them.
            if n + 1 == len(came) or came[n + 1] != at_ns:
                # The end of the stream may be in the read of the last event.
                assert n + 1 == len(came) or at_ns <= after_ns + MAPPED_NS
