"""`loadgen watch`: a run at a controller, on screen."""

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
        str, typer.Argument(metavar="[RUN]", help="Its id, how it begins, or `last`; else the one that goes on.")
    ] = "",
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> int:
    """Watch a run of a controller until it is over, and exit as it does. Ctrl-C leaves it to itself.

    Of a run that is over it shows what it came to.
    """
    place = where(controller, ca, token_file)
    assert place is not None
    code, _ = watch_there(place, run, Output())
    return code
