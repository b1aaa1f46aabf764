"""`loadgen probe`: tries a probe, reads probes beside their server, and adds what they read to a run."""

from __future__ import annotations

import typer

from loadgen_controller.commands.probing.check_servers import CHECK, check
from loadgen_controller.commands.probing.join import ADD, add
from loadgen_controller.commands.probing.run_apart import RUN, run

EXAMPLES = """[bold]Examples[/bold]

loadgen probe check shopdb

loadgen probe run loadgen.toml --for 15m -o db.probes

loadgen probe add last db.probes"""

app = typer.Typer(
    help="Read the target's side: try a probe before a run, or read it beside its server.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
)
app.command("check", epilog=CHECK)(check)
app.command("run", epilog=RUN)(run)
app.command("add", epilog=ADD)(add)
