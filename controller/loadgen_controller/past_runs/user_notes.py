"""Labels and a note that people attach to a run afterwards, in `notes.json` of its run folder.

The summary never changes.

    {"format": 1, "labels": {"release": "1.4", "team": null}, "note": "with the new pool"}

A label of null hides a label of the plan. If two people write at the same time, the last one wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from loadgen.errors import StorageError, UsageError
from loadgen.measure.run_folder.rundir import replace_file, storage_error

__all__ = ["FILE", "Notes", "parse_label", "read_notes", "write_notes"]

FILE: Final = "notes.json"
FORMAT: Final = 1
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}")
_MOST: Final = 4_000
"""Most characters of a label's value or of a note."""


class Notes(msgspec.Struct, frozen=True):
    """The contents of `notes.json`."""

    format: int = FORMAT
    labels: dict[str, str | None] = {}
    note: str = ""

    def over(self, planned: Mapping[str, str]) -> dict[str, str]:
        """Return the labels in force: those of the plan, overridden by the labels of these notes."""
        return {name: value for name, value in {**planned, **self.labels}.items() if value is not None}

    def with_labels(self, changes: Iterable[tuple[str, str | None]], planned: Mapping[str, str]) -> Notes:
        """Return notes with changed labels; a value of None removes a label, or hides one of the plan."""
        labels = dict(self.labels)
        for name, value in changes:
            if value is None and name not in planned:
                labels.pop(name, None)
            else:
                labels[name] = value
        return msgspec.structs.replace(self, labels=labels)

    def with_note(self, text: str) -> Notes:
        """Return a copy of these notes with another text as note.

        Raises:
            UsageError: the text is too long.
        """
        if len(text) > _MOST:
            raise UsageError(
                f"the note has {len(text):,} characters, but only {_MOST:,} are allowed", hint="shorten it"
            )
        return msgspec.structs.replace(self, note=text.strip())


def parse_label(text: str) -> tuple[str, str | None]:
    """Parse "release=1.4" into name and value, or "release=", which removes a label, into name and None.

    Raises:
        ValueError: the text has neither form, or the value is too long.
    """
    name, sign, value = text.partition("=")
    if not sign or not _KEY.fullmatch(name):
        raise ValueError(f'invalid label "{text}"; write release=1.4, or release= to remove it')
    if len(value) > _MOST:
        raise ValueError(
            f"{name}: the value has {len(value):,} characters, but only {_MOST:,} are allowed; write a shorter one"
        )
    return name, value.strip() or None


def read_notes(path: Path) -> Notes:
    """Read the notes in a run folder; empty notes if there is no file.

    Raises:
        StorageError: the file cannot be read, or was written by a newer loadgen.
    """
    file = path / FILE
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Notes)
    except FileNotFoundError:
        return Notes()
    except OSError as exc:
        raise storage_error(file, exc, doing="read") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(f"cannot read {file}: {exc}", hint="delete the file, and label the run again") from exc
    if found.format > FORMAT:
        raise StorageError(f"cannot read {file}: unknown format {found.format}", hint="use a newer loadgen")
    return found


def write_notes(path: Path, notes: Notes) -> None:
    """Write the notes into a run folder, atomically."""
    replace_file(path / FILE, msgspec.json.format(msgspec.json.encode(notes), indent=2) + b"\n")
