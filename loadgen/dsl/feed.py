"""Feeds: the data rows that journeys run with.

    feed.csv("data/shoppers.csv", Shopper).unique()              no row twice in the whole fleet; at the end it stops
    feed.jsonl("data/orders.jsonl", Order).shuffle(seed=7)       each row in turn, in an order of its own, then again
    feed.rows([Item("a"), Item("b")]).random(seed=3)             any row, drawn anew each time

Which row a use gets follows from the use's number alone (in open loads its place
among the fleet's arrivals, in closed ones the user's number), so agents need not
speak to each other, and iteration 4711 gets the same row when it is run again.
The order of rows and the numbers that are drawn are our own arithmetic and not a
library's, so they stay the same from version to version.

The schema is a dataclass or a `msgspec.Struct`. The header and every row are
checked when the feed is opened: all faults with file and line. After that the
file stays in memory as it is (1,000,000 rows of 46 bytes: 62 MB) and a row is
made when it is used, in 2 to 3 µs: each user has an instance of its own, and one
who changes it does not change another's.
"""

from __future__ import annotations

import csv as _csv
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from difflib import get_close_matches
from io import BytesIO
from os import PathLike, fspath
from pathlib import Path
from re import fullmatch
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

import msgspec
import numpy as np

from loadgen.dsl.origin import Origin, here
from loadgen.errors import Fault, ScenarioError

__all__ = ["MOST_FAULTS", "Feed", "Rows", "csv", "jsonl", "open_feed", "rows"]

Row = TypeVar("Row")
Row_co = TypeVar("Row_co", covariant=True)

MOST_FAULTS = 10
"""Faults of one file that are told one by one; the rest are counted."""
_BATCH = 1_000


@dataclass(frozen=True, eq=False)
class Feed(Generic[Row]):
    """Rows and the way they are dealt out. Made by `csv`, `jsonl` or `rows`.

    By default rows come in the order of the file and start again when they run out.
    """

    origin: Origin
    path: Path | None = None
    """The file, to travel with the scenario. None: the rows stand in the scenario."""
    schema: type[Row] | None = None
    given: tuple[Row, ...] = ()
    kind: Literal["csv", "jsonl", "rows"] = "rows"
    delimiter: str = ","
    order: Literal["file", "shuffle", "random"] = "file"
    seed: int = 0
    is_unique: bool = False
    when_out: Literal["stop", "cycle"] = "cycle"
    said: tuple[Fault, ...] = ()
    _opened: list[Rows[Row]] = field(default_factory=list, init=False, repr=False)

    def unique(self, *, when_out: Literal["stop", "cycle"] = "stop") -> Feed[Row]:
        """No row twice in the whole fleet. Journeys that are given this same value share its rows.

        when_out: "stop" ends each further iteration as a fault of the scenario, and the loader says beforehand
            how many rows are missing; "cycle" starts again when all have been used.
        """
        if when_out not in ("stop", "cycle"):
            return self._faulty(f'when_out={when_out!r} is neither "stop" nor "cycle"')
        return self._with(is_unique=True, when_out=when_out)

    def cycle(self) -> Feed[Row]:
        """Start again from the first row when they run out."""
        return self._with(when_out="cycle")

    def shuffle(self, *, seed: int = 0) -> Feed[Row]:
        """Each row once, in an order that follows from `seed`, the same on every agent and in every round."""
        return self._with(order="shuffle", seed=seed)

    def random(self, *, seed: int = 0) -> Feed[Row]:
        """Any row each time: the n-th draw follows from `seed` and n. Rows repeat and never run out."""
        return self._with(order="random", seed=seed)

    def needs_rows(self, uses: int) -> int:
        """How many rows must be there for `uses` uses: as many when each may be used once, otherwise 1."""
        return max(1, uses) if self.is_unique and self.when_out == "stop" else 1

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with how it is said; the file's own faults come from `open_feed`."""
        if self.is_unique and self.order == "random":
            return (*self.said, self.origin.fault("unique() and random() exclude each other", "unique().shuffle()"))
        return self.said

    def _with(self, **changes: Any) -> Feed[Row]:
        seed = changes.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool):
            return self._faulty(f"seed={seed!r} is no whole number")
        return replace(self, **changes)

    def _faulty(self, message: str) -> Feed[Row]:
        return replace(self, said=(*self.said, here().fault(message)))


