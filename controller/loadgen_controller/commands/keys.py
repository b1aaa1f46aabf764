"""`loadgen keys`: make the key files that controller and agents know each other by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.wire.keys import make_keys

NAME = "keys"
EXAMPLES = """[bold]Examples[/bold]

loadgen keys keys

loadgen keys keys --agent frankfurt --agent virginia"""


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the keys; made if need be.")],
    agent: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A key for this agent, or group of agents; repeat it.")
    ] = None,
) -> None:
    """Make the keys of a controller and its agents.

    What is there already stays as it is, so more agents can be added later. Copy controller.pub and the agent's own
    file in agents/ to each agent; controller.key stays with the controller.
    """
    made = make_keys(folder, agent or ("agent",))
    for path in made:
        typer.echo(f"made {path}")
    if not made:
        typer.echo(f"all keys are there already, in {folder}")
