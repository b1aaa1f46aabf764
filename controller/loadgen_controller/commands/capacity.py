"""`loadgen capacity`: how much a target serves, how that grows, how many instances it takes, and how they scale."""

from __future__ import annotations

import typer

from loadgen_controller.commands.capacity_parts.coldstart import COLDSTART, cold_start
from loadgen_controller.commands.capacity_parts.find import FIND, find
from loadgen_controller.commands.capacity_parts.fit import FIT, fit
from loadgen_controller.commands.capacity_parts.scale import SCALE, scale_policy
from loadgen_controller.commands.capacity_parts.size import EXAMPLES as SIZE
from loadgen_controller.commands.capacity_parts.size import size
from loadgen_controller.commands.capacity_parts.stored import LIST, SHOW, list_studies, show_study
from loadgen_controller.commands.capacity_parts.utilisation import EXAMPLES as CEILINGS
from loadgen_controller.commands.capacity_parts.utilisation import ceilings

EXAMPLES = """[bold]Examples[/bold]

loadgen capacity find shop.py:peak --of 'p(99) < "300ms"' --between 50/s 400/s

loadgen capacity fit measured.csv --html capacity.html

loadgen capacity size --peak 2000/s --growth 20% --headroom 1.25 --capacity 230/s --zones 3

loadgen capacity scale --rate peak.csv --policy hpa.yaml --capacity 230/s"""

app = typer.Typer(
    help="Find the capacity of a target with its uncertainty, and plan instances and autoscaling with it.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
)
app.command("find", epilog=FIND)(find)
app.command("fit", epilog=FIT)(fit)
app.command("size", epilog=SIZE)(size)
app.command("ceilings", epilog=CEILINGS)(ceilings)
app.command("scale", epilog=SCALE)(scale_policy)
app.command("coldstart", epilog=COLDSTART)(cold_start)
app.command("list", epilog=LIST)(list_studies)
app.command("show", epilog=SHOW)(show_study)
