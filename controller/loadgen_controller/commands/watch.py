"""`loadgen watch`: shows the live view of a run at a controller."""

from __future__ import annotations

from typing import Annotated

import typer

from loadgen_controller.api.remote import CaOption, NeededController, TokenFileOption, watch_there
from loadgen_controller.commands.control_request import where
from loadgen_controller.screen.terminal_report import Output

NAME = "watch"
EXAMPLES = """[bold]Examples[/bold]

loadgen watch --controller controller.internal:5558

loadgen watch 20261124-170312 --controller controller.internal:5558"""


def main(
    controller: NeededController,
    run: Annotated[
        str,
        typer.Argument(
            metavar="[RUN]", help="The run's id, the beginning of it, or `last`. Default: the run that is going on."
        ),
    ] = "",
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> int:
    """Watch a run at a controller until it ends, and end with its exit code. Ctrl-C only detaches from the run.

    For a run that is over, the final report is shown.
    """
    place = where(controller, ca, token_file)
    assert place is not None
    code, _ = watch_there(place, run, Output())
    return code
