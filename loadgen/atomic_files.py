"""Writes a file completely or not at all.

The bytes go to a temporary file beside the target, which then gets the target's name. A reader therefore sees the old
file or the new one and never a part. If the writer raises or dies, the target is unchanged.

The name of the temporary file cannot be guessed, and it must not exist. So in a folder that others may write to, nobody
can put a symbolic link in its place.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["atomic_file", "atomic_write", "sync_folder"]

_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK})


def atomic_write(
    path: Path,
    data: bytes,
    mode: int,
    *,
    is_exclusive: bool = False,
    is_durable: bool = False,
    may_lack_links: bool = False,
) -> None:
    """Write `data` to the file `path` so that readers see either the old file or the complete new one. The arguments
    and exceptions are those of `atomic_file`.
    """
    with atomic_file(
        path, mode, is_exclusive=is_exclusive, is_durable=is_durable, may_lack_links=may_lack_links
    ) as file:
        file.write(data)


@contextmanager
def atomic_file(
    path: Path,
    mode: int,
    *,
    is_exclusive: bool = False,
    is_durable: bool = False,
    may_lack_links: bool = False,
) -> Iterator[BinaryIO]:
    """Yield a temporary file for writing, which is renamed to `path` when the `with` block ends. If the block raises,
    `path` is unchanged.

    Args:
        mode: permissions of the new file, before the umask.
        is_exclusive: never replace an existing file.
        is_durable: the file and its name survive a crash of the machine once the block has ended.
        may_lack_links: with `is_exclusive`, also work on a file system without hard links. There, of two writers at
            the same instant, the later one replaces the other's file.
    Raises:
        FileExistsError: `path` exists, and `is_exclusive` is True.
        OSError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            if is_durable:
                file.flush()
                # Before the rename: after a crash, the name could otherwise lead to a file without its content.
                os.fsync(file.fileno())
        if is_exclusive:
            _link(temporary, path, may_lack_links=may_lack_links)
        else:
            temporary.replace(path)
    finally:
        # After a rename it is gone already; after a hard link this removes the second name.
        temporary.unlink(missing_ok=True)
    if is_durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Write the directory of a folder to disk (fsync), so that the names of its files survive a crash of the machine.

    Raises:
        OSError: the folder cannot be opened or synced.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _link(temporary: Path, path: Path, *, may_lack_links: bool) -> None:
    try:
        path.hardlink_to(temporary)  # unlike a rename, it fails if `path` exists
    except FileExistsError:
        raise
    except OSError as error:
        if not may_lack_links or error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        temporary.rename(path)
