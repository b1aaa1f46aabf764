"""The history: accepted runs, pinned references, and who decided what. A folder, or a place in a bucket.

    runs/key=<hash>/<run id>.parquet     one run (table.py), among those it can be compared with
    events/<time>-<kind>-<number>.json   one decision (audit.py)

Each file is written once, whole, and never changed. So two who write at once cannot harm each
other, nothing is ever locked, and a copy of the folder is a copy of the history. No run is
removed: one that should not have been accepted is *struck*, with a reason, and stays to be seen.

A file that is damaged, or of a newer loadgen, is left out and named in `troubles`: whoever
decides something from runs has to say what it did not see.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

from loadgen.errors import IncompleteError, InvalidError, UsageError
from loadgen.history.store.audit import FOLDER as EVENTS
from loadgen.history.store.audit import decoded, encoded, named
from loadgen.history.store.baseline_run import Accepted, Event, Key, Reference
from loadgen.history.store.extract import unfit_of
from loadgen.history.store.location import Place, place_of
from loadgen.history.store.parquet_run import NewerFormat, from_parquet, key_in, to_parquet
from loadgen.measure.run_folder.rundir import utc_text

__all__ = ["ACCEPTED", "IN_SPITE", "PINNED", "STRUCK", "Near", "Store"]

T = TypeVar("T")

ACCEPTED: Final = "accepted"
IN_SPITE: Final = "accepted in spite of"
PINNED: Final = "pinned"
STRUCK: Final = "struck"
"""Kinds of events that the store itself notes; others are whatever their authors call them."""

_RUNS: Final = "runs/"
_RUN: Final = re.compile(r"runs/key=([0-9a-f]{16})/([A-Za-z0-9][A-Za-z0-9._-]*)\.parquet")
_AT_ONCE: Final = 50
_UNMEASURED: Final = {"incomplete": IncompleteError, "interrupted": IncompleteError, "error": IncompleteError}


@dataclass(frozen=True, slots=True)
class Near:
    """A key of the history, and how it differs from the one that was asked for."""

    key: Key
    runs: int
    differences: tuple[str, ...]
    """In words; empty where it is the very same."""


def _now() -> str:
    return utc_text(datetime.now(UTC))


class Store:
    """See the module. Everything blocks; nothing is kept in memory between calls."""

    def __init__(self, place: Place, now: Callable[[], str] = _now) -> None:
        self._place = place
        self._now = now
        self._troubles: dict[str, None] = {}

    @classmethod
    def open(cls, url: str) -> Store:
        """url: a folder's path, or "s3://bucket/prefix". Nothing is made before something is written.

        Raises:
            UsageError: it is neither; or boto3 is not installed.
        """
        return cls(place_of(url))

    def __str__(self) -> str:
        return str(self._place)

    @property
    def troubles(self) -> tuple[str, ...]:
        """Files that were to be read since the store was opened and could not be, and why."""
        return tuple(self._troubles)

    # -- runs -------------------------------------------------------------------------------------

    def add(self, run: Accepted, *, because: str = "", by: str = "") -> bool:
        """Accept a run. False where it is there already: it stays as it was.

        Args:
            because: why it is accepted in spite of what speaks against it. The event is another one then.
        Raises:
            InvalidError: it is not fit to be compared with, and nobody says why it should be. A run that was not
                measured properly is never accepted.
            IncompleteError: the same where data are missing.
            UsageError: pyarrow is not installed.
            StorageError: it cannot be written.
        """
        self._check(run, because)
        name = f"{_RUNS}key={run.key.hash()}/{run.run_id}.parquet"
        if not _RUN.fullmatch(name):
            raise UsageError(f'"{run.run_id}" is no id of a run')
        if not self._place.put_new(name, to_parquet(run)):
            return False
        details = {"key": run.key.hash()} | ({"unfit": "; ".join(unfit_of(run))} if unfit_of(run) else {})
        self.note(Event(IN_SPITE if because else ACCEPTED, "", by, (run.run_id,), because, details))
        return True

    @staticmethod
    def _check(run: Accepted, because: str) -> None:
        if not run.figures:
            # A verdict of it is possible (it failed); a history of such runs would call the next outage normal.
            raise InvalidError(
                f"{run.run_id} cannot be accepted: nothing of it ended ok", hint="loadgen failures says why"
            )
        whys = unfit_of(run)
        is_measured = run.result not in _UNMEASURED and run.validity != "invalid" and run.result != "invalid"
        if not whys or (because and is_measured):
            return
        hint = "--because TEXT accepts it all the same, and is kept" if is_measured else "run it again"
        error = _UNMEASURED.get(run.result, InvalidError)
        raise error(f"{run.run_id} cannot be accepted: {'; '.join(whys)}", hint=hint)

    def keys(self) -> list[Key]:
        """Of all runs that are not struck, those with the most runs first."""
        return [near.key for near in self._near(None)]

    def runs(self, key: Key, *, newest: int | None = None, is_whole: bool = False) -> list[Accepted]:
        """Accepted runs of the key that are not struck, oldest first by when they were started.

        Args:
            newest: at most so many of the newest. Ids begin with their time, so older ones are not even read.
            is_whole: with the figures of single regions and agents; without it those of all together.
        Raises:
            StorageError: the place cannot be read. (A single run that cannot be is one of `troubles`.)
        Cost: 1.5 ms for a run of 60 names.
        """
        struck = self.struck()
        names = [name for name, (_, run_id) in self._named(key) if run_id not in struck]
        found: list[Accepted] = []
        while names and (newest is None or len(found) < newest):
            count = _AT_ONCE if newest is None else min(_AT_ONCE, newest - len(found))
            names, some = names[:-count], names[-count:]
            found += self._read(some, lambda data: from_parquet(data, is_whole=is_whole))
        return sorted(found, key=lambda run: (run.started_at, run.run_id))

    def get(self, run_ids: Iterable[str], *, is_whole: bool = True) -> list[Accepted]:
        """These runs, in this order, whether struck or not. One that cannot be read is one of `troubles`.

        Raises:
            UsageError: some are not there; all of them are named.
        """
        names = {run_id: name for name, (_, run_id) in self._named()}
        wanted = list(run_ids)
        missing = [run_id for run_id in wanted if run_id not in names]
        if missing:
            hint = f"loadgen history runs --store {self} lists what there is"
            raise UsageError(f"no accepted run {', '.join(missing)} in {self}", hint=hint)
        return self._read([names[one] for one in wanted], lambda data: from_parquet(data, is_whole=is_whole))

    def find(self, text: str) -> str:
        """The id of the one accepted run that is called so, or whose id begins so; "last" is the newest.

        Raises:
            UsageError: there is none, or more than one.
        """
        ids = sorted({run_id for _, (_, run_id) in self._named()})
        found = ids[-1:] if text == "last" else [one for one in ids if one == text]
        found = found or [one for one in ids if text and one.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{len(found)} accepted runs begin with {text}", hint=", ".join(found[:5]))
        hint = f"loadgen history runs --store {self} lists what there is"
        raise UsageError(f"no accepted run {text} in {self}", hint=hint)

    def matching(self, key: Key) -> list[Near]:
        """All keys of the history, the nearest first: itself, then those that differ in least."""
        return sorted(self._near(key), key=lambda near: (len(near.differences), -near.runs))

    def why_none(self, key: Key) -> str:
        """In words, why there is nothing to compare with: for a message. Empty where there is something."""
        near = self.matching(key)
        if not near:
            return f"there are no accepted runs in {self} yet; begin with `loadgen history add RUN --store {self}`"
        if not near[0].differences:
            return ""
        runs = sum(one.runs for one in near)
        nearest = f"the nearest {near[0].runs} differ: {'; '.join(near[0].differences)}"
        return f"none of the {runs} accepted runs in {self} can be compared with it; {nearest}"

    # -- decisions --------------------------------------------------------------------------------

    def strike(self, run_id: str, because: str, *, by: str = "") -> bool:
        """Take a run out of all comparisons from now on. False where it is struck already.

        Raises:
            UsageError: there is no such run, or no reason.
        """
        if not because.strip():
            raise UsageError("why is the run to be struck?", hint="--because TEXT; it is kept")
        if run_id not in {one for _, (_, one) in self._named()}:
            raise UsageError(f"no accepted run {run_id} in {self}")
        if run_id in self.struck():
            return False
        self.note(Event(STRUCK, "", by, (run_id,), because.strip()))
        return True

    def struck(self) -> dict[str, Event]:
        """Struck runs by id, and when, by whom and why."""
        return {run_id: event for event in self.events(STRUCK) for run_id in event.run_ids}

    def pin(self, run_ids: Sequence[str], name: str, *, by: str = "") -> Reference:
        """Make these runs the reference of that name, instead of those that were.

        Raises:
            UsageError: no runs, no name, a run that is not there or is struck, or runs that cannot be compared.
        """
        if not name.strip() or not run_ids:
            raise UsageError(
                "a reference has a name and at least one run", hint="loadgen history pin RUN... --name 1.4"
            )
        struck = self.struck()
        if gone := [one for one in run_ids if one in struck]:
            raise UsageError(f"{', '.join(gone)} cannot be a reference: struck, {struck[gone[0]].because}")
        first, *others = self._keys_of(run_ids)
        for run_id, key in zip(run_ids[1:], others, strict=True):
            if key != first:
                words = "; ".join(first.differences(key))
                raise UsageError(f"{run_ids[0]} and {run_id} are not of one reference: {words}")
        event = self.note(Event(PINNED, "", by, tuple(run_ids), details={"name": name.strip(), "key": first.hash()}))
        return Reference(name.strip(), event.run_ids, event.at, by)

    def references(self, key: Key) -> list[Reference]:
        """Of the key, the one pinned last at the end. Runs that were struck since are not in them."""
        struck = self.struck()
        found: dict[str, Reference] = {}
        for event in self.events(PINNED):
            if event.details.get("key") == key.hash():
                name = event.details.get("name", "")
                run_ids = tuple(one for one in event.run_ids if one not in struck)
                found.pop(name, None)
                found[name] = Reference(name, run_ids, event.at, event.by)
        return [one for one in found.values() if one.run_ids]

    def note(self, event: Event) -> Event:
        """Keep an event; without a time it is of now. Returns it as it was written."""
        event = event if event.at else replace(event, at=self._now())
        while not self._place.put_new(*encoded(event)):
            pass  # one in four billion: another number
        return event

    def events(self, *kinds: str) -> list[Event]:
        """Of these kinds, or all; oldest first."""
        return self._read(named(self._place.names(EVENTS), kinds), decoded)

    # -- within -----------------------------------------------------------------------------------

    def _named(self, key: Key | None = None) -> Iterator[tuple[str, tuple[str, str]]]:
        """Name of the file, hash of the key and id of each run, in the order of their ids."""
        below = _RUNS if key is None else f"{_RUNS}key={key.hash()}/"
        found = ((name, match) for name in self._place.names(below) if (match := _RUN.fullmatch(name)))
        yield from sorted(((name, (match[1], match[2])) for name, match in found), key=lambda one: one[1][1])

    def _near(self, key: Key | None) -> list[Near]:
        struck = self.struck()
        by_hash: dict[str, list[str]] = {}
        for name, (of_key, run_id) in self._named():
            if run_id not in struck:
                by_hash.setdefault(of_key, []).append(name)
        found = []
        for names in sorted(by_hash.values(), key=len, reverse=True):
            # The newest that can be read: a damaged one must not hide the others.
            of = next((one for name in reversed(names) for one in self._read([name], key_in)), None)
            if of is not None:
                found.append(Near(of, len(names), () if key is None else tuple(key.differences(of))))
        return found

    def _keys_of(self, run_ids: Sequence[str]) -> list[Key]:
        runs = self.get(run_ids, is_whole=False)
        if len(runs) != len(run_ids):
            raise UsageError("a run that is to be pinned cannot be read", hint=self.troubles[-1])
        return [run.key for run in runs]

    def _read(self, names: Sequence[str], decode: Callable[[bytes], T]) -> list[T]:
        """What is in them; those that cannot be read are troubles."""
        found = []
        for name, data in zip(names, self._place.read(names), strict=True):
            if isinstance(data, str):
                self._troubles[f"{name} cannot be read: {data}"] = None
                continue
            try:
                found.append(decode(data))
            except NewerFormat as exc:
                self._troubles[f"{name} is of a newer loadgen: {exc}"] = None
            except ValueError as exc:
                self._troubles[f"{name} is damaged: {exc}"] = None
        return found
