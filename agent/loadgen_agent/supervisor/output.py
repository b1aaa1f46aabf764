"""Passes on the output of workers and of their child processes, up to a limit.

Each worker's standard output and error are one pipe, which the agent reads. That catches everything: `print`,
`os.write(1, ...)`, C libraries, and children that inherit the descriptors. The agent passes the text on to its own
standard error, in an embedded agent a file in the run folder. After 10 MiB in a run it drops and counts the rest. So
a scenario that prints in a loop cannot fill the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sys
from collections.abc import Callable
from typing import Final

from loadgen_agent.masked_output import NOTED

__all__ = ["LIMIT_BYTES", "Output", "Pipe"]

log = logging.getLogger(__name__)

LIMIT_BYTES: Final = 10 * 2**20
"""Limit for the output of all workers in one run of this agent."""
_PIPE_BYTES: Final = 2**20
"""Capacity of a pipe while the agent is busy. Linux grants no more to a program without privileges."""
_READ_BYTES: Final = 2**18
"""Largest single read (about 0.1 ms), so that a flood of output does not delay the agent's heartbeats."""
_LINE_BYTES: Final = 2**16
"""Longest unfinished line that is held back, so that lines of several workers do not mix."""
_LAST_READS: Final = 256
"""Most reads of a pipe that is being closed, because a process that could not be ended may write for ever."""


class Output:
    """The output of all workers of one run, passed on until the limit is reached."""

    def __init__(self, write: Callable[[bytes], None] | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        """Make an output without pipes.

        Args:
            write: receives the output that is passed on; the default writes it to standard error.
            limit_bytes: limit of the output in the whole run.
        """
        self._write, self._left, self._limit = write or _to_stderr, limit_bytes, limit_bytes
        self._pipes: list[Pipe] = []
        self.dropped = 0
        """Bytes beyond the limit."""

    def pipe(self) -> Pipe:
        """Make the pipe to which a new worker writes its output.

        Raises:
            OSError: no descriptor is free.
        """
        self._pipes.append(Pipe(self._take))
        return self._pipes[-1]

    def close(self) -> None:
        """Close all pipes, and log the number of dropped bytes if there are any.

        Call it after the last worker has ended.
        """
        for pipe in self._pipes:
            pipe.close()
        if self.dropped:
            log.warning("%s; %d bytes dropped", self._limit_text, self.dropped)

    def _take(self, data: bytes, is_end: bool) -> None:
        # Cut after a whole line, so that the log has no half lines.
        kept = data if len(data) <= self._left else data[: data.rfind(b"\n", 0, self._left) + 1]
        if kept:
            self._write(kept + b"\n" if is_end and not kept.endswith(b"\n") else kept)
        if len(kept) == len(data):
            self._left -= len(kept)
            return
        if not self.dropped:
            log.warning("%s; the rest is dropped and counted", self._limit_text)
        self._left = 0
        self.dropped += _counted(data[len(kept) :])

    @property
    def _limit_text(self) -> str:
        return f"output limit of {self._limit / 2**20:g} MiB reached"


class Pipe:
    """The pipe of one worker. Give `write_fd` to the worker, then call `read`, and at the end `close`."""

    def __init__(self, take: Callable[[bytes, bool], None]) -> None:
        """Open the pipe.

        Args:
            take: receives the bytes of whole lines, and whether they are the last ones.
        """
        self._take, self._held = take, b""
        self._fd, self.write_fd = os.pipe()
        os.set_blocking(self._fd, False)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # the user's limit for pipes is reached
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._loop: asyncio.AbstractEventLoop | None = None

    def read(self) -> None:
        """Start reading the worker's output in the running loop.

        Call this after the worker has inherited `write_fd`.
        """
        # While this process has a write end open, a read never returns the end of the output.
        self._close_write()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read_some)

    def drain(self) -> None:
        """Read all output that is in the pipe now, and pass on its whole lines."""
        for _ in range(_LAST_READS):
            if self._fd < 0 or not self._read_some():
                return

    def close(self) -> None:
        """Pass on the rest of the output, also an unfinished last line, and close both ends of the pipe."""
        self.drain()
        self._stop()
        self._close_write()

    def _read_some(self) -> bool:
        """Read once from the pipe and pass on whole lines.

        Return False if the pipe is empty, or its writers have closed it.
        """
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._stop()
            return False
        whole, newline, rest = (self._held + data).rpartition(b"\n")
        if len(rest) > _LINE_BYTES:
            whole, newline, rest = whole + newline + rest, b"", b""
        if whole or newline:
            self._take(whole + newline, False)
        self._held = rest
        return True

    def _stop(self) -> None:
        if self._fd < 0:
            return
        if self._loop is not None:
            self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
        if self._held:
            held, self._held = self._held, b""
            self._take(held, True)

    def _close_write(self) -> None:
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1


def _counted(dropped: bytes) -> int:
    """Return the number of bytes in dropped output.

    A worker's note in it that N bytes were dropped counts as N bytes.
    """
    notes = list(NOTED.finditer(dropped))
    return len(dropped) + sum(int(note[1]) - len(note[0]) - 1 for note in notes)  # 1: the line end before it


def _to_stderr(data: bytes) -> None:
    """Write to standard error. A closed or full standard error is ignored, because it must not end an agent."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
        while data:
            data = data[os.write(sys.stderr.fileno(), data) :]
