"""Answers of the HTTP API of Prometheus, with limits. Pure: bytes in, values out.

Source: Prometheus documentation, "HTTP API". Values are texts, such as "NaN"; times are Unix seconds with 3 decimals.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec

from loadgen.outside_text import one_line
from loadgen.probes.reader import NotRead
from loadgen.probes.rows import Labels

__all__ = ["Answer", "SeriesValues", "parse_answer", "parse_time", "parse_types"]

_VALUES_MOST: Final = 2_000_000
_WARNINGS_MOST: Final = 10
_LABELS_MOST: Final = 64
_LATEST_S: Final = 9_999_999_999
"""Unix times above this, of the year 2286, are errors; they would not fit into 64 bits as ns."""


@dataclass(frozen=True, slots=True)
class SeriesValues:
    """One series with its values. at_ms: Unix time, strictly increasing. labels: sorted, without the name."""

    name: str
    labels: Labels
    at_ms: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. warnings: of a partial answer, each on one line."""

    series: tuple[SeriesValues, ...]
    warnings: tuple[str, ...] = ()
    has_histograms: bool = False
    """Whether a series has native histograms, which are not read."""


class _Series(msgspec.Struct, frozen=True):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []
    value: tuple[float, str] | None = None
    histograms: list[msgspec.Raw] = []


class _Data(msgspec.Struct, frozen=True):
    resultType: str = ""
    result: msgspec.Raw = msgspec.Raw(b"[]")


class _Reply(msgspec.Struct, frozen=True):
    status: str
    data: _Data = _Data()
    warnings: list[str] = []
    errorType: str = ""
    error: str = ""


class _Metadata(msgspec.Struct, frozen=True):
    status: str
    data: dict[str, list[dict[str, str]]] = {}


_reply = msgspec.json.Decoder(_Reply)
_result = msgspec.json.Decoder(list[_Series])


def parse_answer(body: bytes) -> Answer:
    """Return the series of a matrix or vector.

    Raises:
        NotRead: the answer is an error, or is not an answer of this API.
    """
    reply = _decoded(body)
    try:
        found = _result.decode(reply.data.result) if reply.data.resultType in ("matrix", "vector") else None
    except (msgspec.MsgspecError, RecursionError):
        found = None
    if found is None:
        raise NotRead(f"the answer has no series: its type is {one_line(reply.data.resultType, 40) or 'missing'}")
    series: list[SeriesValues] = []
    count = 0
    for one in found:
        values = one.values if one.value is None else [one.value]
        count += len(values)
        if count > _VALUES_MOST:
            raise NotRead(f"the answer has more than {_VALUES_MOST:,} values")
        labels = tuple(sorted((name, value) for name, value in one.metric.items() if name != "__name__"))
        if any(not 0 <= at <= _LATEST_S for at, _ in values):
            raise NotRead("the answer has an impossible time")
        times = tuple(round(at * 1_000) for at, _ in values)
        if len(labels) > _LABELS_MOST or any(a >= b for a, b in pairwise(times)):
            raise NotRead("the answer has too many labels, or times that do not increase")
        numbers = tuple(_number(text) for _, text in values)
        series.append(SeriesValues(one.metric.get("__name__", ""), labels, times, numbers))
    warnings = tuple(one_line(text, 200) for text in reply.warnings[:_WARNINGS_MOST])
    return Answer(tuple(series), warnings, any(one.histograms for one in found))


def parse_time(body: bytes) -> float:
    """Return the value of the scalar `time()`: Unix time in s.

    Raises:
        NotRead: the answer is an error, not a scalar, or not a possible time.
    """
    reply = _decoded(body)
    try:
        _, text = msgspec.json.decode(reply.data.result, type=tuple[float, str])
    except (msgspec.MsgspecError, RecursionError):
        raise NotRead("the answer is not a number") from None
    if not 0 <= (at_s := _number(text)) <= _LATEST_S:
        raise NotRead(f"the clock of the server has the impossible time {one_line(text, 20)}")
    return at_s


def parse_types(body: bytes) -> dict[str, str]:
    """Return the type of each metric from /api/v1/metadata; {} if the answer is something else."""
    try:
        found = msgspec.json.decode(body, type=_Metadata)
    except (msgspec.MsgspecError, RecursionError):
        return {}
    return {name: rows[0].get("type", "") for name, rows in found.data.items() if rows}


def _decoded(body: bytes) -> _Reply:
    try:
        reply = _reply.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if body.lstrip()[:1] == b"<":
            raise NotRead("the answer is HTML, not of the API of Prometheus: check the path of the URL") from None
        raise NotRead("the answer is not of the API of Prometheus") from None
    if reply.status != "success":
        kind, why = one_line(reply.errorType, 40), one_line(" ".join(reply.error.split()), 160)
        raise NotRead(f"the server returned an error: {kind or 'unknown'}: {why}")
    return reply


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise NotRead(f"the answer has the value {one_line(text, 20)}, which is not a number") from None
