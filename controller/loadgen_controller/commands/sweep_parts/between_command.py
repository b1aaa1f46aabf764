"""Runs the command of `--between` before each run: it brings the target into a fresh state.

The command is split as a shell would split it, but no shell runs it: a level can never become a command. The command
gets the levels of the cell in its environment, as `LOADGEN_SWEEP_SETTLE=8`. Its output goes to a file in the folder of
the sweep. A server that it leaves in the background may keep the file open, so we wait for the end of the command and
not for the end of its output.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen.outside_text import block
from loadgen.redact import Redactor
from loadgen.units import NS_PER_S, format_duration
from loadgen_controller.collect_option_errors import CollectedErrors

__all__ = ["FOLDER", "BetweenCommand", "read_between", "variable_of"]

FOLDER: Final = "between"
"""Outputs of the command, in the folder of the sweep: one file a run."""
_TAIL_BYTES: Final = 4_096
_TAIL_LINES: Final = 10
_END_S: Final = 5.0


def variable_of(factor: str) -> str:
    """Return the name of the environment variable with the level of a factor."""
    return f"LOADGEN_SWEEP_{factor.upper()}"


@dataclass(frozen=True, slots=True)
class BetweenCommand:
    """The command of `--between`."""

    words: tuple[str, ...]
    timeout_s: float

    def run(self, levels: Mapping[str, str], log: Path) -> str:
        """Run the command for a cell, and return "" if it ended well, or why it failed with the end of its output.

        levels: {factor: level}. log: the file for its output.

        Raises:
            OSError: the log cannot be written.
            KeyboardInterrupt: Ctrl-C; the command and its children are ended.
        """
        log.parent.mkdir(mode=0o700, exist_ok=True)
        given = os.environ | {variable_of(name): level for name, level in levels.items()}
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
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
                limit = format_duration(self.timeout_s * NS_PER_S)
                return f"it took longer than {limit} (--between-timeout){_tail(log)}"
            except BaseException:
                _end(child)
                raise
        finally:
            os.close(fd)
        if code == 0:
            return ""
        how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
        return f"{how}{_tail(log)}"


def read_between(
    errors: CollectedErrors, text: str | None, timeout_s: float, factors: Iterable[str]
) -> BetweenCommand | None:
    """Return the command of `--between`; None without the option. Its errors are added to `errors`."""
    if text is None:
        return None
    try:
        words = tuple(shlex.split(text))
    except ValueError as wrong:
        errors.add(f"--between: {wrong}".lower(), "close the quotes: --between 'ssh shop \"systemctl restart shop\"'")
        return None
    if not words:
        errors.add("--between: the command is empty", "write --between './restart.sh', or leave it out")
        return None
    if shutil.which(words[0]) is None:
        errors.add(
            f"--between: the command {words[0]} was not found, or is not executable",
            "name a program or a script, such as ./restart.sh; shell syntax needs: sh -c '...'",
        )
    names = Counter(variable_of(one) for one in factors)
    for name in [one for one, count in names.items() if count > 1]:
        errors.add(f"--between: two factors would both be {name}", "rename one of the params")
    return BetweenCommand(words, timeout_s)


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


def _tail(log: Path) -> str:
    """Return the last lines of the output as text that begins with a line break; "" without output."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line for line in block(Redactor().text(text)) if line.strip()][-_TAIL_LINES:]
    return "".join(f"\n  {line}" for line in lines)
