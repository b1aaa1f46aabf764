"""`loadgen trace`: joins slow requests of a run with the target's traces, and shows in which spans their time lies."""

from __future__ import annotations

import typer

from loadgen_controller.commands.default_command import GroupWithDefault
from loadgen_controller.commands.trace_collect import COLLECT, collect
from loadgen_controller.commands.tracing import export, show, why

NAME = "trace"


class _WhyByDefault(GroupWithDefault):
    default = "why"


app = typer.Typer(cls=_WhyByDefault, rich_markup_mode="rich", epilog=why.EXAMPLES)


@app.callback()
def _group() -> None:
    """Read the target's traces of a run, and show in which spans the time of its slow requests lies."""


app.command("why", epilog=why.EXAMPLES)(why.main)
app.command("show", epilog=show.EXAMPLES)(show.main)
app.command("export", epilog=export.EXAMPLES)(export.main)
app.command("collect", epilog=COLLECT)(collect)
