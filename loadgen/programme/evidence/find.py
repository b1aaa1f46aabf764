"""Finds evidence by its id: in the recorded weekly pages, and in the history itself.

finder = EvidenceFinder(place)
finder.find("S-4f1a2b9c")       # Found: its entry, and where it stands; or NotFound: the nearest ids, and why

S-, R-, H-, A-, F-   made from the content: the entry of the newest recorded page that has the id. A page for customers
                     counts only if no other page has it, since its entries lack queries and revisions
G-n, D-n, C-n        numbers of the history: the n-th verdict of the gate, a recommendation, a study
others               an accepted run, by its id or its beginning; or the name of a pinned release
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Final

from loadgen.errors import UsageError
from loadgen.history.gate.verdict_numbers import numbered_verdicts
from loadgen.history.store.store import PINNED, Store
from loadgen.history.store.stored_run import Event
from loadgen.history.store.study_records import StudyRecord
from loadgen.history.store.write_once_storage import Place
from loadgen.outside_text import one_line
from loadgen.programme.evidence.entry import LETTERS, EvidenceEntry
from loadgen.programme.evidence.history_entries import (
    gate_entry,
    recommendation_entry,
    reference_entry,
    run_entry,
    study_entry,
)
from loadgen.programme.evidence.weeks import RecordedWeek, Weeks, weeks
from loadgen.programme.recommending.record import RECOMMENDED

__all__ = [
    "EvidenceFinder",
    "Found",
    "NotFound",
    "Origin",
    "entries_in",
    "entries_of",
    "entry_of",
    "find_evidence",
    "written_id",
]

_CONTENT_ID: Final = re.compile(r"([SRHAF])-([0-9a-f]{8})", re.IGNORECASE)
_SHORT_ID: Final = re.compile(r"[SRHAF]-[0-9a-f]*", re.IGNORECASE)
_NUMBER_ID: Final = re.compile(r"([GDC])-([1-9][0-9]{0,8})", re.IGNORECASE)
_ANSWERS: Final = ("overridden", "signed")
_NEAREST: Final = 3


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an entry was recorded: a page with its week, or a recommendation such as "D-207" without one."""

    id: str
    at: str
    week: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """An id that was found. where: what recorded it; None: the history itself.

    pages: the names of all recorded pages that have the id, the newest last. on_page: the entry of the newest page for
    a number of the history, to compare with; None: no page has it.
    """

    entry: EvidenceEntry
    where: Origin | None = None
    pages: tuple[str, ...] = ()
    on_page: EvidenceEntry | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """An id that was not found. nearest: known ids that look like it. why: a sentence without a full stop.

    is_unreadable: whether a file that cannot be read may have it.
    """

    id: str
    nearest: tuple[str, ...]
    why: str
    is_unreadable: bool = False


class EvidenceFinder:
    """Finds many ids with one reading of the recorded pages and of each part of the history that is needed."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.store = Store(place)

    @cached_property
    def weeks(self) -> Weeks:
        """Return all recorded pages."""
        return weeks(self.place)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Return a sentence for each file that could not be read so far."""
        read: Weeks = self.__dict__.get("weeks", Weeks(()))
        return (*read.unreadable, *self.store.unreadable)

    def find(self, text: str) -> Found | NotFound:
        """Return the evidence with an id, whatever the case of its letter.

        Raises:
            StorageError, CloudError: the history cannot be read.
        """
        id_ = written_id(text)
        if match := _NUMBER_ID.fullmatch(id_):
            return self._numbered(id_, match[1])
        if _CONTENT_ID.fullmatch(id_):
            return self._of_page(id_)
        return self._run_or_release(id_)

    # -- within -----------------------------------------------------------------------------------

    @cached_property
    def _on_pages(self) -> dict[str, list[tuple[RecordedWeek, EvidenceEntry]]]:
        found: dict[str, list[tuple[RecordedWeek, EvidenceEntry]]] = {}
        for week in self.weeks.found:
            for entry in entries_in(week.document):
                found.setdefault(entry.id, []).append((week, entry))
        return found

    @cached_property
    def _verdicts(self) -> dict[str, Event]:
        return dict(numbered_verdicts(self.store))

    @cached_property
    def _recommendations(self) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {}
        for event in self.store.events(RECOMMENDED):
            found.setdefault(event.details.get("id", ""), []).append(event)
        return found

    @cached_property
    def _in_recommendations(self) -> dict[str, tuple[EvidenceEntry, Origin]]:
        """Return the entries that recommendations recorded, each of the newest one that has it."""
        found = {}
        for id_, events in self._recommendations.items():
            for event in events:
                for entry in entries_of(event):
                    found[entry.id] = (entry, Origin(id_, event.at))
        return found

    @cached_property
    def _answers(self) -> list[Event]:
        return self.store.events(*_ANSWERS)

    @cached_property
    def _studies(self) -> dict[str, StudyRecord]:
        return {one.id: one for one in self.store.studies()}

    def _of_page(self, id_: str) -> Found | NotFound:
        if found := self._on_pages.get(id_):
            week, entry = _whole(found)
            return Found(entry, Origin(week.page, week.at, week.week), tuple(one.name for one, _ in found))
        if recorded := self._in_recommendations.get(id_):
            return Found(*recorded)
        why = "no recorded page has it" if self.weeks.found else "no weekly page is recorded in this history yet"
        known = [*self._on_pages, *self._in_recommendations]
        return self._missing(id_, known, why, (*self.weeks.unreadable, *self.store.unreadable))

    def _numbered(self, id_: str, letter: str) -> Found | NotFound:
        if letter == "G":
            known, what = list(self._verdicts), "the gate has given {n} in this history"
            entry = gate_entry(id_, self._verdicts[id_]) if id_ in self._verdicts else None
            noun = "verdict"
        elif letter == "D":
            known, what, noun = list(self._recommendations), "the history has {n}", "recommendation"
            entry = self._recommendation(id_)
        else:
            known, what, noun = list(self._studies), "the history has {n}", "study"
            entry = study_entry(self._studies[id_]) if id_ in self._studies else None
        if entry is None:
            number = f"{len(known)} {noun}{'s' if len(known) != 1 else ''}".replace("studys", "studies")
            return self._missing(id_, known, what.format(n=number), self.store.unreadable)
        on_page = self._on_pages.get(id_, [])
        names = tuple(week.name for week, _ in on_page)
        return Found(entry, None, names, _whole(on_page)[1] if on_page else None)

    def _recommendation(self, id_: str) -> EvidenceEntry | None:
        found = self._recommendations.get(id_)
        if not found:
            return None
        answers = [one for one in self._answers if one.details.get("id") == id_]
        return recommendation_entry(found[0], [*found[1:], *answers])

    def _run_or_release(self, text: str) -> Found | NotFound:
        pinned = [one for one in self.store.events(PINNED) if one.details.get("name") == text]
        if pinned:
            return Found(reference_entry(pinned[-1]))
        try:
            run_id = self.store.find(text)
        except UsageError as error:
            ids = [] if not text else [*self.store.referred(), *self._on_pages]
            # S-1234 is an id that somebody shortened, and not the beginning of a run's.
            why = "an id on a page has 8 digits: S-85b3d531" if _SHORT_ID.fullmatch(text) else error.message
            return self._missing(text, ids, why, self.store.unreadable)
        runs = self.store.get([run_id], is_whole=False)
        if not runs:
            return NotFound(run_id, (), f"the run cannot be read: {self.store.unreadable[-1]}", is_unreadable=True)
        return Found(run_entry(runs[0], self.store.struck().get(run_id)))

    @staticmethod
    def _missing(id_: str, known: list[str], why: str, unreadable: tuple[str, ...]) -> NotFound:
        return NotFound(one_line(id_, 80), _nearest(id_, known), one_line(why, 300), bool(unreadable))


