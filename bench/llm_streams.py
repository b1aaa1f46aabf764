"""Read many streams of a model at once, and print what the client measured and what it cost, as JSON.

    python -m bench.llm_streams http://127.0.0.1:8080 --streams 100 --events 250 --clock kernel
    python -m bench.llm_streams memory --streams 100 --events 250

With `memory` there is no server and no socket: each step hands one event to each stream, as in `llm_loops.py`. With
`small` it compares a stream of one event with a POST, also in memory. With `open` it counts the memory of open streams.

The HTTP and LLM clients and the recorder are loadgen's; there are no users and no plan. With `--log` it compares the
time of each read with the server's log of its sends (`GET /log`). The server must run on the same machine, because both
read the same clock.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import sys
import tracemalloc
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from struct import pack
from time import perf_counter_ns, process_time_ns, time_ns
from typing import Any

import msgspec
import numpy as np
import uvloop

from loadgen.clients.http import HttpClient
from loadgen.clients.llm.client import LlmClient
from loadgen.clients.llm.reply import LlmReply
from loadgen.clients.llm.settings import Llm
from loadgen.clients.net.kernel_clock import KernelClock
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.stamped_transport import StampedConnection
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.recording.kept_streams import StreamKeeper
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_meter import StreamMeter
from loadgen.measure.deltas.kept_stream import KEPT_SHARE
from loadgen.measure.streams import TOKEN_KINDS
from loadgen.units import NS_PER_S
from loadgen_agent.operating_system import widen_file_table

__all__ = ["SMALL_ANSWER", "SMALL_STREAM"]

Errors = dict[str, float]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = (
    b'data: {"id":"chatcmpl-00000000","object":"chat.completion.chunk","created":1764358496,"model":"loadgen-llm",'
    b'"choices":[{"index":0,"delta":{"content":" the"},"logprobs":null,"finish_reason":null}]}\n\n'
)
FULL_EVENTS = 200
SMALL_ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"text":" the"}'
"""The answer of a POST; `SMALL_STREAM` is a whole stream of one event."""


def chunked(event: bytes) -> bytes:
    """Return an event as one chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(event), event)


SMALL_STREAM = b"".join(
    (
        HEAD,
        chunked(EVENT),
        chunked(EVENT.replace(b'"content":" the"', b"").replace(b"null}]", b'"stop"}]')),
        chunked(b"data: [DONE]\n\n"),
        b"0\r\n\r\n",
    )
)


class _Place:
    def prompt_text(self, prompt: Any) -> str:
        return str(prompt)

    def waited_ns(self, now_ns: int) -> int | None:
        return None


class _Nowhere(asyncio.Transport):
    """A connection that sends nothing."""

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class _Memory(TcpNetwork):
    """Opens connections whose answers `feed` brings, with the kernel's stamp of each read."""

    def __init__(self, clock: KernelClock) -> None:
        super().__init__(clock=clock)
        self.clock = clock
        self.opened: list[StampedConnection] = []

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        factory = next(one for one in args if callable(one))
        connection = factory()
        connection.connection_made(_Nowhere())
        self.opened.append(connection)
        return _Nowhere(), connection

    def feed(self, data: bytes) -> None:
        clock = self.clock
        second, ns = divmod(time_ns() - 20_000, NS_PER_S)
        stamp = [(1, 37, pack("@6l", second, ns, 0, 0, 0, 0))]
        for one in self.opened:
            one.data_received_at(data, clock.arrived_ns(stamp, perf_counter_ns()))
            clock.reads.lag_ns = -1


class Reader:
    """A client of one worker: `StreamReads`, the kernel's clock or none, a network, a recorder."""

    def __init__(self, url: str, clock: str) -> None:
        self.url, self.recorder, self.reads = url, Recorder(), StreamReads()
        self.clock = KernelClock(self.reads) if clock == "kernel" else None
        if self.clock is not None:
            self.clock.start()
        self.network = TcpNetwork(clock=self.clock)

        self.recorder.keeper = StreamKeeper(KEPT_SHARE, 1)

    def client(self) -> tuple[StreamMeter, LlmClient]:
        meter = StreamMeter(self.recorder)
        meter.begin("ask", warmup=False, pool_limited=False)
        pool = ConnectionPool(self.network, has_stamps=self.clock is not None)
        http = HttpClient(meter, pool, self.url)
        return meter, LlmClient(http, Llm(model="loadgen-llm"), _Place(), reads=self.reads)


