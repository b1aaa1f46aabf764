"""Measure the streams of AI models: errors of their times, CPU an event and a stream, memory, streams a core.

    python -m bench llm

`python -m bench.llm serve` is the server of the smallest streams: it answers each POST in one write.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from bench.children import ATTACKER_CORE, TARGET_CORE, run_python
from bench.llm_streams import SMALL_ANSWER, SMALL_STREAM
from bench.machine import pinned
from bench.peers import python_with
from bench.report import Section, cost_ns, held
from loadgen.engine.recording.stream_series import StreamSeries
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.event_list import EventList
from loadgen.measure.streams import CONTENT, times_of

ERROR_MS = 0.1
"""The largest allowed error of a value by the kernel's clock, at p99."""
RUNS, MANY_EVENTS = 3, 100
"""Runs for each large number of streams, and the events of a stream in them."""
LOOPS_SHARE, POSTS, FEW_TOKENS, MANY_TOKENS = 0.5, 2.5, 1, 256
STREAM_KIB, EVENT_BYTES = 14, 12
RECORD_NS, TOKEN_NS = 1_500, 60
"""Budget of the recording of a stream, and of each of its tokens."""
HOW = """\
`loadgen target llm` sends on one core and logs each send by the clock that the client reads. The client is alone \
on the other core. *error*: the p50 and p99 of the client's times minus those of the server's sends; *single*: the \
p99 of the error of each value. *independent*: each stream has its own phase; *step*: all streams send at the same \
times, as a batch engine does. The loops of vLLM and SGLang are rewritten over aiohttp (`bench/llm_loops.py`). \
*memory*: no server and no socket, one event per read; by sockets, most CPU time of a read is the kernel's. \
Processes measured by sockets run before all others (SCHED_FIFO), where that is allowed. With 500 streams or more, \
they have the highest priority of usual programs instead (nice -20), because Linux interrupts the others when they \
use their core up; the rows have all runs. *first reads shared*: streams whose first two events came in one read, so \
that the time of the first one is unknown. *epoll and recvmsg alone* reads the same streams and does nothing with \
them (`bench/llm_bare.py`): no client in Python can cost less."""
HEAD = ["what", "with", "figure", "comparison", "budget"]


def measure(*, streams: int = 100, events: int = 200, many: tuple[int, ...] = (500, 750, 1000)) -> Section:
    rows: list[list[str]] = []
    verdicts = [
        *_errors(rows, streams, events, many),
        *_costs(rows, streams, events, many),
        *_recording(rows),
    ]
    return Section("Streams of AI models", HOW, HEAD, rows, " ".join(verdicts))


