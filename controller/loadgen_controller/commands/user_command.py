"""Runs a command of the user between two runs, such as one that restarts the target, and returns why it failed.

The command is split as a shell would split it, but no shell runs it: a value in its environment can never become a
command. Its output goes to a file. A server that it leaves in the background may keep the file open, so we wait for the
end of the command and not for the end of its output.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen.outside_text import block
from loadgen.redact import Redactor
from loadgen.units import NS_PER_S, format_duration
from loadgen_controller.collect_option_errors import CollectedErrors

__all__ = ["UserCommand", "read_command"]

_TAIL_BYTES: Final = 4_096
_KEPT_BYTES: Final = 1 << 20
_TAIL_LINES: Final = 10
_END_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class UserCommand:
    """A command, and how long it may take."""

    words: tuple[str, ...]
    timeout_s: float

    def run(self, log: Path, variables: Mapping[str, str] | None = None) -> str:
        """Run the command, and return "" if it ended well, or why it failed with the end of its output.

        log: the file for its output. variables: are added to its environment.

        Raises:
            OSError: the log cannot be written.
            KeyboardInterrupt: Ctrl-C; the command and its children are ended.
        """
        log.parent.mkdir(mode=0o700, exist_ok=True)
        given = os.environ | dict(variables or {})
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            try:
                child = subprocess.Popen(  # the user's own command, without a shell
                    self.words, stdin=subprocess.DEVNULL, stdout=fd, stderr=fd, env=given, start_new_session=True
                )
            except OSError as error:
                return f"it cannot be started: {error.strerror or error}"
            try:
                code = child.wait(self.timeout_s)
            except subprocess.TimeoutExpired:
                _end(child)
                return f"it took longer than {format_duration(self.timeout_s * NS_PER_S)}{_tail(log)}"
            except BaseException:
                _end(child)
                raise
        finally:
            os.close(fd)
        _cut(log)
        if code == 0:
            return ""
        how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
        return f"{how}{_tail(log)}"


def read_command(errors: CollectedErrors, option: str, text: str | None, timeout_s: float) -> UserCommand | None:
    """Return the command of an option such as "--between"; None without one. Errors in it are added to `errors`."""
    if text is None:
        return None
    try:
        words = tuple(shlex.split(text))
    except ValueError as wrong:
        errors.add(f"{option}: {wrong}".lower(), f"close the quotes: {option} 'ssh shop \"systemctl restart shop\"'")
        return None
    if not words:
        errors.add(f"{option}: the command is empty", f"write {option} './restart.sh', or leave it out")
        return None
    if shutil.which(words[0]) is None:
        errors.add(
            f"{option}: the command {words[0]} was not found, or is not executable",
            "name a program or a script, such as ./restart.sh; shell syntax needs: sh -c '...'",
        )
    return UserCommand(words, timeout_s)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the command with its children: SIGTERM, and SIGKILL after 5 s."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(_END_S)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
        break
    child.poll()


def _cut(log: Path) -> None:
    """Keep only the end of a large output: a sweep has one for each run, and together they could fill the disk."""
    with log.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size <= _KEPT_BYTES:
            return
        file.seek(size - _KEPT_BYTES)
        end = file.read(_KEPT_BYTES)
        file.seek(0)
        file.truncate()
        file.write(f"[the first {size - _KEPT_BYTES:,} bytes were left out]\n".encode() + end)


def _tail(log: Path) -> str:
    """Return the last lines of the output as text that begins with a line break; "" if it has none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line for line in block(Redactor().text(text)) if line.strip()][-_TAIL_LINES:]
    return "".join(f"\n  {line}" for line in lines)
