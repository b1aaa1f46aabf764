"""Decodes the JSON files of a history: each has a format, and is one value of a known type."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from loadgen.history.store.parquet_run import NewerFormat

__all__ = ["decoded_file"]


class _HasFormat(Protocol):
    @property
    def format(self) -> int: ...


F = TypeVar("F", bound=_HasFormat)


def decoded_file(data: bytes, kind: type[F], newest: int) -> F:
    """Return the value that a file contains. newest: the newest format that this loadgen reads.

    Raises:
        ValueError: the file is damaged.
        NewerFormat: the file was written by a newer loadgen.
    """
    try:
        file = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise ValueError(str(exc)) from exc
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if file.format > newest:
        raise NewerFormat(f"it has format {file.format}, and this loadgen reads formats up to {newest}")
    return file
