"""Write rows as Parquet, for DuckDB, Athena and notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO, Final

from loadgen.parquet import write_table
from loadgen.report.exports.rows import SeriesRow, cells, columns
from loadgen.report.run_as_dataframes import WindowRow

__all__ = ["write_parquet"]

AT_ONCE: Final = 65_536
"""Rows per row group, which is also the number of rows in memory."""


def write_parquet(
    kind: type[SeriesRow] | type[WindowRow], rows: Iterable[SeriesRow | WindowRow], file: BinaryIO
) -> None:
    """Write all rows to `file`, which stays open, in row groups of 65,536.

    Raises:
        UsageError: pyarrow is not installed.
    """
    write_table(columns(kind), _groups(cells(rows)), file)


def _groups(found: Iterator[Sequence[object]]) -> Iterator[list[Sequence[object]]]:
    while group := list(islice(found, AT_ONCE)):
        yield group
