"""Prints a report on a terminal, or as plain text if the output is not a terminal."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table as RichTable

from loadgen.outside_text import one_line
from loadgen.report.report_parts import Report, Table
from loadgen.report.short_texts import cut_at_end, cut_in_middle
from loadgen_controller.console_output import Output, Text, verdict

__all__ = ["STYLES", "Output", "print_report", "print_table", "split_to_width"]

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
_NARROWEST: Final = 16
"""Fewest columns for names that are cut."""
_GAP: Final = "  "
"""What stands between two columns."""


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
        is_copied = line.startswith(("Run folder", "Failed requests", "    "))  # four spaces: a line of Python
        console.print(Text(line), soft_wrap=is_copied)  # not broken, so that it can be copied


def print_table(console: Console, table: Table, ids: Collection[int] = (), *, cut: int | None = None) -> None:
    """Print a table below its title. The title is printed separately, since rich breaks it at the table's width.

    ids: numbers of columns with ids that people copy; they are not shortened on a narrow terminal.
    cut: the only column that is shortened on a narrow terminal, so that each row is one line and has all figures. The
        first column has names, which lose their middle; others lose their end.
    """
    if table.title:
        console.print(Text(table.title, style="bold"))
    if cut is not None:
        table = _cut_to(table, cut, console.width)
        ids = range(len(table.columns))
    console.print(_as_rich(table, ids))


def split_to_width(table: Table, width: int, *, cut: int, least: int) -> tuple[Table, ...]:
    """Return a table as several, each at most `width` columns of the terminal wide. Each repeats the first column.

    cut: the column that `print_table` may cut, to at least `least` columns of the terminal, to avoid a split. A table
        with two columns is not split further.
    """
    widths = [
        max(cell_len(one_line(row[n])) for row in (*table.rows, table.columns)) for n in range(len(table.columns))
    ]
    if sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        widths[cut] = min(widths[cut], least)
    parts: list[list[int]] = [[]]
    for n in range(1, len(table.columns)):
        used = widths[0] + sum(widths[one] + len(_GAP) for one in (*parts[-1], n))
        if parts[-1] and used > width:
            parts.append([])
        parts[-1].append(n)
    return tuple(
        Table(
            table.title if part == parts[0] else "",
            tuple(table.columns[n] for n in (0, *part)),
            tuple(tuple(row[n] for n in (0, *part)) for row in table.rows),
            sum(n < table.words for n in (0, *part)),
            table.note if part == parts[-1] else "",
        )
        for part in parts
    )


def _cut_to(table: Table, column: int, width: int) -> Table:
    """Return the table with shorter texts in a column, so that a row fits into `width` columns of the terminal."""
    others = [n for n in range(len(table.columns)) if n != column]
    longest = (max(cell_len(one_line(row[n])) for row in (*table.rows, table.columns)) for n in others)
    room = max(_NARROWEST, width - sum(longest) - len(_GAP) * len(others))
    shorten = cut_at_end if column else cut_in_middle
    rows = tuple(
        tuple(shorten(one_line(cell), room) if n == column else cell for n, cell in enumerate(row))
        for row in table.rows
    )
    return replace(table, rows=rows)


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
            justify: JustifyMethod = "left" if n < table.words else "right"
            drawn.add_column(Text(column), justify=justify, no_wrap=True, min_width=min(longest, _WIDEST_ID))
        elif n < table.words:
            drawn.add_column(Text(column), overflow="fold" if n == 0 else "ellipsis", no_wrap=n > 0, min_width=8)
        else:
            drawn.add_column(Text(column), justify="right", no_wrap=True)
    for row in rows:
        words = [Text(cell, style=STYLES.get(cell, "")) for cell in row[: table.words]]
        drawn.add_row(*words, *map(Text, row[table.words :]))
    return drawn
