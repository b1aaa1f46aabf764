"""The table of fidelity: how far a model or a test is from the log, and how far chance alone would be."""

from __future__ import annotations

from loadgen.report.report_parts import Table
from loadgen.traffic.fidelity.verdict import PROPERTIES, Row, Verdict, result_of
from loadgen.units import format_count
from loadgen_controller.console_output import echo, echo_wrapped
from loadgen_controller.screen.terminal_report import Output, print_table

__all__ = ["fidelity_table", "print_verdict"]


def fidelity_table(verdict: Verdict, *, brief: bool = False) -> Table:
    """Return the table of all properties, or of those that failed. The column `halves` compares the halves of the log's
    time.
    """
    has_halves = any(row.halves is not None for row in verdict.rows)
    columns = ("property", "distance", "by chance", "limit", *(("halves",) if has_halves else ()), "", "result")
    rows = []
    for row in verdict.rows:
        if brief and row.property not in verdict.failed:
            continue
        halves = (_number(row.halves),) if has_halves else ()
        result = "not measurable" if row.distance is None else result_of(row)
        numbers = (_number(row.distance), _number(row.floor), _number(row.limit))
        rows.append((row.property, *numbers, *halves, PROPERTIES[row.property].unit, result))
    return Table("", columns, tuple(rows))


def print_verdict(verdict: Verdict, *, brief: bool = False) -> None:
    """Print the table, the figures behind rows that failed, the reasons, and the verdict.

    brief: only what did not pass.
    """
    if verdict.failed or not brief:
        print_table(Output(), fidelity_table(verdict, brief=brief))
    texts = [text for row in verdict.rows for text in _parts(row)]
    for text in (*texts, *verdict.reasons):
        echo_wrapped(text)
    passed = sum(row.passed for row in verdict.rows)
    echo(f"fidelity: {verdict.word}; {passed} of {len(verdict.rows)} properties passed")


def _parts(row: Row) -> list[str]:
    if row.passed or row.distance is None:
        return []
    return [
        f"{row.property}: {name}: {_figure(one)}, in the log {_figure(log)}" for name, (one, log) in row.parts.items()
    ]


def _figure(value: float) -> str:
    return format_count(round(value)) if value >= 1_000 else f"{value:.3g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if value < 10 else f"{value:.1f}"
