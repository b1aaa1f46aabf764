"""`loadgen stop`: the same as Ctrl-C in the run's terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption
from loadgen_controller.commands.control_request import RunArgument, RunsDirOption, ask_run, where

NAME = "stop"
EXAMPLES = """[bold]Examples[/bold]

loadgen stop

loadgen stop 20261124-170312 --now

loadgen stop --controller controller.internal:5558"""


def main(
    run: RunArgument = None,
    now: Annotated[bool, typer.Option("--now", help="Cut off what is in flight, as a second Ctrl-C does.")] = False,
    runs_dir: RunsDirOption = Path("runs"),
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Stop a run that goes on, as Ctrl-C in its terminal does: nothing more starts, what has started may finish.

    All that was measured is kept, and the run ends with exit code 130.
    """
    ask_run("stop", run, runs_dir, where(controller, ca, token_file), now=now)
