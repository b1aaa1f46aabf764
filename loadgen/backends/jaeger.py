"""Reads traces from Jaeger 2, and from our own collector, which answers the same call.

`GET /api/v3/traces/{id}?raw_traces=true` returns OTLP JSON within `{"result": ...}`. Without `raw_traces`, Jaeger has
moved the clocks of the spans already, so their times are not those of the servers.
Source: `http_gateway.go` of Jaeger 2 (paths, parameters, the errors) and its snapshot `GetTrace.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import msgspec

from loadgen.backends.backend import Answer, Missing, picked
from loadgen.backends.by_id import Broken, ByIdBackend
from loadgen.backends.fetch import Ask, Fetched
from loadgen.backends.read_spans import traces_in

__all__ = ["CollectorBackend", "JaegerBackend"]


class _Error(msgspec.Struct):
    message: str = ""
    httpCode: int = 0  # the name that Jaeger uses


class _Wrapped(msgspec.Struct):
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _Error | None = None
    isCut: bool = False  # only of our collector


class JaegerBackend(ByIdBackend):
    """Jaeger 2's HTTP API, version 3."""

    title: ClassVar[str] = "Jaeger"
    needs: ClassVar[str] = "Jaeger 2"
    permission: ClassVar[str] = (
        "Jaeger itself has no login: a proxy in front of it rejected the request; name its secret with auth"
    )

    def ask(self, group: Sequence[str]) -> Ask:
        return Ask(f"/api/v3/traces/{group[0]}?raw_traces=true")

    def answers(self, group: Sequence[str], got: Fetched) -> Iterator[tuple[str, Answer]]:
        traces, is_cut = [], False
        for one in _parts(got.body):
            if one.error is not None:
                if one.error.httpCode == 404:
                    continue
                raise Broken(f"{self.title} answered with an error: {one.error.message or 'without a text'}")
            is_cut = is_cut or one.isCut
            if one.result is not msgspec.UNSET and bytes(one.result) != b"null":
                traces += traces_in("otlp json", bytes(one.result), self.keep)
        yield group[0], picked(traces, group[0], is_cut=is_cut) if traces else Missing()


class CollectorBackend(JaegerBackend):
    """Our own collector, `loadgen trace collect`."""

    title: ClassVar[str] = "the collector"
    needs: ClassVar[str] = "loadgen trace collect"
    permission: ClassVar[str] = "the collector has no login: the url leads to another server"


def _parts(body: bytes) -> list[_Wrapped]:
    """Return the objects of a response: one, or several when gRPC's gateway streams them, one a line."""
    try:
        return [msgspec.json.decode(body, type=_Wrapped)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return msgspec.json.Decoder(_Wrapped).decode_lines(body)
    except msgspec.ValidationError as error:
        raise Broken(f"the response does not have the expected format: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Broken(f"the answer is not valid JSON ({len(body):,} bytes)") from None
