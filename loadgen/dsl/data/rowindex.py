"""Finds the positions of all records in a large file with numpy, without parsing each record.

For a file of 10^7 rows, the `csv` module would take about 20 s and create Python lists on
the way. Here the file is memory-mapped and scanned in pieces. A newline outside of quotes
ends a record: the number of quotes before it is even, because RFC 4180 doubles quotes
within quotes. Every record must have as many delimiters outside of quotes as the header.
In doubtful cases (invalid UTF-8, bare carriage returns, a different number of cells, quotes
within a cell) the result is None, and the caller reads the file the slow and exact way.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["Records", "csv_records", "json_records"]

_PIECE_BYTES = 1 << 22
"""A piece and its masks fit into CPU caches; larger pieces were not faster."""
_NEWLINE, _RETURN, _QUOTE, _OPEN = b'\n\r"{'


@dataclass(frozen=True, slots=True)
class Records:
    """Start and end of each record in bytes, (records,) uint32 or int64.

    The end is exclusive and includes the line ending.
    """

    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)


def csv_records(data: np.ndarray, delimiter: str) -> Records | None:
    """Return where each record of a CSV file starts and ends, without empty lines. The first record is the header.

    Returns None if the file is not plain CSV; the caller then reads it record by record.

    data: the file's bytes, (bytes,) uint8.
    Cost: see `feed.open_feed`.
    """
    if len(delimiter.encode()) != 1 or delimiter == "\0":
        return None
    edges: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    is_open, delimiters = 0, 0
    for first, piece in _pieces(data):
        is_newline = piece == _NEWLINE
        is_delimiter = piece == ord(delimiter)
        is_quote = piece == _QUOTE
        if is_open or is_quote.any():
            at = np.flatnonzero(is_quote) + first
            if not _are_quotes_plain(data, at, ord(delimiter), is_open=bool(is_open)):
                return None
            quotes = np.cumsum(is_quote, dtype=np.int64) + is_open
            is_outside = quotes % 2 == 0
            is_open = int(quotes[-1]) % 2
            is_newline &= is_outside
            is_delimiter &= is_outside
        ends = np.flatnonzero(is_newline)
        seen = np.flatnonzero(is_delimiter)
        counts.append(np.searchsorted(seen, ends) + delimiters)
        delimiters += len(seen)
        edges.append(ends + (first + 1))
    if is_open or _is_foreign(data):
        return None
    if len(data) and (not edges or not len(edges[-1]) or edges[-1][-1] != len(data)):  # no newline at the end
        edges.append(np.array([len(data)]))
        counts.append(np.array([delimiters]))
    records, is_kept = _records(data, edges)
    of_each = np.diff(np.concatenate(counts), prepend=0) if counts else np.empty(0, dtype=np.int64)
    of_each = of_each[is_kept]
    return records if len(of_each) and (of_each == of_each[0]).all() else None


def json_records(data: np.ndarray) -> Records | None:
    """Return where each line of a file of JSON objects starts and ends, without empty lines.

    Returns None if a line does not start with "{", or the text is not UTF-8; the caller then reads the file line by
    line.
    """
    if _is_foreign(data):
        return None
    edges = [np.flatnonzero(piece == _NEWLINE) + (first + 1) for first, piece in _pieces(data)]
    if len(data) and data[-1] != _NEWLINE:
        edges.append(np.array([len(data)]))
    records, _ = _records(data, edges)
    return records if (data[records.starts] == _OPEN).all() else None


def _pieces(data: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(data), _PIECE_BYTES):
        yield first, data[first : first + _PIECE_BYTES]


def _records(data: np.ndarray, edges: list[np.ndarray]) -> tuple[Records, np.ndarray]:
    """Return the records that are not empty, and a mask that is True for these among all records.

    edges: arrays of the positions at which records end, in ascending order.
    """
    kind: type = np.uint32 if len(data) < 1 << 32 else np.int64
    whole: np.ndarray = np.concatenate([np.zeros(1, dtype=np.int64), *edges]).astype(kind)
    starts, ends = whole[:-1], whole[1:]
    is_kept = (ends - starts > 2) | ((data[starts] != _NEWLINE) & (data[starts] != _RETURN))
    if not is_kept.all():
        starts, ends = starts[is_kept], ends[is_kept]
    return Records(starts, ends), is_kept


def _are_quotes_plain(data: np.ndarray, at: np.ndarray, delimiter: int, *, is_open: bool) -> bool:
    """Return True if quotes only enclose whole cells or come in pairs, so that counting them shows the quoted text.

    To the `csv` module, a quote in the middle of an unquoted cell is an ordinary character, so counting fails there.

    at: (quotes,) positions of the quotes. is_open: the first one closes a quoted cell.
    """
    edge = np.zeros(256, dtype=bool)
    edge[[delimiter, _NEWLINE, _RETURN, _QUOTE]] = True
    opens, closes = at[int(is_open) :: 2], at[int(not is_open) :: 2]
    before = edge[data[np.maximum(opens - 1, 0)]] | (opens == 0)
    after = edge[data[np.minimum(closes + 1, len(data) - 1)]] | (closes == len(data) - 1)
    return bool(before.all() and after.all())


def _is_foreign(data: np.ndarray) -> bool:
    """Return True if the data is not UTF-8, or has a carriage return without newline."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for _, piece in _pieces(data):
            decoder.decode(piece.tobytes())
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return True
    for first, piece in _pieces(data):
        at = np.flatnonzero(piece == _RETURN) + (first + 1)
        if len(at) and (at[-1] >= len(data) or (data[at] != _NEWLINE).any()):
            return True
    return False
