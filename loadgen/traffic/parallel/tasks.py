"""Divides the inputs into tasks, so that several processes have about the same work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from loadgen.errors import UsageError
from loadgen.traffic.inputs.log_input import LogInput
from loadgen.traffic.reading.parse_input import first_lines
from loadgen.unpack import is_packed

__all__ = ["tasks_of", "worth_of"]

_RANGE_BYTES: Final = 32 << 20
"""A range of a plain file takes about half a second."""
_PACKED: Final = 12
"""Logs are packed to about a twelfth."""


def tasks_of(inputs: Iterable[LogInput]) -> list[LogInput]:
    """Return the inputs in their order, with long plain files as several ranges."""
    return [task for source in inputs for task in _ranges(source)]


def _ranges(source: LogInput) -> list[LogInput]:
    try:
        is_whole = source.kind != "file" or source.size < 2 * _RANGE_BYTES or _is_packed(source) or _has_columns(source)
    except (OSError, UsageError):
        is_whole = True  # the process that parses this input reports the error, after those of inputs before it
    if is_whole:
        return [source]
    bounds = [*range(0, source.size - _RANGE_BYTES // 2, _RANGE_BYTES), None]
    return [replace(source, begin=begin or 0, end=end, size=_RANGE_BYTES) for begin, end in pairwise(bounds)]


def _is_packed(source: LogInput) -> bool:
    with Path(source.name).open("rb") as file:
        return is_packed(file.read(4))


def _has_columns(source: LogInput) -> bool:
    """Return whether a line names the columns of the lines after it, so that no range can be read by itself."""
    return any(line.startswith(b"#Fields") for line in first_lines(source))


def worth_of(task: LogInput) -> int:
    """Return about how many bytes of lines a task has."""
    is_plain = task.kind == "file" and not task.name.endswith((".gz", ".zst"))
    return task.size if is_plain else _PACKED * task.size
