"""Rows as CSV: UTF-8, a line of names, a comma between values (RFC 4180). Empty where there is no value."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import BinaryIO

from loadgen.report.exports.rows import SeriesRow, cells, columns
from loadgen.report.opened import WindowRow

__all__ = ["write_csv"]


def write_csv(kind: type[SeriesRow] | type[WindowRow], rows: Iterable[SeriesRow | WindowRow], file: BinaryIO) -> None:
    """Write the rows as they come; `file` stays open."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(name for name, _ in columns(kind))
    writer.writerows(cells(rows))
    text.detach()
