"""`loadgen stop`: stops a run, like Ctrl-C in its terminal."""

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
    now: Annotated[
        bool, typer.Option("--now", help="Do not drain: cut off requests in flight, like a second Ctrl-C.")
    ] = False,
    runs_dir: RunsDirOption = Path("runs"),
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Stop a run, like Ctrl-C in its terminal: nothing more is started, and started iterations may finish.

    Everything measured so far is kept. The run ends with exit code 130.
    """
    ask_run("stop", run, runs_dir, where(controller, ca, token_file), now=now)
