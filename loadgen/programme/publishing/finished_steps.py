"""The finished steps of publishing: audited events of the history, of the kind "published".

A step is "files", "latest" or "channel NAME", of one page at one place. An event is written after its step. So a step
that was interrupted between the two is repeated: a file has the same content then, and a message has the same id, by
which its receiver can recognise it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from loadgen.history.store.audit_trail import FOLDER, decoded, named, put_event
from loadgen.history.store.parquet_run import NewerFormat
from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import Place
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.outside_text import one_line

__all__ = ["PUBLISHED", "FinishedSteps", "finished_steps", "note_step"]

PUBLISHED: Final = "published"
"""The kind of the events. Versions that do not know it pass over it."""


@dataclass(frozen=True, slots=True)
class FinishedSteps:
    """The finished steps of a page: {(step, where): what was noted}.

    unreadable: a sentence for each event that could not be read. Its step counts as not finished, and is done again.
    """

    notes: Mapping[tuple[str, str], str]
    unreadable: tuple[str, ...] = ()


def finished_steps(place: Place, page: str, since: datetime | None = None) -> FinishedSteps:
    """Return the finished steps of a page, such as "2026-W30/w30-4f1a".

    since: only events from then on, which are fewer to read.

    Raises:
        StorageError, CloudError: the history cannot be listed.
    """
    found: dict[tuple[str, str], str] = {}
    unreadable = []
    first = "" if since is None else FOLDER + since.astimezone(UTC).strftime("%Y%m%dT%H%M%S")
    names = [name for name in named(place.names(FOLDER), [PUBLISHED]) if name >= first]
    for name, data in zip(names, place.read(names), strict=True):
        try:
            if isinstance(data, str):
                raise ValueError(data)
            event = decoded(data)
        except (ValueError, NewerFormat) as error:
            why = one_line(str(error), 200)
            unreadable.append(f"{name} is left out: {why}; if it is about a step of {page}, the step is done again")
            continue
        if event.details.get("page") == page:
            found[event.details.get("step", ""), event.details.get("where", "")] = event.details.get("note", "")
    return FinishedSteps(found, tuple(unreadable))


def note_step(place: Place, page: str, step: str, where: str, note: str, now: datetime) -> None:
    """Record that a step is finished.

    Raises:
        StorageError, CloudError: the history cannot be written.
    """
    details = {"page": page, "step": step, "where": where} | ({"note": note} if note else {})
    put_event(place, Event(PUBLISHED, utc_text(now), details=details))
