"""Reads ids of the target from CSV files: row n replaces the n-th most requested value of a parameter."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TextIO

from loadgen.errors import UsageError

__all__ = ["read_ids"]


def read_ids(parameter: str, path: Path) -> tuple[str, ...]:
    """Return the ids in a CSV file with a header: those of the column named as the parameter, else of the first one.

    Raises:
        UsageError: the file cannot be read, or a row has no id.
    """
    hint = f"write a CSV file with the header {parameter} and one id in each row"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _ids(parameter, path, file, hint)
    except OSError as error:
        raise UsageError(f"--map: {path} cannot be read: {error.strerror or error}", hint=hint) from None
    except UnicodeDecodeError:
        raise UsageError(f"--map: {path} is not UTF-8", hint="save the file as UTF-8") from None


def _ids(parameter: str, path: Path, file: TextIO, hint: str) -> tuple[str, ...]:
    rows = csv.reader(file, strict=True)
    found = []
    column = -1
    try:
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            if column < 0:
                names = [cell.strip() for cell in cells]
                column = names.index(parameter) if parameter in names else 0
                continue
            value = cells[column].strip() if column < len(cells) else ""
            if not value:
                raise UsageError(
                    f"--map: {path}:{rows.line_num}: the row has no id", hint="write an id, or delete the row"
                )
            found.append(value)
    except csv.Error as error:
        raise UsageError(f"--map: {path}:{rows.line_num}: invalid CSV: {error}", hint=hint) from None
    if not found:
        raise UsageError(f"--map: {path} has no ids", hint=hint)
    return tuple(found)
