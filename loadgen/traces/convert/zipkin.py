"""Zipkin's JSON, version 2: a list of spans, or a list of traces that are lists of spans.

Times are whole µs. The client and the server of one call share a span id if the server's span is marked as shared;
both are returned with that id, and `repair` separates them. All tags are texts, and attributes of the process are
among them.

Source: openzipkin/zipkin-api, zipkin2-api.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from loadgen.errors import TraceFormatError
from loadgen.traces.convert.fields import decoded, kind_named, parent_id, span_id, whole_ns
from loadgen.traces.convert.spans import SpanCollector, at
from loadgen.traces.model import Status, Trace

__all__ = ["FORMAT", "collect_zipkin", "traces_of_zipkin"]

FORMAT: Final = "Zipkin JSON"
_US: Final = 1_000


class _Endpoint(msgspec.Struct, gc=False):
    serviceName: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    port: int | None = None


class _Span(msgspec.Struct, gc=False):
    traceId: str | None = None
    id: str | None = None
    parentId: str | None = None
    name: str | None = None
    kind: str | None = None
    timestamp: int | float | None = None
    duration: int | float | None = None
    localEndpoint: _Endpoint | None = None
    remoteEndpoint: _Endpoint | None = None
    tags: dict[str, str | int | float | bool | None] | None = None


_LIST: Final = msgspec.json.Decoder(list[_Span | list[_Span]])


def traces_of_zipkin(data: bytes, keep: Sequence[str] = ()) -> list[Trace]:
    """Return the traces of a list of spans, or of a list of traces (`/api/v2/trace`, `/api/v2/traceMany`).

    keep: names or patterns of attributes beyond the usual ones.

    Raises:
        TraceFormatError: the document is not Zipkin's JSON, or has an invalid id or time.
    """
    found = SpanCollector(keep)
    collect_zipkin(data, found)
    return found.traces()


def collect_zipkin(data: bytes, into: SpanCollector) -> None:
    """Add the spans of one document.

    Raises:
        TraceFormatError: see `traces_of_zipkin`.
    """
    number = 0
    for group in decoded(_LIST, data, FORMAT):
        for span in group if isinstance(group, list) else (group,):
            number += 1
            try:
                _add(span, into)
            except TraceFormatError as error:
                raise at(error, f"{FORMAT}: span {number}") from None


def _add(span: _Span, into: SpanCollector) -> None:
    wanted = into.wanted(span.traceId)
    if wanted is None:
        return
    tags = span.tags or {}
    status: Status = "unset"
    if "error" in tags and tags["error"] not in (False, "false"):
        status = "error"
    elif (code := tags.get("otel.status_code")) in ("OK", "ERROR"):
        status = "ok" if code == "OK" else "error"
    if span.timestamp is None:
        raise TraceFormatError("missing timestamp: each span must have one")
    start_ns = whole_ns(span.timestamp, _US)
    into.add_flat(
        wanted,
        id=span_id(span.id),
        parent=parent_id(span.parentId),
        service=span.localEndpoint.serviceName or "" if span.localEndpoint else "",
        name=span.name or "",
        kind=kind_named(span.kind or ""),
        status=status,
        start_ns=start_ns,
        end_ns=None if span.duration is None else whole_ns(start_ns + whole_ns(span.duration, _US), 1),
        tags=_pairs(span, tags),
        resolution_ns=_US,
    )


def _pairs(span: _Span, tags: dict[str, str | int | float | bool | None]) -> Iterator[tuple[str, object]]:
    yield from tags.items()
    if (remote := span.remoteEndpoint) is None or span.kind == "SERVER":
        return  # the remote end of a server is a client: its address may belong to a person
    if remote.serviceName:
        yield "peer.service", remote.serviceName
    if remote.ipv4 or remote.ipv6:
        yield "network.peer.address", remote.ipv4 or remote.ipv6
    if remote.port:
        yield "network.peer.port", remote.port
