"""The table of all commands with their options, without importing them: for `loadgen --help` and for completion.

`python -m tools.command_table` makes the table, `command_table.json`, from the commands. A test compares both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

__all__ = ["FILE", "Command", "Option", "command_table"]

FILE: Final = Path(__file__).with_name("command_table.json")


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command, under each of its names."""

    help: str
    value: str = ""
    """What the option takes, as in its help: `FILE`, `NAME`; empty for a flag."""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a group of commands."""

    help: str
    """The first paragraph of its help."""
    options: Mapping[str, Option]
    arguments: tuple[Option, ...] = ()
    """What it takes by position. The last one may repeat; its value ends in `...` then."""
    commands: Mapping[str, Command] = field(default_factory=dict)


@cache
def command_table() -> Mapping[str, Command]:
    """Return all commands of `loadgen`, by name, in the order of its help."""
    return {name: _command(entry) for name, entry in json.loads(FILE.read_text(encoding="utf-8")).items()}


def _command(entry: Mapping[str, Any]) -> Command:
    return Command(
        entry["help"],
        {name: _option(option) for name, option in entry["options"].items()},
        tuple(map(_option, entry["arguments"])),
        {name: _command(inner) for name, inner in entry.get("commands", {}).items()},
    )


def _option(entry: Mapping[str, Any]) -> Option:
    return Option(entry["help"], entry.get("value", ""), tuple(entry.get("choices", ())))
