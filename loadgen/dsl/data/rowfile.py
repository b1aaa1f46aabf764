"""Reads files of rows, CSV and JSON lines: checks the rows and reports all errors with file and line.

A small file stays in memory unchanged, with the position of each record; a row is created
from its bytes on use. A file larger than FULL_CHECK_BYTES is memory-mapped instead, so that
workers share its pages. Its structure is checked (rowindex.py), but types only of its first
rows and of a random sample. `unchecked` counts the other rows. An archive (.gz, .zst) is unpacked first (unpack.py).
"""

from __future__ import annotations

import csv
import mmap
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random
from re import fullmatch
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec
import numpy as np

from loadgen.dsl.data.rowindex import Records, csv_records, json_records
from loadgen.dsl.data.unpack import plain_file
from loadgen.dsl.source_location import Origin
from loadgen.errors import Fault, ScenarioError

__all__ = [
    "FULL_CHECK_BYTES",
    "MOST_FAULTS",
    "FileFaults",
    "FileTable",
    "Given",
    "Table",
    "closest",
    "read_table",
    "schema_faults",
    "unreadable",
]

Row = TypeVar("Row")
Row_co = TypeVar("Row_co", covariant=True)

MOST_FAULTS = 10
"""Maximum number of errors per file to report one by one; further ones are counted."""
FULL_CHECK_BYTES = 16 << 20
"""Larger files are mapped, and only some rows are checked: from 360,000 rows of 46 bytes on, whose check takes 0.7 s.
"""
_CHECKED = 100_000
"""Rows of a large file whose types are checked: this many at the beginning, and as many random ones."""
_BATCH = 1_000
_ROW_HINT = "correct the row, or change the type of the field in the schema"
_COLUMN_HINT = "add it to the file, or give the field a default in the schema"


class Table(Protocol[Row_co]):
    """Rows by index; each is created on use."""

    @property
    def unchecked(self) -> int:
        """Return the number of rows whose types were not checked: above 0 only for a large file."""

    @property
    def skipped(self) -> int:
        """Return the number of rows of the file that were left out."""

    def at(self, i: int) -> Row_co: ...
    def __len__(self) -> int: ...


class FileTable(Table[Row_co], Protocol[Row_co]):
    """The rows of a file."""

    def line(self, i: int) -> int:
        """Return the line number (from 1) at which row `i` starts. Slow: it counts all lines before."""


class Given(Generic[Row]):
    """Rows that already exist as objects."""

    unchecked = skipped = 0

    def __init__(self, given: Sequence[Row]) -> None:
        self.at = given.__getitem__
        self._count = len(given)

    def __len__(self) -> int:
        return self._count


class _Mapped(Generic[Row]):
    """A large, memory-mapped file with the positions of its records."""

    skipped = 0

    def __init__(self, data: mmap.mmap, records: Records, read: Callable[[bytes], Row]) -> None:
        self._data, self._read = data, read
        self._starts, self._ends = records.starts, records.ends
        self.unchecked = max(0, len(records) - 2 * _CHECKED)

    def at(self, i: int) -> Row:
        return self._read(self._data[self._starts[i] : self._ends[i]])

    def __len__(self) -> int:
        return len(self._starts)

    def sample(self) -> Iterator[int]:
        """Yield the indexes of the rows whose types are checked, ascending: the first rows and a random sample."""
        count = len(self)
        yield from range(min(count, _CHECKED))
        if count > _CHECKED:
            # A fixed seed, so that all processes check the same rows.
            some = Random(count).sample(range(_CHECKED, count), min(_CHECKED, count - _CHECKED))  # noqa: S311
            yield from sorted(some)

    def record(self, i: int) -> bytes:
        return self._data[self._starts[i] : self._ends[i]]

    def line(self, i: int) -> int:
        before = np.frombuffer(self._data, dtype=np.uint8, count=int(self._starts[i]))
        return int(np.count_nonzero(before == ord("\n"))) + 1


