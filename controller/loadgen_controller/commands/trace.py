"""`loadgen trace`: joins slow requests of a run with the target's traces, and shows in which spans their time lies."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from loadgen_controller.commands.default_command import GroupWithDefault
from loadgen_controller.commands.trace_collect import COLLECT, collect
from loadgen_controller.commands.tracing import export, show, why

NAME = "trace"
OTHERS = """[bold]Other commands[/bold]

loadgen trace show, loadgen trace collect and loadgen trace export; each has a --help"""


class _WhyByDefault(GroupWithDefault):
    default = "why"


class _Why(TyperCommand):
    """The default command. Its usage has the form that people write: `loadgen trace RUN`."""

    def get_usage(self, ctx: Any) -> str:
        """Return the usage without the name of the command."""
        return super().get_usage(ctx).replace(f"{NAME} why ", f"{NAME} ", 1)


app = typer.Typer(cls=_WhyByDefault, rich_markup_mode="rich", epilog=why.EXAMPLES)


@app.callback()
def _group() -> None:
    """Read the target's traces of a run, and show in which spans the time of its slow requests lies."""


app.command("why", cls=_Why, epilog=f"{OTHERS}\n\n{why.EXAMPLES}")(why.main)
app.command("show", epilog=show.EXAMPLES)(show.main)
app.command("export", epilog=export.EXAMPLES)(export.main)
app.command("collect", epilog=COLLECT)(collect)
