"""Encodes a revision of the ledger as a Parquet file, and decodes it. Pure: bytes in, values out.

A row is a slice. The file's description has the format, the source, the day, the revision, its reason, its time and a
checksum of all rows: Parquet itself has checksums only for its pages.

Format 2 has three more columns, for the error of estimated counts. A file without such errors has format 1, which older
versions read, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Protocol
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadgen.history.store.parquet_run import NewerFormat
from loadgen.parquet import Coded, about, read_arrays, write_arrays
from loadgen.programme.ledger.slices import ALL_KEPT_PPM, Slice

__all__ = [
    "COLUMNS",
    "ERROR_COLUMNS",
    "FORMAT",
    "CountErrors",
    "Revision",
    "Rows",
    "from_parquet",
    "made_slices",
    "rows_of",
    "to_parquet",
]

FORMAT: Final = 2
_WITHOUT_ERRORS: Final = 1
COLUMNS: Final = {
    "slo": str,
    "start": int,
    "width": int,
    "good": int,
    "total": int,
    "missing_s": int,
    "estimated": bool,
    "evidence": str,
}
"""Names and types of the columns; see `loadgen.programme.ledger.slices.Slice`."""
ERROR_COLUMNS: Final = {"low": int, "high": int, "kept_ppm": int}
"""The further columns of format 2; see `CountErrors`."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The identity of a file of the ledger. number: from 1. at: RFC 3339, UTC. because: its reason."""

    day: str
    source: str
    number: int
    at: str
    because: str = ""

    @property
    def name(self) -> str:
        """Return the name that pages and messages use: "2026-07-20/prod-3"."""
        return f"{self.day}/{self.source}-{self.number}"


