"""Compare the cost of Locust's master, with as many workers as it can handle, with that of our controller."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.children import ATTACKER_CORE, TARGET_CORE, next_line
from bench.machine import pinned
from bench.peers import peer
from bench.report import Section, skipped
from tests.chaos.fleet import end_family

__all__ = ["measure", "watch"]

TITLE = "What Locust's master costs"
LOCUSTFILE = """\
from locust import HttpUser, task


class Shop(HttpUser):
    host = "http://127.0.0.1:1"

    @task
    def browse(self):
        self.client.get("/")
"""
BUSY = 0.9
HOW = """\
`locust --master --headless --only-summary` on core {master}; on core {workers} `bench/locust_workers.py`, which sends \
what its workers send: its own messages, with {names} request names of {requests} requests a second and worker, \
log-normal around 9 ms, a report each 3 s and a heartbeat each second. {seconds} s from when all workers run, the \
first {skip} s not counted; more workers until the master is busy for more than {busy:.0%} of the time, or calls one \
missing. *CPU a report*: of the master, with what else it does. *Answer*: of a heartbeat. To be held against the \
section before with this in mind: a report is of 3 s where a delta is of one; Locust rounds times above 100 ms to two \
digits, measures one time of a request where we measure two, encrypts nothing, writes nothing to a disk, \
acknowledges no report, and adds up whatever comes from whomever. It prints nothing during the run here; as it is \
started by default it prints all statistics each 2 s."""


@dataclass(frozen=True, slots=True)
class Seen:
    workers: int
    cpu_share: float
    rss_bytes: int
    reports_per_s: float
    report_bytes: int
    answer_p99_ms: float
    answer_max_ms: float
    missing: int
    workers_cpu: float

    @property
    def is_over(self) -> bool:
        return self.cpu_share > BUSY or self.missing > 0

    @property
    def row(self) -> list[str]:
        return [
            f"{self.workers:,}",
            f"{self.report_bytes / 1000:.1f} kB",
            f"{self.reports_per_s:,.0f}",
            f"{self.cpu_share:.0%}",
            f"{self.cpu_share / self.reports_per_s * 1e3:.2f} ms" if self.reports_per_s else "",
            f"{self.cpu_share / self.workers * 1e6:,.0f} µs",
            f"{self.rss_bytes / 2**20:.0f} MiB",
            f"{self.answer_p99_ms:,.0f} ms",
            f"{self.answer_max_ms:,.0f} ms",
            f"{self.missing}",
            f"{self.workers_cpu:.0%}",
        ]


HEAD = [
    "workers",
    "a report",
    "reports/s",
    "CPU of a core",
    "CPU a report",
    "CPU a worker and second",
    "memory",
    "answer: p99",
    "max",
    "called missing",
    "CPU of the workers",
]


def measure(
    *,
    workers: Sequence[int] = (1_000, 4_000, 5_000),
    names: int = 20,
    requests: int = 50,
    seconds: float = 20,
    skip: float = 8,
) -> Section:
    program = peer("locust")
    if program is None:
        return skipped(TITLE, "locust is not on PATH, and its wheel cannot be installed")
    seen: list[Seen] = []
    failed = ""
    for count in workers:
        try:
            seen.append(watch(program, count, names, requests, seconds, skip))
        except RuntimeError as error:
            why = str(error).partition("\n")[0]
            failed = f" {count:,} workers: {why}."
            break
        if seen[-1].is_over:
            break
    carried = [one for one in seen if not one.is_over]
    most = f"{carried[-1].workers:,} workers at {carried[-1].cpu_share:.0%} of a core" if carried else "fewer"
    over = ""
    if seen and seen[-1].is_over:
        last = seen[-1]
        over = f"; with {last.workers:,} it used {last.cpu_share:.0%} and called {last.missing} missing"
    return Section(
        TITLE,
        HOW.format(
            master=ATTACKER_CORE,
            workers=TARGET_CORE,
            names=names,
            requests=requests,
            seconds=f"{seconds:g}",
            skip=f"{skip:g}",
            busy=BUSY,
        ),
        HEAD,
        [one.row for one in seen],
        f"Carried of these: {most}{over}.{failed}",
        tools=["locust"],
    )


def watch(program: str, count: int, names: int, requests: int, seconds: float, skip: float) -> Seen:
    """Measure one master with `count` workers for `seconds`, without the first `skip`.

    Raises:
        RuntimeError: the workers did not start, or the master ended.
    """
    python = str(Path(program).with_name("python"))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        (Path(folder) / "locustfile.py").write_text(LOCUSTFILE)
        port = _free_port()
        words = [program, "-f", str(Path(folder) / "locustfile.py"), "--master", "--headless", "--only-summary"]
        words += ["--master-bind-host", "127.0.0.1", "--master-bind-port", str(port), "-t", "1h"]
        words += ["--expect-workers", str(count), "-u", str(count), "-r", str(count)]
        log = stack.enter_context((Path(folder) / "master.log").open("wb"))
        master = subprocess.Popen(pinned(ATTACKER_CORE, *words), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(end_family, master)
        words = [python, str(Path(__file__).with_name("locust_workers.py")), "127.0.0.1", str(port)]
        words += ["--workers", str(count), "--names", str(names), "--requests", str(requests)]
        words += ["--seconds", str(seconds), "--skip", str(skip)]
        fleet = subprocess.Popen(pinned(TARGET_CORE, *words), stdout=subprocess.PIPE)
        stack.callback(end_family, fleet)
        try:
            next_line(fleet, 30 + count / 100, "Locust's master did not start all workers")
            process = psutil.Process(master.pid)
            time.sleep(skip)
            before_s, began_s = sum(process.cpu_times()[:2]), time.monotonic()
            time.sleep(seconds - skip)
            cpu_share = (sum(process.cpu_times()[:2]) - before_s) / (time.monotonic() - began_s)
            figures = json.loads(next_line(fleet, 30, "no figures of Locust's workers"))
        except (RuntimeError, psutil.NoSuchProcess) as error:
            raise RuntimeError(f"{error}\n{Path(log.name).read_text()[-2000:]}") from error
        missing = Path(log.name).read_text().count("setting state to missing")
        return Seen(
            count,
            cpu_share,
            process.memory_info().rss,
            figures["reports"] / (seconds - skip),
            figures["report_bytes"],
            figures["answer_ms_p99"],
            figures["answer_ms_max"],
            missing,
            figures["workers_cpu"],
        )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
