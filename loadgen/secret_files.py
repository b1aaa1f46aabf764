"""Files for their owner alone: secrets, and everything in the folder of a run.

A file of secrets that others may read is refused and not repaired: it may have been read.

The folder of a run has mode 0700 and its files 0600, and the umask may only take bits away. Two decisions of the owner
change that. A folder of runs with the setgid bit (`chmod 2750 runs`) is a team's: the folders of its runs get the bits
that it gives its group. And a new file in a run's folder may be read by those who may read the folder, so that
`chmod -R g+rX` holds also for a note that is added later.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from loadgen.errors import StorageError, UsageError

__all__ = [
    "UMASK_ONLY",
    "check_private",
    "file_mode",
    "make_folder",
    "make_subfolder",
    "open_private",
    "replacing",
    "shared_mode",
    "write_new",
]

UMASK_ONLY = 0o666
"""The mode of a file that a person exports to a place of their own choice."""


def check_private(path: Path) -> None:
    """
    Raises:
        UsageError: it cannot be read, others may read it, or it is another user's.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"cannot read {path}: it is a folder")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            f"{path} holds a secret and others may read it (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"chmod 600 {path}, and make a new one if others could log in here",
        )
    if os.geteuid() not in (0, status.st_uid):
        raise UsageError(f"{path} belongs to another user", hint=f"chown {os.geteuid()} {path}")


def write_new(path: Path, data: bytes, mode: int) -> None:
    """A new file, whole as soon as it is there; its folders are made for their owner alone.

    Raises:
        StorageError: it cannot be written, or is there already.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(file, "wb") as out:
                out.write(data)
            path.hardlink_to(beside)  # unlike a rename it overwrites nothing
        finally:
            beside.unlink()
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}", hint="choose another folder") from error


# -- folders of runs ------------------------------------------------------------------------------


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Make a folder for its owner alone, or with the group's bits of a parent that has the setgid bit.

    Raises:
        OSError: it cannot be made, or is there already.
    """
    parent = path.parent.stat().st_mode
    path.mkdir(0o700 | (parent & 0o050 if parent & stat.S_ISGID else 0), exist_ok=exist_ok)


def make_subfolder(path: Path) -> None:
    """Make a folder within the folder of a run, unless it is there; those who may enter that may enter this.

    Raises:
        OSError: it cannot be made.
    """
    path.mkdir(0o700 | (path.parent.stat().st_mode & 0o055), exist_ok=True)


def file_mode(folder: Path) -> int:
    """The mode of a new file in a run's folder: those who may read the folder may read the file.

    Raises:
        OSError: there is no such folder.
    """
    return 0o600 | (folder.stat().st_mode & 0o044)


def shared_mode(runs_dir: Path) -> int:
    """The mode of a file beside the folders of runs, about all of them: 0640 in a team's folder of runs, else 0600.

    Raises:
        OSError: there is no such folder.
    """
    mode = runs_dir.stat().st_mode
    return 0o600 | (mode & 0o040 if mode & stat.S_ISGID else 0)


def open_private(path: Path, flags: int) -> int:
    """`os.open` of a file in a run's folder, never through a symbolic link. Creates it with `file_mode`."""
    mode = file_mode(path.parent) if flags & os.O_CREAT else 0
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)


@contextmanager
def replacing(path: Path, mode: int, *, is_durable: bool = False) -> Iterator[BinaryIO]:
    """Write a file that replaces `path` when it is whole; if the block raises, `path` stays as it was.

    The new file lies beside it until then. Its name cannot be guessed and it must be new, so in a folder that others
    may write to, nobody can put a symbolic link in its way.

    Args:
        mode: of the new file, before the umask.
        is_durable: to survive a crash of the machine.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
