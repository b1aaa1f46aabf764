"""Selects the runs that `loadgen runs prune` deletes: old ones, except those that run or that a history refers to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from loadgen_controller.past_runs.deleting import size_bytes
from loadgen_controller.past_runs.listing import Entry, is_running

__all__ = ["Old", "Pruning", "pruning_of"]


@dataclass(frozen=True, slots=True)
class Old:
    """A run that started before the limit."""

    entry: Entry
    size_bytes: int
    kept_because: str = ""
    """Why it is kept; empty: it is deleted."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a prune does. Runs that are younger than the limit are in neither part."""

    deleted: tuple[Old, ...]
    kept: tuple[Old, ...]


def pruning_of(
    entries: Iterable[Entry],
    before: datetime,
    referred: Mapping[str, str],
    *,
    runs: Callable[[Path], bool] = is_running,
    size: Callable[[Path], int] = size_bytes,
) -> Pruning:
    """Decide about each run that started before a time.

    A run whose start is unknown is kept, since nobody can tell its age.

    Args:
        before: with a time zone.
        referred: why a run is kept, by run id: the history in which it is accepted or pinned.
        runs: returns whether the run in a folder is in progress.
        size: returns the bytes of a folder.
    """
    deleted: list[Old] = []
    kept: list[Old] = []
    for entry in entries:
        started = _started(entry)
        if started is not None and started >= before:
            continue
        why = "its start is unknown" if started is None else referred.get(entry.run_id, "")
        if not why and entry.path.is_symlink():
            why = "it is a symbolic link"
        if not why and runs(entry.path):
            why = "it is in progress"
        old = Old(entry, size(entry.path), why)
        (kept if why else deleted).append(old)
    return Pruning(tuple(deleted), tuple(kept))


def _started(entry: Entry) -> datetime | None:
    try:
        found = datetime.fromisoformat(entry.started_at)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
