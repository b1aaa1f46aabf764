"""Files that hold secrets: refused where others could read them, and made so that nobody else can.

What is open is refused and not repaired: it may have been read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from loadgen.errors import StorageError, UsageError

__all__ = ["check_private", "write_new"]


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