async def in_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Feed one event to each stream, let the loop turn, and so on; return the CPU time of an event."""
    reader = Reader("http://127.0.0.1:1", "kernel")
    assert reader.clock is not None
    network = reader.network = _Memory(reader.clock)
    tasks = [
        asyncio.create_task(reader.client()[1].chat("hello", max_tokens=options.events, exactly=True))
        for _ in range(options.streams)
    ]
    while len(network.opened) < options.streams:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    network.feed(HEAD)
    await asyncio.sleep(0.1)
    event = chunked(EVENT)
    began_ns = process_time_ns()
    for _ in range(options.events):
        network.feed(event)
        for _ in range(3):
            await asyncio.sleep(0)
    used_ns = process_time_ns() - began_ns
    network.feed(chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    replies = await asyncio.gather(*tasks)
    assert all(reply.reading is not None and reply.reading.token_events == options.events for reply in replies)
    return {"event_us": used_ns / 1e3 / options.events / options.streams}


async def small(options: argparse.Namespace) -> dict[str, Any]:
    """Return the CPU time of a stream of one event, and of a POST of the same body with the text alone as answer."""
    reader = Reader(options.server or "http://127.0.0.1:1", "kernel")
    assert reader.clock is not None
    network = None if options.server else _Memory(reader.clock)
    reader.network = network or reader.network
    meter, client = reader.client()
    body = {"model": "loadgen-llm", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    loop = asyncio.get_running_loop()

    def soon(data: bytes) -> None:
        if network is not None:
            loop.call_soon(lambda: loop.call_soon(network.feed, data))

    async def chat() -> None:
        soon(SMALL_STREAM)
        meter.n += 1  # as in a plan, so that 1 % of the streams are kept
        await client.chat("hello")

    async def post() -> None:
        soon(SMALL_ANSWER)
        await client.http.post("/plain", json=body, expect=200)

    task = asyncio.create_task(client.chat("hello"))
    if network is not None:
        while not network.opened:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        network.feed(SMALL_STREAM)
    await task
    found: dict[str, Any] = {}
    for name, one in (("stream_us", chat), ("post_us", post)):
        costs = []
        for _ in range(7):
            began_ns = process_time_ns()
            for _ in range(options.events):
                await one()
            costs.append((process_time_ns() - began_ns) / 1e3 / options.events)
            meter.settle()
            reader.recorder.flip(0, 1)
            reader.reads.take(0, 0)
        found[name] = min(costs)
    return found


async def open_streams(options: argparse.Namespace) -> dict[str, Any]:
    """Return the bytes that an open stream keeps, and those of each further event.

    The beginning of the body, which a stored failure shows, is full after some events, so it is part of the stream's
    bytes: they are what the stream keeps after 200 events, less the bytes of 200 events.
    """
    reader = Reader("http://127.0.0.1:1", "kernel")
    assert reader.clock is not None
    network = reader.network = _Memory(reader.clock)
    tracemalloc.start()
    clients = [reader.client()[1] for _ in range(options.streams)]
    warm = asyncio.create_task(clients.pop().chat("hello"))
    await asyncio.sleep(0.1)
    network.feed(HEAD)
    await asyncio.sleep(0)
    network.feed(chunked(EVENT))
    before = tracemalloc.get_traced_memory()[0]
    tasks = [asyncio.create_task(one.chat("hello")) for one in clients]
    await asyncio.sleep(0.5)
    late = network.opened[1:]
    del network.opened[0]
    network.feed(HEAD)
    await asyncio.sleep(0.1)

    def kept_after(events: int) -> float:
        for _ in range(events):
            network.feed(chunked(EVENT))
        reader.reads.take(0, 0)
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / len(late)

    first = kept_after(FULL_EVENTS)
    event_bytes = (kept_after(options.events) - first) / options.events
    for task in (*tasks, warm):
        task.cancel()
    await asyncio.gather(*tasks, warm, return_exceptions=True)
    return {"stream_bytes": first - FULL_EVENTS * event_bytes, "event_bytes": event_bytes}


async def drive(options: argparse.Namespace) -> dict[str, Any]:
    reader = Reader(options.url, options.clock)
    replies: list[LlmReply] = []
    clients = [reader.client() for _ in range(options.streams)]
    before_open_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def ask(at_s: float, client: LlmClient) -> None:
        await asyncio.sleep(at_s)
        replies.append(await client.chat("hello", max_tokens=options.events, exactly=True))

    async def fold() -> None:
        while True:
            await asyncio.sleep(1)
            reader.recorder.flip(0, 1)
            lags.append(reader.reads.take(0, 0))

    lags: list[Any] = []
    folding = asyncio.create_task(fold())
    gc.collect()
    gc.freeze()
    gc.disable()
    stolen_ms = _steal_ms()
    before = resource.getrusage(resource.RUSAGE_SELF)
    began_ns = perf_counter_ns()
    spread_s = options.spread / max(1, options.streams)
    await asyncio.gather(*(ask(n * spread_s, client) for n, (_, client) in enumerate(clients)))
    took_ns = perf_counter_ns() - began_ns
    after = resource.getrusage(resource.RUSAGE_SELF)
    folding.cancel()
    for meter, _ in clients:
        meter.settle()
    lags.append(reader.reads.take(0, 0))
    seen = [one for one in lags if one is not None]
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: dict[str, Any] = {
        "cpu_s": cpu_s,
        "user_s": after.ru_utime - before.ru_utime,
        "switches": after.ru_nvcsw - before.ru_nvcsw,
        "took_s": took_ns / NS_PER_S,
        "streams": len(replies),
        "events": sum(reply.reading.token_events for reply in replies if reply.reading is not None),
        "reads": sum(reply.events for reply in replies),
        "kernel_reads": sum(one.kernel_reads for one in seen),
        "loop_reads": sum(one.loop_reads for one in seen),
        "shared_theirs": sum(one.shared_theirs for one in seen),
        "shared_ours": sum(one.shared_ours for one in seen),
        "shared_unknown": sum(one.shared_unknown for one in seen),
        "lag_p99_us": max(one.read_lag_p99_us for one in seen),
        "lag_max_us": max(one.read_lag_max_us for one in seen),
        "steal_ms": _steal_ms() - stolen_ms,
        "first_shared": sum(_is_first_shared(reply) for reply in replies),
        "open_kib": after.ru_maxrss - before_open_kib,
    }
    if options.log:
        with urllib.request.urlopen(f"{options.url}/log") as answer:  # our own server
            found["errors_ms"] = errors_of(replies, answer.read())
    return found


def _is_first_shared(reply: LlmReply) -> bool:
    """Return whether the first event with tokens shared its read with the second one."""
    reading = reply.reading
    assert reading is not None
    came = [t for t, kind in zip(reading.t_ns, reading.kinds, strict=True) if kind in TOKEN_KINDS]
    return came[:1] == came[1:2]


def _steal_ms() -> int:
    """Return how long the host has not run this machine's cores so far."""
    with Path("/proc/stat").open(encoding="ascii") as stat:
        return int(stat.readline().split()[8]) * 1000 // os.sysconf("SC_CLK_TCK")


