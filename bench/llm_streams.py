"""Read many streams of a model at once, and print what the client measured and what it cost, as JSON.

    python -m bench.llm_streams http://127.0.0.1:8080 --streams 100 --events 250 --clock kernel

The HTTP and LLM clients and the recorder are loadgen's; there are no users and no plan. With `--log` it compares the
time of each read with the server's log of its sends (`GET /log`). The server must run on the same machine, because both
read the same clock.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from time import perf_counter_ns
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
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_meter import StreamMeter
from loadgen.measure.streams import TOKEN_KINDS
from loadgen.units import NS_PER_S

__all__ = ["Errors", "errors_of"]

Errors = dict[str, float]


class _Place:
    def prompt_text(self, prompt: Any) -> str:
        return str(prompt)

    def waited_ns(self, now_ns: int) -> int | None:
        return None


class Reader:
    """A client of one worker: `StreamReads`, the kernel's clock or none, a network, a recorder."""

    def __init__(self, url: str, clock: str) -> None:
        self.url, self.recorder, self.reads = url, Recorder(), StreamReads()
        self.clock = KernelClock(self.reads) if clock == "kernel" else None
        if self.clock is not None:
            self.clock.start()
        self.network = TcpNetwork(clock=self.clock)

    def client(self) -> tuple[StreamMeter, LlmClient]:
        meter = StreamMeter(self.recorder)
        meter.begin("ask", warmup=False, pool_limited=False)
        pool = ConnectionPool(self.network, has_stamps=self.clock is not None)
        http = HttpClient(meter, pool, self.url)
        return meter, LlmClient(http, Llm(model="loadgen-llm"), _Place(), reads=self.reads)


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

    async def block() -> None:
        while True:
            await asyncio.sleep(0.1 - options.block / 1000)
            until_ns = perf_counter_ns() + round(options.block * 1e6)
            while perf_counter_ns() < until_ns:
                pass

    lags: list[Any] = []
    folding = [asyncio.create_task(fold())]
    if options.block:
        folding.append(asyncio.create_task(block()))
    gc.collect()
    gc.freeze()
    gc.disable()
    before = resource.getrusage(resource.RUSAGE_SELF)
    began_ns = perf_counter_ns()
    spread_s = options.spread / max(1, options.streams)
    await asyncio.gather(*(ask(n * spread_s, client) for n, (_, client) in enumerate(clients)))
    took_ns = perf_counter_ns() - began_ns
    after = resource.getrusage(resource.RUSAGE_SELF)
    for one in folding:
        one.cancel()
    for meter, _ in clients:
        meter.settle()
    lags.append(reader.reads.take(0, 0))
    seen = [one for one in lags if one is not None]
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: dict[str, Any] = {
        "cpu_s": cpu_s,
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
        "open_kib": after.ru_maxrss - before_open_kib,
    }
    if options.log:
        with urllib.request.urlopen(f"{options.url}/log") as answer:  # our own server
            found["errors_ms"] = errors_of(replies, answer.read())
    return found


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
            into["itl"] += [b - a for a, b in zip(times, times[1:], strict=False)]
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
    parser.add_argument("--block", type=float, default=0, help="block the loop for this many ms each 100 ms")
    parser.add_argument("--log", action="store_true", help="compare with the server's log")
    figures = uvloop.run(drive(parser.parse_args()))
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")


if __name__ == "__main__":
    main()
