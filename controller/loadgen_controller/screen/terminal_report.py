"""Prints a report on a terminal, or as plain text if the output is not a terminal."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from loadgen.outside_text import one_line
from loadgen.report.report_parts import Report, Table
from loadgen_controller.console_output import Output, Text, verdict

__all__ = ["STYLES", "Output", "print_report", "print_table"]

STYLES = {
    "passed": "green",
    "valid": "green",
    "failed": "red",
    "error": "red",
    "invalid": "red",
    "lost": "red",
    "incomplete": "yellow",
    "inconclusive": "yellow",
    "suspect": "magenta",
    "not judged": "dim",
    "interrupted": "yellow",
    "slower": "red",
    "more errors": "red",
    "not fit": "red",
    "faster": "green",
    "fewer errors": "green",
}


_WIDEST_ID: Final = 64
"""Most columns for an id: a longer one would push everything else out of the table."""


def print_report(console: Console, report: Report) -> None:
    """Print a complete report: headline, sentences, tables and foot lines."""
    console.print(verdict(report.headline, style=f"bold {STYLES.get(report.result, '')}".rstrip()))
    for line in report.lines:
        console.print(Text(line))
    for table in report.tables:
        console.print()
        print_table(console, table)
        for line in table.note.splitlines():
            console.print(Text(line, style="dim"))
    console.print()
    for line in report.foot:
        is_copied = line.startswith(("Run folder", "Failed requests"))
        console.print(Text(line), soft_wrap=is_copied)  # not broken, so that it can be copied


def print_table(console: Console, table: Table, ids: Collection[int] = ()) -> None:
    """Print a table below its title. The title is printed separately, since rich breaks it at the table's width.

    ids: numbers of columns with ids that people copy; they are not shortened on a narrow terminal.
    """
    if table.title:
        console.print(Text(table.title, style="bold"))
    console.print(_as_rich(table, ids))


def _as_rich(table: Table, ids: Collection[int]) -> RichTable:
    drawn = RichTable(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    rows = [[one_line(cell) for cell in row] for row in table.rows]
    for n, column in enumerate(map(one_line, table.columns)):
        if n in ids:
            longest = max(len(row[n]) for row in (*rows, table.columns))
            drawn.add_column(Text(column), no_wrap=True, min_width=min(longest, _WIDEST_ID))
        elif n < table.words:
            drawn.add_column(Text(column), overflow="fold" if n == 0 else "ellipsis", no_wrap=n > 0, min_width=8)
        else:
            drawn.add_column(Text(column), justify="right", no_wrap=True)
    for row in rows:
        words = [Text(cell, style=STYLES.get(cell, "")) for cell in row[: table.words]]
        drawn.add_row(*words, *map(Text, row[table.words :]))
    return drawn
