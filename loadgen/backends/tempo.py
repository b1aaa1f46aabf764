"""Reads traces from Grafana Tempo: `GET /api/v2/traces/{id}?start=&end=` with `Accept: application/protobuf`.

The answer is a `TraceByIDResponse`: 1 the trace, whose bytes are those of OTLP's `TracesData`; 2 metrics; 3 the status,
1 of which means partial; 4 a message. Without a window, or with a wrong one, Tempo may return some blocks only and so a
part of the trace. `window` is that of the run with an hour on both sides.
Source: Tempo's "HTTP API", "Querying traces by id V2", and `tempo.proto`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final

import msgspec

from loadgen.backends.backend import Answer, Missing, picked
from loadgen.backends.by_id import Broken, ByIdBackend, decoded
from loadgen.backends.fetch import Ask, Fetched, Fetcher
from loadgen.backends.read_spans import traces_in

__all__ = ["TempoBackend", "fields_of"]

MARGIN_S: Final = 3_600
_PARTIAL: Final = 1


class _Json(msgspec.Struct):
    """The same as JSON, from a proxy that changes the header Accept."""

    trace: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    status: str | int = ""
    message: str = ""


class TempoBackend(ByIdBackend):
    """Tempo's HTTP API, version 2.

    window: begin and end of the run, Unix time in s. Other arguments: as for `ByIdBackend`.
    """

    title: ClassVar[str] = "Tempo"
    needs: ClassVar[str] = "Tempo 2 with its API v2; many installations have the prefix /tempo"
    permission: ClassVar[str] = (
        "Tempo needs the permission traces:read (Grafana Cloud), and with several tenants the key `tenant`; see auth"
    )

    def __init__(
        self,
        fetcher: Fetcher,
        keep: Sequence[str] = (),
        window: tuple[float, float] | None = None,
        **more: Callable[..., Any],
    ) -> None:
        super().__init__(fetcher, keep, **more)
        self._query = ""
        if window is not None:
            self._query = f"?start={int(window[0]) - MARGIN_S}&end={int(window[1]) + MARGIN_S}"

    def ask(self, group: Sequence[str]) -> Ask:
        return Ask(f"/api/v2/traces/{group[0]}{self._query}", accept="application/protobuf")

    def answers(self, group: Sequence[str], got: Fetched) -> Iterator[tuple[str, Answer]]:
        (one,) = group
        if got.kind == "application/json":
            found = decoded(got, _Json)
            assert isinstance(found, _Json)
            is_cut = found.status in ("PARTIAL", _PARTIAL)
            # The reader takes the whole document: the ids in it are base64.
            traces = traces_in("otlp json", got.body, self.keep) if found.trace is not msgspec.UNSET else []
        else:
            fields = fields_of(got.body)
            is_cut = fields.get(3, [0])[-1] == _PARTIAL
            parts = [value for value in fields.get(1, ()) if isinstance(value, bytes)]
            traces = traces_in("otlp protobuf", b"".join(parts), self.keep) if any(parts) else []
        yield one, picked(traces, one, is_cut=is_cut) if traces else Missing()


def fields_of(data: bytes) -> dict[int, list[int | bytes]]:
    """Return the fields of a protobuf message by number: numbers as int, everything with a length as bytes.

    Raises:
        Broken: the bytes are no such message, or are cut.
    """
    found: dict[int, list[int | bytes]] = {}
    at = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            value: int | bytes
            match tag & 7:
                case 0:
                    value, at = _varint(data, at)
                case 1 | 5 as wire:
                    size = 8 if wire == 1 else 4
                    value, at = data[at : at + size], at + size
                case 2:
                    size, at = _varint(data, at)
                    value, at = data[at : at + size], at + size
                case _:
                    raise IndexError
            if at > len(data) or not tag >> 3:
                raise IndexError
            found.setdefault(tag >> 3, []).append(value)
    except IndexError:
        raise Broken(f"the answer is not a valid message of Tempo, or is cut ({len(data):,} bytes)") from None
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise IndexError
