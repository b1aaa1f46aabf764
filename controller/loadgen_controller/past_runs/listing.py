"""The runs of a folder, newest first, each in a line; and those that are looked for.

A run that cannot be read is in the list, too, and says why. What summaries say
comes from the index (`index.py`), or from the summary where that has changed.
"""

from __future__ import annotations

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
from loadgen_controller.past_runs.is_running import goes_on
from loadgen_controller.past_runs.notes import Notes, read_notes

__all__ = ["Entry", "Search", "entries", "labels_of", "parse_since"]

T = TypeVar("T")
_PATIENT: Final = 16
"""Of so many of the newest runs without a summary it is looked up whether they go on; older ones do not."""


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
    """One run. Counts are None where there is no summary that can be read."""

    path: Path
    result: str
    """As in the summary; or "going on", "not ended"."""
    scenario: str = ""
    plan: str = ""
    started_at: str = ""
    """RFC 3339 UTC; of a run without a summary when it was ordered."""
    duration_s: float | None = None
    iterations: int | None = None
    requests: int | None = None
    errors: int | None = None
    agents: int | None = None
    agents_complete: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    note: str = ""
    trouble: str = ""
    """Why a file of it could not be read."""

    @property
    def run_id(self) -> str:
        return self.path.name

    def as_json(self) -> dict[str, object]:
        names = [name for name in self.__slots__ if name != "path"]
        return {"run_id": self.run_id, "path": str(self.path), **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; all of it has to hold."""

    text: str = ""
    """In the name, scenario, plan, result, a label or the note; case does not matter."""
    labels: Sequence[tuple[str, str | None]] = ()
    """None: with any value."""
    since: datetime | None = None

    def finds(self, entry: Entry) -> bool:
        if any(name not in entry.labels or value not in (None, entry.labels[name]) for name, value in self.labels):
            return False
        if self.since is not None and not _is_after(entry, self.since):
            return False
        labels = (f"{name}={value}" for name, value in entry.labels.items())
        texts = (entry.run_id, entry.scenario, entry.plan, entry.result, entry.note, *labels)
        return any(self.text.lower() in text.lower() for text in texts)


def parse_since(text: str, now: datetime) -> datetime:
    """ "7d" or "2h" before now, a day ("2026-11-24"), or a time of it ("2026-11-24T17:00"), UTC.

    Raises:
        ValueError: none of these.
    """
    try:
        return now - timedelta(seconds=parse_duration(text) / NS_PER_S)
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'"{text}" is no time; write 7d, 2h, 2026-11-24 or 2026-11-24T17:00 (UTC)') from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def entries(runs_dir: Path, search: Search | None = None) -> list[Entry]:
    """Newest first.

    Raises:
        StorageError: the folder of runs cannot be read.
    """
    paths, index = list_runs(runs_dir), Index(runs_dir)
    found, patience = [], _PATIENT
    for path in paths:
        entry = _entry(path, index, may_go_on=patience > 0)
        patience -= entry.duration_s is None
        if search is None or search.finds(entry):
            found.append(entry)
    index.keep({path.name for path in paths})
    return found


def labels_of(path: Path) -> tuple[Notes, dict[str, str]]:
    """What was said of a run, and the labels of its plan.

    Raises:
        StorageError: one of the files cannot be read.
    """
    return read_notes(path), _manifest(path).spec.labels


def _entry(path: Path, index: Index, may_go_on: bool) -> Entry:
    troubles: list[str] = []
    manifest = _tried(lambda: _manifest(path), troubles) or _Manifest()
    notes = _tried(lambda: read_notes(path), troubles) or Notes()
    line = _tried(lambda: index.line(path), troubles)
    has_summary = line is not None or (path / "summary.json").exists()
    entry = Entry(
        path=path,
        result="unreadable" if has_summary else "going on" if may_go_on and goes_on(path) else "not ended",
        scenario=manifest.scenario,
        plan=manifest.plan,
        started_at=manifest.created_at,
        labels=notes.over(manifest.spec.labels),
        note=notes.note,
        trouble="; ".join(troubles),
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


def _tried(read: Callable[[], T], troubles: list[str]) -> T | None:
    try:
        return read()
    except LoadgenError as unreadable:
        troubles.append(unreadable.message)
        return None


def _manifest(path: Path) -> _Manifest:
    file = path / "manifest.json"
    try:
        return _MANIFEST.decode(file.read_bytes())
    except OSError as exc:
        raise storage_error(file, exc, doing="read") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(f"cannot read {file}: {exc}") from exc


def _is_after(entry: Entry, since: datetime) -> bool:
    """By when it was started; a run that does not say is not."""
    try:
        return datetime.fromisoformat(entry.started_at) >= since
    except ValueError:
        return False
