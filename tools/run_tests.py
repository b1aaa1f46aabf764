"""Run all tests but the slow ones, so that no core is idle: `python -m tools.run_tests [PYTEST ARGUMENTS]`.

1. Tests that start processes, in parallel.
2. Quiet tests, two at a time. They are about times and mostly wait. The tests without processes run beside them, with
   the lowest priority of the system (SCHED_IDLE): they use the time that the quiet tests leave over, and lose the core
   at once when a quiet test wants it.
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

__all__ = ["main"]

NONE_FOUND = 5
"""pytest's exit code if none of the tests is among those that were asked for."""


def main(arguments: Sequence[str]) -> int:
    """Run the tests with these arguments for pytest. Return 1 if any has failed, else 0."""
    cores = os.cpu_count() or 2
    with_processes = pytest("process and not quiet and not slow", min(cores + 2, 6), arguments)
    quiet = pytest("quiet and not slow", 2, arguments)
    rest = pytest("not process and not quiet and not slow", cores, [*arguments, "-o", "cache_dir=.pytest_cache/beside"])
    codes = [subprocess.run(with_processes, check=False).returncode]
    with tempfile.TemporaryFile() as out:
        beside = subprocess.Popen(
            rest, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_step_back
        )
        try:
            codes += [subprocess.run(quiet, check=False).returncode, beside.wait()]
        finally:
            if beside.poll() is None:
                os.killpg(beside.pid, signal.SIGTERM)
                beside.wait()
        out.seek(0)
        sys.stdout.write(f"\nbeside them, the tests without processes:\n{out.read().decode(errors='replace')}")
    return int(any(code not in (0, NONE_FOUND) for code in codes))


def pytest(marks: str, workers: int, arguments: Sequence[str]) -> list[str]:
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
