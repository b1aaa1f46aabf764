"""Shared parts of the commands that control a running run: their options, and sending the control request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen_controller.api.address import Place
from loadgen_controller.api.remote import call, place_of
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo
from loadgen_controller.control.control_request import ControlAction, ControlReply, ControlRequest
from loadgen_controller.control.unix_socket import ask, going

__all__ = ["LoadOption", "RunArgument", "RunsDirOption", "ask_run", "print_reply", "where"]

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="The run's id, the beginning of it, `last`, or its folder. Default: the run that is going on.",
    ),
]
LoadOption = Annotated[
    str | None, typer.Option("--load", metavar="NAME", help="Only this load of the plan. Default: all loads.")
]
RunsDirOption = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")]


def where(controller: str | None, ca: Path | None, token_file: Path | None) -> Place | None:
    """Read the options that name a controller; None means a run on this machine.

    Raises:
        UsageError, ExceptionGroup: the options are invalid.
    """
    errors = CollectedErrors()
    place = place_of(errors, controller, ca, token_file)
    errors.check()
    return place


def ask_run(
    do: ControlAction,
    run: str | None,
    runs_dir: Path,
    place: Place | None = None,
    *,
    load: str | None = None,
    factor: float | None = None,
    rate: float | None = None,
    users: float | None = None,
    now: bool = False,
) -> None:
    """Send a control request to a running run, and print the reply.

    Args:
        do: the action, such as "pause". The keyword arguments are its parameters.
        run: id, beginning of it, "last" or folder; None: the only run that is going on.
        place: the controller that has the run; None: the run is on this machine.

    Raises:
        UsageError: no run is going on, several are, or the request is not possible now.
        FleetError: the run is gone, or one of its agents cannot be reached.
    """
    if place is None:
        found = going(run, runs_dir)
        print_reply(
            ask(
                found,
                ControlRequest(run_id=found.run_id, do=do, load=load, factor=factor, rate=rate, users=users, now=now),
            )
        )
        return
    asked = ControlRequest(run_id=run or "", do=do, load=load, factor=factor, rate=rate, users=users, now=now)
    print_reply(call(place, lambda client: client.ask(asked)))


def print_reply(reply: ControlReply) -> None:
    """Print the lines of a control reply."""
    for line in reply.lines:
        echo(line)