class Rows(Generic[Row]):
    """The rows of an opened feed.

    `row` is HOT, once an iteration.
    """

    __slots__ = ("_at", "_count", "_order", "_seed", "_stops")

    def __init__(self, feed: Feed[Row], table: _Table[Row]) -> None:
        self._at = table.at
        self._count = len(table)
        self._stops = feed.when_out == "stop"
        self._order = _permutation(self._count, feed.seed) if feed.order == "shuffle" else None
        self._seed = feed.seed if feed.order == "random" else None

    def __len__(self) -> int:
        return self._count

    def row(self, n: int) -> Row | None:
        """The row of the n-th use, from 0; None when the rows ran out."""
        count = self._count
        if self._seed is not None:
            return self._at(_mixed(self._seed, n) * count >> 64)
        if n >= count:
            if self._stops:
                return None
            n %= count
        return self._at(n if self._order is None else int(self._order[n]))


def csv(path: str | PathLike[str], schema: type[Row], *, delimiter: str = ",") -> Feed[Row]:
    """The rows of a CSV file (UTF-8, with a header), beside the file that says so.

    Columns are found by the names of the schema's fields; others are ignored. Cells become the fields' types
    ("12" an int, "true" a bool, "2026-01-31" a date); an empty one of an optional field is None.
    """
    origin = here()
    said = [*_path_faults(path, origin), *_schema_faults(schema, origin)]
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"':
        said.append(origin.fault(f"delimiter={delimiter!r} is not one character"))
    return Feed(origin, _beside(origin, path), schema, (), "csv", delimiter, said=tuple(said))


def jsonl(path: str | PathLike[str], schema: type[Row]) -> Feed[Row]:
    """The rows of a file with one JSON object a line, beside the file that says so. Unknown keys are ignored."""
    origin = here()
    said = (*_path_faults(path, origin), *_schema_faults(schema, origin))
    return Feed(origin, _beside(origin, path), schema, (), "jsonl", said=said)


def rows(given: Iterable[Row]) -> Feed[Row]:
    """Rows that stand in the scenario. They are not copied: what a journey changes in one, others see."""
    origin = here()
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        return Feed(origin, said=(origin.fault(f"rows of a {type(given).__name__}", "feed.rows([Item(...), ...])"),))
    kept = tuple(given)
    return Feed(origin, given=kept, said=() if kept else (origin.fault("a feed without rows"),))


def open_feed(feed: Feed[Row]) -> Rows[Row]:
    """Read and check all rows. The second time it costs nothing.

    Raises:
        ScenarioError: with the feed's own faults, or the file's.
    Cost: 1.8 s of CPU for 1,000,000 CSV rows of three columns.
    """
    if feed.faults:
        raise ScenarioError(feed.faults)
    if not feed._opened:
        feed._opened.append(Rows(feed, _table(feed)))
    return feed._opened[0]


# -- tables: rows by their place ------------------------------------------------------------------


class _Table(Protocol[Row_co]):
    def at(self, i: int) -> Row_co: ...
    def __len__(self) -> int: ...


class _Given(Generic[Row]):
    def __init__(self, given: Sequence[Row]) -> None:
        self.at = given.__getitem__
        self._count = len(given)

    def __len__(self) -> int:
        return self._count


class _Text(Generic[Row]):
    """A file's bytes, where its records are in them, and how one becomes a row."""

    def __init__(self, data: bytes, spans: array[int], read: Callable[[bytes], Row]) -> None:
        self._data, self._spans, self._read = data, spans, read

    def at(self, i: int) -> Row:
        return self._read(self._data[self._spans[2 * i] : self._spans[2 * i + 1]])

    def __len__(self) -> int:
        return len(self._spans) // 2


class _Faults:
    """The first faults of a file one by one, and how many more there are."""

    def __init__(self, path: Path) -> None:
        self._file = str(path)
        self._kept: list[Fault] = []
        self._more, self._more_line = 0, 0

    def add(self, line: int, message: str, hint: str = "") -> None:
        if len(self._kept) < MOST_FAULTS:
            self._kept.append(Fault(self._file, line, message, hint))
        else:
            self._more, self._more_line = self._more + 1, self._more_line or line

    def refuse(self) -> None:
        more = [Fault(self._file, self._more_line, f"and {self._more:,} more")] if self._more else []
        if self._kept:
            raise ScenarioError([*self._kept, *more])


