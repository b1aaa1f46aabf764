"""The command of `--between`, which brings the target into a fresh state before each run.

It gets the levels of the cell in its environment, as `LOADGEN_SWEEP_SETTLE=8`. Its output goes to a file in the folder
of the sweep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.user_command import UserCommand, read_command

__all__ = ["FOLDER", "read_between", "variables_of"]

FOLDER: Final = "between"
"""Outputs of the command, in the folder of the sweep: one file a run."""


def variables_of(levels: Mapping[str, str]) -> dict[str, str]:
    """Return the levels of a cell, {factor: level}, as environment variables."""
    return {_variable_of(name): level for name, level in levels.items()}


def _variable_of(factor: str) -> str:
    return f"LOADGEN_SWEEP_{factor.upper()}"


def read_between(
    errors: CollectedErrors, text: str | None, timeout_s: float, factors: Iterable[str]
) -> UserCommand | None:
    """Return the command of `--between`; None without one. Errors in it are added to `errors`."""
    command = read_command(errors, "--between", text, timeout_s)
    names = Counter(map(_variable_of, factors))
    for name in [one for one, count in names.items() if count > 1 and command is not None]:
        errors.add(f"--between: two factors would both be {name}", "rename one of the params")
    return command
