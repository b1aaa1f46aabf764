"""`loadgen kill`: nothing more is sent, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption, call
from loadgen_controller.commands.control_request import RunArgument, RunsDirOption, ask_run, print_told, where
from loadgen_controller.control.unix_socket import going_all

NAME = "kill"
EXAMPLES = """[bold]Examples[/bold]

loadgen kill

loadgen kill 20261124-170312 --controller controller.internal:5558

loadgen kill --all --controller controller.internal:5558"""


def main(
    run: RunArgument = None,
    all_: Annotated[bool, typer.Option("--all", help="Every run that goes on there.")] = False,
    runs_dir: RunsDirOption = Path("runs"),
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Kill a run: nothing more is sent, on any agent, and what is in flight is cut off.

    For when the target suffers; what was measured is kept, as with `loadgen stop --now`. Needs no more than one run
    that goes on, or says which ones do. At a controller --all needs a token of the role admin.
    """
    place = where(controller, ca, token_file)
    if not all_:
        ask_run("kill", run, runs_dir, place)
        return
    if run is not None:
        raise UsageError("--all beside a run: which of the two is it?")
    if place is not None:
        print_told(call(place, lambda client: client.kill_all()))
        return
    for one in going_all(runs_dir):
        ask_run("kill", str(runs_dir / one.run_id), runs_dir)