def _errors(rows: list[list[str]], streams: int, events: int, many: Sequence[int]) -> Iterator[str]:
    worst = 0.0
    for step in (False, True):
        for clock in ("kernel", "loop"):
            with _server("--itl", "20ms", "--ttft", "300ms", *(["--synchronous"] if step else [])) as url:
                found = _client(url, streams, events, clock)
            for metric, of in found["errors_ms"].items():
                figure = f"p50 {of['p50']:+.3f}, p99 {of['p99']:+.3f}, single {of['single_p99']:.3f} ms"
                mode = "step" if step else "independent"
                with_streams = f"{streams} streams × 50/s, {mode}"
                late = _late(found) if metric == "ttft" else ""
                rows.append([f"error of {metric}, {clock} clock", with_streams, figure, late, ""])
                if clock == "kernel":
                    worst = max(worst, of["single_p99"])
    yield f"Error of a single value at p99 by the kernel's clock at most {ERROR_MS} ms: {held(worst <= ERROR_MS)}."
    fit, is_fit = 0, True
    for n in many:
        runs = []
        for _ in range(RUNS):
            with _server("--itl", "20ms", "--ttft", "300ms", first=_ahead) as url:
                runs.append(_client(url, n, MANY_EVENTS, "kernel", first=_ahead))
        errors = [run["errors_ms"]["itl"] for run in runs]
        singles = sorted(of["single_p99"] for of in errors)
        figure = f"single {', '.join(f'{single:.3f}' for single in singles)} ms"
        cpu = f"{min(map(_per_event, runs)):.1f} µs an event"
        rows.append(["error of itl, kernel clock", f"{n:,} streams × 50/s", figure, f"{_share(runs)}; {cpu}", "1 ms"])
        # At all smaller numbers, too. Two distributions can have the same p99 though single gaps are wrong.
        is_fit = is_fit and singles[RUNS // 2] < 1 and sum(abs(of["p99"]) < 1 for of in errors) > RUNS // 2
        if is_fit:
            fit = n
    yield (
        f"{many[-1]:,} streams a core with an error of ITL below 1 ms at p99, in most of {RUNS} runs: "
        f"{held(fit == many[-1])} (up to {fit:,} of {', '.join(map(str, many))})."
    )


def _late(found: dict[str, Any]) -> str:
    """Return what can make a first token late: it shared a read with the second, because the core stood still."""
    shared = f"{found['first_shared']} first reads shared"
    return f"{shared}, longest read lag {found['lag_max_us'] / 1e3:.1f} ms, stolen by the host {found['steal_ms']} ms"


def _share(runs: Sequence[dict[str, Any]]) -> str:
    shares = sorted(run["shared_ours"] / max(1, run["events"]) for run in runs)
    return f"shared a read by our lag: {', '.join(f'{share:.2%}' for share in shares)} of the events"


def _costs(rows: list[list[str]], streams: int, events: int, many: Sequence[int]) -> Iterator[str]:
    size = ("--streams", str(streams), "--events", str(events))
    wholes = {}
    for n in (streams, many[0]):
        with _server("--itl", "20ms", "--ttft", "300ms") as url:
            wholes[n] = _per_event(_client(url, n, MANY_EVENTS, "kernel", log=False))
        with _server("--itl", "20ms", "--ttft", "300ms") as url:
            command = [*pinned(ATTACKER_CORE, sys.executable, "-m", "bench.llm_bare", url), "--streams", str(n)]
            bare = _json(_first(*command))["event_us"]
        rows.append(["CPU an event, by sockets", f"loadgen, {n} streams", f"{wholes[n]:.1f} µs", "", ""])
        figures = [f"{bare:.1f} µs", f"{wholes[n] / bare:.2f}", ""]
        rows.append(["CPU a read, by sockets", f"epoll and recvmsg alone, {n} streams", *figures])
    ours = min(run_python("bench.llm_streams", "memory", *size)["event_us"] for _ in range(5))
    rows.append(["CPU an event, memory", "loadgen", f"{ours:.1f} µs", "", ""])
    python = python_with("aiohttp")
    if python is None:
        rows.append(["CPU an event, memory", "the loops of vLLM and SGLang", "-", "aiohttp is not available", ""])
    else:
        least = float("inf")
        for loop in ("vllm", "sglang"):
            runs = [_loop(python, "memory", loop, *size) for _ in range(5)]
            peer = min(run["event_us"] for run in runs)
            least = min(least, peer)
            name = f"aiohttp {runs[0]['version']}, as {loop} does"
            rows.append(["CPU an event, memory", name, f"{peer:.1f} µs", f"{ours / peer:.2f}", f"{LOOPS_SHARE}"])
        yield f"CPU an event at most half of the cheaper loop: {held(ours <= LOOPS_SHARE * least)}."
        for loop in ("vllm", "sglang"):
            with _server("--itl", "20ms", "--ttft", "300ms") as url:
                peer = _per_event(_loop(python, url, loop, *size))
            figures = [f"{peer:.1f} µs", f"{wholes[streams] / peer:.2f}", ""]
            rows.append(["CPU an event, by sockets", f"aiohttp, as {loop} does, {streams} streams", *figures])
    small = run_python("bench.llm_streams", "small", "--events", "1000")
    figures = [f"{small['stream_us']:.1f} µs", f"POST {small['post_us']:.1f} µs", ""]
    rows.append(["CPU a stream of 1 event, memory", "loadgen", *figures])
    with _answers() as url:
        small = run_python("bench.llm_streams", "small", "--server", url, "--events", "1000")
    ratio = small["stream_us"] / small["post_us"]
    figures = [f"{small['stream_us']:.1f} µs", f"POST {small['post_us']:.1f} µs", f"{POSTS} POSTs"]
    rows.append(["CPU a stream of 1 event, by sockets", "loadgen", *figures])
    yield f"CPU of a stream of 1 event at most {POSTS} times that of a POST: {held(ratio <= POSTS)} ({ratio:.2f})."
    kept = run_python("bench.llm_streams", "open", "--streams", "201", "--events", "800")
    budget = f"{STREAM_KIB} KiB + {EVENT_BYTES} B"
    figures = [f"{kept['stream_bytes'] / 1024:.1f} KiB + {kept['event_bytes']:.0f} B an event", "", budget]
    rows.append(["memory of an open stream", "loadgen", *figures])
    is_held = kept["stream_bytes"] <= STREAM_KIB * 1024 and kept["event_bytes"] <= EVENT_BYTES
    yield f"Memory of an open stream at most {budget} an event: {held(is_held)}."


def _recording(rows: list[list[str]]) -> Iterator[str]:
    is_held = True
    for tokens in (FEW_TOKENS, MANY_TOKENS):
        gap_ns = 20_000_000
        at_ns = [gap_ns * n for n in range(1, tokens + 1)]
        times = times_of(EventList.of(at_ns, bytes([CONTENT]) * tokens, [-1] * tokens))

        def record(count: int = 200, times: Any = times) -> None:
            series = StreamSeries(SeriesKey("request", "ask", None, "chat", OK, "response"))
            for _ in range(count):
                series.ended(times, 0, 1_000_000, OK)

        found = sorted(cost_ns(record, 200))
        cost, budget = found[len(found) // 2], RECORD_NS + TOKEN_NS * tokens
        is_held = is_held and cost <= budget
        figures = [f"{cost / 1e3:.2f} µs", "", f"{budget / 1e3:.2f} µs"]
        rows.append(["StreamSeries.ended", f"{tokens} tokens", *figures])
    yield f"Recording a stream at most {RECORD_NS / 1e3:g} µs + {TOKEN_NS} ns a token: {held(is_held)}."


def _per_event(found: dict[str, Any]) -> float:
    return float(found["cpu_s"] / found["events"] * 1e6)


First = Callable[..., list[str]]
"""Returns a command so that it runs before other programs, where that is allowed."""


def _first(*command: str) -> list[str]:
    """Run it before all others. Linux interrupts such a program for 50 ms in each second if it uses its core up."""
    tried = subprocess.run(["chrt", "-f", "5", "true"], check=False, capture_output=True)
    return ["chrt", "-f", "5", *command] if not tried.returncode else list(command)


def _ahead(*command: str) -> list[str]:
    """Give it nearly all of the core's time, also if it uses the core up, and others the rest."""
    script = 'echo -20 2>/dev/null >/proc/self/autogroup; exec nice -n -20 "$@" 2>/dev/null'
    return ["setsid", "sh", "-c", script, "sh", *command]


@contextmanager
def _running(core: int, *command: str, first: First = _first) -> Iterator[str]:
    """Run a server on a core, and yield the URL that it prints."""
    process = subprocess.Popen(first(*pinned(core, sys.executable, "-m", *command)), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@contextmanager
def _server(*options: str, first: First = _first) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        log = str(Path(folder) / "sends.jsonl")
        with _running(TARGET_CORE, "loadgen.target.llm", "--log", log, *options, first=first) as url:
            yield url


def _answers() -> Any:
    return _running(TARGET_CORE, "bench.llm", "serve")


def _client(
    url: str, streams: int, events: int, clock: str, *, log: bool = True, first: First = _first
) -> dict[str, Any]:
    command = first(*pinned(ATTACKER_CORE, sys.executable, "-m", "bench.llm_streams", url, "--clock", clock))
    command += ["--streams", str(streams), "--events", str(events), *(["--log"] if log else [])]
    return _json(command)


def _loop(python: str, *arguments: str) -> dict[str, Any]:
    return _json(_first(*pinned(ATTACKER_CORE, python, "bench/llm_loops.py", *arguments)))


def _json(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


class _Answering(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(SMALL_ANSWER if data.startswith(b"POST /plain") else SMALL_STREAM)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    uvloop.run(_serve())
