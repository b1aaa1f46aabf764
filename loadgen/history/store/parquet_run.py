"""Encodes one run of the history as a Parquet file, and decodes it.

A row is a figure, the errors of a name (`statistic` "errors"), or the sample of the run for a promise of production
(`statistic` "slo"). Versions that do not know the last kind read it as a figure that nothing compares.

Values of the whole run are repeated in each row, so that SQL needs no join. They are also in the file's metadata, from
which this module reads them. The first row group holds the figures over all regions and agents: a gate needs only
these, however many regions there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import BytesIO
from math import isfinite, isnan, nan
from typing import Final
from zlib import crc32

import msgspec

from loadgen.history.store.stored_run import ALL, Accepted, Errors, Figure, Key, ObjectiveVerdict, SloCounts
from loadgen.parquet import about, read_table, write_table

__all__ = ["COLUMNS", "FORMAT", "NewerFormat", "from_parquet", "key_in", "labels_in", "to_parquet"]

FORMAT: Final = 1
_ERRORS: Final = "errors"
_SLO: Final = "slo"
COLUMNS: Final = (
    ("run_id", str),
    ("started_at", str),
    ("name", str),
    ("kind", str),
    ("statistic", str),
    ("region", str),
    ("agent", str),
    ("value_ms", float),
    ("error", float),
    ("why", str),
    ("count", int),
    ("errors", int),
    ("duration_s", float),
    ("git_commit", str),
    ("labels", str),
    ("result", str),
    ("validity", str),
    ("planned_rate", float),
    ("achieved_rate", float),
    ("plan", str),
    ("target", str),
    ("placement", str),
    ("regions", str),
    ("instances", str),
    ("rate", str),
)
"""Names and types of the columns. `labels` is JSON. `error` is the standard error of the logarithm of `value_ms`; in
rows of errors it is that of the ratio errors / count. In rows of promises, `name` is the promise, `value_ms` its
threshold, and `why` JSON with its journey, owner and target and with the interval of the good share."""
_READ: Final = ("name", "kind", "statistic", "region", "agent", "value_ms", "error", "why", "count", "errors")


class NewerFormat(Exception):
    """The file was written by a newer loadgen."""


class _Key(msgspec.Struct, frozen=True):
    plan: str
    target: str
    placement: str
    regions: str
    instances: str
    rate: str


class _About(msgspec.Struct, frozen=True):
    """The values of a whole run, without its figures."""

    format: int
    run_id: str
    key: _Key
    started_at: str
    duration_s: float
    commit: str = ""
    labels: dict[str, str] = {}
    result: str = ""
    validity: str = ""
    reasons: tuple[str, ...] = ()
    planned_rate: float | None = None
    achieved_rate: float | None = None
    limited_by: str = ""
    faults: tuple[str, ...] = ()
    objectives: tuple[tuple[str, str, str | None], ...] | None = None
    """(objective, verdict, journey); None: written by a version that did not store them."""
    python: str = ""
    groups: tuple[tuple[int, int], ...] = ()
    """(number of rows, their checksum) for each row group."""


class _Slo(msgspec.Struct, frozen=True):
    """The values of the sample for a promise that have no column of their own."""

    journey: str
    owner: str
    target: float
    state: str
    low: float | None = None
    high: float | None = None


class _Format(msgspec.Struct, frozen=True):
    format: int


def to_parquet(run: Accepted) -> bytes:
    """Return the run encoded as a Parquet file. The same run and version of pyarrow give the same bytes.

    Raises:
        UsageError: pyarrow is not installed.
    """
    whole = (
        run.duration_s,
        run.commit,
        msgspec.json.encode(dict(run.labels), order="sorted").decode(),
        run.result,
        run.validity,
        _finite(run.planned_rate),
        _finite(run.achieved_rate),
        *asdict(run.key).values(),
    )
    groups: tuple[list[_Row], list[_Row]] = ([], [])
    for row in _rows(run):
        groups[row[3] != ALL or row[4] != ALL].append(row)
    table = (
        [(run.run_id, run.started_at, *(None if value != value else value for value in row), *whole) for row in group]
        for group in groups
    )
    file = BytesIO()
    write_table(COLUMNS, table, file, _summed(_about_text(run, groups)))
    return file.getvalue()


def from_parquet(data: bytes, *, is_whole: bool = False, kind: str = "") -> Accepted:
    """Return the run that a Parquet file of the history contains.

    Args:
        is_whole: include the figures of single regions and agents; False: skip them, which is faster.
        kind: only figures and errors of this kind, such as "journey", which is faster, too; "": of all kinds. Samples
            for promises are included in any case.

    Raises:
        ValueError: the data are damaged, or are not a run of a history.
        NewerFormat: the file was written by a newer loadgen.
        UsageError: pyarrow is not installed.
    """
    text, columns = read_table(data, _READ, None if is_whole else (0,))
    of = _described(text)
    rows = list(zip(*(columns[one] for one in _READ), strict=True))
    _check(rows, of.groups if is_whole else of.groups[:1])
    figures: list[Figure] = []
    errors: list[Errors] = []
    slos: list[SloCounts] = []
    for name, of_kind, statistic, region, agent, value, error, why, count, bad in rows:
        if statistic == _SLO:
            slos.append(_slo_of(name, value, why, count, bad))
            continue
        if kind and of_kind != kind:
            continue
        if statistic == _ERRORS:
            errors.append(Errors(name, of_kind, count, bad, error, region))
        else:
            figures.append(Figure(name, of_kind, statistic, value, error, why, count, region, agent))
    return Accepted(
        run_id=of.run_id,
        key=_key(of),
        started_at=of.started_at,
        duration_s=of.duration_s,
        commit=of.commit,
        labels=of.labels,
        result=of.result,
        validity=of.validity,
        reasons=of.reasons,
        planned_rate=nan if of.planned_rate is None else of.planned_rate,
        achieved_rate=nan if of.achieved_rate is None else of.achieved_rate,
        figures=tuple(figures),
        errors=tuple(errors),
        limited_by=of.limited_by,
        faults=of.faults,
        objectives=None if of.objectives is None else tuple(ObjectiveVerdict(*one) for one in of.objectives),
        python=of.python,
        slos=tuple(slos),
    )


def labels_in(data: bytes) -> dict[str, str]:
    """Return only the labels of the run that a Parquet file contains, which is quick.

    Raises the same errors as `from_parquet`.
    """
    return _described(about(data)).labels


def key_in(data: bytes) -> Key:
    """Return only the key of the run that a Parquet file contains, which is quick.

    Raises the same errors as `from_parquet`.
    """
    return _key(_described(about(data)))


_Row = tuple[str, str, str, str, str, float, float, str, int, int | None]
"""The values of a row from "name" to "errors" of `COLUMNS`, with nan for null."""


def _rows(run: Accepted) -> Iterator[_Row]:
    for f in run.figures:
        yield (
            f.name,
            f.kind,
            f.percentile,
            f.region,
            f.agent,
            _number(f.value_ms),
            _number(f.error),
            f.why,
            f.count,
            None,
        )
    for e in run.errors:
        yield e.name, e.kind, _ERRORS, e.region, ALL, nan, _number(e.error), "", e.total, e.errors
    for s in run.slos:
        more = _Slo(s.journey, s.owner, s.target, s.state, _finite(s.low), _finite(s.high))
        text = msgspec.json.encode(more, order="sorted").decode()
        yield s.slo, _SLO, _SLO, ALL, ALL, _number(s.threshold_ms), nan, text, s.total, s.bad


def _slo_of(slo: str, threshold_ms: float, text: str, total: int, bad: int) -> SloCounts:
    try:
        more = msgspec.json.decode(text, type=_Slo)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"its sample for the promise {slo} cannot be read: {exc}") from exc
    low, high = (nan if one is None else one for one in (more.low, more.high))
    return SloCounts(slo, more.journey, more.owner, more.target, threshold_ms, total, bad, more.state, low, high)


def _about_text(run: Accepted, groups: Sequence[Sequence[_Row]]) -> str:
    description = _About(
        format=FORMAT,
        run_id=run.run_id,
        key=_Key(**asdict(run.key)),
        started_at=run.started_at,
        duration_s=run.duration_s,
        commit=run.commit,
        labels=dict(run.labels),
        result=run.result,
        validity=run.validity,
        reasons=run.reasons,
        planned_rate=_finite(run.planned_rate),
        achieved_rate=_finite(run.achieved_rate),
        limited_by=run.limited_by,
        faults=run.faults,
        objectives=None
        if run.objectives is None
        else tuple((one.objective, one.verdict, one.journey) for one in run.objectives),
        python=run.python,
        groups=tuple((len(group), _sum(group)) for group in groups),
    )
    return msgspec.json.encode(description).decode()


# Parquet has checksums for its data pages only, and none for the metadata that locate and describe them.


def _sum(rows: Sequence[object]) -> int:
    return crc32(msgspec.msgpack.encode(rows))


def _check(rows: Sequence[object], groups: Sequence[tuple[int, int]]) -> None:
    at = 0
    for count, expected in groups:
        if _sum(rows[at : at + count]) != expected:
            raise ValueError("the checksum of its figures is wrong")
        at += count


def _summed(text: str) -> str:
    return f"{crc32(text.encode()):08x}{text}"


def _unsummed(text: str) -> str:
    if f"{crc32(text[8:].encode()):08x}" != text[:8]:
        raise ValueError("the checksum of its metadata is wrong")
    return text[8:]


def _described(text: str) -> _About:
    text = _unsummed(text)
    try:
        found = msgspec.json.decode(text, type=_Format).format
        if found > FORMAT:
            raise NewerFormat(f"it has format {found}, and this loadgen reads formats up to {FORMAT}")
        return msgspec.json.decode(text, type=_About)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"it is not a run of a history: {exc}") from exc


def _key(of: _About) -> Key:
    return Key(**msgspec.structs.asdict(of.key))


def _number(value: float) -> float:
    """Return the value; for any nan always the same nan.

    Floats have many nans, and their different bits would change the checksum.
    """
    return nan if isnan(value) else float(value)


def _finite(value: float) -> float | None:
    """Return the value; None for nan and inf, since JSON has neither."""
    return value if isfinite(value) else None
