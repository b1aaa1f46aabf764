"""`loadgen compare`: what differs between releases, how sure that is, and what beside the code may be why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.units import parse_ratio
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.commands.comparing.formats import Format
from loadgen_controller.commands.history_store import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import EnvOption
from loadgen_controller.planning.options import store_of

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
            help="Each a run (its id, how it begins, `last`, or its folder), several of them with commas between,"
            " or a label, which is all runs that have it: release=1.4.",
        ),
    ],
    store: StoreOption = None,
    env: EnvOption = None,
    between: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="How much runs of the same code differ, where you know it: 3%. Beats the history."
        ),
    ] = None,
    paired: Annotated[
        bool,
        typer.Option(
            "--paired", help="The runs took turns (A B A B): the n-th of one side is set beside the n-th of the other."
        ),
    ] = False,
    curve: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Draw the difference at each quantile of this name; repeat it."),
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="As what; if not given, what FILE ends in, or terminal.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where it is written; stdout if not given.")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the run folders are.")] = Path("runs"),
) -> int:
    """Show what differs between runs or releases: by name and percentile, with intervals, regions and agents apart.

    How much runs of the same code differ is told by accepted runs. It decides nothing: it ends with 0 whether something
    is slower or not, with 3 where that cannot be known (one run beside one run, and nobody says how much runs differ),
    with 4 where a run was not fit to measure.
    """
    wrongs = CollectedErrors()
    chosen = _format(wrongs, format_, output)
    differ = wrongs.parse("--between", between, _between)
    if len(sides) < 2:
        wrongs.add(f"{sides[0]} is compared with nothing", "name a base, and what is to be compared with it")
    if paired and between is not None:
        wrongs.add("--paired and --between: pairs tell by themselves how much runs differ", "leave one of them out")
    wrongs.check_file("-o", output)
    with needing_analysis("loadgen compare"):
        from loadgen_controller.commands.comparing import comparison
    where = store_of(wrongs, store, env)
    asked = comparison.Asked(tuple(sides), where, differ, paired, tuple(curve or ()), chosen, output, runs_dir)
    return comparison.compare_sides(wrongs, asked)


def _between(text: str) -> float:
    value = parse_ratio(text)
    if not value:
        raise ValueError("runs of the same code always differ by something; write 3%")
    return value


def _format(wrongs: CollectedErrors, given: Format | None, output: Path | None) -> Format:
    if given is not None or output is None:
        return given or Format.TERMINAL
    found = BY_ENDING.get(output.suffix.lower())
    if found is None:
        known = ", ".join(f"{end} ({one})" for end, one in BY_ENDING.items())
        wrongs.add("as what? say --format", f"or name a file with -o that ends in {known}")
    return found or Format.TERMINAL
