"""`loadgen kill`: ends a run at once, on all agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption, call
from loadgen_controller.commands.control_request import RunArgument, RunsDirOption, ask_run, print_reply, where
from loadgen_controller.control.unix_socket import going_all

NAME = "kill"
EXAMPLES = """[bold]Examples[/bold]

loadgen kill

loadgen kill 20261124-170312 --controller controller.internal:5558

loadgen kill --all --controller controller.internal:5558"""


def main(
    run: RunArgument = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Kill every run that is going on: in --runs-dir, or at the controller.")
    ] = False,
    runs_dir: RunsDirOption = Path("runs"),
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Kill a run: all agents stop sending at once, and requests in flight are cut off.

    Use it when the target suffers. Everything measured so far is kept, as with `loadgen stop --now`. Without RUN, the
    run that is going on is killed; if several are, the command lists them and kills none. At a controller, --all needs
    a token with the role admin.
    """
    place = where(controller, ca, token_file)
    if not all_:
        ask_run("kill", run, runs_dir, place)
        return
    if run is not None:
        raise UsageError("--all cannot be used with a run", hint="leave out either --all or the run")
    if place is not None:
        print_reply(call(place, lambda client: client.kill_all()))
        return
    for one in going_all(runs_dir):
        ask_run("kill", str(runs_dir / one.run_id), runs_dir)
