"""Compares the sides of `loadgen compare` after its options are read, and writes the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen.errors import ExitCode
from loadgen.history.compare.compare import NEWEST, compare
from loadgen.history.compare.comparison import Comparison, Outcome, Row
from loadgen.history.compare.json_document import encode, outcome_of
from loadgen.history.compare.page import page
from loadgen.history.compare.quantile_plot import text_plot
from loadgen.history.compare.quantiles import Curve, Quantiles, curve_of, known_of, quantiles_of
from loadgen.history.compare.text import report_of
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Accepted
from loadgen.measure.statistics.batch_means import Batches
from loadgen.report.exports.markdown import report_lines
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.comparing import Format
from loadgen_controller.console_output import echo
from loadgen_controller.past_runs.comparison_sides import Counted, sides_of
from loadgen_controller.screen.output_file import opened
from loadgen_controller.screen.terminal_report import Output, print_report

__all__ = ["CompareOptions", "compare_sides"]

EXITS: Final = {
    Outcome.COMPARED: ExitCode.PASSED,
    Outcome.INCONCLUSIVE: ExitCode.INCOMPLETE,
    Outcome.INVALID: ExitCode.INVALID,
}
MOST_CURVES: Final = 8
"""Curves drawn in html and JSON if --curve names none; on a terminal it is one."""


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """The options of `loadgen compare`, parsed."""

    sides: tuple[str, ...]
    store: str
    between: float | None
    """The run-to-run variation of the same code: 0.03 is 3 %. None: it is estimated from the history."""
    is_paired: bool
    curves: tuple[str, ...]
    chosen: Format
    output: Path | None
    runs_dir: Path


def compare_sides(errors: CollectedErrors, options: CompareOptions) -> int:
    """Compare the first side with each of the others, write the result, and return the exit code.

    errors: errors found in the options so far; they are raised together with those found here.
    """
    store = errors.catch(lambda: Store.open(options.store))
    if store is None:
        errors.check()
    assert store is not None
    base, *others = sides_of(errors, options.sides, options.runs_dir, store)
    is_given = options.between is not None
    history = [] if is_given or options.is_paired else _history(store, [base, *others])
    comparisons = [
        compare(base.side, new.side, history=history, between_runs=options.between, is_paired=options.is_paired)
        for new in others
    ]
    blind = any(row.shift is not None and not row.shift.is_known for one in comparisons for row in one.whole)
    _note([*store.unreadable, *([store.why_none(base.side.runs[0].key)] if blind and not is_given else [])])
    most = {Format.TERMINAL: 1, Format.MARKDOWN: 0}.get(options.chosen, MOST_CURVES)
    curves = [
        _curves(one, base.batches, new.batches, _names(errors, one, options.curves, most), options.is_paired)
        for one, new in zip(comparisons, others, strict=True)
    ]
    errors.check()
    exit_code = EXITS[outcome_of(comparisons)]
    _write(comparisons, curves, options.chosen, options.output, exit_code)
    return exit_code


def _history(store: Store, sides: Sequence[Counted]) -> list[Accepted]:
    """Return the newest accepted runs of the same plan, target and placement as the first side.

    The compared runs may be among them.
    """
    newest = NEWEST + sum(len(one.side.runs) for one in sides)
    return store.runs(sides[0].side.runs[0].key, newest=newest, is_whole=True)


def _note(lines: Sequence[str]) -> None:
    for line in filter(None, lines):
        echo(f"note: {line}", err=True)


# -- output --------------------------------------------------------------------------------


def _names(errors: CollectedErrors, comparison: Comparison, curves: Sequence[str], most: int) -> list[str]:
    """Return the names whose curves are drawn.

    They are those of --curve, or up to `most` names with the clearest and largest differences.

    Names that are not on both sides are added to `errors`.
    """
    rows = [row for row in comparison.whole if row.percentile == "p95"]
    names = [row.name for row in rows]
    if curves:
        if unknown := [name for name in curves if name not in names]:
            errors.add(f"--curve: {', '.join(unknown)}: not found on both sides", f"use one of {', '.join(names[:8])}")
        return [name for name in curves if name in names]
    return [row.name for row in sorted(rows, key=_by_importance)[:most]]


def _by_importance(row: Row) -> tuple[bool, bool, float]:
    """Return a sort key that puts clear differences first, then journeys, then large changes."""
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
        echo(f"wrote {output}", err=True)


def _print(console: Output, comparisons: Sequence[Comparison], curves: Sequence[Sequence[Curve]]) -> None:
    for comparison, drawn in zip(comparisons, curves, strict=True):
        print_report(console, report_of(comparison))
        for curve in drawn:
            console.print(f"Difference at each quantile of {curve.name}", style="bold")
            console.print(curve.band, style="dim")
            for line in text_plot(curve):
                console.print(line, soft_wrap=True)
            console.print()
