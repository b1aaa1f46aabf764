"""Counts from Parquet files: the columns `time`, `slo`, `good` and `total`, as in CSV files. Pure.

`time` is a timestamp with a zone; timestamps without one need the zone of the source (`zone = "Europe/Berlin"`). A row
is a slice that begins at `time`. Rows are ordered by time within each objective. Faults come with their rows, from 1,
and at once; a file with a fault gives nothing. A gap is a fault too, unless the caller takes gaps as missing slices.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.outside_text import one_line
from loadgen.parquet import WrongRow, read_foreign_arrays
from loadgen.programme.ledger.ledger_file import Rows
from loadgen.programme.sources.asked import NoCounts
from loadgen.programme.sources.csv_counts import ROWS_MOST, CsvCounts, gap_texts, time_text
from loadgen.units import quantity

__all__ = ["parse_parquet"]

_FAULTS_MOST: Final = 20
_BYTES_MOST: Final = 2 << 30
_COUNT_MOST: Final = 1 << 53
_COLUMNS: Final[dict[str, type | None]] = {"time": None, "slo": str, "good": int, "total": int}


def parse_parquet(
    data: bytes, width: int, name: str = "the file", zone: str = "", *, takes_gaps: bool = False
) -> CsvCounts:
    """Return the slices of a Parquet file, or its faults, at most 20.

    Args:
        width: of the slices, s.
        name: of the file, for messages.
        zone: of timestamps without a zone; "": they are faults.
        takes_gaps: leave the slices of gaps out, where they are missing; otherwise a gap is a fault.
    Raises:
        UsageError: pyarrow is not installed.
    """
    name = one_line(name, 120)
    try:
        columns = read_foreign_arrays(data, _COLUMNS, zone, ROWS_MOST, _BYTES_MOST)
    except WrongRow as error:
        return _unread(f"{name}: row {error.row:,}: {one_line(str(error), 200)}")
    except ValueError as error:
        hint = '; store them with a zone, or write zone = "Europe/Berlin" at the source'
        return _unread(f"{name}: {one_line(str(error), 300)}{hint if 'without a zone' in str(error) else ''}")
    (codes, texts), start, good, total = columns["slo"], columns["time"], columns["good"], columns["total"]
    if not len(start):
        return _unread(f"{name}: there are no rows")
    found = _wrong_rows(codes, texts, start, good, total, width)
    spans: dict[str, list[tuple[int, int]]] = {}
    order = np.argsort(codes, kind="stable")
    steps = np.diff(start[order])
    is_same = np.diff(codes[order]) == 0
    for n in np.flatnonzero(is_same & (steps != width))[: _FAULTS_MOST if not takes_gaps else None].tolist():
        row, before, step = int(order[n + 1]), int(order[n]), int(steps[n])
        slo = one_line(texts[codes[row]], 80)
        if step > width and takes_gaps:
            spans.setdefault(texts[codes[row]], []).append((int(start[before]) + width, int(start[row])))
        elif step > width:
            absent = step // width - 1
            where = f"before it, after row {before + 1:,}"
            said = f"{quantity(absent, 'slice')} of {slo} {'is' if absent == 1 else 'are'} absent {where}"
            found.setdefault(row, f"{said}: add them, or take gaps as missing")
        elif step == 0:
            found.setdefault(row, f"{time_text(int(start[row]))} of {slo} is there twice, first in row {before + 1:,}")
        elif step < 0:
            found.setdefault(row, f"{slo} is not ordered by time: it comes after row {before + 1:,}")
        else:
            found.setdefault(row, f"only {step} s after row {before + 1:,}: a slice has {width} s")
    if found:
        rows = sorted(found.items())[:_FAULTS_MOST]
        faults = [NoCounts(f"{name}: row {row + 1:,}: {text}") for row, text in rows]
        if len(found) >= _FAULTS_MOST:
            faults.append(NoCounts(f"{name}: there may be more faults; they are looked for when these are gone"))
        return CsvCounts(faults=tuple(faults))
    count = len(start)
    rows_ = Rows(
        (codes, texts),
        start,
        np.full(count, width, np.int64),
        good,
        total,
        np.zeros(count, np.int64),
        np.zeros(count, np.bool_),
        (np.zeros(count, np.int32), (f"file {name}",)),
    )
    missing = sum((b - a) // width for gaps in spans.values() for a, b in gaps)
    return CsvCounts(rows_, (), gap_texts(spans, width), missing)


def _wrong_rows(
    codes: NDArray[np.int32],
    texts: tuple[str, ...],
    start: NDArray[np.int64],
    good: NDArray[np.int64],
    total: NDArray[np.int64],
    width: int,
) -> dict[int, str]:
    """Return what is wrong with single rows, by their index; for each rule the first rows."""
    is_name = np.array([bool(one.strip()) and len(one) <= 200 for one in texts])
    found: dict[int, str] = {}
    for wrong, text in (
        (~is_name[codes], "slo is empty or has more than 200 characters"),
        ((good < 0) | (total < 0), "good or total is negative"),
        (good > total, "{good:,} good requests are more than all {total:,}"),
        (total > _COUNT_MOST, "total is too large"),
        (
            (start % width != 0) | (start < 0),
            f"a slice of {width} s cannot begin at {{at}}: it begins at a multiple of {width} s",
        ),
    ):
        for row in np.flatnonzero(wrong)[:_FAULTS_MOST].tolist():
            shown = text.format(good=int(good[row]), total=int(total[row]), at=time_text(int(start[row])))
            found.setdefault(row, shown)
    return found


def _unread(text: str) -> CsvCounts:
    return CsvCounts(faults=(NoCounts(text),))
