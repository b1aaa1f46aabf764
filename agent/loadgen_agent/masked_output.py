"""Masks secrets in a worker's output, so that prints and logs of scenario code reach the agent's log without them.

Only output through `sys.stdout` and `sys.stderr` is masked; a library that writes to the descriptor itself bypasses
it. Text is masked line by line. A secret that is printed in two pieces within one line is found, and a secret that
is spread over several lines is not.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from collections.abc import Callable
from typing import TextIO

from loadgen.outside_text import block

__all__ = ["NOTED", "MaskedOutput", "Unblocked", "mask_output"]

_NOTE = " bytes of output dropped: the agent did not read them in time"
NOTED = re.compile(rf"^(\d{{1,15}}){_NOTE}\n".encode(), re.MULTILINE)
"""Matches the line in which a worker reports how many bytes of its output it has dropped."""

_LONGEST = 64 * 1024
"""Most characters of an unfinished line that are held back."""


class MaskedOutput(io.TextIOBase):
    """A text stream that passes each line through `mask` and writes the result to `out`."""

    def __init__(self, out: TextIO | Unblocked, mask: Callable[[str], str]) -> None:
        self._out, self._mask = out, mask
        self._held = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._out.fileno()

    def write(self, text: str) -> int:
        self._held += text
        whole, newline, rest = self._held.rpartition("\n")
        if newline:
            self._held = rest
            self._out.write(self._shown(whole) + "\n")
        if len(self._held) > _LONGEST:
            self._say_held()
        return len(text)

    def flush(self) -> None:
        """Flush the complete lines. An incomplete line is held back until its end is written, or until `close`."""
        self._out.flush()

    def close(self) -> None:
        self._say_held()
        self._out.flush()

    def _say_held(self) -> None:
        held, self._held = self._held, ""
        if held:
            self._out.write(self._shown(held))

    def _shown(self, text: str) -> str:
        """Return the text without secrets and without control characters that could steer a terminal."""
        return "\n".join(block(self._mask(text)))


class Unblocked(io.TextIOBase):
    """Writes to a pipe and never waits: if the pipe is full, text is dropped and the dropped bytes are counted.

    A full pipe means that the agent is busy or stopped. The load must not wait for it.
    """

    def __init__(self, fd: int) -> None:
        """Make a stream that writes to the pipe `fd`.

        Args:
            fd: of a pipe, opened with O_NONBLOCK. Its open file must not be shared with code that expects to block.
        """
        self._fd, self.dropped = fd, 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        self.flush()
        if self.dropped:
            self.dropped += len(data)
            return len(text)
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                self.dropped += len(data)
                break
        return len(text)

    def flush(self) -> None:
        """Write a line with the number of dropped bytes, if bytes were dropped and the pipe has room for the line."""
        if not self.dropped:
            return
        note = f"\n{self.dropped}{_NOTE}\n".encode()
        try:
            os.write(self._fd, note)  # short enough to be written whole or not at all
        except BlockingIOError:
            return
        self.dropped = 0


def mask_output(mask: Callable[[str], str]) -> None:
    """Mask secrets in this process's standard output and error from now on. Call this before logging is set up.

    `mask` returns a text without its secrets.
    """
    sys.stdout = MaskedOutput(_unblocked(sys.stdout), mask)
    sys.stderr = MaskedOutput(_unblocked(sys.stderr), mask)


def _unblocked(out: TextIO) -> TextIO | Unblocked:
    """Return a stream to the same pipe that never waits; `out` itself if that is no pipe, or not on Linux.

    The original descriptor still blocks, for C code and child processes.
    """
    if sys.platform != "linux":
        return out
    try:
        if not stat.S_ISFIFO(os.fstat(out.fileno()).st_mode):
            return out
        # Opened again, because O_NONBLOCK belongs to the open file, which C code and child processes share by their
        # descriptors. /proc/self/fd gives a new open file of the same pipe.
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
        return Unblocked(os.open(f"/proc/self/fd/{out.fileno()}", flags))
    except OSError:
        return out
