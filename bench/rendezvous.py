"""Measure how closely together a rendez-vous group continues in several processes, and the controller's cost."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.report import Section, cost_ns
from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen_controller.core.rendezvous import Effect, RendezvousState, WaitersReported, WorkerSlot, step
from tests.support.target import running_target

HOW = """\
`loadgen run` with two agents of two workers each, and as many users as make a group: each thinks up to 300 ms, waits, \
and notes when it went on (`perf_counter_ns`, one clock for all processes of a machine), {groups} groups one after the \
other. *Spread* is from the first to the last of a group. *Lead* is from the last one's coming to the first one's \
going: 200 ms are the controller's, up to 50 ms pass before a worker tells again."""
HEAD = ["users of a group", "groups", "spread, median", "p90", "max", "lead, median", "max"]

_SCENARIO = '''
"""Users that meet."""
import os
from time import perf_counter_ns
from loadgen import Plan, User, iterations, journey
FILE = open(os.path.join("FOLDER", str(os.getpid())), "a", buffering=1)
@journey
async def meet(user: User) -> None:
    await user.think(0, 0.3)
    came = perf_counter_ns()
    if await user.rendezvous("here", users=USERS):
        FILE.write(f"{came} {perf_counter_ns()}\\n")
    await user.http.get("/")
plan = Plan(target="TARGET", load=iterations(COUNT, users=USERS), mix=meet, regions={"a": 1, "b": 1})
'''


def measure(*, users: tuple[int, ...] = (20, 100, 400), groups: int = 20) -> Section:
    rows = [_row(number, list(_groups(number, groups))) for number in users]
    costs = ", ".join(
        f"{workers:,} workers {told:.0f} µs" for workers, told in ((100, _told_us(100)), (1_000, _told_us(1_000)))
    )
    return Section(
        "Rendez-vous",
        HOW.format(groups=groups),
        HEAD,
        rows,
        "CPU time of the controller for the counts of one worker, without reading the message, at one point of:"
        f" {costs}.",
    )


def _row(users: int, found: list[tuple[float, float]]) -> list[str]:
    """Return a row of the table. `found` has (spread, lead) in ms for each group."""
    spreads, leads = (sorted(column) for column in zip(*found, strict=True))
    n = len(spreads)
    return [
        f"{users:,}",
        f"{n:,}",
        *(f"{spreads[at]:.1f} ms" for at in (n // 2, n * 9 // 10, n - 1)),
        *(f"{leads[at]:.0f} ms" for at in (n // 2, n - 1)),
    ]


def _groups(users: int, groups: int) -> Iterator[tuple[float, float]]:
    with tempfile.TemporaryDirectory() as name, running_target("--no-latency") as target:
        folder = Path(name)
        times = folder / "times"
        times.mkdir()
        text = _SCENARIO.replace("FOLDER", str(times)).replace("TARGET", target.url)
        (folder / "meet.py").write_text(text.replace("USERS", str(users)).replace("COUNT", str(users * groups)))
        command = [sys.executable, "-m", "loadgen_controller.cli", "run", str(folder / "meet.py"), "--quiet"]
        subprocess.run(
            [*command, "--workers", "2", "--runs-dir", str(folder / "runs")],
            check=False,  # on a busy machine the run may be unfit to measure
            stdout=subprocess.DEVNULL,
            env=os.environ,
        )
        lines = [line.split() for file in times.iterdir() for line in file.read_text().splitlines()]
    pairs = sorted((int(went), int(came)) for came, went in lines)
    for first in range(0, len(pairs), users):
        group = pairs[first : first + users]
        last_came = max(came for _, came in group)
        yield (group[-1][0] - group[0][0]) / 1e6, (group[0][0] - last_came) / 1e6


def _told_us(workers: int) -> float:
    """Return the µs per message if each worker reports one more user and a group is one user of each worker."""
    told = [
        WaitersReported(WorkerSlot(f"agent {n}", 0), 0, (WaitingAt(0, "here", workers, 1, 0),), 0)
        for n in range(workers)
    ]

    def work() -> None:
        meetings = RendezvousState()
        effects: tuple[Effect, ...] = ()
        for one in told:
            meetings, effects = step(meetings, one)
        assert len(effects) == 1

    return min(cost_ns(work, workers, repeats=3)) / 1000
