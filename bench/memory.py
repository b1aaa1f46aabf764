"""Measure the memory of idle, connected users. Budget: 9 KiB each, and 200 MiB for a worker with 10,000."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from typing import Any

from bench.children import TARGET_CORE, run_python
from bench.report import Section, held
from tests.support.nginx import running_nginx

KIB, MIB = 1024, 1024 * 1024
BUDGET_KIB = 9
WHOLE_USERS, WHOLE_BUDGET_MIB = 10_000, 200
SPARE_FILES = 100
STARTS_PER_S = 250
"""On a busy machine, more would be opening their connections at the same time. The memory for that is needed only once
a user, but the process keeps it."""
HOW = """\
A closed load of N users, one worker, `bench/one_then_idle.py`: 250 of them start each second. Each does one GET on a \
connection that is kept, then thinks. Resident memory (psutil) of the worker before T0 and when every user has had its \
answer; it includes Python, the libraries and numpy. `python -m bench.idle URL --users 1000 --trace` prints which \
lines hold it."""


def measure(*, users: Sequence[int] = (1_000, WHOLE_USERS)) -> Section:
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = files != resource.RLIM_INFINITY and files < max(users) + SPARE_FILES
    there = [n for n in users if not few or n + SPARE_FILES <= files]
    figures: dict[int, dict[str, Any]] = {}
    with running_nginx(cpus=[TARGET_CORE], log=False) as nginx:
        for n in there:
            over = {"BENCH_OVER": f"{n / STARTS_PER_S:g}s"}
            figures[n] = run_python("bench.idle", nginx.url, "--users", str(n), environment=over)
            if figures[n]["requests_errors"]:
                raise RuntimeError(f"requests failed, so the figures are not valid: {figures[n]}")
    rows = [_row(n, of) for n, of in figures.items()]
    rows += [
        [f"{n:,}", f"skipped: only {files:,} files may be open (ulimit -n)", "", ""] for n in users if n not in there
    ]
    return Section(
        "Memory of idle connected users",
        HOW,
        ["users", "before", "with all connected", "a user"],
        rows,
        verdict({n: (of["before"], of["after"]) for n, of in figures.items()}),
        ["nginx"],
    )


def verdict(resident: dict[int, tuple[int, int]]) -> str:
    """`resident`: users -> bytes before, and with all users connected."""
    says = []
    if resident:
        each = max((after - before) / n / KIB for n, (before, after) in resident.items())
        says.append(f"At most {each:.1f} KiB a user, budget {BUDGET_KIB} KiB: {held(each <= BUDGET_KIB)}.")
    if WHOLE_USERS in resident:
        whole = resident[WHOLE_USERS][1] / MIB
        budget = f"budget {WHOLE_BUDGET_MIB} MiB: {held(whole <= WHOLE_BUDGET_MIB)}"
        says.append(f"{WHOLE_USERS:,} users in {whole:.0f} MiB, {budget}.")
    return " ".join(says)


def _row(users: int, of: dict[str, Any]) -> list[str]:
    before, after = of["before"], of["after"]
    return [
        f"{users:,}",
        f"{before / MIB:.1f} MiB",
        f"{after / MIB:.1f} MiB",
        f"{(after - before) / users / KIB:.1f} KiB",
    ]
