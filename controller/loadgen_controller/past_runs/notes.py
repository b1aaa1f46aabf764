"""What people say of a run afterwards: labels and a note, in `notes.json` beside the summary, which never changes.

    {"format": 1, "labels": {"release": "1.4", "team": null}, "note": "with the new pool"}

A label of null hides one of the plan's. Whoever writes last is who counts.
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
"""Characters of a value or a note."""


class Notes(msgspec.Struct, frozen=True):
    format: int = FORMAT
    labels: dict[str, str | None] = {}
    note: str = ""

    def over(self, planned: Mapping[str, str]) -> dict[str, str]:
        """The labels that count: the plan's, and these over them."""
        return {name: value for name, value in {**planned, **self.labels}.items() if value is not None}

    def with_labels(self, changes: Iterable[tuple[str, str | None]], planned: Mapping[str, str]) -> Notes:
        """None takes a label away; that of the plan is hidden."""
        labels = dict(self.labels)
        for name, value in changes:
            if value is None and name not in planned:
                labels.pop(name, None)
            else:
                labels[name] = value
        return msgspec.structs.replace(self, labels=labels)

    def with_note(self, text: str) -> Notes:
        """
        Raises:
            UsageError: it is too long.
        """
        if len(text) > _MOST:
            raise UsageError(f"a note has at most {_MOST:,} characters, and this one has {len(text):,}")
        return msgspec.structs.replace(self, note=text.strip())


def parse_label(text: str) -> tuple[str, str | None]:
    """ "release=1.4", or "release=" to take it away.

    Raises:
        ValueError: neither.
    """
    name, sign, value = text.partition("=")
    if not sign or not _KEY.fullmatch(name):
        raise ValueError(f'"{text}" is no label; write release=1.4, or release= to take it away')
    if len(value) > _MOST:
        raise ValueError(f"{name}: a value has at most {_MOST:,} characters, and this one has {len(value):,}")
    return name, value.strip() or None


def read_notes(path: Path) -> Notes:
    """Of a run's folder; nothing where nobody has said anything.

    Raises:
        StorageError: they cannot be read, or are of a newer loadgen.
    """
    file = path / FILE
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Notes)
    except FileNotFoundError:
        return Notes()
    except OSError as exc:
        raise storage_error(file, exc, doing="read") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(f"cannot read {file}: {exc}", hint="delete it, and label the run anew") from exc
    if found.format > FORMAT:
        raise StorageError(f"cannot read {file}: it has format {found.format}", hint="use a newer loadgen")
    return found


def write_notes(path: Path, notes: Notes) -> None:
    replace_file(path / FILE, msgspec.json.format(msgspec.json.encode(notes), indent=2) + b"\n")
