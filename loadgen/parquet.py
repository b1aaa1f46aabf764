"""Reads and writes tables as Parquet, for DuckDB, Athena and notebooks.

This is the only module that imports pyarrow, which the extra `analysis` installs. A file has one flat table of str,
int, float and bool columns, in groups of rows that can be read separately. It also has a description text, which can be
read without the table. Files are compressed with zstandard. Each page has a checksum, so damaged data raise an error
and are never returned. Regular CSV files are read, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from loadgen.extras import missing_package

__all__ = [
    "Coded",
    "Columns",
    "Rows",
    "WrongRow",
    "about",
    "read_arrays",
    "read_csv_arrays",
    "read_foreign_arrays",
    "read_table",
    "write_arrays",
    "write_table",
]

Columns = Sequence[tuple[str, type]]
"""Names and types of columns: str, int, bool or float."""
Rows = Sequence[Sequence[object]]
_ABOUT: Final = b"loadgen"

Coded = tuple[NDArray[np.int32], tuple[str, ...]]
"""A column of texts: for each row the number of its text, and the different texts."""


class WrongRow(ValueError):
    """A cell that cannot be read. row: its number, from 1."""

    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row = row


def write_table(columns: Columns, groups: Iterable[Rows], file: BinaryIO, about: str = "") -> None:
    """Write rows to a Parquet file, group by group, with the text `about` as its description. None becomes null. Empty
    groups are skipped; `file` stays open.

    Raises:
        UsageError: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    types = {str: arrow.string(), int: arrow.int64(), bool: arrow.bool_(), float: arrow.float64()}
    metadata = {_ABOUT: about.encode("utf-8", "replace")} if about else {}
    schema = arrow.schema([(name, types[of]) for name, of in columns], metadata=metadata)
    with parquet.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        for group in groups:
            if group:
                arrays = [
                    arrow.array([_text(value) for value in column], of.type)
                    for column, of in zip(zip(*group, strict=True), schema, strict=True)
                ]
                writer.write_batch(arrow.record_batch(arrays, schema=schema))


def about(data: bytes) -> str:
    """Return the description that `write_table` stored in the Parquet file `data`; "" if there is none.

    Raises:
        ValueError: not Parquet, or damaged.
        UsageError: pyarrow is not installed.
    """
    return _about(_opened(data))


def read_table(
    data: bytes, columns: Sequence[str], groups: Sequence[int] | None = None
) -> tuple[str, Mapping[str, list[Any]]]:
    """Read the Parquet file `data`, and return (its description, the values of the given columns as lists, by name).
    Null becomes nan in float columns, and None in all others.

    Args:
        groups: read only these groups of rows, by index; indices that do not exist are ignored. None: all groups.
    Raises:
        ValueError: not Parquet, a missing column, or damaged.
        UsageError: pyarrow is not installed.
    Cost: about 1 ms for 300 rows of 10 columns.
    """
    arrow, _ = _arrow()
    file = _opened(data)
    try:
        wanted = [n for n in range(file.num_row_groups) if groups is None or n in groups]
        table = file.read_row_groups(wanted, columns=list(columns), use_threads=False)
        return _about(file), {name: _values(arrow, table.column(name)) for name in columns}
    except (arrow.ArrowException, OSError) as exc:
        raise ValueError(str(exc).partition("\n")[0]) from exc
    except KeyError as exc:
        raise ValueError(f"column {exc} not found") from exc


