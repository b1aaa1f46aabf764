"""Measure many WebSockets that a worker of a real run holds: memory of a connection, CPU of a message that arrives,
`python -m bench ws_held`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from websockets.sync.client import connect

from bench.children import ATTACKER_CORE, TARGET_CORE, python_server
from bench.machine import pinned
from bench.peers import peer
from bench.report import Section, held

HERE: Final = Path(__file__).parent
HOW: Final = """\
A server of `websockets` with uvloop on core {server} sends a message of 45 bytes to each connection each second. \
*user.ws*: `loadgen run` with one worker, whose users each hold a connection and read with `ws.messages`, which \
records each gap; memory and CPU are those of the process of the worker, read from outside. *websockets* is one \
process with uvloop that reads with `recv`; *k6* is its process, with one user a connection. Each runs on core \
{client}, first with {few:,} and then with {many:,} connections. Memory a connection is the difference of both, \
divided by the difference of connections, {settle_s:g} s after all are open. CPU a message is measured over \
{seconds:g} s with {many:,} connections; it contains all other work of the process in that time. Messages are those \
that the server counts."""
PATIENCE_S: Final = 120.0
_SETTLE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Held:
    """Memory and CPU of a client that holds connections."""

    connections: int
    rss_bytes: int
    rss_end_bytes: int
    """After `seconds`, to see growth."""
    cpu_us: float
    """For each message."""


def measure(
    *, few: int = 100, many: int = 1_000, seconds: float = 30.0, beside: Sequence[str] = ("websockets", "k6")
) -> Section:
    """beside: the other clients that are measured, if they are there."""
    k6 = peer("k6") if "k6" in beside else None
    found: dict[str, tuple[Held, Held]] = {}
    exact = ""
    for name in ("user.ws", *beside):
        if name == "k6" and k6 is None:
            continue
        pair = []
        for count in (few, many):
            with python_server(_SERVER) as port, _started(name, port, count, k6) as process:
                pair.append(_watched(port, process, count, seconds))
                if name == "user.ws" and count == many:
                    exact = _counted(port, process)
        found[name] = pair[0], pair[1]
    rows = [
        [
            name,
            f"{_kib(before, after):.1f}",
            f"{after.rss_bytes / 2**20:.0f}",
            f"{(after.rss_end_bytes - after.rss_bytes) / 2**20:+.1f}",
            f"{after.cpu_us:.1f}",
        ]
        for name, (before, after) in found.items()
    ]
    head = ["client", "memory a connection, KiB", f"whole, {many:,} connections, MiB", f"growth in {seconds:g} s, MiB"]
    how = HOW.format(server=TARGET_CORE, client=ATTACKER_CORE, few=few, many=many, seconds=seconds, settle_s=_SETTLE_S)
    return Section(
        "WebSockets held", how, [*head, "CPU a message, \N{MICRO SIGN}s"], rows, _verdict(found) + exact, ["k6"]
    )


def _kib(before: Held, after: Held) -> float:
    return (after.rss_bytes - before.rss_bytes) / (after.connections - before.connections) / 1024


def _verdict(found: dict[str, tuple[Held, Held]]) -> str:
    ours = found["user.ws"][1].cpu_us
    others = {name: pair[1].cpu_us for name, pair in found.items() if name != "user.ws" and pair[1].cpu_us}
    return " ".join(f"A message is {ours / theirs:.2f} of {name}'s." for name, theirs in others.items())


# -- clients ------------------------------------------------------------------------------------------


@contextmanager
def _started(name: str, port: int, count: int, k6: str | None) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder, "runs")
        if name == "user.ws":
            command = [sys.executable, "-m", "loadgen_controller", "run", str(HERE / "ws_held_scenario.py"), "--quiet"]
            command += ["--target", f"http://127.0.0.1:{port}", "-P", f"users={count}", "--workers", "1"]
            command += ["--runs-dir", str(runs)]
        elif name == "k6":
            assert k6 is not None
            command = [k6, "run", "--quiet", "--no-usage-report", "--vus", f"{count}", "--iterations", f"{count}"]
            command += ["-e", f"TARGET=ws://127.0.0.1:{port}/", str(HERE / "ws_held.js")]
        else:
            command = [sys.executable, "-c", _LIBRARY, str(port), str(count)]
        process = subprocess.Popen(
            pinned(ATTACKER_CORE, *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Running(process, runs, is_run=name == "user.ws")
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.kill()
            process.wait()
            for one in children:
                if one.is_running():
                    one.kill()


@dataclass(frozen=True, slots=True)
class Running:
    """A client that was started. is_run: it is `loadgen run`, whose worker is measured."""

    process: subprocess.Popen[bytes]
    runs: Path
    is_run: bool

    def measured(self) -> psutil.Process:
        """Return the process that holds the connections.

        Raises:
            RuntimeError: it does not start.
        """
        whole = psutil.Process(self.process.pid)
        if not self.is_run:
            return whole
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self.process.poll() is None:
            for child in whole.children(recursive=True):
                if "loadgen_agent.worker.worker" in _arguments(child):
                    return child
            time.sleep(0.1)
        raise RuntimeError("loadgen run has no worker")


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


# -- what it uses -------------------------------------------------------------------------------------


def _watched(port: int, running: Running, count: int, seconds: float) -> Held:
    process = running.measured()
    _until_open(port, count)
    time.sleep(_SETTLE_S)
    first_sent, rss = _asked(port, "count")[1], process.memory_info().rss
    used_s = _cpu_s(process)
    time.sleep(seconds)
    used_s = _cpu_s(process) - used_s
    messages = _asked(port, "count")[1] - first_sent
    return Held(count, rss, process.memory_info().rss, used_s / messages * 1e6)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _until_open(port: int, count: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if _asked(port, "count")[0] == count:
            return
        time.sleep(0.2)
    raise RuntimeError(f"{_asked(port, 'count')[0]} of {count} connections are open after {PATIENCE_S:g} s")


def _asked(port: int, what: str) -> tuple[int, int]:
    """Ask the server over a connection of our own; return (open connections, messages sent), without our own."""
    with connect(f"ws://127.0.0.1:{port}/asked") as ws:
        ws.send(what)
        open_now, sent = str(ws.recv()).split()
    return int(open_now), int(sent)


def _counted(port: int, running: Running) -> str:
    """Stop the server's messages, end the run, and compare the counts of both sides."""
    _asked(port, "stop")
    time.sleep(2)
    sent = _asked(port, "count")[1]
    running.process.send_signal(signal.SIGINT)
    running.process.wait(PATIENCE_S)
    (folder,) = [path for path in running.runs.iterdir() if path.is_dir()]
    summary: dict[str, Any] = msgspec.json.decode((folder / "summary.json").read_bytes())
    received = next(
        one["total"] for one in summary["custom"] if one["name"] == "ws: messages received" and one["region"] == "*"
    )
    return f" The server sent {sent:,} messages, and the run counted {received:,}: {held(sent == received)}."


_SERVER: Final = """
import asyncio, logging, os
import uvloop
from websockets.asyncio.server import serve
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

logging.disable()  # of clients that leave without a close
open_now = sent = 0
stopped = asyncio.Event()

async def answer(ws):
    global stopped
    async for what in ws:
        if what == "stop":
            stopped.set()
        await ws.send(f"{open_now} {sent}")

async def feed(ws):
    global open_now, sent
    if ws.request.path == "/asked":
        return await answer(ws)
    open_now += 1
    try:
        while not stopped.is_set():
            await ws.send('{"text": "a message of the feed", "n": 12345}')
            sent += 1
            await asyncio.sleep(1)
        await ws.wait_closed()
    finally:
        open_now -= 1

async def main():
    async with serve(feed, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4096) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

uvloop.run(main())
"""

_LIBRARY: Final = """
import asyncio, sys
import uvloop
from websockets.asyncio.client import connect
port, count = sys.argv[1:]

async def hold(n):
    await asyncio.sleep(n * 0.004)
    async with connect(f"ws://127.0.0.1:{port}/", compression=None, ping_interval=None) as ws:
        while True:
            await ws.recv()

async def main():
    await asyncio.gather(*map(hold, range(int(count))))

uvloop.run(main())
"""
