"""A report on the terminal, or as plain text where there is none."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from loadgen.report.tables import Report, Table

__all__ = ["STYLES", "Output", "clean", "print_report", "print_table"]

STYLES = {
    "passed": "green",
    "valid": "green",
    "failed": "red",
    "error": "red",
    "invalid": "red",
    "lost": "red",
    "incomplete": "yellow",
    "inconclusive": "yellow",
    "suspect": "yellow",
    "interrupted": "yellow",
    "slower": "red",
    "more errors": "red",
    "not fit": "red",
    "faster": "green",
    "fewer errors": "green",
}


PLAIN_WIDTH: Final = 120
"""Columns where there is no terminal to ask, a log for instance, and no `COLUMNS`."""


class Output(Console):
    """Stdout, or stderr, of a command.

    When its reader leaves (`loadgen run shop.py | head`), what is still to be said goes nowhere; the command goes on
    and its exit code is what it found. Rich would end the program with 1, which means "failed" here.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(highlight=False, stderr=stderr)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = PLAIN_WIDTH

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())  # what is left in its buffer is written when Python ends
        os.close(nowhere)


_CONTROLS: Final = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if n not in (9, 10)}


def clean(text: str) -> str:
    """What a target or an agent says must not steer the terminal."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def print_report(console: Console, report: Report) -> None:
    console.print(Text(report.headline, style=f"bold {STYLES.get(report.result, '')}".rstrip()))
    for line in report.lines:
        console.print(Text(line))
    for table in report.tables:
        console.print()
        print_table(console, table)
        if table.note:
            console.print(Text(table.note, style="dim"))
    console.print()
    for line in report.foot:
        console.print(Text(line), soft_wrap=line.startswith(("Run folder", "What failed")))  # copied, so not broken


def print_table(console: Console, table: Table, ids: Collection[int] = ()) -> None:
    """Its title stands apart, since a table's own title is broken at the table's width.

    ids: columns that are copied from, and so are whole however narrow the terminal is.
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
    for n, column in enumerate(table.columns):
        if n in ids:
            drawn.add_column(column, no_wrap=True, min_width=max(len(row[n]) for row in (*table.rows, table.columns)))
        elif n < table.words:
            drawn.add_column(column, overflow="fold" if n == 0 else "ellipsis", no_wrap=n > 0, min_width=8)
        else:
            drawn.add_column(column, justify="right", no_wrap=True)
    for row in table.rows:
        words = [Text(cell, style=STYLES.get(cell, "")) for cell in row[: table.words]]
        drawn.add_row(*words, *row[table.words :])
    return drawn
