"""Packs rows by column: 5 bytes a request of a combined log instead of 32, 11 of a load balancer's.

Rows are sorted by user. Users are stored as their differences and their numbers of rows. Starts are stored as
differences to the row before, in the largest unit that divides them (1 s for most logs). Each byte of a column is
packed by itself with zstd, because the high bytes are nearly always 0. zstd level 3 saved nothing on made logs.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from loadgen.traffic.rows.rows import ROW, Rows

__all__ = ["pack", "unpack"]

_HEAD: Final = struct.Struct("<IIQ")
_USER: Final = np.dtype("<u8")
_COUNT: Final = np.dtype("<u4")
_ORDERED: Final = ("user", "start")
_OTHERS: Final = tuple(name for name in ROW.names or () if name not in _ORDERED)
_COLUMNS: Final[tuple[np.dtype[Any], ...]] = (_USER, _COUNT, _USER, *(ROW[name] for name in _OTHERS))
_LENGTHS: Final = np.dtype("<u4")
_PLANES: Final = sum(column.itemsize for column in _COLUMNS)
_packer: Final = zstandard.ZstdCompressor(level=1, write_checksum=False)
_unpacker: Final = zstandard.ZstdDecompressor()


def pack(rows: Rows) -> bytes:
    """Return rows as bytes. Rows with the same user must be neighbours, with the users in ascending order."""
    user, start = rows["user"], rows["start"]
    is_first = np.append(True, user[1:] != user[:-1])
    first = np.flatnonzero(is_first)
    steps = np.diff(start, prepend=start[:1])
    unit = int(np.gcd.reduce(np.append(steps, start[0]))) or 1
    steps[0] = start[0]
    # Zigzag: small steps back in time are small numbers, too.
    steps = steps // unit
    zigzag = (steps << 1) ^ (steps >> 63)
    columns: list[NDArray[Any]] = [
        np.diff(user[first], prepend=np.uint64(0)),
        np.diff(first, append=len(rows)).astype(_COUNT),
        zigzag.view(_USER),
        *(rows[name] for name in _OTHERS),
    ]
    planes = [_pack_plane(plane) for column in columns for plane in _planes_of(column)]
    lengths = np.array([len(plane) for plane in planes], _LENGTHS)
    return b"".join((_HEAD.pack(len(rows), len(first), unit), lengths.tobytes(), *planes))


def unpack(data: bytes) -> Rows:
    """Return the rows that `pack` packed."""
    count, users, unit = _HEAD.unpack_from(data)
    lengths = np.frombuffer(data, _LENGTHS, _PLANES, _HEAD.size)
    planes = iter(_split(data, _HEAD.size + lengths.nbytes, lengths))
    difference, repeats, zigzag = (
        _column(planes, column, size) for column, size in ((_USER, users), (_COUNT, users), (_USER, count))
    )
    rows = np.empty(count, ROW)
    rows["user"] = np.repeat(np.cumsum(difference, dtype=_USER), repeats)
    steps = (zigzag >> np.uint64(1)).astype(np.int64) ^ -(zigzag & np.uint64(1)).astype(np.int64)
    rows["start"] = np.cumsum(steps) * unit
    for name in _OTHERS:
        rows[name] = _column(planes, ROW[name], count)
    return rows


def _planes_of(column: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the first byte of each value, the second byte of each value, and so on. (itemsize, n)"""
    values = np.ascontiguousarray(column)
    return np.ascontiguousarray(values.view(np.uint8).reshape(len(values), values.itemsize).T)


def _pack_plane(plane: NDArray[np.uint8]) -> bytes:
    return _packer.compress(plane.data) if plane.any() else b""


def _split(data: bytes, at: int, lengths: NDArray[np.uint32]) -> Any:
    view = memoryview(data)
    for length in lengths.tolist():
        yield view[at : at + length]
        at += length


def _column(planes: Any, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    values = np.zeros((count, dtype.itemsize), np.uint8)
    for at in range(dtype.itemsize):
        plane = next(planes)
        if len(plane):
            values[:, at] = np.frombuffer(_unpacker.decompress(plane), np.uint8)
    return values.reshape(-1).view(dtype)