class _Text(Generic[Row]):
    """A small file in memory, with the positions of its records and the function that creates rows."""

    unchecked = skipped = 0

    def __init__(self, data: bytes, spans: array[int], read: Callable[[bytes], Row]) -> None:
        self._data, self._spans, self._read = data, spans, read

    def line(self, i: int) -> int:
        return self._data.count(b"\n", 0, self._spans[2 * i]) + 1

    def at(self, i: int) -> Row:
        return self._read(self._data[self._spans[2 * i] : self._spans[2 * i + 1]])

    def __len__(self) -> int:
        return len(self._spans) // 2


class FileFaults:
    """Collects the errors of one file: keeps the first ones, and counts the rest."""

    def __init__(self, path: Path) -> None:
        self._file = str(path)
        self._kept: list[Fault] = []
        self._more, self._more_line = 0, 0

    def add(self, line: int | Callable[[], int], message: str, hint: str = "") -> None:
        """Add an error. line: its number, or a slow function that finds it; called only for a line that is shown."""
        if not self.is_full:
            self._kept.append(Fault(self._file, _number(line), message, hint))
        else:
            self._more, self._more_line = self._more + 1, self._more_line or _number(line)

    @property
    def is_full(self) -> bool:
        """Return whether further errors are only counted, without their messages."""
        return len(self._kept) >= MOST_FAULTS

    def __bool__(self) -> bool:
        return bool(self._kept)

    def refuse(self) -> None:
        more = (
            [Fault(self._file, self._more_line, f"and {self._more:,} more errors", "correct the errors above first")]
            if self._more
            else []
        )
        if self._kept:
            raise ScenarioError([*self._kept, *more])


def _number(line: int | Callable[[], int]) -> int:
    return line if isinstance(line, int) else line()


def read_table(
    path: Path, schema: type[Row], kind: Literal["csv", "jsonl"], delimiter: str, origin: Origin
) -> FileTable[Row]:
    """Read a CSV or JSON lines file, check its rows against `schema`, and return them as a table.

    In a file above FULL_CHECK_BYTES, the types of only some rows are checked.

    Args:
        delimiter: the character between CSV cells; ignored for JSON lines.
        origin: the line of the scenario that names the file, for errors.

    Raises:
        ScenarioError: the file cannot be read, or has errors. The exception has the first errors one by one, with their
            lines.
    """
    faults = FileFaults(path)
    try:
        plain = plain_file(path)
        large = _large_table(plain, schema, kind, delimiter, faults)
        if large is not None:
            return large
        data = plain.read_bytes()
    except OSError as error:
        raise ScenarioError([unreadable(origin, path, error)]) from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        faults.add(1, "the file is UTF-16", "save the file as UTF-8")
    elif not data.strip():
        faults.add(0, "the file is empty", "add rows")
    elif kind == "csv":
        table: FileTable[Row] = _csv_table(schema, data, delimiter, faults)
    else:
        table = _jsonl_table(schema, data, faults)
    faults.refuse()
    if not len(table):
        faults.add(1, "the file has a header but no rows", "add rows")
    faults.refuse()
    return table


