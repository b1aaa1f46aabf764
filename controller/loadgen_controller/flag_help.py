"""Removes the type of flags from help texts: typer shows `--json <bool>`, although a flag takes no value."""

from __future__ import annotations

from typing import Any

import typer

__all__ = ["HELP_NAMES", "hide_flag_types"]

HELP_NAMES = ["-h", "--help"]


def hide_flag_types(command: Any) -> Any:
    """Show no type for the flags of `command` and of its sub-commands, and return `command`.

    command: a command or group that typer has built.
    """
    # The context is only needed to get the help option, which typer creates when it is first used, and then keeps.
    for parameter in command.get_params(typer.Context(command, help_option_names=HELP_NAMES)):
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    for sub_command in getattr(command, "commands", {}).values():
        hide_flag_types(sub_command)
    return command
