"""Run a group of the tests: `python -m tools.run_tests GROUP [PYTEST ARGUMENTS]`. The Makefile has a target for each.

    unit     tests that start no process
    wide     these and the tests with processes, all in parallel
    quiet    tests about times: two at a time, since they mostly wait
    all      all three, so that no core is idle: first the tests with processes, then the quiet ones with the unit tests
             beside them

Beside quiet tests, the unit tests have the lowest priority of the system (SCHED_IDLE): they use the time that is left
over, and lose the core at once when a quiet test wants it. Slow tests are in no group, nor are those that run other
load generators (`make peers`) or an inference engine (`make engine`).
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

__all__ = ["GROUPS", "main"]

CORES: Final = os.cpu_count() or 2
MANY: Final = min(CORES + 2, 6)
"""Two more than there are cores, since many tests wait for a process or a socket."""
NONE_FOUND: Final = 5
"""pytest's exit code if none of the tests is among those that were asked for."""
_ASKED: Final = "not slow and not peers and not engine"
_UNIT: Final = f"not process and not quiet and {_ASKED}"
GROUPS: Final = {
    "unit": (_UNIT, MANY),
    "wide": (f"not quiet and {_ASKED}", MANY),
    "quiet": (f"quiet and {_ASKED}", 2),
}
"""By name: the marks of the tests, and how many run at a time."""


def main(arguments: Sequence[str]) -> int:
    """Run the group that the first argument names, with the other arguments for pytest. Return 1 if a test failed."""
    group, *rest = arguments
    codes = _all(rest) if group == "all" else [_run(*GROUPS[group], rest)]
    return int(any(code not in (0, NONE_FOUND) for code in codes))


def _all(arguments: Sequence[str]) -> list[int]:
    codes = [_run(f"process and not quiet and {_ASKED}", MANY, arguments)]
    with tempfile.TemporaryFile() as out:
        # A cache of its own: two runs at once would overwrite each other's list of failed tests.
        command = _pytest(_UNIT, MANY, [*arguments, "-o", "cache_dir=.pytest_cache/beside"])
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
    """Give this process, and all that it starts, the lowest priority. Runs between fork and exec."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # Where the kernel shares the cores between sessions first, the priority of the session counts.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
