"""The `loadgen` program: its commands in groups, and the one place where errors become output and exit codes.

A command returns nothing or an exit code, and raises its errors. `Program` catches them, prints them on stderr and
returns the exit code (table in `loadgen.errors`). `LOADGEN_DEBUG=1` adds the traceback.
"""

from __future__ import annotations

# Must come before numpy is imported.
import loadgen.math_threads  # noqa: F401  # isort: split

# Must come first of ours: the imports below take half a second, and ten times that on a busy machine.
from loadgen_controller.flag_help import hide_flag_types
from loadgen_controller.launch.import_signals import importing  # isort: split

import errno
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from loadgen.errors import ExitCode, StorageError
from loadgen.logs import tame_last_resort
from loadgen_controller.ci.annotations import annotations_of, is_wanted
from loadgen_controller.completion.command_table import command_table
from loadgen_controller.console_output import echo, echo_error
from loadgen_controller.print_errors import report

__all__ = ["COMMANDS", "app", "command", "main"]

COMMANDS: Final = {
    "run": "Run",
    "llm": "Run",
    "check": "Run",
    "plan": "Run",
    "new": "Run",
    "model": "Run",
    "replay-log": "Run",
    "coverage": "Run",
    "target": "Run",
    "probe": "Run",
    "runs": "Look",
    "failures": "Look",
    "trace": "Look",
    "report": "Look",
    "compare": "Decide",
    "gate": "Decide",
    "history": "Decide",
    "capacity": "Decide",
    "sweep": "Decide",
    "decide": "Decide",
    "board": "Decide",
    "evidence": "Decide",
    "slo": "Decide",
    "notify": "Decide",
    "ci": "Decide",
    "pause": "Fleet",
    "resume": "Fleet",
    "scale": "Fleet",
    "skip": "Fleet",
    "stop": "Fleet",
    "kill": "Fleet",
    "watch": "Fleet",
    "controller": "Fleet",
    "agents": "Fleet",
    "fleet": "Fleet",
    "api": "Fleet",
    "keys": "Fleet",
    "completion": "Shell",
}
"""Each command's panel in `loadgen --help`, in the order in which a user meets them.

The module `loadgen_controller.commands.NAME` has a command's function as `main`, or its subcommands as `app`. A `-`
in the name is a `_` in that of the module.
"""


class Program(TyperGroup):
    """The root command. It handles the errors of all commands, also for tests that call it through `CliRunner`."""

    _is_listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order in which a user meets them; typer would list groups last."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command `cmd_name`, whose module is imported now; None for an unknown command.

        To import the modules of all commands would take two seconds, so the list of `loadgen --help` gets stand-ins.
        """
        if self._is_listing and cmd_name in COMMANDS:
            return _stand_in(cmd_name)
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = command(cmd_name)
            importing.end()
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return (name, command, remaining arguments) for arguments that begin with the name of a command.

        For an unknown name, typer looks for similar ones in `self.commands`, which lacks those not used so far.
        """
        if args[0] in COMMANDS or args[0] in self.commands:
            return super().resolve_command(ctx, args)
        used, self.commands = self.commands, {name: _stand_in(name) for name in COMMANDS}
        try:
            return super().resolve_command(ctx, args)
        finally:
            self.commands = used

    def invoke(self, ctx: Any) -> Any:
        """Run the command. typer would end the program at Ctrl-C without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands, from their lines in the command table."""
        self._is_listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._is_listing = False

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of `loadgen` itself. A flag shows no type in the help."""
        found = super().get_params(ctx)
        for parameter in found:
            if parameter.metavar is None and getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return found

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
                import traceback  # slow to import

                for line in traceback.format_exc().splitlines():
                    echo(line, err=True)
            if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
                exc = _disk_full(exc)
            code = report(exc)
            _annotate(exc)
            return code


def _disk_full(error: OSError) -> StorageError:
    """Return the error of a full disk. The dup2 keeps Python from failing again at exit if stdout is the file."""
    if error.filename is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    where = error.filename or "the output"
    return StorageError(f"cannot write {where}: {error.strerror}", hint="free some space, or write to another disk")


def _annotate(error: Exception) -> None:
    """In a pipeline on GitHub, print an annotation for each error of the scenario, so that it is shown at its line."""
    if is_wanted(os.environ):
        for line in annotations_of(error, Path(os.environ.get("GITHUB_WORKSPACE", "."))):
            sys.stderr.write(f"{line}\n")


_STYLE: Final[dict[str, Any]] = {"add_completion": False, "rich_markup_mode": "rich", "pretty_exceptions_enable": False}
app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    **_STYLE,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Distributed load generator: scenarios in typed async Python, exact percentiles of all agents during the run.",
    epilog="Exit codes: 0 passed, 1 failed, 2 usage or scenario error, 3 incomplete, 4 invalid, 5 fleet error,"
    " 70 bug in loadgen, 130 interrupted.",
)


def _show_version(is_given: bool) -> None:
    if is_given:
        from importlib.metadata import version  # slow to import

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


def _stand_in(name: str) -> TyperCommand:
    """Return an object with the name, the line of help and the panel of a command, without importing its module."""
    return TyperCommand(name, help=command_table()[name].help, rich_help_panel=COMMANDS[name])


@cache
def command(name: str) -> Any:
    """Import the module of a command or of a group of commands, and return the object that typer builds from it.

    The object is built once: tests call hundreds of commands in one process, and to build one takes some 10 ms.
    """
    module = import_module(f"loadgen_controller.commands.{name.replace('-', '_')}")
    panel = COMMANDS[name]
    holder = typer.Typer(**_STYLE)
    holder.callback()(_options)  # with a callback, typer makes a group even of a single command
    if not hasattr(module, "app"):
        doc = _prose(module.main.__doc__)
        holder.command(name, help=doc, rich_help_panel=panel, epilog=module.EXAMPLES)(module.main)
    else:
        groups = [one.typer_instance for one in module.app.registered_groups]  # such as `slo anomaly`
        for sub_command in (each for group in (module.app, *groups) for each in group.registered_commands):
            sub_command.help = _prose(sub_command.callback.__doc__)
        holder.add_typer(module.app, name=name, rich_help_panel=panel)
    return hide_flag_types(typer.main.get_group(holder).commands[name])


def main(argv: Sequence[str] | None = None) -> None:
    """Run `loadgen` with these arguments, or those of the process. It ends the process with the exit code."""
    app(args=None if argv is None else list(argv), prog_name="loadgen")


if __name__ == "__main__":
    main()
