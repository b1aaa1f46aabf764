"""What the commands that speak to a run that goes on have in common: its options, and the answer on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from loadgen_controller.control import Ask, ask, going

__all__ = ["LoadOption", "RunArgument", "RunsDirOption", "ask_run"]

RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="Its id, how it begins, `last`, or its folder; else the one that goes on."),
]
LoadOption = Annotated[
    str | None, typer.Option("--load", metavar="NAME", help="Only this load of the plan; else all of them.")
]
RunsDirOption = Annotated[Path, typer.Option(metavar="DIR", help="Where the run's folder is.")]


def ask_run(
    do: Literal["pause", "resume", "scale", "skip", "stop"],
    run: str | None,
    runs_dir: Path,
    *,
    load: str | None = None,
    factor: float | None = None,
    rate: float | None = None,
    users: float | None = None,
    now: bool = False,
) -> None:
    """Ask, and print what was done.

    Raises:
        UsageError: no run goes on, several do, or what is asked makes no sense now.
        FleetError: the run is gone, or an agent of it cannot be told.
    """
    found = going(run, runs_dir)
    asked = Ask(run_id=found.run_id, do=do, load=load, factor=factor, rate=rate, users=users, now=now)
    for line in ask(found, asked).lines:
        typer.echo(line)
