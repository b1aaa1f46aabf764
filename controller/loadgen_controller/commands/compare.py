"""`loadgen compare`: what differs between releases, how sure that is, and what beside the code may be why."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.errors import ExitCode
from loadgen.history.comparing import NEWEST, compare
from loadgen.history.comparison import Comparison, Outcome, Row
from loadgen.history.comparison_document import encode, outcome_of
from loadgen.history.comparison_page import page
from loadgen.history.comparison_words import report_of
from loadgen.history.quantile_plot import text_plot
from loadgen.history.quantiles import Curve, Quantiles, curve_of, known_of, quantiles_of
from loadgen.history.record import Accepted
from loadgen.history.store import Store
from loadgen.measure.batches import Batches
from loadgen.report.exports.markdown import report_lines
from loadgen.units import parse_ratio
from loadgen_controller.planning.options import Wrongs
from loadgen_controller.screen.printed import Output, clean, print_report
from loadgen_controller.screen.written import opened
from loadgen_controller.shelf.sides import Counted, sides_of

NAME = "compare"
EXAMPLES = """[bold]Examples[/bold]

loadgen compare 20261124-170312 20261125-170500 --store history

loadgen compare 20261124-170312 20261125-170500 --between 3%

loadgen compare release=1.4 release=1.5

loadgen compare release=1.4 release=1.5 release=1.6 -o compared.html

loadgen compare 20261124-1703,20261124-1803 20261125-1703,20261125-1803 --format markdown"""

EXITS: Final = {
    Outcome.COMPARED: ExitCode.PASSED,
    Outcome.INCONCLUSIVE: ExitCode.INCOMPLETE,
    Outcome.INVALID: ExitCode.INVALID,
}
MOST_CURVES: Final = 8
"""On a page, where none are named; on a terminal it is one."""


class Format(StrEnum):
    TERMINAL = "terminal"
    HTML = "html"
    JSON = "json"
    MARKDOWN = "markdown"


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
    store: Annotated[
        str,
        typer.Option(
            envvar="LOADGEN_STORE",
            metavar="DIR|s3://...",
            help="Where accepted runs are kept: they tell how much runs of the same code differ.",
        ),
    ] = "history",
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

    It decides nothing: it ends with 0 whether something is slower or not, with 3 where that cannot be known (one run
    beside one run, and nobody says how much runs differ), with 4 where a run was not fit to measure.
    """
    wrongs = Wrongs()
    chosen = _format(wrongs, format_, output)
    differ = wrongs.parse("--between", between, _between)
    if len(sides) < 2:
        wrongs.add(f"{sides[0]} is compared with nothing", "name a base, and what is to be compared with it")
    if paired and between is not None:
        wrongs.add("--paired and --between: pairs tell by themselves how much runs differ", "leave one of them out")
    if output is not None and not output.parent.is_dir():
        wrongs.add(f"-o: there is no folder {output.parent}")
    shelf = wrongs.catch(lambda: Store.open(store))
    if shelf is None:
        wrongs.check()
        return ExitCode.USAGE
    base, *others = sides_of(wrongs, sides, runs_dir, shelf)
    history = [] if differ is not None or paired else _history(shelf, [base, *others])
    comparisons = [
        compare(base.side, new.side, history=history, between_runs=differ, is_paired=paired) for new in others
    ]
    blind = any(row.shift is not None and not row.shift.is_known for one in comparisons for row in one.whole)
    _note([*shelf.troubles, *([shelf.why_none(base.side.runs[0].key)] if blind and differ is None else [])])
    most = 1 if chosen is Format.TERMINAL else 0 if chosen is Format.MARKDOWN else MOST_CURVES
    curves = [
        _curves(one, base.batches, new.batches, _names(wrongs, one, curve, most), paired)
        for one, new in zip(comparisons, others, strict=True)
    ]
    wrongs.check()
    exit_code = EXITS[outcome_of(comparisons)]
    _write(comparisons, curves, chosen, output, exit_code)
    return exit_code


