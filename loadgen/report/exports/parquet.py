"""Rows as Parquet, for DuckDB, Athena and notebooks. The only importer of pyarrow, which is in the extra `analysis`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, BinaryIO, Final

from loadgen.errors import UsageError
from loadgen.report.exports.rows import SeriesRow, cells, columns
from loadgen.report.opened import WindowRow

__all__ = ["write_parquet"]

AT_ONCE: Final = 65_536
"""Rows of a group: so many are held."""


def write_parquet(
    kind: type[SeriesRow] | type[WindowRow], rows: Iterable[SeriesRow | WindowRow], file: BinaryIO
) -> None:
    """Write the rows in groups, compressed with zstandard; `file` stays open.

    Raises:
        UsageError: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    types = {str: arrow.string(), int: arrow.int64(), bool: arrow.bool_(), float: arrow.float64()}
    schema = arrow.schema([(name, types[of]) for name, of in columns(kind)])
    found = cells(rows)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(found, AT_ONCE)):
            arrays = [
                arrow.array([_text(value) for value in column], of.type)
                for column, of in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_batch(arrow.record_batch(arrays, schema=schema))


def _text(value: object) -> object:
    """What is no Unicode in a name would refuse the whole file."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as exc:
        raise UsageError("Parquet needs pyarrow, which is not installed", hint="pip install loadgen[analysis]") from exc
    return pyarrow, pyarrow.parquet
