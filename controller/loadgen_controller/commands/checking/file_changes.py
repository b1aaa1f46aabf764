"""Finds saved files by comparing modification times. Polling needs no library and works on every file system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

__all__ = ["State", "changed", "state_of", "watched_files"]

MAX_FILES: Final = 1_000
"""Most files that are watched; a folder with more is not a folder of scenarios."""
_LEFT_OUT: Final = frozenset({"runs", "__pycache__", "node_modules"})
_SUFFIXES: Final = frozenset({".py", ".toml", ".csv", ".jsonl"})

State = Mapping[Path, tuple[int, int] | None]
"""Modification time in ns and size in bytes of each file; None if it does not exist."""


def watched_files(scenario: Path, known: Iterable[Path] = ()) -> frozenset[Path]:
    """Return the files whose change makes another check necessary.

    These are the Python, TOML, CSV and JSON lines files in the scenario's folder and in the folders directly below it,
    without hidden ones and folders of runs. Other files, such as a log, may be written by the check itself.
    known: further files, such as those of the last check.
    """
    folder = scenario.absolute().parent
    found = islice(_files(folder, 1), MAX_FILES)
    return frozenset({scenario.absolute(), *found, *(path.absolute() for path in known)})


def state_of(files: Iterable[Path]) -> dict[Path, tuple[int, int] | None]:
    """Return the present state of files. Cost: some 2 µs a file."""
    found: dict[Path, tuple[int, int] | None] = {}
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            found[path] = None
        else:
            found[path] = stat.st_mtime_ns, stat.st_size
    return found


def changed(before: State, now: State) -> tuple[Path, ...]:
    """Return the files that were changed, created or deleted between two states, sorted."""
    return tuple(sorted(path for path in {*before, *now} if before.get(path) != now.get(path)))


def _files(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _LEFT_OUT:
            continue
        if entry.is_file():
            if entry.suffix in _SUFFIXES:
                yield entry
        elif depth and entry.is_dir():
            yield from _files(entry, depth - 1)
