"""Prints errors with their hints on stderr, and returns the exit code for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from loadgen.errors import EXIT_PRECEDENCE, ExitCode, LoadgenError, ScenarioError, errors_in
from loadgen_controller.console_output import echo_error

__all__ = ["report"]

_CONVERTERS: Final = ("no such command 'convert'", "no such command 'import'", "no such command 'migrate'")
_BY_HAND: Final = (
    "there is no converter: translate scripts by hand with the tables of docs/coming-from/k6.md and locust.md; "
    "`loadgen new NAME` writes a scenario to start from"
)


def report(error: Exception) -> ExitCode:
    """Print an error, or each error of a group, with its hint on stderr, and return the exit code.

    Of several errors, the exit code that comes first in `EXIT_PRECEDENCE` wins.
    """
    errors = list(errors_in(error))
    for one in errors:
        for message, hint in _lines(one):
            echo_error(message, hint)
    codes = {_code(one) for one in errors}
    return next((code for code in EXIT_PRECEDENCE if code in codes), ExitCode.BUG)


def _lines(error: BaseException) -> Iterator[tuple[str, str]]:
    if isinstance(error, ScenarioError):
        for fault in error.faults:
            yield f"{fault.where}: {fault.message}", fault.hint
    elif isinstance(error, LoadgenError) and error.exit_code is not ExitCode.BUG:
        yield error.message, error.hint
    elif _is_parser_error(error):
        yield _parser_error(error)
    else:
        what = error.message if isinstance(error, LoadgenError) else f"{type(error).__name__}: {error}"
        yield (
            f"this is a bug in loadgen: {what}",
            "report it with the command and the run folder; LOADGEN_DEBUG=1 shows the traceback",
        )


def _code(error: BaseException) -> ExitCode:
    if isinstance(error, LoadgenError):
        return error.exit_code
    return ExitCode.USAGE if _is_parser_error(error) else ExitCode.BUG


def _is_parser_error(error: BaseException) -> bool:
    """Return whether the command line could not be parsed: an unknown option, a missing argument.

    Checked by attributes because typer has its own copy of click's exceptions.
    """
    return hasattr(error, "format_message") and getattr(error, "exit_code", None) == 2


def _parser_error(error: Any) -> tuple[str, str]:
    """Return the message of a parser's error in the style of loadgen, and a hint what to do."""
    message = error.format_message().rstrip(".").replace(": Value error, ", ": ")  # pydantic puts this before our text
    message = message.replace(": Input should", ": it should")
    message = message or "missing command"  # a group without arguments: its help was printed, and the message is empty
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    if context is None and (option := getattr(error, "option_name", None)):  # the parser names no command here
        return (
            message,
            f"write a value after {option}, or remove {option}; add --help to the command for a list of its options",
        )
    path = context.command_path if context is not None else "loadgen"
    what = "its commands" if message.startswith("no such command") else "arguments and options"
    if message.startswith(_CONVERTERS):
        return message.partition(". Did")[0], _BY_HAND
    return message, f"{path} --help lists {what}"
