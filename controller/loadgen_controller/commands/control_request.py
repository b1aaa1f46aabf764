"""What the commands that speak to a run that goes on have in common: its options, and the answer on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen_controller.api.address import Place
from loadgen_controller.api.remote import call, place_of
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.control.unix_socket import ControlAction, ControlReply, ControlRequest, ask, going
from loadgen_controller.terminal import echo

__all__ = ["LoadOption", "RunArgument", "RunsDirOption", "ask_run", "print_told", "where"]

RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="Its id, how it begins, `last`, or its folder; else the one that goes on."),
]
LoadOption = Annotated[
    str | None, typer.Option("--load", metavar="NAME", help="Only this load of the plan; else all of them.")
]
RunsDirOption = Annotated[Path, typer.Option(metavar="DIR", help="Where the run's folder is.")]


def where(controller: str | None, ca: Path | None, token_file: Path | None) -> Place | None:
    """The controller that has the run; None: a run of this machine.

    Raises:
        UsageError: what is wrong with the options.
    """
    wrongs = CollectedErrors()
    place = place_of(wrongs, controller, ca, token_file)
    wrongs.check()
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
    """Ask, and print what was done.

    Args:
        place: the controller that has the run; None: it goes on on this machine.

    Raises:
        UsageError: no run goes on, several do, or what is asked makes no sense now.
        FleetError: the run is gone, or an agent of it cannot be told.
    """
    if place is None:
        found = going(run, runs_dir)
        print_told(
            ask(
                found,
                ControlRequest(run_id=found.run_id, do=do, load=load, factor=factor, rate=rate, users=users, now=now),
            )
        )
        return
    asked = ControlRequest(run_id=run or "", do=do, load=load, factor=factor, rate=rate, users=users, now=now)
    print_told(call(place, lambda client: client.ask(asked)))


def print_told(told: ControlReply) -> None:
    for line in told.lines:
        echo(line)
