"""Reads some keys of each line of a file of JSON objects as texts, as the cells of a CSV file are read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.dsl.data.rowfile import FileFaults, closest
from loadgen.units import format_count

__all__ = ["is_json_lines", "json_cells"]

_OBJECT: Final = msgspec.json.Decoder(dict[str, Any], float_hook=str)
"""Numbers with a fraction stay texts: a float would round times since 1970 to some 200 ns."""


def is_json_lines(path: Path) -> bool:
    """Return True if a file's name ends in .jsonl or .ndjson, also within an archive: "trace.jsonl.gz"."""
    return not {".jsonl", ".ndjson"}.isdisjoint(suffix.lower() for suffix in path.suffixes[-2:])


def json_cells(
    lines: Iterable[bytes], keys: Sequence[str], faults: FileFaults, most: int, *, optional: Collection[str] = ()
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, value of each key as text) of each line that has all keys. Errors are added to `faults`.

    most: the maximum number of lines with an object. optional: keys that a row may leave out; their text is then "".
    """
    count = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = _OBJECT.decode(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
        except msgspec.DecodeError as error:
            faults.add(number, f"invalid JSON: {error}".replace("`", ""), "write one JSON object per line")
            continue
        cells = [
            "" if key in optional and found.get(key) is None else _text(found, key, number, faults) for key in keys
        ]
        count += 1
        if count > most:
            faults.add(number, f"more than {format_count(most)} rows", "use a part of the file")
            return
        if None not in cells:
            yield number, [cell for cell in cells if cell is not None]
    if not count:
        faults.add(0, "the file is empty", "write a row for each arrival")


def _text(found: Mapping[str, Any], key: str, line: int, faults: FileFaults) -> str | None:
    if key not in found:
        there = ", ".join(f'"{name}"' for name in found) or "an empty object"
        faults.add(line, f'no "{key}", only {there}', closest(key, found) or "correct the row, or the name")
        return None
    value = found[key]
    if isinstance(value, bool) or not isinstance(value, str | int):
        faults.add(line, f'"{key}" must be a number or a text', "correct the row")
        return None
    return value.strip() if isinstance(value, str) else str(value)