def errors_of(replies: Sequence[LlmReply], log: bytes) -> dict[str, Errors]:
    """Return the errors of ttft, itl and tpot in ms: of the p50 and p99 figures, and the p99 of the single errors.

    log: the server's rows as JSON lines. An event's send is taken as the middle of the clocks before and after it.
    """
    sent: dict[str, list[int]] = defaultdict(list)
    decode = msgspec.json.Decoder().decode
    for line in log.splitlines():
        row = decode(line)
        if row["type"] == "send":
            at_ns = (row["t_before_ns"] + row["t_after_ns"]) // 2
            sent[row["request_id"]] += [at_ns for kind in row["kinds"] if kind in ("content", "reasoning")]
    ours: dict[str, list[int]] = {"ttft": [], "itl": [], "tpot": []}
    true: dict[str, list[int]] = {"ttft": [], "itl": [], "tpot": []}
    for reply in replies:
        reading = reply.reading
        assert reading is not None
        name = (reply.head.get(b"x-request-id") or b"").decode()
        came = [t for t, kind in zip(reading.t_ns, reading.kinds, strict=True) if kind in TOKEN_KINDS]
        for times, into in ((came, ours), (sent[name], true)):
            assert len(times) == len(came), (name, len(times), len(came))
            into["ttft"].append(times[0] - reply.asked_ns)
            into["itl"] += [b - a for a, b in pairwise(times)]
            if len(times) > 1:
                into["tpot"].append((times[-1] - times[0]) // (len(times) - 1))
    return {name: _compared(np.array(ours[name]), np.array(true[name])) for name in ours if ours[name]}


def _compared(ours: np.ndarray, true: np.ndarray) -> Errors:
    found = {f"p{q}": float(np.percentile(ours, q) - np.percentile(true, q)) / 1e6 for q in (50, 99)}
    return found | {
        "single_p99": float(np.percentile(np.abs(ours - true), 99)) / 1e6,
        "true_p50": float(np.percentile(true, 50)) / 1e6,
        "true_p99": float(np.percentile(true, 99)) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--events", type=int, default=250)
    parser.add_argument("--clock", choices=["kernel", "loop"], default="kernel")
    parser.add_argument("--spread", type=float, default=1.0, help="seconds over which the streams begin")
    parser.add_argument("--server", help="for `small`: a server of bench/llm.py instead of memory")
    parser.add_argument("--log", action="store_true", help="compare with the server's log")
    options = parser.parse_args()
    ways = {"memory": in_memory, "small": small, "open": open_streams}
    widen_file_table()  # as each worker does
    figures = uvloop.run(ways.get(options.url, drive)(options))
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")


if __name__ == "__main__":
    main()
