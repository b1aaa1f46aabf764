"""The `loadgen` program: its commands in groups, and the one place where errors become output and exit codes.

A command returns nothing or an exit code, and raises its errors. `Program` catches them, prints them on stderr and
returns the exit code (table in `loadgen.errors`). `LOADGEN_DEBUG=1` adds the traceback.
"""

from __future__ import annotations

# Must come first: the imports below take half a second, and ten times that on a busy machine.
from loadgen_controller.launch.import_signals import importing  # isort: split

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from loadgen.errors import EXIT_PRECEDENCE, ExitCode, LoadgenError, ScenarioError
from loadgen.logs import tame_last_resort
from loadgen_controller.commands import (
    agents,
    api,
    check,
    compare,
    controller,
    failures,
    fleet,
    gate,
    history,
    keys,
    kill,
    new,
    pause,
    plan,
    resume,
    run,
    runs,
    scale,
    skip,
    stop,
    target,
    watch,
)
from loadgen_controller.commands import report as report_command
from loadgen_controller.terminal import echo, echo_error

__all__ = ["app", "main"]

ORDER = (
    "run",
    "check",
    "plan",
    "new",
    "target",
    "runs",
    "failures",
    "report",
    "compare",
    "gate",
    "history",
    "pause",
    "resume",
    "scale",
    "skip",
    "stop",
    "kill",
    "watch",
    "controller",
    "agents",
    "fleet",
    "api",
    "keys",
)


class Program(TyperGroup):
    """The root command. It handles the errors of all commands, also for tests that call it through `CliRunner`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order in which a user meets them; typer would list groups last."""
        return [name for name in ORDER if name in self.commands]

    def main(self, args: Sequence[str] | None = None, *_: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Run the command line. Exit with its exit code, or return it if `standalone_mode` is false."""
        code = self._exit_code(args, **options)
        if standalone_mode:
            sys.exit(code)
        return code

    def _exit_code(self, args: Sequence[str] | None, **options: Any) -> int:
        tame_last_resort()
        try:
            return int(super().main(args, standalone_mode=False, **options) or 0)
        except (KeyboardInterrupt, typer.Abort):
            echo_error("interrupted")
            return ExitCode.INTERRUPTED
        except BrokenPipeError:
            # The reader of our output has left (`loadgen runs | head`). The dup2 keeps Python from failing at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.INTERRUPTED
        except Exception as exc:  # noqa: BLE001  no error may leave the program as a bare traceback
            if os.environ.get("LOADGEN_DEBUG"):
                for line in traceback.format_exc().splitlines():
                    echo(line, err=True)
            return report(exc)


def report(error: Exception) -> ExitCode:
    """Print an error, or each error of a group, with its hint on stderr, and return the exit code.

    Of several errors, the exit code that comes first in `EXIT_PRECEDENCE` wins.
    """
    errors = list(_flat(error))
    for one in errors:
        for message, hint in _lines(one):
            echo_error(message, hint)
    codes = {_code(one) for one in errors}
    return next((code for code in EXIT_PRECEDENCE if code in codes), ExitCode.BUG)


def _flat(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _flat(inner)
    else:
        yield error


def _lines(error: Exception) -> Iterator[tuple[str, str]]:
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


def _code(error: Exception) -> ExitCode:
    if isinstance(error, LoadgenError):
        return error.exit_code
    return ExitCode.USAGE if _is_parser_error(error) else ExitCode.BUG


def _is_parser_error(error: Exception) -> bool:
    """Return whether the command line could not be parsed: an unknown option, a missing argument.

    Checked by attributes because typer has its own copy of click's exceptions.
    """
    return hasattr(error, "format_message") and getattr(error, "exit_code", None) == 2


def _parser_error(error: Any) -> tuple[str, str]:
    """Return the message of a parser's error in the style of loadgen, and a hint what to do."""
    message = error.format_message().rstrip(".").replace(": Value error, ", ": ")  # pydantic puts this before our text
    message = message.replace(": Input should", ": it should")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "loadgen"
    return message[:1].lower() + message[1:], f"{path} --help lists arguments and options"


importing.end()
app = typer.Typer(
    cls=Program,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Distributed load generator: scenarios in typed async Python, exact percentiles of all agents during the run.",
    epilog="Exit codes: 0 passed, 1 failed, 2 usage or scenario error, 3 incomplete, 4 invalid, 5 fleet error,"
    " 70 bug in loadgen, 130 interrupted.",
)


def _show_version(is_given: bool) -> None:
    if is_given:
        echo(f"loadgen {version('loadgen')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


def _prose(doc: str | None) -> str:
    """Return a docstring with each paragraph on one line, so that the terminal wraps it to its own width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (doc or "").split("\n\n"))


COMMANDS = (
    ("Run", run),
    ("Run", check),
    ("Run", plan),
    ("Run", new),
    ("Run", target),
    ("Look", failures),
    ("Look", report_command),
    ("Decide", compare),
    ("Decide", gate),
    ("Fleet", pause),
    ("Fleet", resume),
    ("Fleet", scale),
    ("Fleet", skip),
    ("Fleet", stop),
    ("Fleet", kill),
    ("Fleet", watch),
    ("Fleet", agents),
)
for panel, command in COMMANDS:
    app.command(command.NAME, help=_prose(command.main.__doc__), rich_help_panel=panel, epilog=command.EXAMPLES)(
        command.main
    )
for group in (runs.app, history.app, controller.app, fleet.app, api.app, keys.app):
    for sub_command in group.registered_commands:
        assert sub_command.callback is not None
        sub_command.help = _prose(sub_command.callback.__doc__)
app.add_typer(runs.app, name="runs", rich_help_panel="Look")
app.add_typer(history.app, name="history", rich_help_panel="Decide")
app.add_typer(controller.app, name="controller", help=_prose(controller.main.__doc__), rich_help_panel="Fleet")
app.add_typer(fleet.app, name="fleet", rich_help_panel="Fleet")
app.add_typer(api.app, name="api", rich_help_panel="Fleet")
app.add_typer(keys.app, name="keys", rich_help_panel="Fleet")


def main(argv: Sequence[str] | None = None) -> None:
    """Run `loadgen` with these arguments, or those of the process. It ends the process with the exit code."""
    app(args=None if argv is None else list(argv), prog_name="loadgen")


if __name__ == "__main__":
    main()
