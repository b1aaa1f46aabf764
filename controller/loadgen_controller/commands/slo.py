"""`loadgen slo`: promises of production as files."""

from __future__ import annotations

import typer

from loadgen_controller.commands.slo_parts.anomaly import app as anomaly
from loadgen_controller.commands.slo_parts.check import CHECK, check
from loadgen_controller.commands.slo_parts.exclude import EXCLUDE, exclude_time
from loadgen_controller.commands.slo_parts.export import EXPORT, export
from loadgen_controller.commands.slo_parts.import_file import IMPORT, import_file
from loadgen_controller.commands.slo_parts.new import NEW, new
from loadgen_controller.commands.slo_parts.pull import PULL, pull
from loadgen_controller.commands.slo_parts.report import REPORT, report
from loadgen_controller.commands.slo_parts.status import STATUS, status

EXAMPLES = """[bold]Examples[/bold]

loadgen slo new checkout --target 99.5% --threshold 300ms --owner payments@shop.example

loadgen slo check slos/

loadgen slo import sloth.yaml -o slos/imported.yaml

loadgen slo export slos/ --to sloth

loadgen slo pull --plan

loadgen slo status

loadgen slo report"""

app = typer.Typer(
    help="Write, check, import and export the promises of production: objectives over weeks, in OpenSLO files.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
)
app.command("new", epilog=NEW)(new)
app.command("check", epilog=CHECK)(check)
app.command("import", epilog=IMPORT)(import_file)
app.command("export", epilog=EXPORT)(export)
app.command("pull", epilog=PULL)(pull)
app.command("status", epilog=STATUS)(status)
app.command("report", epilog=REPORT)(report)
app.command("exclude", epilog=EXCLUDE)(exclude_time)
app.add_typer(anomaly, name="anomaly")
