"""The ledger: the counts of production and of runs by slice, stored in the folder or bucket of the history.

    slis/day=2026-07-20/<source>-<revision>.parquet     slices of one UTC day (ledger_file.py)

A file is written once and never changed. Late or corrected counts are a new revision with its reason. A revision has
only the slices that are new or changed, and reading takes the newest revision of each slice, so hourly revisions do not
repeat the day. `docs/decisions/134-ledger-of-counts.md` has the reasons.

Files that are damaged or foreign are left out and named in `unreadable`. Their slices are then missing, never zero
errors. So are the slices of older revisions of the same day and source: the file may have corrected them. The next pull
reads them again, and its newer revision counts. A revision whose file is gone is treated the same way, if a newer one
shows that it existed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError
from loadgen.history.store.parquet_run import NewerFormat
from loadgen.history.store.write_once_storage import Place, place_of
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.outside_text import one_line
from loadgen.programme.ledger.ledger_file import (
    ERROR_COLUMNS,
    CountErrors,
    Revision,
    Rows,
    from_parquet,
    made_slices,
    rows_of,
    to_parquet,
)
from loadgen.programme.ledger.slices import DAY_S, Slice, Sum
from loadgen.units import quantity

__all__ = ["FOLDER", "Counts", "Ledger", "Reading", "day_of"]

FOLDER: Final = "slis/"
_NAME: Final = re.compile(r"slis/day=(\d{4}-\d{2}-\d{2})/([a-z0-9][a-z0-9._-]{0,99})-([1-9]\d{0,5})\.parquet")
_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_TRIES: Final = 1_000


def _now() -> str:
    return utc_text(datetime.now(UTC))


def day_of(start: int) -> str:
    """Return the UTC day of a Unix time, s: "2026-07-20"."""
    return datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Counts:
    """The slices of one objective, by time. All arrays have the shape (slices,); see `Slice` for their meaning.

    revision: the index in `Reading.revisions`. evidence: of each slice. errors: None: no slice states its error.
    """

    start: NDArray[np.int64]
    width: NDArray[np.int64]
    good: NDArray[np.int64]
    total: NDArray[np.int64]
    missing_s: NDArray[np.int64]
    estimated: NDArray[np.bool_]
    revision: NDArray[np.int64]
    evidence: tuple[NDArray[np.int32], tuple[str, ...]]
    errors: CountErrors | None = None

    def __len__(self) -> int:
        return len(self.start)

    @property
    def stated(self) -> CountErrors:
        """Return how far the counts of each slice may be from the truth."""
        return self.errors or CountErrors.unstated(self.good, self.total, self.estimated)

    def chosen(self, kept: NDArray[np.bool_]) -> Counts:
        """Return some of the slices. kept: which ones, shape (slices,)."""
        codes, texts = self.evidence
        return Counts(
            self.start[kept],
            self.width[kept],
            self.good[kept],
            self.total[kept],
            self.missing_s[kept],
            self.estimated[kept],
            self.revision[kept],
            (codes[kept], texts),
            None if self.errors is None else self.errors.chosen(kept),
        )

    def revision_names(self, inside: NDArray[np.bool_], names: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the revisions of some slices, sorted. names: of the revisions that `revision` numbers."""
        return tuple(sorted({names[n] for n in np.unique(self.revision[inside]).tolist()}))

    def sum(self) -> Sum:
        """Return the sum of all slices."""
        return Sum(
            int(self.good.sum()),
            int(self.total.sum()),
            int(self.width.sum()),
            int(self.missing_s.sum()),
            int(self.total[self.estimated].sum()),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """The counts of the ledger for a time. revisions: those that were used. unreadable: a sentence for each file that
    was left out.
    """

    start: int
    end: int
    by_slo: Mapping[str, Counts]
    revisions: tuple[Revision, ...] = ()
    unreadable: tuple[str, ...] = ()
    clashes: tuple[str, ...] = field(default=())
    """A sentence for each objective that has slices of two sources at the same time: both would be counted twice."""
    later: tuple[str, ...] = ()
    """The names of revisions that were written after `as_of`, and are ignored."""

    def slices(self, slo: str) -> list[Slice]:
        """Return the slices of an objective, by time; [] without any."""
        found = self.by_slo.get(slo)
        if found is None:
            return []
        codes, texts = found.evidence
        return made_slices([slo] * len(found), found, [texts[code] for code in codes.tolist()])

    def missing_s(self, slo: str) -> int:
        """Return the time in [start, end) for which the objective has no counts, s: absent slices and missing parts."""
        found = self.by_slo.get(slo)
        covered = 0 if found is None else int(found.width.sum() - found.missing_s.sum())
        return max(0, self.end - self.start - covered)


@dataclass(slots=True)
class _Files:
    """The files of a ledger that were read, oldest revision first."""

    read: list[tuple[Revision, Rows]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    newer: list[str] = field(default_factory=list)


class Ledger:
    """The ledger in a folder or a bucket. All methods block, and nothing is cached between calls."""

    def __init__(self, place: Place, now: Callable[[], str] = _now) -> None:
        self._place, self._now = place, now

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Return the ledger of the history at `url`, a folder or "s3://bucket/prefix". The first write creates it.

        Raises:
            UsageError: the URL is neither, or boto3 is not installed.
        """
        return cls(place_of(url))

    def __str__(self) -> str:
        return str(self._place)

    def write(self, source: str, slices: Iterable[Slice], because: str = "") -> tuple[Revision, ...]:
        """Write slices of a source, and return the new revisions, one for each day; () if all of them are known.

        Slices that the ledger already has with the same values are left out, so a repeated write changes nothing. If
        another process writes at the same time, both revisions are kept.

        Args:
            because: the reason of a revision that changes slices; "" for "late or corrected data".
        Raises:
            UsageError: the name of the source is invalid; or a newer loadgen wrote this day.
            ValueError: a slice crosses the end of a day, or is there twice.
            StorageError, CloudError: a file cannot be written.
        """
        if not _SOURCE.fullmatch(source):
            raise UsageError(
                f'invalid name of a source: "{one_line(source, 100)}"',
                hint="use lower-case letters, digits, '.', '_' and '-'",
            )
        days: dict[str, dict[tuple[str, int, int], Slice]] = {}
        for one in slices:
            if one.start // DAY_S != (one.end - 1) // DAY_S:
                raise ValueError(f"the slice of {one.slo} at {_stamp(one.start)} crosses the end of a day")
            if days.setdefault(day_of(one.start), {}).setdefault(one.key, one) != one:
                raise ValueError(f"two slices of {one.slo} begin at {_stamp(one.start)}")
        written = (self._write_day(source, day, found, because) for day, found in sorted(days.items()))
        return tuple(one for one in written if one is not None)

    def write_rows(self, source: str, rows: Rows, because: str = "") -> tuple[Revision, ...]:
        """Write many slices of a source, day by day; see `write`."""
        order = np.argsort(rows.start, kind="stable")
        days = rows.start[order] // DAY_S
        edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(order)]
        found: list[Revision] = []
        for a, b in pairwise(edges):
            found += self.write(source, rows.chosen(order[a:b]).slices(), because)
        return tuple(found)

    def read(self, start: int, end: int, as_of: str = "", slos: Iterable[str] = ()) -> Reading:
        """Return the newest revision of each slice that begins in [start, end).

        Args:
            start, end: Unix time, s.
            as_of: only revisions that were written until then: RFC 3339, UTC. "": all.
            slos: only these objectives; empty: all.
        Raises:
            StorageError, CloudError: the place cannot be listed.
            UsageError: pyarrow is not installed, or `as_of` is not a time.
        """
        limit = _time(as_of) if as_of else None
        if end <= start:
            return Reading(start, end, {})
        first, last = day_of(start), day_of(end - 1)
        names = [name for name in self._names(first, last) if first <= _NAME.fullmatch(name)[1] <= last]  # type: ignore[index]
        files = self._read(names)
        kept = [(revision, rows) for revision, rows in files.read if limit is None or _time(revision.at) <= limit]
        later = () if limit is None else tuple(one.name for one, _ in files.read if _time(one.at) > limit)
        return replace(_joined(start, end, kept, frozenset(slos), tuple(files.unreadable)), later=later)

    def ahead(self, now: int) -> str:
        """Return a sentence if the ledger has counts of a later day than tomorrow; "" if not.

        Then the clock of this machine is behind, and it would judge as if the newest counts did not exist. Files of
        this and the next month are looked at.

        now: Unix time, s.

        Raises:
            StorageError, CloudError: the place cannot be listed.
        """
        tomorrow = day_of(now + DAY_S)
        later = [_order(name)[0] for name in self._names(day_of(now), day_of(now + 31 * DAY_S))]
        newest = max((day for day in later if day > tomorrow), default="")
        if not newest:
            return ""
        return f"the ledger has counts of {newest}, and the clock of this machine shows {_stamp(now)}: set the clock"

    # -- within -----------------------------------------------------------------------------------

    def _names(self, first: str, last: str) -> list[str]:
        """Return the names of all files of the ledger that may lie between two days; few calls for short times."""
        a, b = date.fromisoformat(first), date.fromisoformat(last)
        days = (b - a).days + 1
        if days > 60:
            found = self._place.names(FOLDER)
        else:
            months = sorted({(a + timedelta(n)).strftime("%Y-%m") for n in range(days)})
            prefixes = [f"{FOLDER}day={first}/"] if days == 1 else [f"{FOLDER}day={month}" for month in months]
            found = [name for prefix in prefixes for name in self._place.names(prefix)]
        return [name for name in found if _NAME.fullmatch(name)]

    def _read(self, names: Iterable[str]) -> _Files:
        """Read files; sorted by day, source and number of the revision."""
        wanted = sorted(names, key=_order)
        files = _Files()
        for name, data in zip(wanted, self._place.read(wanted), strict=True):
            if isinstance(data, str):
                files.unreadable.append(f"{name} cannot be read: {one_line(data, 200)}")
                continue
            try:
                revision, rows = from_parquet(data)
                if f"{FOLDER}day={revision.day}/{revision.source}-{revision.number}.parquet" != name:
                    raise ValueError(f"it is the revision {one_line(revision.name, 100)} under another name")
            except NewerFormat as exc:
                files.newer.append(name)
                files.unreadable.append(f"{name} is left out: {exc}; update loadgen")
            except ValueError as exc:
                files.unreadable.append(f"{name} is left out: {one_line(str(exc), 200)}")
            else:
                files.read.append((revision, rows))
        doubts = _doubts(wanted, {revision.name for revision, _ in files.read})
        for (day, source), (number, is_gone) in doubts.items():
            if is_gone:
                files.unreadable.append(f"{FOLDER}day={day}/{source}-{number}.parquet is gone; pull that day again")
        files.read = [
            (revision, rows)
            for revision, rows in files.read
            if revision.number > doubts.get((revision.day, revision.source), (0, False))[0]
        ]
        return files

    def _write_day(
        self, source: str, day: str, slices: Mapping[tuple[str, int, int], Slice], because: str
    ) -> Revision | None:
        for _ in range(_TRIES):
            names = [name for name in self._names(day, day) if _source_in(name) == source]
            files = self._read(names)
            if files.newer:
                raise UsageError(
                    f"{files.newer[-1]} in {self} was written by a newer loadgen, so nothing is added to that day",
                    hint="update loadgen on this machine",
                )
            known = {one.key: one for _, rows in files.read for one in rows.slices()}
            fresh = [one for key, one in slices.items() if known.get(key) != one]
            if not fresh:
                return None
            number = 1 + max((_order(name)[2] for name in names), default=0)
            is_change = any(one.key in known for one in fresh)
            reason = because or ("late or corrected data" if is_change else "new data" if known else "first data")
            revision = Revision(day, source, number, self._now(), one_line(reason, 300))
            name = f"{FOLDER}day={day}/{source}-{number}.parquet"
            if self._place.put_new(name, to_parquet(revision, rows_of(fresh))):
                return revision
        raise UsageError(f"{self}: {_TRIES} revisions of {day} were written meanwhile", hint="try again later")


def _doubts(names: Iterable[str], read: Container[str]) -> dict[tuple[str, str], tuple[int, bool]]:
    """Return the newest revision that is not there, by day and source: (its number, whether its file is gone).

    names: of all files, sorted by number. read: the names of the revisions that were read.
    """
    found: dict[tuple[str, str], tuple[int, bool]] = {}
    last: dict[tuple[str, str], int] = {}
    for day, source, number in map(_order, names):
        if number > last.get((day, source), 0) + 1:
            found[day, source] = (number - 1, True)
        if f"{day}/{source}-{number}" not in read:
            found[day, source] = (number, False)
        last[day, source] = number
    return found


def _joined(
    start: int, end: int, files: list[tuple[Revision, Rows]], slos: frozenset[str], unreadable: tuple[str, ...]
) -> Reading:
    """Return the newest revision of each slice. Costs about 0.2 s for 400,000 slices."""
    names: dict[str, int] = {}
    texts: dict[str, int] = {}
    sources: dict[str, int] = {}
    has_errors = any(rows.errors is not None for _, rows in files)
    parts: dict[str, list[NDArray[np.int64]]] = {}
    for number, (revision, rows) in enumerate(files):
        slo = _renumbered(rows.slo, names)
        chosen = (rows.start >= start) & (rows.start < end)
        if slos:
            chosen &= np.isin(slo, [n for name, n in names.items() if name in slos])
        source = sources.setdefault(revision.source, len(sources))
        columns = {
            "slo": slo,
            "start": rows.start,
            "width": rows.width,
            "good": rows.good,
            "total": rows.total,
            "missing_s": rows.missing_s,
            "estimated": rows.estimated.astype(np.int64),
            "evidence": _renumbered(rows.evidence, texts),
            "revision": np.full(len(rows), number, np.int64),
            "source": np.full(len(rows), source, np.int64),
        }
        if has_errors:
            columns |= {name: getattr(rows.stated, name) for name in ERROR_COLUMNS}
        for name, column in columns.items():
            parts.setdefault(name, []).append(column if chosen.all() else column[chosen])
    if not parts:
        return Reading(start, end, {}, unreadable=unreadable)
    table = {name: np.concatenate(columns) for name, columns in parts.items()}
    order = np.lexsort((table["revision"], table["width"], table["source"], table["start"], table["slo"]))
    table = {name: column[order] for name, column in table.items()}
    # Of equal keys, the last one is of the newest revision.
    is_last = np.ones(len(order), np.bool_)
    is_last[:-1] = np.any([np.diff(table[name]) != 0 for name in ("slo", "start", "source", "width")], axis=0)
    table = {name: column[is_last] for name, column in table.items()}
    bounds = np.searchsorted(table["slo"], np.arange(len(names) + 1))
    used = np.unique(table["revision"])
    table["revision"] = np.searchsorted(used, table["revision"])
    by_slo: dict[str, Counts] = {}
    clashes: list[str] = []
    all_texts = tuple(texts)
    for name, code in names.items():
        a, b = int(bounds[code]), int(bounds[code + 1])
        if a == b:
            continue
        one = {key: column[a:b] for key, column in table.items()}
        overlaps = np.flatnonzero(one["start"][1:] < one["start"][:-1] + one["width"][:-1])
        if len(overlaps):
            at = _stamp(int(one["start"][overlaps[0] + 1]))
            theirs = sorted(text for text, number in sources.items() if number in one["source"])
            of = f" of the sources {', '.join(theirs)}" if len(theirs) > 1 else ""
            clashes.append(
                f"{one_line(name, 100)} has {quantity(len(overlaps), 'overlapping slice')}{of}, the first at {at}; they"
                f" would count twice: move the files of one of them out of {FOLDER}"
            )
        by_slo[name] = Counts(
            one["start"],
            one["width"],
            one["good"],
            one["total"],
            one["missing_s"],
            one["estimated"].astype(np.bool_),
            one["revision"],
            (one["evidence"].astype(np.int32), all_texts),
            CountErrors(*(one[name] for name in ERROR_COLUMNS)) if has_errors else None,
        )
    revisions = tuple(files[n][0] for n in used.tolist())
    return Reading(start, end, dict(sorted(by_slo.items())), revisions, unreadable, tuple(clashes))


def _renumbered(coded: tuple[NDArray[np.int32], tuple[str, ...]], known: dict[str, int]) -> NDArray[np.int64]:
    codes, texts = coded
    numbers = np.array([known.setdefault(text, len(known)) for text in texts] or [0], np.int64)
    return numbers[codes]


def _order(name: str) -> tuple[str, str, int]:
    found = _NAME.fullmatch(name)
    assert found is not None
    return found[1], found[2], int(found[3])


def _source_in(name: str) -> str:
    return _order(name)[1]


def _stamp(start: int) -> str:
    return datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f'"{one_line(text, 60)}" is not a time', hint="write 2026-07-27T06:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