def _large_table(
    path: Path, schema: type[Row], kind: Literal["csv", "jsonl"], delimiter: str, faults: FileFaults
) -> FileTable[Row] | None:
    """Return the memory-mapped table of a large file, after a check of a sample of its rows.

    Returns None if the file is small, or its structure is not plain; `read_table` then reads it as a whole.
    """
    if path.stat().st_size <= FULL_CHECK_BYTES:
        return None
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    has_mark = mapped[:3] == b"\xef\xbb\xbf"
    if mapped[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return None
    data = np.frombuffer(mapped, dtype=np.uint8)[3 * has_mark :]
    records = csv_records(data, delimiter) if kind == "csv" else json_records(data)
    if records is None or len(records) < 2:
        return None
    if has_mark:
        records = Records(records.starts + 3, records.ends + 3)
    if kind == "csv":
        header = next(csv.reader((mapped[records.starts[0] : records.ends[0]].decode(),), delimiter=delimiter))
        names = [name.strip() for name in header]
        if not _check_header(schema, names, delimiter, 1, faults):
            faults.refuse()
        cells = _Cells(schema, names, delimiter)
        table: _Mapped[Row] = _Mapped(mapped, Records(records.starts[1:], records.ends[1:]), cells.read)
        _check_sample(table, cells, faults)
    else:
        table = _Mapped(mapped, records, msgspec.json.Decoder(schema, strict=False).decode)
        for i in table.sample():
            try:
                table.at(i)
            except Exception as error:  # noqa: BLE001  # also from the scenario's own __post_init__
                faults.add(partial(table.line, i), *_json_message(error, schema, table.record(i)))
    faults.refuse()
    return table


def _check_sample(table: _Mapped[Row], cells: _Cells[Row], faults: FileFaults) -> None:
    chosen = list(table.sample())
    for at in range(0, len(chosen), _BATCH):
        batch = chosen[at : at + _BATCH]
        records = [cells.split(table.record(i)) for i in batch]
        try:
            cells.all_rows(records)
        except Exception:  # noqa: BLE001  # now find the invalid rows one by one
            _check_batch(cells, records, [partial(table.line, i) for i in batch], faults)


class _Lines:
    """Yields the lines of a file as text; tracks the position of the next line."""

    def __init__(self, data: bytes) -> None:
        self._lines = BytesIO(data)
        self.next_byte = 0
        self.next_line = 1

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.next_byte += len(line)
            self.next_line += 1
            yield line.decode()


def _csv_table(schema: type[Row], data: bytes, delimiter: str, faults: FileFaults) -> FileTable[Row]:
    """Return the table of a CSV file, after a check of every record; errors are added to `faults`.

    Records are checked in batches, because one msgspec call for many rows is three times as fast.
    """
    spans: array[int] = array("q")
    lines = _Lines(data)
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    header: list[str] = []
    cells: _Cells[Row] | None = None
    batch: list[list[str]] = []
    batch_lines: list[int] = []
    while True:
        start_byte, line = lines.next_byte, lines.next_line
        try:
            record = next(reader, None)
        except (UnicodeDecodeError, csv.Error) as error:
            _report_unreadable(error, lines, line, faults)
            break
        if record is None:
            break
        if not record:
            continue
        if cells is None:
            header = [name.strip() for name in record]
            if not _check_header(schema, header, delimiter, line, faults):
                break
            cells = _Cells(schema, header, delimiter)
            continue
        if len(record) != len(header):
            faults.add(line, f"the row has {len(record)} cells, but the header has {len(header)}", "correct the row")
            continue
        spans.extend((start_byte, lines.next_byte))
        batch.append(record)
        batch_lines.append(line)
        if len(batch) == _BATCH:
            _check_batch(cells, batch, batch_lines, faults)
            batch, batch_lines = [], []
    if cells is None:  # no valid header, so there are no rows
        return _Text(data, spans, _Cells(schema, header, delimiter).read)
    _check_batch(cells, batch, batch_lines, faults)
    return _Text(data, spans, cells.read)


class _Cells(Generic[Row]):
    """Converts the cells of a record into a row."""

    def __init__(self, schema: type[Row], header: Sequence[str], delimiter: str) -> None:
        self._schema, self._delimiter = schema, delimiter
        columns = [c for c in _columns(schema) if c.name in header]
        self._picks = [(c.name, header.index(c.name)) for c in columns]
        self._optional = [c.name for c in columns if c.is_optional]

    def named(self, record: Sequence[str]) -> dict[str, str | None]:
        cells: dict[str, str | None] = {name: record[i] for name, i in self._picks}
        for name in self._optional:
            cells[name] = cells[name] or None
        return cells

    def row(self, record: Sequence[str]) -> Row:
        return msgspec.convert(self.named(record), self._schema, strict=False)

    def all_rows(self, records: Iterable[Sequence[str]]) -> None:
        """Raise the conversion error of the first record that cannot be converted to a row; else return nothing."""
        msgspec.convert([self.named(record) for record in records], list[self._schema], strict=False)  # type: ignore[name-defined]

    def split(self, record: bytes) -> list[str]:
        return next(csv.reader((record.decode(),), delimiter=self._delimiter))

    def read(self, record: bytes) -> Row:
        return self.row(self.split(record))


def _check_batch(
    cells: _Cells[Row], batch: list[list[str]], batch_lines: Sequence[int | Callable[[], int]], faults: FileFaults
) -> None:
    try:
        cells.all_rows(batch)
    except Exception:  # noqa: BLE001  # now find the invalid rows one by one
        for record, line in zip(batch, batch_lines, strict=True):
            try:
                cells.row(record)
            except Exception as error:  # noqa: BLE001  # as above
                faults.add(line, _csv_message(error, cells.named(record)), _ROW_HINT)


def _jsonl_table(schema: type[Row], data: bytes, faults: FileFaults) -> FileTable[Row]:
    spans: array[int] = array("q")
    read = msgspec.json.Decoder(schema, strict=False).decode
    start_byte = 0
    for number, line in enumerate(BytesIO(data), 1):
        end_byte = start_byte + len(line)
        if line.strip():
            try:
                read(line)
            except Exception as error:  # noqa: BLE001  # also from the scenario's own __post_init__
                faults.add(number, *_json_message(error, schema, line))
            spans.extend((start_byte, end_byte))
        start_byte = end_byte
    return _Text(data, spans, read)


# -- schemas --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    is_required: bool
    is_optional: bool
    """True if the type allows None, so that an empty cell becomes None."""


def _columns(schema: type[Any]) -> list[_Column]:
    info = msgspec.inspect.type_info(schema)
    assert isinstance(info, msgspec.inspect.StructType | msgspec.inspect.DataclassType)
    return [_Column(f.encode_name, f.required, _allows_none(f.type)) for f in info.fields]


def _allows_none(kind: msgspec.inspect.Type) -> bool:
    return isinstance(kind, msgspec.inspect.UnionType) and kind.includes_none


def schema_faults(schema: object, origin: Origin) -> list[Fault]:
    """Return the errors in the type of a feed's rows; [] if rows of this type can be read from a file.

    Call it while the scenario's module is importable: it makes msgspec resolve the annotations.
    """
    if not isinstance(schema, type) or not (is_dataclass(schema) or issubclass(schema, msgspec.Struct)):
        name = getattr(schema, "__name__", repr(schema))
        return [origin.fault(f"{name} is not a row type", "use a dataclass or a msgspec.Struct")]
    try:
        _columns(schema)
        msgspec.json.Decoder(schema)
    except (TypeError, NameError, ValueError) as error:
        return [origin.fault(f"{schema.__name__} cannot be read from a file: {error}", "use fields of basic types")]
    return []


def _check_header(schema: type[Any], header: Sequence[str], delimiter: str, line: int, faults: FileFaults) -> bool:
    """Add an error to `faults` for each column that is missing or occurs twice; return True if the header is valid."""
    columns = _columns(schema)
    other = _other_delimiter(header, delimiter)
    if other and any(column.is_required and column.name not in header for column in columns):
        hint = f"if the file is separated by {other!r}, write delimiter={other!r}"
        faults.add(line, f'the header has only one column for {schema.__name__}: "{header[0]}"', hint)
        return False
    is_good = True
    for column in columns:
        if column.name in header or not column.is_required:
            if header.count(column.name) > 1:
                faults.add(
                    line, f'column "{column.name}" occurs {header.count(column.name)} times', "rename one of them"
                )
                is_good = False
            continue
        is_good = False
        there = ", ".join(f'"{name}"' for name in header)
        faults.add(
            line,
            f'no column "{column.name}" for {schema.__name__}, only {there}',
            closest(column.name, header) or _COLUMN_HINT,
        )
    return is_good


def _other_delimiter(header: Sequence[str], delimiter: str) -> str:
    """Return the delimiter that the file probably uses instead of `delimiter`; "" if there is no sign of one."""
    others = (";", "\t", "|", ",")
    return next((one for one in others if one != delimiter and len(header) == 1 and one in header[0]), "")


def closest(name: str, there: Iterable[str]) -> str:
    """Return the hint 'did you mean "..."?' with the one of `there` that is most similar to `name`; "" if none is."""
    by_lower = {other.lower(): other for other in there}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f'did you mean "{by_lower[close[0]]}"?' if close else ""


# -- messages -------------------------------------------------------------------------------------


def _csv_message(error: Exception, cells: Mapping[str, object]) -> str:
    """Return the message for an invalid CSV row: 'column "age": expected int, got "abc"'.

    msgspec's text is "Expected `int`, got `str` - at `$.age`", without the cell's value.
    """
    message = str(error) or type(error).__name__
    match = fullmatch(r"(.*) - at `\$\.([^`]*)`", message)
    if not isinstance(error, msgspec.ValidationError):
        return f"{type(error).__name__}: {message}"
    if match is None:
        return message
    what, name = match[1], match[2]
    what = what[0].lower() + what[1:].replace("`", "")
    if name in cells:
        got = "nothing" if not cells[name] else f'"{cells[name]}"'
        what = f"{what.rsplit(', got ', 1)[0]}, got {got}"
    return f'column "{name}": {what}'


def _json_message(error: Exception, schema: type[Any], line: bytes) -> tuple[str, str]:
    """Return the error message and its hint ("" if none) for a JSON line that cannot be converted to `schema`."""
    if isinstance(error, msgspec.ValidationError):
        message = str(error)
        missing = fullmatch(r"Object missing required field `([^`]*)`.*", message)
        if missing is None:
            return message.replace("`", ""), _ROW_HINT
        keys = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        there = ", ".join(f'"{key}"' for key in keys)
        return f'no "{missing[1]}" for {schema.__name__}, only {there or "an empty object"}', closest(
            missing[1], keys
        ) or _COLUMN_HINT
    if isinstance(error, msgspec.DecodeError):
        return f"invalid JSON: {error}", "write one JSON object per line"
    return f"{type(error).__name__}: {error}", _ROW_HINT


def _report_unreadable(error: Exception, lines: _Lines, line: int, faults: FileFaults) -> None:
    """Add an error for a record that is not valid CSV or UTF-8 to `faults`.

    The caller then stops reading, since it is uncertain where the next record starts.
    """
    if isinstance(error, UnicodeDecodeError):
        faults.add(
            lines.next_line - 1, f"byte 0x{error.object[error.start]:02x} is not UTF-8", "save the file as UTF-8"
        )
    elif "unexpected end of data" in str(error) or "field larger" in str(error):
        faults.add(line, "a quote is opened here and not closed", "close it, or double quotes within a cell")
    elif "new-line" in str(error):
        faults.add(line, "lines end with a bare carriage return", "save the file with line feeds")
    else:
        faults.add(line, f"invalid CSV: {error}", "correct this line")


def unreadable(origin: Origin, path: Path, error: OSError) -> Fault:
    """Return the error for a file that cannot be opened, at the scenario's line that names the file, with a hint."""
    message = f"cannot read {path.name}: {error.strerror or error}"
    if path.exists():
        return origin.fault(message, f"check the permissions of {path}")
    try:
        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        there = []
    return origin.fault(message, closest(path.name, there) or f"put the file into {path.parent}, or correct the path")
