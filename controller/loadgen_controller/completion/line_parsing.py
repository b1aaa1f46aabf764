"""Finds out what the word at the cursor of a command line is: a command, an option, or a value, and of which kind."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadgen_controller.completion.command_table import Command, Option

__all__ = ["Wanted", "split_line", "wanted"]

_GLOBAL = {"--version": Option("Show the version and exit."), "--help": Option("Show this message and exit.")}
_HELP = {"--help": _GLOBAL["--help"]}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What can stand at the cursor: fixed words with their help, or a value whose form is `value`."""

    text: str
    """The word at the cursor, as far as it is typed; of `--option=text` only the text."""
    words: Mapping[str, str] = field(default_factory=dict)
    value: str = ""
    """The form of the value, as in the command's help: `FILE[:PLAN]`, `ID`, `NAME`."""
    option: str = ""
    """The option that takes the value; empty for an argument."""
    before: str = ""
    """What stands before `text` in the same word: `--option=`, or nothing."""
    given: Mapping[str, str] = field(default_factory=dict)
    """The values of the options before the cursor, by name."""
    arguments: tuple[str, ...] = ()
    """The arguments before the cursor."""


def split_line(line: str) -> list[str]:
    """Return the words of a command line up to the cursor; the last one is the word at the cursor, perhaps empty.

    A quote may be open at the cursor.
    """
    for closed in (line, line + '"', line + "'"):
        try:
            words = shlex.split(closed)
        except ValueError:
            continue
        is_between = line[-1:].isspace() and closed == line and not line.endswith("\\ ")
        return [*words, ""] if is_between or not words else words
    return [""]


def wanted(words: Sequence[str], table: Mapping[str, Command]) -> Wanted:
    """Return what can stand at the cursor.

    words: the words after the program's name; the last one is the word at the cursor.
    """
    *before, text = words
    if not before:
        helps = _GLOBAL if text.startswith("-") else table
        return Wanted(text, {name: entry.help for name, entry in helps.items()})
    command = table.get(before[0])
    if command is None:
        return Wanted(text)
    given: dict[str, str] = {}
    arguments: list[str] = []
    pending = ""
    for word in before[1:]:
        option, sign, value = word.partition("=")
        if pending:
            given[pending], pending = word, ""
        elif word in command.commands and not arguments:
            command, given = command.commands[word], {}
        elif not word.startswith("-"):
            arguments.append(word)
        elif (found := command.options.get(option)) is not None and found.value:
            if sign:
                given[option] = value
            else:
                pending = option
    return _at_the_cursor(command, text, pending, given, tuple(arguments))


def _at_the_cursor(
    command: Command, text: str, pending: str, given: Mapping[str, str], arguments: tuple[str, ...]
) -> Wanted:
    if pending:
        return _value(command.options[pending], text, given, arguments, option=pending)
    option, sign, value = text.partition("=")
    if sign and option in command.options and command.options[option].value:
        return _value(command.options[option], value, given, arguments, option=option, before=f"{option}=")
    if text.startswith("-"):
        options = {**command.options, **_HELP}
        return Wanted(text, {name: each.help for name, each in options.items()})
    if command.commands and not arguments:
        return Wanted(text, {name: inner.help for name, inner in command.commands.items()})
    if not command.arguments:
        return Wanted(text)
    at = min(len(arguments), len(command.arguments) - 1)
    if at < len(arguments) and not command.arguments[at].value.endswith("..."):
        return Wanted(text)
    return _value(command.arguments[at], text, given, arguments)


def _value(
    taken: Option,
    text: str,
    given: Mapping[str, str],
    arguments: tuple[str, ...],
    *,
    option: str = "",
    before: str = "",
) -> Wanted:
    return Wanted(text, dict.fromkeys(taken.choices, ""), taken.value, option, before, given, arguments)
