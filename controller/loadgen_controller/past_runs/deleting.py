"""Deletes runs for good: only whole run folders, only within the folder of runs, and never a running run."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import storage_error
from loadgen_controller.past_runs.listing import is_running

__all__ = ["check_deletable", "delete", "size_bytes"]


def check_deletable(path: Path, runs_dir: Path) -> None:
    """Check that a run may be deleted.

    Raises:
        UsageError: the folder is not in `runs_dir`, is a symbolic link, or its run is still going on.
    """
    if path.is_symlink() or path.resolve().parent != runs_dir.resolve():
        raise UsageError(f"{path} is not in {runs_dir}", hint="name the folder that contains it with --runs-dir")
    if is_running(path):
        raise _going(path)


def size_bytes(path: Path) -> int:
    """Return the size of all files in a run folder."""
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def delete(path: Path) -> None:
    """Delete a run folder while holding its lock.

    The folder is renamed first, so that a half-deleted folder is never listed as a run.

    Raises:
        UsageError: the run is still going on.
        StorageError: a file cannot be deleted.
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
    """Lock the delta log exclusively and return its file descriptor; -1 if the run has no log."""
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
    return UsageError(f"{path.name} is still going on", hint=f"end it first with: loadgen stop {path.name}")
