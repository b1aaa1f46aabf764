"""A worker that starts processes in every way that a scenario can, then waits for its supervisor to let it go.

FOLDER gets a file for each process, named after the way and holding its number. Everything that it starts would run
for ten minutes and ignores SIGTERM and SIGHUP.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

WAYS = ("popen", "own-session", "no-environment", "fork", "daemon")


def note(folder: Path, way: str, pid: int) -> None:
    beside = folder / f".{way}"
    beside.write_text(str(pid))
    beside.rename(folder / way)


def fork(folder: Path, *, is_daemon: bool) -> None:
    if os.fork():
        return
    if is_daemon:
        os.setsid()
        if os.fork():
            os._exit(0)
    note(folder, "daemon" if is_daemon else "fork", os.getpid())
    time.sleep(600)
    os._exit(0)


def main() -> None:
    folder = Path(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sleep = ["sleep", "600"]
    note(folder, "popen", subprocess.Popen(sleep).pid)
    note(folder, "own-session", subprocess.Popen(sleep, start_new_session=True).pid)
    # It may stay, so it must not hold a pipe that the test reads to its end.
    out = subprocess.DEVNULL
    environment = {"PATH": os.environ["PATH"]}
    bare = subprocess.Popen(sleep, env=environment, start_new_session=True, stdout=out, stderr=out)
    note(folder, "no-environment", bare.pid)
    fork(folder, is_daemon=False)
    fork(folder, is_daemon=True)
    os.read(int(sys.argv[sys.argv.index("--fd") + 1]), 1)


if __name__ == "__main__":
    main()
