"""Lists and searches the runs of a folder, newest first.

A run that cannot be read is listed, too, with the reason. The figures come from the index (`index.py`), or from the
summary if it has changed since.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from loadgen.errors import LoadgenError, StorageError
from loadgen.measure.run_folder.rundir import list_runs, storage_error
from loadgen.units import NS_PER_S, parse_duration
from loadgen_controller.past_runs.index import Index
from loadgen_controller.past_runs.user_notes import Notes, read_notes

__all__ = ["Entry", "Search", "entries", "is_running", "labels_of", "parse_since"]

T = TypeVar("T")
_PATIENT: Final = 16
"""Number of the newest runs without a summary that are checked for still running; older ones count as ended."""


class _Spec(msgspec.Struct):
    labels: dict[str, str] = {}


class _Manifest(msgspec.Struct):
    scenario: str = ""
    plan: str = ""
    created_at: str = ""
    spec: _Spec = msgspec.field(default_factory=_Spec)


_MANIFEST: Final = msgspec.json.Decoder(_Manifest)


@dataclass(frozen=True, slots=True)
class Entry:
    """One run in a list. Counts are None if the run has no readable summary."""

    path: Path
    result: str
    """The result in the summary; or "going on", "not ended", "unreadable"."""
    scenario: str = ""
    plan: str = ""
    started_at: str = ""
    """Start of the run, RFC 3339 in UTC; for a run without a summary, when it was ordered."""
    duration_s: float | None = None
    iterations: int | None = None
    requests: int | None = None
    errors: int | None = None
    agents: int | None = None
    agents_complete: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    note: str = ""
    trouble: str = ""
    """Why a file of the run could not be read; empty if all could."""

    @property
    def run_id(self) -> str:
        return self.path.name

    def as_json(self) -> dict[str, object]:
        """Return the entry for `loadgen runs list --json`."""
        names = [name for name in self.__slots__ if name != "path"]
        return {"run_id": self.run_id, "path": str(self.path), **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, slots=True)
class Search:
    """Conditions on runs; a run must meet all of them."""

    text: str = ""
    """Text in the id, scenario, plan, result, a label or the note; upper and lower case are the same."""
    labels: Sequence[tuple[str, str | None]] = ()
    """Labels that a run must have; a value of None means any value."""
    since: datetime | None = None

    def finds(self, entry: Entry) -> bool:
        """Return whether a run meets all conditions of the search."""
        if any(name not in entry.labels or value not in (None, entry.labels[name]) for name, value in self.labels):
            return False
        if self.since is not None and not _is_after(entry, self.since):
            return False
        labels = (f"{name}={value}" for name, value in entry.labels.items())
        texts = (entry.run_id, entry.scenario, entry.plan, entry.result, entry.note, *labels)
        return any(self.text.lower() in text.lower() for text in texts)


def parse_since(text: str, now: datetime) -> datetime:
    """Parse a time: "7d" or "2h" before now, a day ("2026-11-24"), or a time of a day ("2026-11-24T17:00"), UTC.

    Raises:
        ValueError: the text has none of these forms.
    """
    try:
        return now - timedelta(seconds=parse_duration(text) / NS_PER_S)
    except (ValueError, OverflowError):
        pass  # not a duration: try a day or a time
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'invalid time "{text}"; write 7d, 2h, 2026-11-24 or 2026-11-24T17:00 (UTC)') from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def entries(runs_dir: Path, search: Search | None = None) -> list[Entry]:
    """Return the runs of a folder that match the search, newest first, and update the index of the folder.

    Raises:
        StorageError: the folder of runs cannot be read.
    """
    paths, index = list_runs(runs_dir), Index(runs_dir)
    found, checks_left = [], _PATIENT
    for path in paths:
        entry = _entry(path, index, may_go_on=checks_left > 0)
        checks_left -= entry.duration_s is None
        if search is None or search.finds(entry):
            found.append(entry)
    index.keep({path.name for path in paths})
    return found


def is_running(path: Path) -> bool:
    """Return whether a run is still going on; False on a file system without locks, where that is unknown.

    The process that conducts a run locks its delta log. The operating system releases the lock when the process ends,
    even if it was killed.
    """
    try:
        fd = os.open(path / "deltas.log", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A shared lock, so that two readers do not take each other for the process that conducts the run.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def labels_of(path: Path) -> tuple[Notes, dict[str, str]]:
    """Return the notes of a run, which include labels set later, and the labels of its plan.

    Raises:
        StorageError: one of the files cannot be read.
    """
    return read_notes(path), _manifest(path).spec.labels


def _entry(path: Path, index: Index, may_go_on: bool) -> Entry:
    problems: list[str] = []
    manifest = _tried(lambda: _manifest(path), problems) or _Manifest()
    notes = _tried(lambda: read_notes(path), problems) or Notes()
    line = _tried(lambda: index.line(path), problems)
    has_summary = line is not None or (path / "summary.json").exists()
    entry = Entry(
        path=path,
        result="unreadable" if has_summary else "going on" if may_go_on and is_running(path) else "not ended",
        scenario=manifest.scenario,
        plan=manifest.plan,
        started_at=manifest.created_at,
        labels=notes.over(manifest.spec.labels),
        note=notes.note,
        trouble="; ".join(problems),
    )
    if line is None:
        return entry
    return replace(
        entry,
        result=line.result,
        started_at=line.started_at or manifest.created_at,
        duration_s=line.duration_s,
        iterations=line.iterations,
        requests=line.requests,
        errors=line.errors,
        agents=line.agents,
        agents_complete=line.agents_complete,
    )


def _tried(read: Callable[[], T], problems: list[str]) -> T | None:
    try:
        return read()
    except LoadgenError as unreadable:
        problems.append(unreadable.message)
        return None


def _manifest(path: Path) -> _Manifest:
    file = path / "manifest.json"
    try:
        return _MANIFEST.decode(file.read_bytes())
    except OSError as exc:
        raise storage_error(file, exc, doing="read") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(
            f"cannot read {file}: {exc}", hint="the file is damaged: delete the run, or restore it"
        ) from exc


def _is_after(entry: Entry, since: datetime) -> bool:
    """Return whether the run started at `since` or later; False if its start is unknown."""
    try:
        return datetime.fromisoformat(entry.started_at) >= since
    except ValueError:
        return False
