"""Write rows as CSV: UTF-8, a header line, commas between values (RFC 4180), an empty cell for a missing value.

A text that a spreadsheet would take for a formula gets an apostrophe before it; numbers
stay numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import BinaryIO

from loadgen.outside_text import in_cell
from loadgen.report.exports.rows import SeriesRow, cells, columns
from loadgen.report.run_as_dataframes import WindowRow

__all__ = ["write_csv"]


def write_csv(kind: type[SeriesRow] | type[WindowRow], rows: Iterable[SeriesRow | WindowRow], file: BinaryIO) -> None:
    """Write a header and all rows to `file`, which stays open."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(name for name, _ in columns(kind))
    writer.writerows([in_cell(value) if isinstance(value, str) else value for value in row] for row in cells(rows))
    text.detach()
