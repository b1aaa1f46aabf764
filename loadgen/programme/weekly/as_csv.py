"""Writes the table of a weekly page as CSV (RFC 4180): one row for each promise. Pure.

Each column of the page has five: its text, and value, low, high and evidence. Texts that a spreadsheet would take for a
formula get an apostrophe in front.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from loadgen.outside_text import in_cell
from loadgen.programme.weekly.page_values import Row, Shown, WeeklyPage, columns_of

__all__ = ["as_csv"]

_PLAIN = ("journey", "owner", "promise")


def as_csv(page: WeeklyPage) -> bytes:
    """Return the table as UTF-8 text with CRLF. The same page gives the same bytes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_header(columns_of(page.rows)))
    for row in page.rows:
        writer.writerow([in_cell(cell) for cell in (page.week, page.id, *_cells(row))])
    return text.getvalue().encode("utf-8", "replace")


def _header(columns: Iterable[str]) -> list[str]:
    names = ["week", "page", "journey", "slo", "owner", "team", "promise", "method", "state"]
    for name in columns:
        if name not in _PLAIN:
            names += [name, *(f"{name}_{part}" for part in ("value", "low", "high", "evidence"))]
    return names


def _cells(row: Row) -> Iterator[str]:
    yield from (row.journey, row.slo, row.owner, row.team, row.promise, row.method, row.tone)
    for _, cell in row.cells():
        yield cell.text
        yield from (_number(value) for value in _values(cell))
        yield " ".join(cell.evidence)


def _values(cell: Shown) -> tuple[float | None, float | None, float | None]:
    return cell.value, cell.low, cell.high


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
