"""Files and folders that only their owner may read: secrets, and everything in the folder of a run.

A file of secrets that others may read is rejected and not repaired: somebody may already have read it.

The folder of a run has mode 0700 and its files 0600; the umask can only remove bits. The owner can grant access in two
ways. A folder of runs with the setgid bit (`chmod 2750 runs`) belongs to a team: new run folders in it get the
permissions that it gives its group. And a new file in a run's folder is readable by everyone who may read the folder,
so `chmod -R g+rX` also works for notes that are added later.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from loadgen.atomic_files import atomic_write
from loadgen.errors import StorageError, UsageError

__all__ = [
    "UMASK_ONLY",
    "check_private",
    "file_mode",
    "make_folder",
    "make_subfolder",
    "open_private",
    "shared_mode",
    "write_new",
]

UMASK_ONLY = 0o666
"""The mode of a file that the operator exports to a place of their choice: only the umask restricts it."""


def check_private(path: Path) -> None:
    """Raise if users other than its owner may read the file, or if it belongs to another user than the present one.

    Raises:
        UsageError: the file cannot be read, others may read it, or it belongs to another user.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"cannot read {path}: it is a folder", hint="give the path of a file")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            f"{path} contains a secret, but others may read it (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"run chmod 600 {path}, and make a new secret if others could log in here",
        )
    if os.geteuid() not in (0, status.st_uid):
        raise UsageError(f"{path} belongs to another user", hint=f"run chown {os.geteuid()} {path}")


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a new file so that it exists completely or not at all. Missing folders are made with access for their owner
    alone.

    Raises:
        StorageError: it cannot be written, or exists already.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_write(path, data, mode, is_exclusive=True)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", hint="choose another folder, or correct its permissions"
        ) from error


# -- folders of runs ------------------------------------------------------------------------------


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Make a folder to which only its owner has access. Below a parent with the setgid bit, the group gets the parent's
    permissions.

    Raises:
        OSError: it cannot be made, or exists already.
    """
    parent = path.parent.stat().st_mode
    path.mkdir(0o700 | (parent & 0o050 if parent & stat.S_ISGID else 0), exist_ok=exist_ok)


def make_subfolder(path: Path) -> None:
    """Make a folder in the folder of a run, unless it exists. Other users get the permissions of the run's folder,
    except write.

    Raises:
        OSError: the folder cannot be made.
    """
    path.mkdir(0o700 | (path.parent.stat().st_mode & 0o055), exist_ok=True)


def file_mode(folder: Path) -> int:
    """Return the permissions of a new file in a run's folder: everyone who may read the folder may read the file.

    Raises:
        OSError: the folder does not exist.
    """
    return 0o600 | (folder.stat().st_mode & 0o044)


def shared_mode(runs_dir: Path) -> int:
    """Return the mode for a file that lies next to the run folders and describes all of them.

    0640 in a team's folder of runs, else 0600.

    Raises:
        OSError: the folder does not exist.
    """
    mode = runs_dir.stat().st_mode
    return 0o600 | (mode & 0o040 if mode & stat.S_ISGID else 0)


def open_private(path: Path, flags: int) -> int:
    """Open a file in a run's folder, as `os.open` does, and return its descriptor. A symbolic link is never followed. A
    new file gets the permissions of `file_mode`.
    """
    mode = file_mode(path.parent) if flags & os.O_CREAT else 0
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
