"""Reads samples from CSV: a column `rate`, optionally `at_s`, and a column for each resource, in the order of time.

    at_s,rate,cpu %,connections %
    0,100,21.5,33
    1,101,21.9,34

A column whose name ends with ` %` is in percent. Empty cells are missing samples.
"""

from __future__ import annotations

import csv
import io
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.capacity.ceilings.samples import Samples
from loadgen.errors import Fault, ScenarioError
from loadgen.outside_text import one_line, plain_float

__all__ = ["MOST_BYTES", "read_samples"]

MOST_BYTES: Final = 64 << 20
_MOST_ROWS: Final = 1_000_000
_MOST_COLUMNS: Final = 50
_MOST_FAULTS: Final = 20
_TIMES: Final = ("at_s", "time", "t")
_RATES: Final = ("rate", "load", "throughput")
_HINT: Final = "write a header such as at_s,rate,cpu %"


def read_samples(text: str, name: str) -> list[Samples]:
    """Return the samples of each resource in a CSV text.

    name: how errors name the file.

    Raises:
        ScenarioError: with the first 20 errors, each with its line.
    """
    faults: list[Fault] = []
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    rows: list[list[float]] = []
    lines: list[int] = []
    header: list[str] = []
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(header, name, faults)
        for cells in reader:
            if faults and (len(faults) >= _MOST_FAULTS or (not rows and faults[0].line == 1)):
                break
            if not any(cell.strip() for cell in cells):
                continue
            if len(rows) >= _MOST_ROWS:
                faults.append(Fault(name, reader.line_num, f"more than {_MOST_ROWS:,} rows", "leave out some"))
                break
            if len(cells) != len(header):
                message = f"{len(cells)} cells, but the header has {len(header)}"
                faults.append(Fault(name, reader.line_num, message, _HINT))
                continue
            lines.append(reader.line_num)
            rows.append([_number(cell, name, reader.line_num, faults) for cell in cells])
    except csv.Error as exc:
        faults.append(Fault(name, reader.line_num, f"invalid CSV: {one_line(str(exc), 100)}", _HINT))
    if faults:
        raise ScenarioError(faults)
    lower = [cell.lower() for cell in header]
    when, rate = _column(lower, _TIMES), _column(lower, _RATES)
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(header))
    assert rate is not None
    if when is not None:
        _check_times(table[:, when], lines, name)
    period = float(np.median(np.diff(table[:, when]))) if when is not None and len(table) > 1 else None
    found = []
    for number, title in enumerate(header):
        if number in (when, rate):
            continue
        known = np.isfinite(table[:, number]) & np.isfinite(table[:, rate])
        unit = "%" if title.endswith("%") else ""
        shown = one_line(title.removesuffix("%").strip(), 120) or f"column {number + 1}"
        found.append(
            Samples(shown, unit, table[known, rate], table[known, number], period, missing=int((~known).sum()))
        )
    return found


def _check_times(times: NDArray[np.float64], lines: list[int], name: str) -> None:
    """Check that all times are there and rise: the distance of the samples follows from them.

    Raises:
        ScenarioError: with the first 20 errors, each with its line.
    """
    missing = [
        Fault(name, lines[at], "the time is missing", "write the time of each sample, or leave out the column")
        for at in np.flatnonzero(np.isnan(times))
    ]
    falls = [
        Fault(name, lines[at + 1], "the times fall", "write samples in the order of time")
        for at in np.flatnonzero(np.diff(times) < 0)
    ]
    if faults := [*missing, *falls]:
        raise ScenarioError(sorted(faults, key=lambda one: one.line)[:_MOST_FAULTS])


def _check_header(header: list[str], name: str, faults: list[Fault]) -> None:
    lower = [cell.lower() for cell in header]
    when, rate = _column(lower, _TIMES), _column(lower, _RATES)
    if rate is None or len(header) - (when is not None) < 2:
        shown = one_line(", ".join(header), 100) or "nothing"
        faults.append(Fault(name, 1, f"the columns are {shown}: rate and a resource are needed", _HINT))
    elif len(set(lower)) < len(lower):
        faults.append(Fault(name, 1, "two columns have the same name", "rename one of them"))
    elif len(header) > _MOST_COLUMNS:
        faults.append(Fault(name, 1, f"more than {_MOST_COLUMNS} columns", "leave out some"))


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _number(cell: str, name: str, line: int, faults: list[Fault]) -> float:
    text = cell.strip()
    if not text:
        return float("nan")
    try:
        value = plain_float(text)
    except ValueError:
        value = float("inf")
    if not isfinite(value) and len(faults) < _MOST_FAULTS:
        message = f'"{one_line(text, 40)}" is not a number'
        faults.append(Fault(name, line, message, "write a finite number, or leave the cell empty"))
    return value