@dataclass(frozen=True, slots=True)
class CountErrors:
    """The error of estimated counts; see `Slice`. All arrays have the shape (rows,).

    low, high: the fewest and the most good requests by the bounds of an interpolation. kept_ppm: the sampled part.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    kept_ppm: NDArray[np.int64]

    @classmethod
    def unstated(cls, good: NDArray[np.int64], total: NDArray[np.int64], estimated: NDArray[np.bool_]) -> CountErrors:
        """Return the errors of counts without any column for them: unknown where the counts are estimated."""
        low, high = np.where(estimated, 0, good), np.where(estimated, total, good)
        return cls(low, high, np.full(len(good), ALL_KEPT_PPM, np.int64))

    def chosen(self, index: NDArray[Any]) -> CountErrors:
        """Return the rows of a mask, or with these numbers."""
        return CountErrors(self.low[index], self.high[index], self.kept_ppm[index])


@dataclass(frozen=True, slots=True)
class Rows:
    """Slices as columns, in which 400,000 of them can be read in a second. All arrays have the shape (rows,).

    slo, evidence: the number of the text of each row, and the texts. errors: None: no row states its error.
    """

    slo: Coded
    start: NDArray[np.int64]
    width: NDArray[np.int64]
    good: NDArray[np.int64]
    total: NDArray[np.int64]
    missing_s: NDArray[np.int64]
    estimated: NDArray[np.bool_]
    evidence: Coded
    errors: CountErrors | None = None

    def __len__(self) -> int:
        return len(self.start)

    @property
    def stated(self) -> CountErrors:
        """Return the errors of all rows."""
        return self.errors or CountErrors.unstated(self.good, self.total, self.estimated)

    def within(self, start: int, end: int) -> Rows:
        """Return the rows that begin in [start, end)."""
        return self.chosen(np.flatnonzero((self.start >= start) & (self.start < end)))

    def chosen(self, index: NDArray[np.int64]) -> Rows:
        """Return the rows with these numbers."""
        return Rows(
            (self.slo[0][index], self.slo[1]),
            self.start[index],
            self.width[index],
            self.good[index],
            self.total[index],
            self.missing_s[index],
            self.estimated[index],
            (self.evidence[0][index], self.evidence[1]),
            None if self.errors is None else self.errors.chosen(index),
        )

    def slices(self) -> list[Slice]:
        """Return the rows as slices, in their order."""
        slos, texts = _texts(self.slo), _texts(self.evidence)
        return made_slices(slos, self, texts)


class _About(msgspec.Struct, frozen=True):
    format: int
    kind: str
    day: str
    source: str
    revision: int
    at: str
    because: str
    rows: int
    sum: int


class _Format(msgspec.Struct, frozen=True):
    format: int
    kind: str = ""


class _Numbers(Protocol):
    """Columns of slices."""

    @property
    def start(self) -> NDArray[np.int64]: ...
    @property
    def width(self) -> NDArray[np.int64]: ...
    @property
    def good(self) -> NDArray[np.int64]: ...
    @property
    def total(self) -> NDArray[np.int64]: ...
    @property
    def missing_s(self) -> NDArray[np.int64]: ...
    @property
    def estimated(self) -> NDArray[np.bool_]: ...
    @property
    def stated(self) -> CountErrors: ...


def made_slices(slos: Iterable[str], columns: _Numbers, evidence: Iterable[str]) -> list[Slice]:
    """Return the rows of columns as slices, with the names of their objectives and their evidence."""
    errors = columns.stated
    return [
        Slice(slo, start, width, good, total, missing_s, estimated, text, (low, high), kept_ppm)
        for slo, start, width, good, total, missing_s, estimated, text, low, high, kept_ppm in zip(
            slos,
            columns.start.tolist(),
            columns.width.tolist(),
            columns.good.tolist(),
            columns.total.tolist(),
            columns.missing_s.tolist(),
            columns.estimated.tolist(),
            evidence,
            errors.low.tolist(),
            errors.high.tolist(),
            errors.kept_ppm.tolist(),
            strict=True,
        )
    ]


def rows_of(slices: Iterable[Slice]) -> Rows:
    """Return slices as columns, sorted by objective and time."""
    found = sorted(slices)

    def numbers(name: str) -> NDArray[np.int64]:
        return np.array([getattr(one, name) for one in found], np.int64)

    return Rows(
        slo=_coded([one.slo for one in found]),
        start=numbers("start"),
        width=numbers("width"),
        good=numbers("good"),
        total=numbers("total"),
        missing_s=numbers("missing_s"),
        estimated=np.array([one.estimated for one in found], np.bool_),
        evidence=_coded([one.evidence for one in found]),
        errors=CountErrors(numbers("low"), numbers("high"), numbers("kept_ppm"))
        if any(one.bounds is not None or one.kept_ppm != ALL_KEPT_PPM for one in found)
        else None,
    )


def to_parquet(revision: Revision, rows: Rows) -> bytes:
    """Return a revision as a Parquet file. The same values and version of pyarrow give the same bytes.

    Raises:
        UsageError: pyarrow is not installed.
    """
    described = _About(
        FORMAT if rows.errors is not None else _WITHOUT_ERRORS,
        "slis",
        revision.day,
        revision.source,
        revision.number,
        revision.at,
        revision.because,
        len(rows),
        _sum(rows),
    )
    text = msgspec.json.encode(described).decode()
    file = BytesIO()
    write_arrays(dict(_columns(rows)), file, f"{crc32(text.encode()):08x}{text}")
    return file.getvalue()


def from_parquet(data: bytes) -> tuple[Revision, Rows]:
    """Return the revision that a file of the ledger has.

    Raises:
        ValueError: the data are damaged, or not a file of a ledger.
        NewerFormat: the file was written by a newer loadgen.
        UsageError: pyarrow is not installed.
    """
    text = about(data)
    if not text:
        raise ValueError("it is not a file of a ledger: it has no description")
    if f"{crc32(text[8:].encode()):08x}" != text[:8]:
        raise ValueError("the checksum of its description is wrong")
    try:
        begin = msgspec.json.decode(text[8:], type=_Format)
        if begin.kind != "slis":
            raise ValueError("it is not a file of a ledger")
        if begin.format > FORMAT:
            raise NewerFormat(f"it has format {begin.format}, and this loadgen reads formats up to {FORMAT}")
        of = msgspec.json.decode(text[8:], type=_About)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"it is not a file of a ledger: {exc}") from exc
    has_errors = of.format > _WITHOUT_ERRORS
    _, columns = read_arrays(data, COLUMNS | ERROR_COLUMNS if has_errors else COLUMNS)
    errors = CountErrors(**{name: columns.pop(name) for name in ERROR_COLUMNS}) if has_errors else None
    rows = Rows(**columns, errors=errors)
    if len(rows) != of.rows or _sum(rows) != of.sum:
        raise ValueError("the checksum of its slices is wrong")
    _check(rows)
    return Revision(of.day, of.source, of.revision, of.at, of.because), rows


def _check(rows: Rows) -> None:
    """Check what `Slice` checks, for all rows at once."""
    wrong = (
        (rows.width <= 0)
        | (rows.good < 0)
        | (rows.good > rows.total)
        | (rows.missing_s < 0)
        | (rows.missing_s > rows.width)
    )
    if (errors := rows.errors) is not None:
        wrong |= (errors.low < 0) | (errors.low > rows.good) | (errors.high < rows.good) | (errors.high > rows.total)
        wrong |= (errors.kept_ppm < 1) | (errors.kept_ppm > ALL_KEPT_PPM)
    if wrong.any():
        raise ValueError(f"row {int(np.argmax(wrong)) + 1} has impossible counts")


def _columns(rows: Rows) -> Iterator[tuple[str, Any]]:
    """Yield the name and the values of each column of the file."""
    yield from ((name, getattr(rows, name)) for name in COLUMNS)
    if rows.errors is not None:
        yield from ((name, getattr(rows.errors, name)) for name in ERROR_COLUMNS)


def _sum(rows: Rows) -> int:
    found = 0
    for _, value in _columns(rows):
        if isinstance(value, tuple):
            codes, texts = value
            # The order of the texts may differ after reading, so their codes cannot be summed.
            sums = np.array([crc32(one.encode("utf-8", "replace")) for one in texts] or [0], np.int64)
            value = sums[codes]
        found = crc32(np.ascontiguousarray(value).tobytes(), found)
    return found


def _coded(texts: Sequence[str]) -> Coded:
    known = {text: n for n, text in enumerate(dict.fromkeys(texts))}
    return np.array([known[text] for text in texts], np.int32), tuple(known)


def _texts(coded: Coded) -> list[str]:
    codes, texts = coded
    return [texts[code] for code in codes.tolist()]
