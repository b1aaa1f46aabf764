"""Records the pages of weeks in a history, and reads them: the evidence of their numbers is looked up there.

    programme/weeks/2026-W30-w30-4f1a.json     one page as JSON, with the time when it was recorded; never changed

A page is recorded once: a page with the same id and the same evidence adds nothing. A week can have several pages, such
as one for each `--as-of`. `document["evidence"]` is a list of `EvidenceEntry.as_document()`.

Pages of one team, and pages for customers (`--public`), have less evidence than the page of all teams, and those for
customers lack queries and revisions. So such a partial page never stands for its week if there is a page of all teams,
whichever was recorded first. Pages of older versions have no "team"; their rows have it.

What can be computed again has fixed names of inputs. Times are RFC 3339 with a zone, counts are whole numbers as text,
and further inputs may have any name:

    kind "slices": slo       name of the promise
                   from, to  the counts are those of all slices that begin in [from, to)
                   as_of     only revisions, and exclusions, that were written until then; "": all
                   method    "Occurrences", "Timeslices" or "RatioTimeslices"
                   target    the share that must be good: "0.995"
                   good, total   in the units of the method: requests, else slices with traffic; without excluded slices
                   missing_s     optional: the time without counts in [from, to), s
                   slice_s, slice_target   of the two other methods: "300", "0.95"
                   query     optional: of which counts the slices are

Files that are damaged or were written by a newer loadgen are left out and named in `Weeks.unreadable`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from loadgen.errors import UsageError
from loadgen.history.store.json_file import decoded_file
from loadgen.history.store.parquet_run import NewerFormat
from loadgen.history.store.write_once_storage import Place
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.outside_text import in_json, one_line

__all__ = ["FOLDER", "RecordedWeek", "Weeks", "decoded_week", "fullest", "record_week", "weeks"]

FOLDER: Final = "programme/weeks/"
FORMAT: Final = 1
_WEEK: Final = re.compile(r"\d{4}-(W\d\d|Q[1-4])")
_PAGE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
_NAME: Final = re.compile(r"programme/weeks/(\d{4}-(?:W\d\d|Q[1-4]))-([a-z0-9][a-z0-9-]{0,70})\.json")
_MOST_BYTES: Final = 16 << 20
_TRIES: Final = 1_000


class _File(msgspec.Struct, frozen=True):
    format: int
    kind: str
    week: str
    page: str
    at: str
    sha256: str
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordedWeek:
    """A recorded page. week: "2026-W30" or "2026-Q3". page: its id, "w30-4f1a". at: when it was recorded, RFC 3339.

    name: of its file in the history.
    """

    name: str
    week: str
    page: str
    at: str
    document: Mapping[str, Any]

    @property
    def is_public(self) -> bool:
        """Return whether it is a page for customers, whose evidence has neither queries nor revisions."""
        return self.document.get("is_public") is True

    @property
    def team(self) -> str:
        """Return the only team whose promises the page has; "": it has those of all teams."""
        found = self.document.get("team")
        if isinstance(found, str):
            return found
        rows = self.document.get("rows")
        teams = {one.get("team") for one in rows if isinstance(one, dict)} if isinstance(rows, list) else set()
        return str(teams.pop() or "") if len(teams) == 1 else ""

    @property
    def scope(self) -> str:
        """Return what the page is limited to, such as "of team payments, for customers"; "": it is not limited."""
        team = f"of team {one_line(self.team, 60)}" if self.team else ""
        return ", ".join(filter(None, (team, "for customers" if self.is_public else "")))


@dataclass(frozen=True, slots=True)
class Weeks:
    """Recorded pages, the newest last. unreadable: a sentence for each file that was left out."""

    found: tuple[RecordedWeek, ...]
    unreadable: tuple[str, ...] = ()


def record_week(place: Place, document: Mapping[str, Any], at: str = "") -> str:
    """Store a page in the history's place, and return the name of its file. The same page is stored once.

    document: the page as JSON, with "week", "id" and "evidence". at: when, RFC 3339; "": now.

    Raises:
        ValueError: the week or the id is invalid, a number is not finite, or the page is larger than 16 MiB.
        UsageError: the history has too many pages with this id and other evidence.
        StorageError, CloudError: it cannot be written.
    """
    week, page = str(document.get("week", "")), str(document.get("id", ""))
    if not _WEEK.fullmatch(week) or not _PAGE.fullmatch(page):
        raise ValueError(f'invalid week "{one_line(week, 40)}" or id "{one_line(page, 80)}" of a page')
    clean = _as_read(document)
    file = {
        "format": FORMAT,
        "kind": "week",
        "week": week,
        "page": page,
        "at": at or utc_text(datetime.now(UTC)),
        "sha256": _digest(clean),
        "document": clean,
    }
    data = (in_json(json.dumps(file, indent=1, ensure_ascii=False, allow_nan=False)) + "\n").encode()
    if len(data) > _MOST_BYTES:
        raise ValueError(f"the page {page} is larger than {_MOST_BYTES >> 20} MiB")
    for number in range(1, _TRIES):
        # The digits of an id are few, so another page may have the same id: then a number is added to the name.
        name = f"{FOLDER}{week}-{page}{'' if number == 1 else f'-{number}'}.json"
        if place.put_new(name, data) or _has(place, name, clean):
            return name
    raise UsageError(f"{place}: {_TRIES} pages of {week} have the id {page}", hint="use another store")


def weeks(place: Place, week: str = "") -> Weeks:
    """Return the recorded pages, in the order in which they were recorded.

    week: only pages of this week, such as "2026-W30", or of this id, such as "w30-4f1a"; "": all.

    Raises:
        StorageError, CloudError: the place cannot be listed.

    Cost: about 3 ms for a page of 14 journeys.
    """
    matches = [match for name in place.names(FOLDER) if (match := _NAME.fullmatch(name))]
    # The name ends with the id and perhaps a number; the page itself decides below.
    names = [one[0] for one in matches if not week or one[1] == week or one[2].startswith(week)]
    found, unreadable = [], []
    for name, data in zip(names, place.read(names), strict=True):
        if isinstance(data, str):
            unreadable.append(f"{name} cannot be read: {one_line(data, 200)}")
            continue
        try:
            one = decoded_week(name, data)
        except NewerFormat as error:
            unreadable.append(f"{name} was written by a newer loadgen: {error}; update loadgen")
        except ValueError as error:
            unreadable.append(f"{name} is damaged: {one_line(str(error), 200)}")
        else:
            if week in ("", one.week, one.page):
                found.append(one)
    return Weeks(tuple(sorted(found, key=lambda one: (one.at, one.name))), tuple(unreadable))


def fullest(found: Sequence[RecordedWeek]) -> RecordedWeek:
    """Return the newest page of all teams; without one, the newest page of a team; else the newest one for customers.

    found: at least one page, the newest last, as `weeks` returns them.
    """
    best = max(range(len(found)), key=lambda n: (not found[n].is_public, not found[n].team, n))
    return found[best]


def decoded_week(name: str, data: bytes) -> RecordedWeek:
    """Return the page that a file contains. name: of the file in the history.

    Raises:
        ValueError: the file is damaged, foreign, has the name of another page, or was changed after it was recorded.
        NewerFormat: the file was written by a newer loadgen.
    """
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB")
    file = decoded_file(data, _File, FORMAT)
    if file.kind != "week":
        raise ValueError(f'it is not a page but "{one_line(file.kind, 40)}"')
    if not name.startswith(f"{FOLDER}{file.week}-{file.page}"):
        raise ValueError(f"it is page {one_line(file.page, 80)} of {one_line(file.week, 40)} under another name")
    if file.sha256 != _digest(file.document):
        raise ValueError("its checksum is wrong: it was changed after it was recorded")
    return RecordedWeek(name, file.week, file.page, file.at, file.document)


def _as_read(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document as a reader of the file gets it: lists for tuples, and "?" for half of a surrogate pair.

    Raises:
        ValueError: a number is not finite, or the document is nested too deeply.
    """
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        clean: dict[str, Any] = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (RecursionError, msgspec.MsgspecError) as error:
        raise ValueError(f"the page cannot be recorded: {one_line(str(error), 200)}") from None
    return clean


def _digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _has(place: Place, name: str, document: Mapping[str, Any]) -> bool:
    """Return whether the file has the same page: the same evidence, whatever else may differ."""
    (data,) = place.read([name])
    if isinstance(data, str):
        return False
    try:
        known = decoded_week(name, data)
    except (ValueError, NewerFormat):
        return False
    same: bool = _digest({"of": known.document.get("evidence")}) == _digest({"of": document.get("evidence")})
    return same