def write_arrays(columns: Mapping[str, NDArray[Any] | Coded], file: BinaryIO, about: str = "") -> None:
    """Write columns of int64, float64 or bool arrays and of texts to a Parquet file of one group, with the text
    `about` as its description. Small files: integers are stored as differences, and there are no statistics.

    Raises:
        UsageError: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    arrays: dict[str, Any] = {}
    for name, values in columns.items():
        if isinstance(values, tuple):
            codes, texts = values
            known = arrow.array([_text(one) for one in texts], arrow.string())
            arrays[name] = arrow.DictionaryArray.from_arrays(arrow.array(codes), known).cast(arrow.string())
        else:
            arrays[name] = arrow.array(values)
    table = arrow.table(arrays)
    writer = parquet.ParquetWriter(
        file,
        table.schema,
        compression="zstd",
        write_page_checksum=True,
        write_statistics=False,
        store_schema=False,
        use_dictionary=[name for name, values in columns.items() if isinstance(values, tuple)],
        column_encoding={name: "DELTA_BINARY_PACKED" for name, one in arrays.items() if arrow.types.is_int64(one.type)},
    )
    with writer:
        writer.write_table(table)
        # Without the schema of Arrow, pyarrow also leaves out the metadata of the schema.
        writer.add_key_value_metadata({_ABOUT.decode(): about.encode("utf-8", "replace").decode()})


def read_arrays(data: bytes, columns: Mapping[str, type]) -> tuple[str, dict[str, Any]]:
    """Read the Parquet file `data`, and return (its description, the given columns: `Coded` for str, otherwise arrays
    of int64, float64 or bool).

    Raises:
        ValueError: not Parquet, a missing column, a column of another type, a null, or damaged.
        UsageError: pyarrow is not installed.
    Cost: about 1 ms for 14,400 rows of 8 columns.
    """
    arrow, _ = _arrow()
    file = _opened(data, [name for name, of in columns.items() if of is str])
    found: dict[str, Any] = {}
    try:
        if missing := [name for name in columns if name not in file.schema_arrow.names]:
            raise ValueError(f"column {missing[0]!r} not found")
        table = file.read(columns=list(columns), use_threads=False)
        for name, of in columns.items():
            column = table.column(name)
            if column.null_count:
                raise ValueError(f"column {name!r} has empty cells")
            if of is str:
                found[name] = _coded(arrow, column, name)
            else:
                kind = {int: arrow.types.is_int64, float: arrow.types.is_float64, bool: arrow.types.is_boolean}[of]
                if not kind(column.type):
                    raise ValueError(f"column {name!r} has the type {column.type}, not {of.__name__}")
                found[name] = _as_numpy(arrow, column)
    except (arrow.ArrowException, OSError) as exc:
        raise ValueError(str(exc).partition("\n")[0]) from exc
    return _about(file), found


def read_csv_arrays(data: bytes, columns: Mapping[str, type | None], zone: str | None) -> dict[str, Any]:
    """Read a regular CSV file with a header fast, and return the given columns: `Coded` for str, otherwise int64
    arrays. A column of type None has times, and becomes Unix time in s.

    Callers parse a file that this function rejects by themselves, line by line, to find the reason.

    Args:
        zone: of times without a zone of their own, such as "Europe/Berlin"; None: each has its own.
    Raises:
        ValueError: the file is irregular: an empty cell, another type, a time that is twice or never on the clock.
        UsageError: pyarrow is not installed.
    Cost: about 0.3 s for 10^6 rows.
    """
    arrow, _ = _arrow()
    import pyarrow.compute as compute
    from pyarrow import csv

    stamp = arrow.timestamp("s", tz="UTC" if zone is None else None)
    types: dict[type | None, Any] = {int: arrow.int64(), None: stamp}
    types[str] = arrow.dictionary(arrow.int32(), arrow.string())
    converted = csv.ConvertOptions(
        column_types={name: types[of] for name, of in columns.items()},
        include_columns=list(columns),
        strings_can_be_null=False,
        null_values=[],
    )
    found: dict[str, Any] = {}
    try:
        table = csv.read_csv(
            arrow.BufferReader(data), read_options=csv.ReadOptions(use_threads=False), convert_options=converted
        )
        for name, of in columns.items():
            column = table.column(name)
            if column.null_count:
                raise ValueError(f"column {name!r} has empty cells")
            if of is str:
                found[name] = _coded(arrow, column, name)
                continue
            if of is None:
                if zone is not None:
                    column = compute.assume_timezone(column, zone, ambiguous="raise", nonexistent="raise")
                column = column.cast(arrow.int64())
            found[name] = _as_numpy(arrow, column)
    except (arrow.ArrowException, OSError, KeyError) as exc:
        raise ValueError(str(exc).partition("\n")[0]) from exc
    return found


def read_foreign_arrays(
    data: bytes, columns: Mapping[str, type | None], zone: str, rows_most: int, bytes_most: int
) -> dict[str, Any]:
    """Read a Parquet file that others wrote, and return the given columns: `Coded` for str, otherwise int64 arrays.
    A column of type None has timestamps, and becomes Unix time in s.

    Args:
        zone: of timestamps without a zone, such as "Europe/Berlin"; "": they are errors.
        rows_most, bytes_most: larger files are errors. bytes_most: of the unpacked columns, by the file's own words.
    Raises:
        WrongRow: an empty cell, a number that is not whole, or a time that is not a whole second, or is twice or never
            on the clock.
        ValueError: torn, not Parquet, too large, or a column is missing, is there twice or has another type.
        UsageError: pyarrow is not installed.
    Cost: about 0.1 s for 10^6 rows.
    """
    arrow, _ = _arrow()
    file = _opened(data, [name for name, of in columns.items() if of is str])
    names = file.schema_arrow.names
    for name in columns:
        if names.count(name) != 1:
            shown = ", ".join(names[:20]) or "none"
            raise ValueError(f"column {name!r} is there {names.count(name)} times, and must be once; columns: {shown}")
    if file.metadata.num_rows > rows_most:
        raise ValueError(f"more than {rows_most:,} rows")
    groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > bytes_most:
        raise ValueError(f"more than {bytes_most >> 20} MiB, unpacked")
    try:
        table = file.read(columns=list(columns), use_threads=False)
        return {name: _foreign(arrow, table.column(name), name, of, zone) for name, of in columns.items()}
    except (arrow.ArrowException, OSError, KeyError) as exc:
        raise ValueError(str(exc).partition("\n")[0]) from exc


def _foreign(arrow: Any, column: Any, name: str, of: type | None, zone: str) -> Any:
    import pyarrow.compute as compute

    if column.null_count:
        raise WrongRow(int(np.argmax(column.is_null().to_numpy())) + 1, f"{name} is empty")
    kind = column.type
    if of is str:
        return _coded(arrow, column, name)
    if of is None:
        if not arrow.types.is_timestamp(kind):
            raise ValueError(f"column {name!r} has the type {kind}: it must be a timestamp with a zone")
        if kind.tz is None:
            if not zone:
                raise ValueError(f"column {name!r} has timestamps without a zone")
            first, last = (
                _as_numpy(
                    arrow, compute.assume_timezone(column, zone, ambiguous=which, nonexistent=which).cast(arrow.int64())
                )
                for which in ("earliest", "latest")
            )
            if (wrong := first != last).any():
                raise WrongRow(int(np.argmax(wrong)) + 1, f"{name} is twice or never on the clock in {zone}")
            values = first
        else:
            values = _as_numpy(arrow, column.cast(arrow.int64()))
        seconds, rest = np.divmod(values, {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit])
        if rest.any():
            raise WrongRow(int(np.argmax(rest != 0)) + 1, f"{name} is not a whole second")
        return seconds
    values = column.to_numpy()
    if arrow.types.is_floating(kind):
        wrong = (values != np.floor(values)) | ~(np.abs(values) < 2.0**53)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise WrongRow(
                row + 1, f"{name} is {values[row]:g}, not a whole number: good and total are counts, not ratios"
            )
    elif not arrow.types.is_integer(kind):
        raise ValueError(f"column {name!r} has the type {kind}: it must be a whole number")
    elif kind == arrow.uint64() and (values >= 1 << 63).any():
        raise WrongRow(int(np.argmax(values >= 1 << 63)) + 1, f"{name} is too large")
    return values.astype(np.int64)


def _as_numpy(arrow: Any, column: Any) -> Any:
    """Return `column` (numbers or bool, no nulls) as an array.

    Arrow's own `to_numpy` imports pandas, which takes 0.5 s of CPU, and its casts import `pyarrow.compute`: 0.1 s.
    """
    is_bool = arrow.types.is_boolean(column.type)
    chunks = column.chunks if isinstance(column, arrow.ChunkedArray) else [column]
    arrays = [_bits(chunk) if is_bool else np.from_dlpack(chunk) for chunk in chunks if len(chunk)]
    if not arrays:
        return np.zeros(0, bool if is_bool else column.type.to_pandas_dtype())
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _bits(chunk: Any) -> Any:
    """Return an Arrow array of bool, which has a bit for each value, as an array of bool."""
    data = np.frombuffer(chunk.buffers()[1], np.uint8)
    return np.unpackbits(data, count=chunk.offset + len(chunk), bitorder="little")[chunk.offset :].view(np.bool_)


def _coded(arrow: Any, column: Any, name: str) -> Coded:
    is_coded = arrow.types.is_dictionary(column.type)
    if not arrow.types.is_string(column.type.value_type if is_coded else column.type):
        raise ValueError(f"column {name!r} has the type {column.type}, not text")
    column = column if is_coded else column.dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    column = column.combine_chunks() if isinstance(column, arrow.ChunkedArray) else column
    if isinstance(column, arrow.ChunkedArray) or not len(column):
        return np.zeros(0, np.int32), ()
    return _as_numpy(arrow, column.indices).astype(np.int32), tuple(column.dictionary.to_pylist())


def _opened(data: bytes, coded: Sequence[str] = ()) -> Any:
    arrow, parquet = _arrow()
    try:
        return parquet.ParquetFile(
            arrow.BufferReader(data), page_checksum_verification=True, read_dictionary=list(coded)
        )
    except (arrow.ArrowException, OSError) as exc:
        raise ValueError(str(exc).partition("\n")[0]) from exc
    except KeyError as exc:
        raise ValueError(f"column {exc.args[0].decode('utf-8', 'replace')!r} not found") from exc


def _about(file: Any) -> str:
    found = (file.schema_arrow.metadata or {}).get(_ABOUT, b"")
    return bytes(found).decode("utf-8", "replace")


def _values(arrow: Any, column: Any) -> list[Any]:
    """Return a Parquet column as a list of Python values. Equal texts are one object, because there are few different
    ones and many rows.
    """
    if arrow.types.is_string(column.type):
        coded = column.combine_chunks().dictionary_encode()
        coded = coded.combine_chunks() if isinstance(coded, arrow.ChunkedArray) else coded
        known = coded.dictionary.to_pylist()
        return [None if i is None else known[i] for i in coded.indices.to_pylist()]
    found: list[Any] = column.to_pylist()
    return [nan if value is None else value for value in found] if arrow.types.is_floating(column.type) else found


def _text(value: object) -> object:
    """Return a text in which invalid Unicode (lone surrogates) is replaced; other values are unchanged. Otherwise
    pyarrow would reject the whole file.
    """
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as exc:
        raise missing_package("Parquet", "pyarrow", "analysis") from exc
    return pyarrow, pyarrow.parquet
