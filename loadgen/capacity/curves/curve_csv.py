"""Reads loads and throughputs from a CSV file whose header names the columns. All faults are reported with their line.

The separator is a comma, a semicolon or a tab, whichever the header has. A byte order mark, Windows line ends, empty
lines and lines that begin with # are fine.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from loadgen.capacity.curves.points import Axis, MeasuredCurve, MeasuredPoint, axis_of_name
from loadgen.errors import LoadgenError, UsageError
from loadgen.outside_text import one_line
from loadgen.units import quantity

__all__ = ["MOST_BYTES", "MOST_ROWS", "read_curve_csv"]

MOST_ROWS: Final = 10_000
MOST_BYTES: Final = 16 << 20
_MOST_FAULTS: Final = 10
_MOST_COLUMNS: Final = 1_000
_SHOWN: Final = 60
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_LOADS: Final = (
    "load", "concurrency", "users", "vus", "n", "clients", "threads", "connections", "workers", "sessions",
    "instances", "nodes", "servers", "pods", "replicas", "processors", "procs", "cpus", "cores", "machines",
    "offered", "offered per s", "rate", "arrival rate",
)  # fmt: skip
_THROUGHPUTS: Final = (
    "throughput", "x", "tps", "rps", "qps", "xput", "achieved", "achieved per s", "achieved rate", "requests per s",
    "req per s", "reqs per s", "requests s", "req s", "ops", "ops s", "ops per s", "transactions per s", "tx per s",
    "throughput per s", "tput", "x n", "speedup",
)  # fmt: skip


def read_curve_csv(
    path: Path, *, load: str | None = None, throughput: str | None = None, axis: Axis | None = None
) -> MeasuredCurve:
    """Return the points of a CSV file.

    Args:
        load, throughput: the names of the columns; None: found by their names.
        axis: what the load is; None: by the name of its column.

    Raises:
        UsageError: the file, its header or a row is invalid; an ExceptionGroup of several.
    """
    rows = _rows(path)
    line, header = next(rows, (1, []))
    if not header:
        raise UsageError(f"{path} is empty", hint="write a header and rows: load,throughput")
    load_at, throughput_at = _columns(path, header, load, throughput)
    points: list[MeasuredPoint] = []
    faults: list[LoadgenError] = []
    more = 0
    for line, cells in rows:
        found = _point(path, line, cells, header, load_at, throughput_at)
        if isinstance(found, MeasuredPoint):
            points.append(found)
        elif len(faults) < _MOST_FAULTS:
            faults.append(found)
        else:
            more += 1
        if len(points) > MOST_ROWS:
            raise UsageError(
                f"{path} has more than {MOST_ROWS:,} rows",
                hint="write one row for each measurement, not for each second",
            )
    if more:
        faults.append(
            UsageError(f"{path}: {quantity(more, 'further row')} with faults", hint="correct the rows above first")
        )
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise ExceptionGroup(f"{path} has faults", faults)
    return MeasuredCurve(
        title=path.name,
        points=tuple(points),
        load_name=_shown(header[load_at]),
        throughput_name=_shown(header[throughput_at]),
        axis=axis or axis_of_name(header[load_at]),
    )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows with their line numbers, the header first."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{path} is larger than {MOST_BYTES >> 20} MiB", hint="write one row for each measurement")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is not UTF-8 (byte {exc.start})", hint="save it as CSV in UTF-8") from None
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}", hint="name a CSV file, or a run") from None
    if "\0" in text:
        raise UsageError(f"{path} is not a CSV file: it contains zero bytes", hint="save it as CSV in UTF-8")
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    separator = max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=separator)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not cells[0].startswith("#"):
                if len(cells) > _MOST_COLUMNS:
                    raise UsageError(
                        f"{path}:{reader.line_num}: more than {_MOST_COLUMNS:,} columns", hint="keep two columns"
                    )
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as exc:
        raise UsageError(f"{path}:{reader.line_num}: invalid CSV: {exc}", hint="correct the line") from None


def _columns(path: Path, header: Sequence[str], load: str | None, throughput: str | None) -> tuple[int, int]:
    """Return the places of both columns."""
    if all(_NUMBER.fullmatch(cell) for cell in header):
        raise UsageError(
            f"{path}:1: the first line has numbers, but must be a header", hint="add a first line: load,throughput"
        )
    faults: list[LoadgenError] = []
    places: dict[str, int | None] = {}
    for option, given, known in (("--load", load, _LOADS), ("--throughput", throughput, _THROUGHPUTS)):
        try:
            places[option] = _named(path, header, option, given) if given else _guessed(path, header, option, known)
        except UsageError as exc:
            places[option] = None
            faults.append(exc)
    load_at, throughput_at = places["--load"], places["--throughput"]
    if len(header) == 2 and len(faults) == 1 and (load, throughput) == (None, None):
        # Of two columns, one is known, so the other one is the other.
        if load_at is None and throughput_at is not None:
            return 1 - throughput_at, throughput_at
        if throughput_at is None and load_at is not None:
            return load_at, 1 - load_at
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise ExceptionGroup(f"{path}: the header is not understood", faults)
    assert load_at is not None
    assert throughput_at is not None
    if load_at == throughput_at:
        raise UsageError(
            f"{path}:1: the load and the throughput are the same column, {_shown(header[load_at])}",
            hint="name two columns: --load NAME --throughput NAME",
        )
    return load_at, throughput_at


def _named(path: Path, header: Sequence[str], option: str, name: str) -> int:
    found = [n for n, cell in enumerate(header) if cell == name] or [
        n for n, cell in enumerate(header) if cell.lower() == name.lower()
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{path}:1: {len(found)} columns are named {_shown(name)}", hint="rename one of them")
    near = get_close_matches(name, header, 1)
    hint = f"did you mean {_shown(near[0])}?" if near else f"the file has {_listed(header)}"
    raise UsageError(f"{option}: {path} has no column {_shown(name)}", hint=hint)


def _guessed(path: Path, header: Sequence[str], option: str, known: Sequence[str]) -> int:
    words = [" ".join(re.findall(r"[a-z0-9]+", cell.lower().replace("/", " per "))) for cell in header]
    for name in known:
        found = [n for n, cell in enumerate(words) if cell in (name, name.replace(" s", " per s"))]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{path}:1: {len(found)} columns are named {_shown(header[found[0]])}",
                hint="rename or delete one of them",
            )
    what = "load" if option == "--load" else "throughput"
    raise UsageError(
        f"{path}:1: no column is known as the {what}: the file has {_listed(header)}", hint=f"name it: {option} NAME"
    )


def _point(
    path: Path, line: int, cells: Sequence[str], header: Sequence[str], load_at: int, throughput_at: int
) -> MeasuredPoint | UsageError:
    """Return the point of a row, or what is wrong with it."""
    if len(cells) != len(header):
        return UsageError(
            f"{path}:{line}: {quantity(len(cells), 'cell')}, but the header has {len(header)}", hint="correct the row"
        )
    values = []
    for at in (load_at, throughput_at):
        name, cell = _shown(header[at]), cells[at]
        value = float(cell) if _NUMBER.fullmatch(cell) else None
        if value is None:
            hint = "write a decimal point and no thousands separators" if "," in cell else "correct or delete the row"
            return UsageError(
                f"{path}:{line}: column {name} must be a number, got {_shown(cell) or 'nothing'}", hint=hint
            )
        if value >= 1e100:
            return UsageError(f"{path}:{line}: column {name} is too large: {_shown(cell)}", hint="correct the row")
        if not value > 0:
            return UsageError(
                f"{path}:{line}: column {name} must be above 0, got {_shown(cell)}",
                hint="delete the row if nothing was served: the law has no throughput of 0",
            )
        values.append(value)
    return MeasuredPoint(values[0], values[1], f"line {line}")


def _shown(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _listed(header: Sequence[str]) -> str:
    names = [_shown(name) or "(no name)" for name in header[:8]]
    return ", ".join(names) + (", …" if len(header) > 8 else "")