def _table(feed: Feed[Row]) -> _Table[Row]:
    if feed.path is None or feed.schema is None:
        return _Given(feed.given)
    faults = _Faults(feed.path)
    try:
        data = feed.path.read_bytes()
    except OSError as error:
        raise ScenarioError([_unreadable(feed.origin, feed.path, error)]) from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        faults.add(1, "the file is UTF-16", "save it as UTF-8")
    elif not data.strip():
        faults.add(0, "the file is empty")
    elif feed.kind == "csv":
        table: _Table[Row] = _csv_table(feed.schema, data, feed.delimiter, faults)
    else:
        table = _jsonl_table(feed.schema, data, faults)
    faults.refuse()
    if not len(table):
        faults.add(1, "a header and no rows")
    faults.refuse()
    return table


class _Lines:
    """The lines of a file as text, and where the next one begins."""

    def __init__(self, data: bytes) -> None:
        self._lines = BytesIO(data)
        self.next_byte = 0
        self.next_line = 1

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.next_byte += len(line)
            self.next_line += 1
            yield line.decode()


def _csv_table(schema: type[Row], data: bytes, delimiter: str, faults: _Faults) -> _Table[Row]:
    """Check all records, in batches since one call of msgspec for many rows is three times as fast."""
    spans: array[int] = array("q")
    lines = _Lines(data)
    reader = _csv.reader(lines, strict=True, delimiter=delimiter)
    header: list[str] = []
    cells: _Cells[Row] | None = None
    batch: list[list[str]] = []
    batch_lines: list[int] = []
    while True:
        start_byte, line = lines.next_byte, lines.next_line
        try:
            record = next(reader, None)
        except (UnicodeDecodeError, _csv.Error) as error:
            _tell_unreadable(error, lines, line, faults)
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
            faults.add(line, f"{len(record)} cells where the header has {len(header)}")
            continue
        spans.extend((start_byte, lines.next_byte))
        batch.append(record)
        batch_lines.append(line)
        if len(batch) == _BATCH:
            _check_batch(cells, batch, batch_lines, faults)
            batch, batch_lines = [], []
    if cells is None:
        return _Given(())
    _check_batch(cells, batch, batch_lines, faults)
    return _Text(data, spans, cells.read)


class _Cells(Generic[Row]):
    """How the cells of a record become a row."""

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
        """Raise unless all of them become rows."""
        msgspec.convert([self.named(record) for record in records], list[self._schema], strict=False)  # type: ignore[name-defined]

    def read(self, record: bytes) -> Row:
        return self.row(next(_csv.reader((record.decode(),), delimiter=self._delimiter)))


def _check_batch(cells: _Cells[Row], batch: list[list[str]], batch_lines: list[int], faults: _Faults) -> None:
    try:
        cells.all_rows(batch)
    except Exception:  # noqa: BLE001  # which row it was, and what the scenario's own __post_init__ said, comes now
        for record, line in zip(batch, batch_lines, strict=True):
            try:
                cells.row(record)
            except Exception as error:  # noqa: BLE001  # as above
                faults.add(line, _told(error, cells.named(record)))


def _jsonl_table(schema: type[Row], data: bytes, faults: _Faults) -> _Table[Row]:
    spans: array[int] = array("q")
    read = msgspec.json.Decoder(schema, strict=False).decode
    start_byte = 0
    for number, line in enumerate(BytesIO(data), 1):
        end_byte = start_byte + len(line)
        if line.strip():
            try:
                read(line)
            except Exception as error:  # noqa: BLE001  # also of the scenario's own __post_init__
                faults.add(number, *_told_json(error, schema, line))
            spans.extend((start_byte, end_byte))
        start_byte = end_byte
    return _Text(data, spans, read)


# -- schemas --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    is_required: bool
    is_optional: bool
    """None is one of its types."""


def _columns(schema: type[Any]) -> list[_Column]:
    info = msgspec.inspect.type_info(schema)
    assert isinstance(info, msgspec.inspect.StructType | msgspec.inspect.DataclassType)
    return [_Column(f.encode_name, f.required, _allows_none(f.type)) for f in info.fields]


def _allows_none(kind: msgspec.inspect.Type) -> bool:
    return isinstance(kind, msgspec.inspect.UnionType) and kind.includes_none


