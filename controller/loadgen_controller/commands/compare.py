"""`loadgen compare`: shows what differs between runs or releases, and how certain that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.units import parse_ratio
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.comparing import Format
from loadgen_controller.commands.history_baselines import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.output_format import output_format
from loadgen_controller.commands.shared_options import EnvOption
from loadgen_controller.commands.store_option import store_of

NAME = "compare"
EXAMPLES = """[bold]Examples[/bold]

loadgen compare 20261124-170312 20261125-170500 --store history

loadgen compare 20261124-170312 20261125-170500 --between 3%

loadgen compare release=1.4 release=1.5

loadgen compare release=1.4 release=1.5 release=1.6 -o compared.html

loadgen compare 20261124-1703,20261124-1803 20261125-1703,20261125-1803 --format markdown"""

BY_ENDING: Final = {".html": Format.HTML, ".json": Format.JSON, ".md": Format.MARKDOWN, ".txt": Format.TERMINAL}


def main(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="BASE NEW [NEW ...]",
            help="Each side is a run (its id, the beginning of it, `last`, or its folder), several runs separated by"
            " commas, or a label such as release=1.4, which means all runs that have it.",
        ),
    ],
    store: StoreOption = None,
    env: EnvOption = None,
    between: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Run-to-run variation of the same code, for example 3%, if known. Used instead of the history.",
        ),
    ] = None,
    paired: Annotated[
        bool,
        typer.Option(
            "--paired",
            help="The runs alternated (A B A B): compare the n-th run of one side with the n-th of the other.",
        ),
    ] = False,
    curve: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Draw the difference at each quantile of this journey, step or request. Repeatable."
        ),
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="Output format. Default: by the ending of FILE, or terminal.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this file. Default: stdout.")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> int:
    """Show what differs between runs or releases: by name and percentile, by region and by agent, with intervals.

    The variation between runs of the same code is taken from the accepted runs of the history.

    This command decides nothing (`loadgen gate` does). The exit code is 0 whether something is slower or not. Exit
    code 3: the difference is unknown, because single runs were compared and the run-to-run variation is unknown. Exit
    code 4: a run was not valid.
    """
    errors = CollectedErrors()
    chosen = output_format(errors, format_, output, BY_ENDING, without=Format.TERMINAL)
    between_runs = errors.parse("--between", between, _between)
    if len(sides) < 2:
        errors.add(f"only one side was given: {sides[0]}", "name two or more: loadgen compare BASE NEW")
    if paired and between is not None:
        errors.add(
            "--paired and --between exclude each other: pairs show by themselves how much runs differ",
            "leave one of them out",
        )
    errors.check_file("-o", output)
    with needing_analysis("loadgen compare"):
        from loadgen_controller.commands.comparing import comparison
    where = store_of(errors, store, env)
    compare_options = comparison.CompareOptions(
        tuple(sides), where, between_runs, paired, tuple(curve or ()), chosen or Format.TERMINAL, output, runs_dir
    )
    return comparison.compare_sides(errors, compare_options)


def _between(text: str) -> float:
    value = parse_ratio(text)
    if not value:
        raise ValueError("must be above 0 %, because runs of the same code always differ a little; write 3%")
    return value