def _whole(found: list[tuple[RecordedWeek, EvidenceEntry]]) -> tuple[RecordedWeek, EvidenceEntry]:
    """Return the newest page that is not for customers, with its entry; without one, the newest page."""
    return next((one for one in reversed(found) if not one[0].is_public), found[-1])


def find_evidence(place: Place, id_: str) -> Found | NotFound:
    """Return the evidence with an id; see `EvidenceFinder.find`, which is faster for several ids."""
    return EvidenceFinder(place).find(id_)


def written_id(text: str) -> str:
    """Return an id as pages write it: "s-4F1A2B9C" becomes "S-4f1a2b9c". Other texts are only stripped."""
    text = text.strip()
    if match := _CONTENT_ID.fullmatch(text):
        return f"{match[1].upper()}-{match[2].lower()}"
    return text.upper() if _NUMBER_ID.fullmatch(text) else text


def entries_of(event: Event) -> Iterator[EvidenceEntry]:
    """Yield the evidence entries that a recommendation recorded. An entry without `as_of` gets its time."""
    try:
        document = json.loads(event.details.get("document", ""))
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict):
        for entry in entries_in({"evidence": document.get("entries")}):
            inputs = tuple((name, value or (event.at if name == "as_of" else "")) for name, value in entry.inputs)
            yield replace(entry, inputs=inputs)


def entries_in(document: Mapping[str, Any]) -> Iterator[EvidenceEntry]:
    """Yield the evidence entries of a page's document. Other values in its list are left out."""
    listed = document.get("evidence")
    for one in listed if isinstance(listed, list) else ():
        entry = entry_of(one)
        if entry is not None:
            yield entry


def entry_of(document: object) -> EvidenceEntry | None:
    """Return the entry of a JSON document; None if it is not one."""
    if not isinstance(document, dict):
        return None
    texts = {name: document.get(name, "") for name in ("id", "kind", "says", "formula", "see")}
    inputs = document.get("inputs", [])
    lists = {name: document.get(name, []) for name in ("revisions", "run_ids")}
    if (
        not all(isinstance(one, str) for one in texts.values())
        or texts["kind"] not in LETTERS
        or not isinstance(inputs, list)
        or not all(isinstance(one, dict) and {"name", "value"} <= set(one) for one in inputs)
        or not all(isinstance(one, list) for one in lists.values())
    ):
        return None
    return EvidenceEntry(
        texts["id"],
        texts["kind"],
        texts["says"],
        texts["formula"],
        tuple((str(one["name"]), str(one["value"])) for one in inputs),
        tuple(map(str, lists["revisions"])),
        tuple(map(str, lists["run_ids"])),
        texts["see"],
    )


def _nearest(id_: str, known: list[str]) -> tuple[str, ...]:
    """Return the known ids that look most like an id, or the one with the highest number."""
    if match := _NUMBER_ID.fullmatch(id_):
        number = int(match[2])
        numbered = [(abs(int(found[2]) - number), one) for one in known if (found := _NUMBER_ID.fullmatch(one))]
        return tuple(one for _, one in sorted(numbered)[:_NEAREST])
    return tuple(get_close_matches(id_, known, n=_NEAREST, cutoff=0.5))
