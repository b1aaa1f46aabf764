"""Compare the CPU time of the hot path under several Python interpreters, in one run and in alternation.

    LOADGEN_BENCH_PYTHONS=../debian/bin/python:../other/bin/python python -m bench interpreters

The first interpreter is the one that runs the benchmark. The others need loadgen and its packages: make a venv with
each, and install requirements-base.lock and this folder into it. `python -m bench.interpreters` is one turn of
recording.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from statistics import median
from time import process_time

import msgspec

from bench import attackers
from bench.attackers import HERE, USERS
from bench.children import ATTACKER_CORE, TARGET_CORE, run_python
from bench.report import Section, skipped
from bench.turns import Compared, alternate
from loadgen.engine.health.interpreter import this_build

__all__ = ["distinct", "measure", "pythons"]

VARIABLE = "LOADGEN_BENCH_PYTHONS"
TITLE = "CPU under other interpreters"
REQUESTS = 400_000
HOW = """\
The *journey* of the first section, {users} users, {seconds:g} s a turn, {turns} turns of each interpreter in \
alternation; nginx on core {target}, one loadgen worker on core {attacker}; CPU is user and system time. *recording* \
is `Recorder.request`, {requests:,} requests a turn, CPU time of its process, after the journeys of each turn. Ratios \
are of medians, beside the first interpreter. Interpreters of the same build are numbered in the order of \
LOADGEN_BENCH_PYTHONS. The programs and requests are the same; packages have the same versions, \
compiled for each Python."""


def pythons() -> list[str]:
    """Return the paths of the interpreters: this one, then those in LOADGEN_BENCH_PYTHONS."""
    return [sys.executable, *filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))]


def distinct(builds: Sequence[str]) -> list[str]:
    """Return the name of each interpreter, by its build. Further ones of the same build get a number: "X", "X (2)".

    Two installations of one Python can have different versions of loadgen, so both must be measured.
    """
    seen: Counter[str] = Counter()
    names = []
    for build in builds:
        seen[build] += 1
        names.append(build if seen[build] == 1 else f"{build} ({seen[build]})")
    return names


def measure(*, seconds: float = 4, turns: int = 5) -> Section:
    # Not at the top: `python -m bench.interpreters` runs where the packages of developers are missing.
    from tests.support.nginx import running_nginx

    paths = pythons()
    if len(paths) == 1:
        return skipped(TITLE, f"{VARIABLE} names no other interpreter")
    builds = [str(run_python("bench.interpreters", "--name", python=path)["build"]) for path in paths]
    named = dict(zip(distinct(builds), paths, strict=True))
    recording: dict[str, list[float]] = {name: [] for name in named}
    compared = Compared()
    with running_nginx(cpus=[TARGET_CORE], log=False) as nginx:
        journeys = {
            name: attackers.loadgen(HERE / "four_requests.py", nginx.url, seconds, python=path)
            for name, path in named.items()
        }
        for _ in range(turns):
            for name, found in alternate(journeys, 1).turns.items():
                compared.turns.setdefault(name, []).extend(found)
            for name, path in named.items():
                recording[name].append(run_python("bench.interpreters", python=path)["request_ns"])
    first = next(iter(named))
    rows = [
        [
            name,
            f"{min(turn.cpu_us for turn in compared.turns[name]):.2f}",
            f"{compared.median_us(name):.2f}",
            f"{compared.ratio(name, first):.3g}",
            f"{median(recording[name]):.0f}",
            f"{median(recording[name]) / median(recording[first]):.3g}",
        ]
        for name in named
    ]
    how = HOW.format(
        users=USERS, seconds=seconds, turns=turns, target=TARGET_CORE, attacker=ATTACKER_CORE, requests=REQUESTS
    )
    head = ["", "journey, µs/request: least", "median", "× first", "recording, ns: median", "× first"]
    return Section(TITLE, how, head, rows, tools=["nginx"])


def main(words: list[str]) -> int:
    """Print the name of this interpreter's build and, without `--name`, the cost of recording, as JSON."""
    figures: dict[str, object] = {"build": str(this_build())}
    if words != ["--name"]:
        figures["request_ns"] = _request_ns()
    sys.stdout.buffer.write(msgspec.json.encode(figures))
    return 0


def _request_ns() -> float:
    """Return the CPU time of recording one request, ns, after a part that warms up."""
    from bench.record import COUNT, record_requests

    record_requests()
    began_s = process_time()
    for _ in range(REQUESTS // COUNT):
        record_requests()
    return (process_time() - began_s) * 1e9 / REQUESTS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
