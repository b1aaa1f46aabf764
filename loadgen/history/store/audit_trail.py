"""Encodes and decodes the audit trail of a history: decisions about runs, with their authors.

Each event is a JSON file that is never changed:

    events/20261126T013000123Z-struck-5f0c1d2e.json

The name contains time and kind, so events of a kind are found without reading the others.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Final

import msgspec

from loadgen.history.store.json_file import decoded_file
from loadgen.history.store.stored_run import Event

__all__ = ["FOLDER", "decoded", "encoded", "named"]

FOLDER: Final = "events/"
FORMAT: Final = 1
_NAME: Final = re.compile(r"events/[0-9TZ]+-(.+)-[0-9a-f]{8}\.json")


class _File(msgspec.Struct, frozen=True):
    format: int
    kind: str
    at: str
    by: str = ""
    run_ids: tuple[str, ...] = ()
    because: str = ""
    details: dict[str, str] = {}


def encoded(event: Event) -> tuple[str, bytes]:
    """Return (name of a new file for the event, its content). A random part makes the name unique."""
    stamp = re.sub(r"[^0-9TZ]", "", event.at)
    file = _File(FORMAT, event.kind, event.at, event.by, event.run_ids, event.because, dict(event.details))
    data = msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"
    return f"{FOLDER}{stamp}-{_slug(event.kind)}-{secrets.token_hex(4)}.json", data


def decoded(data: bytes) -> Event:
    """Return the event that a file of the audit trail contains.

    Raises:
        ValueError: the file is damaged.
        NewerFormat: the file was written by a newer loadgen.
    """
    file = decoded_file(data, _File, FORMAT)
    return Event(file.kind, file.at, file.by, file.run_ids, file.because, file.details)


def named(names: Iterable[str], kinds: Iterable[str] = ()) -> list[str]:
    """Return those file names that belong to events of these kinds, or of all kinds if none is given; oldest first."""
    slugs = {_slug(kind) for kind in kinds}
    found = ((name, match[1]) for name in names if (match := _NAME.fullmatch(name)))
    return sorted(name for name, slug in found if not slugs or slug in slugs)


def _slug(kind: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-") or "event"
