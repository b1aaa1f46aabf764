"""A disk that is full from the n-th file on, or a Ctrl-C at the n-th file: for all writers of this process."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pytest

__all__ = ["MOMENTS", "Failure", "Writes", "failing_disk"]

Failure = Literal["full disk", "Ctrl-C"]
MOMENTS: Final = ("open", "write", "sync", "name")
"""When a file can fail: as it is created, with half of its content, at fsync, and when it gets its name."""


class Writes:
    """Counts the files that are written, and fails at one of them.

    A full disk stays full: each later file fails, too. Ctrl-C comes once.
    """

    def __init__(self, at: int, failure: Failure, moment: str) -> None:
        self._at, self._failure, self._moment = at, failure, moment
        self.count = 0
        self.has_failed = False

    def reach(self, moment: str) -> None:
        """Raise if the present file fails at this moment, or at one that it has passed without being noticed."""
        if self.has_failed and self._failure == "full disk" and moment in ("open", "write"):
            raise self._error()
        if self.has_failed or self.count != self._at or MOMENTS.index(moment) < MOMENTS.index(self._moment):
            return
        self.has_failed = True
        raise self._error()

    def _error(self) -> BaseException:
        if self._failure == "Ctrl-C":
            return KeyboardInterrupt()
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Torn(io.FileIO):
    """A file of which only the first half gets to the disk if the write fails."""

    writes: Writes

    def write(self, data: Any) -> int:
        try:
            self.writes.reach("write")
        except BaseException:
            super().write(bytes(data)[: len(data) // 2])
            raise
        return super().write(data)


@contextlib.contextmanager
def failing_disk(at: int, failure: Failure = "full disk", moment: str = "write") -> Iterator[Writes]:
    """Let the `at`-th file fail that this process creates or writes, from 1; 0: none, to count them.

    It sees files that are created by `os.open`, `open`, and the methods of `Path`, in whichever module.
    """
    writes = Writes(at, failure, moment)
    real_os_open, real_fdopen, real_open = os.open, os.fdopen, io.open

    def os_open(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            writes.count += 1
            writes.reach("open")
        return real_os_open(path, flags, *args, **more)

    def torn(fd: int | str, mode: str) -> io.BufferedWriter:
        raw = _Torn(fd, mode.replace("b", "").replace("t", ""))
        raw.writes = writes
        return io.BufferedWriter(raw)

    def fdopen(fd: int, mode: str = "r", *args: Any, **more: Any) -> Any:
        return torn(fd, mode) if mode == "wb" else real_fdopen(fd, mode, *args, **more)

    def opened(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set("wxa") or str(file).startswith("/dev/"):
            return real_open(file, mode, *args, **more)
        writes.count += 1
        writes.reach("open")
        binary = torn(os.fspath(file), mode)
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding=more.get("encoding") or "utf-8")

    def before(moment: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def reached(*args: Any, **more: Any) -> Any:
            writes.reach(moment)
            return real(*args, **more)

        return reached

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", os_open)
        patch.setattr(os, "fdopen", fdopen)
        patch.setattr(os, "fsync", before("sync", os.fsync))
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        for name in ("replace", "rename", "hardlink_to"):
            patch.setattr(Path, name, before("name", getattr(Path, name)))
        yield writes
