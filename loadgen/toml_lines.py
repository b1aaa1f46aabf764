"""The lines of TOML files, for errors: `tomllib` reports only those of its own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from loadgen.errors import Fault

__all__ = ["key_lines", "syntax_fault"]


def syntax_fault(path: Path, error: tomllib.TOMLDecodeError) -> Fault:
    """Return the error of a text that is not TOML, with its line."""
    message = str(error)
    found = re.search(r" \(at line (\d+), column \d+\)$", message)
    line = int(found[1]) if found else 0
    return Fault(
        str(path),
        line,
        f"invalid TOML: {message[: found.start()] if found else message}",
        "correct this line; toml.io has the syntax",
    )


_KEY_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_KEY = re.compile(rf"\s*({_KEY_PART}(?:\s*\.\s*{_KEY_PART})*)\s*=")
_TABLE = re.compile(rf"\s*\[\s*({_KEY_PART}(?:\s*\.\s*{_KEY_PART})*)\s*\]")


def key_lines(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield each table and key of a TOML text as the parts of its dotted name, with its first line.

    The result is a guess if lines of a multi-line string look like keys.
    """
    table: tuple[str, ...] = ()
    seen: set[tuple[str, ...]] = set()
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _TABLE.match(line), _KEY.match(line)
        found: tuple[str, ...] = ()
        if header:
            found = table = _parts(header[1])
        elif key:
            found = (*table, *_parts(key[1]))
        for n in range(1, len(found) + 1):
            if found[:n] not in seen:
                seen.add(found[:n])
                yield found[:n], number


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY_PART, key))
