"""Runs are deleted for good: only whole folders, only of the folder of runs, and never one that goes on."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import storage_error
from loadgen_controller.past_runs.is_running import goes_on

__all__ = ["check_deletable", "delete", "size_bytes"]


def check_deletable(path: Path, runs_dir: Path) -> None:
    """
    Raises:
        UsageError: it is somewhere else, or a link to somewhere else, or goes on.
    """
    if path.is_symlink() or path.resolve().parent != runs_dir.resolve():
        raise UsageError(f"{path} is not in {runs_dir}", hint="say with --runs-dir which folder of runs it is in")
    if goes_on(path):
        raise _going(path)


def size_bytes(path: Path) -> int:
    """Of all files in it."""
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def delete(path: Path) -> None:
    """Rename it away, so that no half of it is ever taken for a run, then delete it. Its lock is held meanwhile.

    Raises:
        UsageError: it goes on.
        StorageError: something of it cannot be deleted.
    """
    fd = _locked(path)
    away = path.with_name(f".{path.name}.deleted")
    try:
        path.rename(away)
        (away / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(away)
    except OSError as exc:
        raise storage_error(path, exc, doing="delete") from exc
    finally:
        if fd >= 0:
            os.close(fd)


def _locked(path: Path) -> int:
    """Of the log; -1 where there is none."""
    try:
        fd = os.open(path / "deltas.log", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(fd)
        raise _going(path) from exc
    except OSError:
        pass  # a file system without locks
    return fd


def _going(path: Path) -> UsageError:
    return UsageError(f"{path.name} is still going on", hint=f"end it first: loadgen stop {path.name}")