def _history(store: Store, sides: Sequence[Counted]) -> list[Accepted]:
    """Accepted runs that the base can be compared with; some of them may be those that are compared."""
    newest = NEWEST + sum(len(one.side.runs) for one in sides)
    return store.runs(sides[0].side.runs[0].key, newest=newest, is_whole=True)


def _note(lines: Sequence[str]) -> None:
    for line in filter(None, lines):
        typer.echo(f"note: {line}", err=True)


def _between(text: str) -> float:
    value = parse_ratio(text)
    if not value:
        raise ValueError("runs of the same code always differ by something; write 3%")
    return value


# -- what is shown --------------------------------------------------------------------------------


def _format(wrongs: Wrongs, given: Format | None, output: Path | None) -> Format:
    if given is not None or output is None:
        return given or Format.TERMINAL
    found = BY_ENDING.get(output.suffix.lower())
    if found is None:
        known = ", ".join(f"{end} ({one})" for end, one in BY_ENDING.items())
        wrongs.add("as what? say --format", f"or name a file with -o that ends in {known}")
    return found or Format.TERMINAL


def _names(wrongs: Wrongs, comparison: Comparison, asked: Sequence[str] | None, most: int) -> list[str]:
    """Of which curves are drawn: those that are asked for; else those that differ most, and journeys."""
    rows = [row for row in comparison.whole if row.percentile == "p95"]
    names = [row.name for row in rows]
    if asked:
        if unknown := [name for name in asked if name not in names]:
            wrongs.add(f"--curve: no name {', '.join(unknown)} on both sides", f"there are {', '.join(names[:8])}")
        return [name for name in asked if name in names]
    return [row.name for row in sorted(rows, key=_weight)[:most]]


def _weight(row: Row) -> tuple[bool, bool, float]:
    change = abs(row.shift.change) if row.shift is not None else 0.0
    return not row.is_clear, row.kind != "journey", -change


def _curves(
    comparison: Comparison, base: Sequence[Batches], new: Sequence[Batches], names: Sequence[str], is_paired: bool
) -> list[Curve]:
    if not names or not base or not new:
        return []
    sides = [[quantiles_of(run, names) for run in side] for side in (base, new)]

    def of(name: str, side: Sequence[dict[str, Quantiles]]) -> list[Quantiles]:
        return [run[name] for run in side if name in run]

    return [curve_of(n, of(n, sides[0]), of(n, sides[1]), known_of(comparison, n), is_paired=is_paired) for n in names]


def _write(
    comparisons: Sequence[Comparison],
    curves: Sequence[Sequence[Curve]],
    chosen: Format,
    output: Path | None,
    exit_code: ExitCode,
) -> None:
    if chosen is Format.TERMINAL and output is None:
        _print(Output(), comparisons, curves)
        return
    if chosen is Format.HTML:
        data = page(comparisons, curves)
    elif chosen is Format.JSON:
        data = encode(comparisons, curves, exit_code)
    elif chosen is Format.MARKDOWN:
        text = "\n\n".join("\n".join(report_lines(report_of(one))) for one in comparisons)
        data = f"{text}\n".encode("utf-8", "replace")
    else:
        console = Output()
        with console.capture() as captured:
            _print(console, comparisons, curves)
        data = captured.get().encode("utf-8", "replace")
    with opened(output) as file:
        file.write(data)
    if output is not None and str(output) != "-":
        typer.echo(f"wrote {output}", err=True)


def _print(console: Output, comparisons: Sequence[Comparison], curves: Sequence[Sequence[Curve]]) -> None:
    for comparison, drawn in zip(comparisons, curves, strict=True):
        print_report(console, report_of(comparison))
        for curve in drawn:
            console.print(f"Difference at each quantile of {clean(curve.name)}", style="bold", markup=False)
            console.print(curve.band, style="dim", markup=False)
            for line in text_plot(curve):
                console.print(line, markup=False, soft_wrap=True)
            console.print()