def _schema_faults(schema: object, origin: Origin) -> list[Fault]:
    """Also makes msgspec resolve the annotations now, while the scenario's module can be looked up."""
    if not isinstance(schema, type) or not (is_dataclass(schema) or issubclass(schema, msgspec.Struct)):
        name = getattr(schema, "__name__", repr(schema))
        return [origin.fault(f"{name} is no schema of rows", "a dataclass, or a msgspec.Struct")]
    try:
        _columns(schema)
        msgspec.json.Decoder(schema)
    except (TypeError, NameError, ValueError) as error:
        return [origin.fault(f"{schema.__name__} cannot be read from a file: {error}")]
    return []


def _check_header(schema: type[Any], header: Sequence[str], delimiter: str, line: int, faults: _Faults) -> bool:
    """Tell each column that is missing or there twice."""
    columns = _columns(schema)
    is_good = True
    for column in columns:
        if column.name in header or not column.is_required:
            if header.count(column.name) > 1:
                faults.add(line, f'column "{column.name}" is there {header.count(column.name)} times')
                is_good = False
            continue
        is_good = False
        there = ", ".join(f'"{name}"' for name in header)
        faults.add(
            line, f'no column "{column.name}" for {schema.__name__}: {there}', _hint(column.name, header, delimiter)
        )
    return is_good


def _hint(name: str, header: Sequence[str], delimiter: str) -> str:
    for other in (";", "\t", "|", ","):
        if other != delimiter and len(header) == 1 and other in header[0]:
            return f"is the file separated by {other!r}? Then say delimiter={other!r}"
    return _closest(name, header)


def _closest(name: str, there: Iterable[str]) -> str:
    by_lower = {other.lower(): other for other in there}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f'did you mean "{by_lower[close[0]]}"?' if close else ""


# -- telling --------------------------------------------------------------------------------------


def _told(error: Exception, cells: Mapping[str, object]) -> str:
    """'column "age": expected int, got "abc"', from "Expected `int`, got `str` - at `$.age`"."""
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


def _told_json(error: Exception, schema: type[Any], line: bytes) -> tuple[str, str]:
    """The message and a hint."""
    if isinstance(error, msgspec.ValidationError):
        message = str(error)
        missing = fullmatch(r"Object missing required field `([^`]*)`.*", message)
        if missing is None:
            return message.replace("`", ""), ""
        keys = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        there = ", ".join(f'"{key}"' for key in keys)
        return f'no "{missing[1]}" for {schema.__name__}: {there or "no keys"}', _closest(missing[1], keys)
    if isinstance(error, msgspec.DecodeError):
        return f"no JSON: {error}", ""
    return f"{type(error).__name__}: {error}", ""


def _tell_unreadable(error: Exception, lines: _Lines, line: int, faults: _Faults) -> None:
    """A record that is no CSV or no UTF-8; what follows it cannot be trusted and is not read."""
    if isinstance(error, UnicodeDecodeError):
        faults.add(
            lines.next_line - 1, f"byte 0x{error.object[error.start]:02x} is not UTF-8", "save the file as UTF-8"
        )
    elif "unexpected end of data" in str(error) or "field larger" in str(error):
        faults.add(line, "a quote is opened here and not closed")
    elif "new-line" in str(error):
        faults.add(line, "lines end with a bare carriage return", "save the file with line feeds")
    else:
        faults.add(line, f"no CSV: {error}")


def _unreadable(origin: Origin, path: Path, error: OSError) -> Fault:
    message = f"cannot read {path.name}: {error.strerror or error}"
    try:
        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        there = []
    return origin.fault(message, _closest(path.name, there) or f"it is looked for in {path.parent}")


def _path_faults(path: object, origin: Origin) -> list[Fault]:
    if not isinstance(path, str | PathLike) or not fspath(path):
        return [origin.fault(f"{path!r} is no path of a file")]
    return []


def _beside(origin: Origin, path: object) -> Path | None:
    """The path seen from the file that names it: so it is found wherever the scenario is unpacked."""
    if not isinstance(path, str | PathLike):
        return None
    return Path(origin.file).parent / cast("str", fspath(path))


# -- chance ---------------------------------------------------------------------------------------

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _mixed(seed: int, n: int) -> int:
    """64 random bits of (seed, n): the n-th output of SplitMix64 (Steele, Lea and Flood 2014)."""
    z = (seed + (n + 1) * _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _permutation(count: int, seed: int) -> np.ndarray:
    """(count,) int64, each of 0 to count - 1 once: sorted by SplitMix64 of (seed, i)."""
    z = np.uint64(seed & _MASK) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(z ^ (z >> np.uint64(31)), kind="stable")
