"""Encodes and decodes the audit trail of a history: decisions about runs, with their authors.

Each event is a JSON file that is never changed:

    events/20261126T013000123Z-struck-5f0c1d2e.json

The name contains time and kind, so events of a kind are found without reading the others.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from loadgen.history.store.json_file import decoded_file
from loadgen.history.store.parquet_run import NewerFormat
from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import Place
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.outside_text import one_line

__all__ = ["FOLDER", "decoded", "encoded", "named", "put_event", "read_kind", "time_in", "time_text"]

T = TypeVar("T")
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


def put_event(place: Place, event: Event) -> None:
    """Write an event to the audit trail at a place.

    Raises:
        StorageError, CloudError: it cannot be written.
    """
    while not place.put_new(*encoded(event)):
        pass  # the random number in the name was taken (one in four billion): draw another one


def read_kind(
    place: Place, kind: str, made: Callable[[Event], T], as_of: str = ""
) -> tuple[tuple[T, ...], tuple[str, ...]]:
    """Return (the value of each event of a kind, oldest first, a sentence for each event that is not readable).

    Args:
        made: returns the value of an event, or raises KeyError or ValueError if a part is missing or invalid.
        as_of: only events until then, RFC 3339; "": all.
    Raises:
        StorageError, CloudError: the place cannot be listed.
    """
    found: list[T] = []
    troubles: list[str] = []
    limit = datetime.fromisoformat(as_of) if as_of else None
    names = named(place.names(FOLDER), [kind])
    for name, data in zip(names, place.read(names), strict=True):
        try:
            if isinstance(data, str):
                raise ValueError(data)
            event = decoded(data)
            one = made(event)
            is_later = limit is not None and time_in(event.at) > limit
        except (KeyError, ValueError, NewerFormat) as error:
            troubles.append(f"{name} is left out: {one_line(str(error), 200)}")
            continue
        if not is_later:
            found.append(one)
    return tuple(found), tuple(troubles)


def time_in(text: str) -> datetime:
    """Return a time of an event; in UTC if the text has no zone.

    Raises:
        ValueError: it is not RFC 3339.
    """
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def time_text(at: int) -> str:
    """Return a Unix time, s, as events have it: "2026-07-20T06:00:00.000Z"."""
    return utc_text(datetime.fromtimestamp(at, UTC))


def _slug(kind: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-") or "event"
