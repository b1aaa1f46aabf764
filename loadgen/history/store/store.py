"""Stores the history: accepted runs, pinned references, and decisions with their authors. In a folder or an S3 bucket.

    runs/key=<hash>/<run id>.parquet     one run (parquet_run.py); all runs of a key can be compared
    events/<time>-<kind>-<number>.json   one decision (audit_trail.py)
    studies/C-<number>.json              one study of capacity, or one sweep (study_records.py)
    numbers/D-<number>.json              a number that is taken (numbers.py)

Each file is written once, as a whole, and never changed. So concurrent writers cannot harm each other, nothing is ever
locked, and a copy of the folder is a copy of the history. No run is removed: a run that should not have been accepted
is *struck* with a reason, and stays visible.

Files that are damaged or were written by a newer loadgen are left out and named in `unreadable`. A caller that decides
something from the runs must report them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from loadgen.errors import IncompleteError, InvalidError, UsageError
from loadgen.history.store.audit_trail import FOLDER as EVENTS
from loadgen.history.store.audit_trail import decoded, named, put_event, time_in
from loadgen.history.store.extract import unfit_of
from loadgen.history.store.numbers import FOLDER as NUMBERS
from loadgen.history.store.numbers import encoded_number, next_free, number_name
from loadgen.history.store.parquet_run import NewerFormat, from_parquet, key_in, labels_in, to_parquet
from loadgen.history.store.stored_run import Accepted, Event, Key, Reference
from loadgen.history.store.study_records import FOLDER as STUDIES
from loadgen.history.store.study_records import (
    StudyRecord,
    decoded_study,
    encoded_study,
    name_of,
    next_number,
    studies_in,
)
from loadgen.history.store.write_once_storage import Place, place_of
from loadgen.measure.run_folder.rundir import utc_text

__all__ = ["ACCEPTED", "IN_SPITE", "PINNED", "STRUCK", "Near", "Store"]

T = TypeVar("T")

ACCEPTED: Final = "accepted"
IN_SPITE: Final = "accepted in spite of"
PINNED: Final = "pinned"
STRUCK: Final = "struck"
"""The kinds of events that the store itself records. Callers may record others with `note`."""

_RUNS: Final = "runs/"
_RUN: Final = re.compile(r"runs/key=([0-9a-f]{16})/([A-Za-z0-9][A-Za-z0-9._-]*)\.parquet")
_BEGAN: Final = re.compile(r"(\d{8})-(\d{6})-")
_AT_ONCE: Final = 50
_UNMEASURED: Final = {"incomplete": IncompleteError, "interrupted": IncompleteError, "error": IncompleteError}


@dataclass(frozen=True, slots=True)
class Near:
    """A key of the history, and how it differs from a given key."""

    key: Key
    runs: int
    """Accepted runs of this key that are not struck."""
    differences: tuple[str, ...]
    """As text; empty if the keys are equal."""


def _now() -> str:
    return utc_text(datetime.now(UTC))


class Store:
    """A history in a folder or bucket. All methods block. Nothing but `with_journeys` is cached between calls.

    as_of: show the history as it was known then, to read only: later events, studies and acceptances are left out. A
    run without an acceptance, whose writer stopped in between, counts from its start on.
    """

    def __init__(self, place: Place, now: Callable[[], str] = _now, as_of: datetime | None = None) -> None:
        self._place = place
        self._now = now
        self._as_of = as_of
        self._known_later: frozenset[str] | None = None
        self._with_journeys: dict[str, Accepted] = {}
        self._unreadable: dict[str, None] = {}

    @classmethod
    def open(cls, url: str, as_of: datetime | None = None) -> Store:
        """Return the history at `url`, a folder's path or "s3://bucket/prefix". The first write creates it.

        as_of: as it was known then; None: as it is.

        Raises:
            UsageError: the URL is neither, or boto3 is not installed.
        """
        return cls(place_of(url), as_of=as_of)

    def __str__(self) -> str:
        return str(self._place)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Return a sentence for each file that could not be read since the store was opened, with the reason."""
        return tuple(self._unreadable)

    # -- runs -------------------------------------------------------------------------------------

    def add(self, run: Accepted, *, because: str = "", by: str = "") -> bool:
        """Accept a run into the history, and record who did it. Return False if the history has the run already.

        Args:
            because: why the run is accepted although something speaks against it; recorded as an event of its own kind.
                Empty: a run that cannot be a baseline is rejected.
            by: who accepts it.

        Raises:
            InvalidError: the run cannot be a baseline and `because` is empty; or it was not measured properly, which no
                reason can excuse.
            IncompleteError: the same, because data are missing.
            UsageError: pyarrow is not installed, or the run id is invalid.
            StorageError: the run cannot be written.
        """
        self._check_writable()
        self._check(run, because)
        name = f"{_RUNS}key={run.key.hash()}/{run.run_id}.parquet"
        if not _RUN.fullmatch(name):
            raise UsageError(
                f'invalid run id "{run.run_id}" in manifest.json',
                hint="copy the run's folder again: an id has only letters, digits, '.', '_' and '-'",
            )
        if not self._place.put_new(name, to_parquet(run)):
            return False
        details = {"key": run.key.hash()} | ({"unfit": "; ".join(unfit_of(run))} if unfit_of(run) else {})
        self.note(Event(IN_SPITE if because else ACCEPTED, "", by, (run.run_id,), because, details))
        return True

    @staticmethod
    def _check(run: Accepted, because: str) -> None:
        if not run.figures:
            # Such a run has a verdict (it failed), but a history of such runs would make the next outage look normal.
            raise InvalidError(
                f"{run.run_id} cannot be accepted: no request or iteration succeeded",
                hint="`loadgen failures RUN` shows why; accept a run in which requests succeeded",
            )
        whys = unfit_of(run)
        is_measured = run.result not in _UNMEASURED and run.validity != "invalid" and run.result != "invalid"
        if not whys or (because and is_measured):
            return
        hint = "to accept it anyway, give --because TEXT, which is recorded" if is_measured else "run it again"
        error = _UNMEASURED.get(run.result, InvalidError)
        raise error(f"{run.run_id} cannot be accepted: {'; '.join(whys)}", hint=hint)

    def keys(self) -> list[Key]:
        """Return the keys of all runs that are not struck, beginning with the key that has the most runs."""
        return [near.key for near in self._near(None)]

    def runs(self, key: Key, *, newest: int | None = None, is_whole: bool = False) -> list[Accepted]:
        """Return the accepted runs of a key that are not struck, sorted by start time, oldest first.

        Args:
            newest: return at most this many of the newest runs. Older ones are not even read, since ids begin with
                the time; None: all.
            is_whole: include the figures of single regions and agents; False: only those over all of them.

        Raises:
            StorageError: the folder or bucket cannot be read. A single unreadable run is added to `unreadable` instead.

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

    def runs_with_label(self, name: str, value: str) -> list[Accepted]:
        """Return the accepted runs of all keys with this label that are not struck, sorted by start time, oldest first.

        The figures of single regions and agents are left out.

        Raises:
            StorageError: the folder or bucket cannot be read. A single unreadable run is added to `unreadable` instead.

        Cost: as `runs` for each run with the label, and a third of that for each other run.
        """
        struck = self.struck()
        names = [file for file, (_, run_id) in self._named() if run_id not in struck]
        found = self._read(names, lambda data: from_parquet(data) if labels_in(data).get(name) == value else None)
        return sorted((run for run in found if run is not None), key=lambda run: (run.started_at, run.run_id))

    def get(self, run_ids: Iterable[str], *, is_whole: bool = True) -> list[Accepted]:
        """Return the runs with these ids in this order, even struck ones. Unreadable runs are added to `unreadable`.

        is_whole: include the figures of single regions and agents.

        Raises:
            UsageError: some are not in the history; the message names all of them.
        """
        names = {run_id: name for name, (_, run_id) in self._named()}
        asked = list(run_ids)
        missing = [run_id for run_id in asked if run_id not in names]
        if missing:
            raise UsageError(
                f"no accepted run {', '.join(missing)} in {self}",
                hint=f"`loadgen history runs --store {self}` lists the accepted runs",
            )
        return self._read([names[one] for one in asked], lambda data: from_parquet(data, is_whole=is_whole))

    def run_ids(self) -> list[str]:
        """Return the ids of all accepted runs, even struck ones, sorted.

        Raises:
            StorageError: the folder or bucket cannot be read.
        """
        return sorted({run_id for _, (_, run_id) in self._named()})

    def with_journeys(self, run_ids: Iterable[str]) -> list[Accepted]:
        """Return the readable ones of these runs, even struck ones, with the figures and errors of journeys only.

        This object reads each run once, since its file never changes. Ids without a file are left out. Unreadable
        files are added to `unreadable`.

        Raises:
            StorageError: the folder or bucket cannot be read.

        Cost: 1 ms for a run of 60 names, when it is read.
        """
        asked = list(run_ids)
        if fresh := {one for one in asked if one not in self._with_journeys}:
            files = {run_id: name for name, (_, run_id) in self._named() if run_id in fresh}
            names = list(files.values())
            for n in range(0, len(names), _AT_ONCE):
                found = self._read(names[n : n + _AT_ONCE], lambda data: from_parquet(data, kind="journey"))
                self._with_journeys |= {run.run_id: run for run in found}
        return [self._with_journeys[one] for one in asked if one in self._with_journeys]

    def referred(self) -> dict[str, str]:
        """Return the ids of all runs that the history refers to, even struck ones: "accepted", or "pinned as NAME".

        Raises:
            StorageError: the folder or bucket cannot be read.
        """
        found = {run_id: "accepted" for _, (_, run_id) in self._named()}
        for event in self.events(PINNED):
            found |= dict.fromkeys(event.run_ids, f"pinned as {event.details.get('name', '')}")
        return found

    def find(self, text: str) -> str:
        """Return the full id of the accepted run whose id is `text` or begins with it; "last" is the newest run.

        Raises:
            UsageError: no run or several runs match.
        """
        ids = sorted({run_id for _, (_, run_id) in self._named()})
        found = ids[-1:] if text == "last" else [one for one in ids if one == text]
        found = found or [one for one in ids if text and one.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{len(found)} accepted runs begin with {text}", hint=f"give more of the id: {', '.join(found[:5])}"
            )
        raise UsageError(
            f"no accepted run {text} in {self}", hint=f"`loadgen history runs --store {self}` lists the accepted runs"
        )

    def matching(self, key: Key) -> list[Near]:
        """Return all keys in the history with their differences from `key`, the most similar key first."""
        return sorted(self._near(key), key=lambda near: (len(near.differences), -near.runs))

    def why_none(self, key: Key) -> str:
        """Return why no accepted run can be compared with runs of `key`, as a text for the operator; "" if some can."""
        near = self.matching(key)
        if not near:
            return f"there are no accepted runs in {self} yet; accept one with `loadgen history add RUN --store {self}`"
        if not near[0].differences:
            return ""
        runs = sum(one.runs for one in near)
        nearest = f"the nearest {near[0].runs} differ: {'; '.join(near[0].differences)}"
        return f"none of the {runs} accepted runs in {self} can be compared with it; {nearest}"

    # -- decisions --------------------------------------------------------------------------------

    def strike(self, run_id: str, because: str, *, by: str = "") -> bool:
        """Exclude a run from all comparisons from now on ("strike" it), and record the reason and the author.

        Return True, or False if the run is struck already.

        Raises:
            UsageError: there is no such run, or the reason is empty.
        """
        if not because.strip():
            raise UsageError(
                "excluding (striking) a run from comparisons needs a reason",
                hint="give --because TEXT, which is recorded",
            )
        if run_id not in {one for _, (_, one) in self._named()}:
            raise UsageError(
                f"no accepted run {run_id} in {self}",
                hint=f"`loadgen history runs --store {self}` lists the accepted runs",
            )
        if run_id in self.struck():
            return False
        self.note(Event(STRUCK, "", by, (run_id,), because.strip()))
        return True

    def struck(self) -> dict[str, Event]:
        """Return the runs that are excluded from comparisons: {run id: the event with time, author and reason}."""
        return {run_id: event for event in self.events(STRUCK) for run_id in event.run_ids}

    def pin(self, run_ids: Sequence[str], name: str, *, because: str = "", by: str = "") -> Reference:
        """Make these runs a reference (a pinned release) called `name`, and return it.

        They replace an earlier reference of that name. because: why; a performance budget that is spent begins anew
        only with a reason.

        Raises:
            UsageError: there are no runs or no name, a run is missing or struck, or the runs cannot be compared.
        """
        if not name.strip() or not run_ids:
            raise UsageError(
                "a reference needs a name and at least one run", hint="give both: loadgen history pin RUN... --name 1.4"
            )
        struck = self.struck()
        if gone := [one for one in run_ids if one in struck]:
            raise UsageError(
                f"{', '.join(gone)} cannot be a reference: struck because {struck[gone[0]].because}",
                hint="pin other runs",
            )
        first, *others = self._keys_of(run_ids)
        for run_id, key in zip(run_ids[1:], others, strict=True):
            if key != first:
                words = "; ".join(first.differences(key))
                raise UsageError(
                    f"{run_ids[0]} and {run_id} cannot be one reference: {words}",
                    hint="pin only runs that can be compared with each other",
                )
        details = {"name": name.strip(), "key": first.hash()}
        event = self.note(Event(PINNED, "", by, tuple(run_ids), because.strip(), details))
        return Reference(name.strip(), event.run_ids, event.at, by)

    def references(self, key: Key) -> list[Reference]:
        """Return the references (pinned releases) of a key, in the order in which they were pinned.

        Struck runs are left out, and so are references of which no run is left.
        """
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
        """Write an event to the audit trail, with the present time if it has none. Return it as it was written."""
        self._check_writable()
        event = event if event.at else replace(event, at=self._now())
        put_event(self._place, event)
        return event

    def events(self, *kinds: str) -> list[Event]:
        """Return the events of these kinds from the audit trail, or all events if no kind is given; oldest first."""
        found = self._read(named(self._place.names(EVENTS), kinds), decoded)
        return [event for event in found if self._is_known(event.at)]

    def numbered_events(self, *kinds: str) -> list[tuple[int, Event]]:
        """Return the events of these kinds with their numbers, from 1, oldest first.

        A damaged file keeps its number, so it does not shift the numbers of the events after it.
        """
        readable = self._readable(named(self._place.names(EVENTS), kinds), decoded)
        return [(n + 1, event) for n, event in readable if self._is_known(event.at)]

    def take_number(self, letter: str, least: int = 1) -> int:
        """Take the next free number of a letter, such as 207 for D-207. No other writer gets the same number.

        least: the smallest number that may be taken.

        Raises:
            StorageError, CloudError: the number cannot be written.
        """
        self._check_writable()
        number = max(least, next_free(self._place.names(NUMBERS), letter))
        while not self._place.put_new(number_name(letter, number), encoded_number(letter, number, self._now())):
            number += 1  # another writer took it
        return number

    # -- studies ----------------------------------------------------------------------------------

    def add_study(self, study: Mapping[str, Any], *, by: str = "") -> str:
        """Store a study of capacity or a sweep, and return its id, such as "C-12".

        study: its JSON document; `run_ids` names the runs that it is based on.

        Raises:
            StorageError: the study cannot be written.
            ValueError: a number in the study is not finite.
        """
        self._check_writable()
        at, number = self._now(), next_number(self._place.names(STUDIES))
        while True:
            record = StudyRecord(f"C-{number}", at, by, study)
            if self._place.put_new(f"{STUDIES}{record.id}.json", encoded_study(record)):
                return record.id
            number += 1  # another writer took the number

    def studies(self, *kinds: str) -> list[StudyRecord]:
        """Return the stored studies of these kinds, such as "capacity find", or all of them; by number."""
        found = self._read(studies_in(self._place.names(STUDIES)), decoded_study)
        return [one for one in found if (not kinds or one.kind in kinds) and self._is_known(one.at)]

    def study(self, study_id: str) -> StudyRecord:
        """Return the study with this id, such as "C-12".

        Raises:
            UsageError: there is no such study, or it cannot be read.
        """
        name = name_of(study_id)
        found = self._read([name], decoded_study) if name in self._place.names(STUDIES) and name else []
        if not found:
            why = f": {self.unreadable[-1]}" if name and name in " ".join(self.unreadable) else ""
            ids = [one.id for one in self.studies()[-5:]]
            raise UsageError(
                f"no study {study_id} in {self}{why}",
                hint=f"the newest are {', '.join(ids)}" if ids else "`loadgen capacity find` stores one",
            )
        return found[0]

    # -- within -----------------------------------------------------------------------------------

    def _check_writable(self) -> None:
        if self._as_of is not None:
            raise ValueError("a history as of an earlier time is only read")

    def _is_known(self, at: str) -> bool:
        """Return whether something was recorded until `as_of`. What has no readable time stays, so it is reported."""
        if self._as_of is None:
            return True
        try:
            return time_in(at) <= self._as_of
        except ValueError:
            return True

    def _later(self) -> frozenset[str]:
        """Return the ids of the runs that were accepted after `as_of` only. They are read once."""
        if self._as_of is None:
            return frozenset()
        if self._known_later is None:
            events = self._read(named(self._place.names(EVENTS), (ACCEPTED, IN_SPITE)), decoded)
            before = {one for event in events if self._is_known(event.at) for one in event.run_ids}
            every = {one for event in events for one in event.run_ids}
            self._known_later = frozenset(every - before)
        return self._known_later

    def _is_run_known(self, run_id: str, later: frozenset[str]) -> bool:
        began = _BEGAN.match(run_id)
        return run_id not in later and (began is None or self._is_known(f"{began[1]}T{began[2]}Z"))

    def _named(self, key: Key | None = None) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yield (file name, (hash of the key, run id)) for each run in the history, sorted by run id.

        key: only runs of this key; None: of all keys.
        """
        below = _RUNS if key is None else f"{_RUNS}key={key.hash()}/"
        later = self._later()
        matches = ((name, _RUN.fullmatch(name)) for name in self._place.names(below))
        found = ((name, match) for name, match in matches if match and self._is_run_known(match[2], later))
        yield from sorted(((name, (match[1], match[2])) for name, match in found), key=lambda one: one[1][1])

    def _near(self, key: Key | None) -> list[Near]:
        struck = self.struck()
        by_hash: dict[str, list[str]] = {}
        for name, (of_key, run_id) in self._named():
            if run_id not in struck:
                by_hash.setdefault(of_key, []).append(name)
        found = []
        for names in sorted(by_hash.values(), key=len, reverse=True):
            # The newest readable file: a damaged one must not hide the others.
            of = next((one for name in reversed(names) for one in self._read([name], key_in)), None)
            if of is not None:
                found.append(Near(of, len(names), () if key is None else tuple(key.differences(of))))
        return found

    def _keys_of(self, run_ids: Sequence[str]) -> list[Key]:
        runs = self.get(run_ids, is_whole=False)
        if len(runs) != len(run_ids):
            raise UsageError(
                f"cannot pin a run that cannot be read: {self.unreadable[-1]}",
                hint="pin other runs, or restore the file from a copy",
            )
        return [run.key for run in runs]

    def _read(self, names: Sequence[str], decode: Callable[[bytes], T]) -> list[T]:
        """Return the contents of the files with these names, decoded by `decode`, in order.

        Files that cannot be read or decoded are left out and added to `unreadable`.
        """
        return [one for _, one in self._readable(names, decode)]

    def _readable(self, names: Sequence[str], decode: Callable[[bytes], T]) -> Iterator[tuple[int, T]]:
        """Yield (position in `names`, decoded content) for each file that can be read; see `_read`."""
        for position, (name, data) in enumerate(zip(names, self._place.read(names), strict=True)):
            if isinstance(data, str):
                self._unreadable[f"{name} cannot be read: {data}"] = None
                continue
            try:
                found = decode(data)
            except NewerFormat as exc:
                self._unreadable[f"{name} was written by a newer loadgen: {exc}"] = None
            except ValueError as exc:
                self._unreadable[f"{name} is damaged: {exc}"] = None
            else:
                yield position, found
