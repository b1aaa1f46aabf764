"""Run a group of the tests: `python -m tools.run_tests GROUP [PYTEST ARGUMENTS]`. The Makefile has a target for each.

    unit     tests that start no process
    process  tests that start processes and are not quiet
    quiet    tests about times: two at a time, since they mostly wait
    all      all three, so that no core is idle: first the tests with processes, then the quiet ones with the unit tests
             beside them

Beside quiet tests, the unit tests have the lowest priority of the system (SCHED_IDLE): they use the time that is left
over, and lose the core at once when a quiet test wants it. `--lowest` after the name of a group gives it that priority,
for one that somebody else starts beside other tests. Slow tests are in no group, nor are those that run other
load generators (`make peers`) or an inference engine (`make engine`).

pytest rewrites the assertions of each module and keeps the result as bytecode. In a new checkout, each of its workers
would do that for all modules, at the same time as the others. So a run of a whole group has them rewritten first, a
part by each core.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.support.module_marks import has_no_test

__all__ = ["GROUPS", "main"]

CORES: Final = os.cpu_count() or 2
MANY: Final = min(CORES + 2, 6)
"""Two more than there are cores, since many tests wait for a process or a socket."""
SOME: Final = min(CORES + 1, 6)
"""One more than there are cores: few unit tests wait, and each worker imports all modules, which takes 14 s of CPU."""
BESIDE: Final = min(CORES, 6)
"""Workers of tests that run at the lowest priority beside others: at most one for each core."""
NONE_FOUND: Final = 5
"""pytest's exit code if none of the tests is among those that were asked for."""
FEW: Final = 60
"""So many modules are rewritten by the workers themselves: to start pytest once more would take longer."""
_ASKED: Final = "not slow and not peers and not engine"
GROUPS: Final = {
    "unit": (f"not process and not quiet and {_ASKED}", SOME),
    "process": (f"process and not quiet and {_ASKED}", MANY),
    "quiet": (f"quiet and {_ASKED}", 2),
}
"""By name: the marks of the tests, and how many run at a time."""


def main(arguments: Sequence[str]) -> int:
    """Run the group that the first argument names, with the other arguments for pytest. Return 1 if a test failed."""
    group, *rest = arguments
    marks, workers = GROUPS["unit" if group == "all" else group]
    if "--lowest" in rest:
        workers = BESIDE
        rest.remove("--lowest")
        with contextlib.suppress(PermissionError):  # it leads a group already, so it has a session of its own
            os.setsid()
        _step_back()
    if not any(Path(word.partition("::")[0]).exists() for word in rest):
        _rewrite(_not_rewritten(marks if group != "all" else ""))
    codes = _all(rest) if group == "all" else [_run(marks, workers, rest)]
    return int(any(code not in (0, NONE_FOUND) for code in codes))


def _not_rewritten(marks: str) -> list[str]:
    """Return the test modules with these marks that have no bytecode, as in a new checkout. "" stands for all modules.

    The run rewrites what changes later.
    """
    found = []
    for path in sorted(Path("tests").rglob("test_*.py")):
        if has_no_test(path, marks):
            continue
        kept = path.parent.glob(f"__pycache__/{path.stem}.{sys.implementation.cache_tag}-pytest-*.pyc")
        if not any(kept):
            found.append(str(path))
    return found


def _rewrite(modules: Sequence[str]) -> None:
    """Let pytest import these modules and run no test. A run reports what is wrong with one of them."""
    if len(modules) <= FEW or sys.dont_write_bytecode:
        return
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    number = min(CORES, 4)
    parts = [
        subprocess.Popen([*command, *modules[n::number]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for n in range(number)
    ]
    for part in parts:
        part.wait()


def _all(arguments: Sequence[str]) -> list[int]:
    codes = [_run(*GROUPS["process"], arguments)]
    with tempfile.TemporaryFile() as out:
        # A cache of its own: two runs at once would overwrite each other's list of failed tests.
        marks, _ = GROUPS["unit"]
        command = _pytest(marks, BESIDE, [*arguments, "-o", "cache_dir=.pytest_cache/beside"])
        beside = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_step_back
        )
        try:
            codes += [_run(*GROUPS["quiet"], arguments), beside.wait()]
        finally:
            if beside.poll() is None:
                os.killpg(beside.pid, signal.SIGTERM)
                beside.wait()
        out.seek(0)
        sys.stdout.write(f"\nbeside them, the tests without processes:\n{out.read().decode(errors='replace')}")
    return codes


def _run(marks: str, workers: int, arguments: Sequence[str]) -> int:
    return subprocess.run(_pytest(marks, workers, arguments), check=False).returncode


def _pytest(marks: str, workers: int, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs the tests with these marks in `workers` processes."""
    return [sys.executable, "-m", "pytest", "-n", str(workers), "--dist", "worksteal", "-m", marks, *arguments]


def _step_back() -> None:
    """Give this process, and all that it starts, the lowest priority. May run between fork and exec."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # Where the kernel shares the cores between sessions first, the priority of the session counts.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
