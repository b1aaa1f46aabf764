"""Reads traces from Datadog: `GET /api/v2/trace/{id}`, every span of a trace; in preview, 60 calls a minute.

The site is in the URL, for example https://api.datadoghq.eu. Where an organisation does not have this call yet, the
first look-ups all answer 404. Then `POST /api/v2/spans/events/search` is tried: it has indexed spans only, for 15 days,
at 300 calls an hour. Its traces count as cut, because spans that are not indexed are not in them.
Source: Datadog's "Get a trace by ID" and "Search spans", and the models of datadog-api-client 2.62.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec

from loadgen.backends.backend import Answer, Found, Missing, OnProgress, Progress, no_progress, picked
from loadgen.backends.by_id import Broken, ByIdBackend, decoded
from loadgen.backends.fetch import Ask, Fetched, Fetcher
from loadgen.backends.read_spans import traces_in
from loadgen.traces.model import Trace
from loadgen.units import NS_PER_MS

__all__ = ["DatadogBackend", "IndexedSpans"]

PER_MINUTE: Final = 60
_TRIED: Final = 3
"""The search is tried if this number of traces is asked for and all of them are missing."""
_PAGE: Final = 1_000
_NOTE: Final = "Datadog returns no whole traces for this organisation; reading indexed spans instead, 300 calls an hour"
_NEEDS: Final = "the API host of your Datadog site, such as https://api.datadoghq.eu"
_PERMISSION: Final = (
    "the keys need the permission apm_read, in the headers DD-API-KEY and DD-APPLICATION-KEY; "
    "the url must be of your site, such as https://api.datadoghq.eu"
)


class _Attributes(msgspec.Struct):
    is_truncated: bool = False


class _Data(msgspec.Struct):
    attributes: _Attributes = msgspec.field(default_factory=_Attributes)


class _Response(msgspec.Struct):
    data: _Data | None = None
    errors: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class DatadogBackend(ByIdBackend):
    """The API of Datadog that returns a whole trace by its id.

    Some organisations do not have that API. If none of the first ids is found but a search of indexed spans finds one,
    all further ids are searched.


    window: begin and end of the run, Unix time in s, for the search. Other arguments: as for `ByIdBackend`.
    """

    title: ClassVar[str] = "Datadog"
    needs: ClassVar[str] = _NEEDS
    permission: ClassVar[str] = _PERMISSION
    per_minute = PER_MINUTE

    def __init__(
        self,
        fetcher: Fetcher,
        keep: Sequence[str] = (),
        window: tuple[float, float] | None = None,
        **more: Callable[..., Any],
    ) -> None:
        super().__init__(fetcher, keep, **more)
        self._search = IndexedSpans(fetcher, keep, window, **more)
        self._is_by_search: bool | None = None
        """None: not known yet."""

    def read(self, ids: Sequence[str], on_progress: OnProgress = no_progress) -> Iterator[tuple[str, Answer]]:
        if self._is_by_search:
            yield from self._search.read(ids, on_progress)
            return
        missing: list[str] = []
        for one, answer in super().read(ids[:_TRIED], on_progress):
            if isinstance(answer, Missing) and self._is_by_search is None:
                missing.append(one)
                continue
            self._is_by_search = False
            yield one, answer
        if self._is_by_search is None and missing:
            ((_, tried),) = self._search.read(missing[:1])
            if isinstance(tried, Found):
                self._is_by_search = True
                on_progress(Progress(0, len(ids), _NOTE))
                yield missing[0], tried
                yield from self._search.read([*missing[1:], *ids[_TRIED:]], on_progress)
                return
        yield from ((one, Missing()) for one in missing)
        if rest := ids[_TRIED:]:
            yield from super().read(rest, on_progress)

    def ask(self, group: Sequence[str]) -> Ask:
        return Ask(f"/api/v2/trace/{group[0]}")

    def answers(self, group: Sequence[str], got: Fetched) -> Iterator[tuple[str, Answer]]:
        found = decoded(got, _Response)
        assert isinstance(found, _Response)
        _check_errors(found.errors)
        if found.data is None:
            yield group[0], Missing()
            return
        traces = traces_in("datadog", got.body, self.keep)
        yield group[0], picked(traces, group[0], is_cut=found.data.attributes.is_truncated)


class _Span(msgspec.Struct):
    span_id: str = ""
    parent_id: str = "0"
    trace_id: str = ""
    service: str = ""
    resource_name: str = ""
    type: str = ""
    start_timestamp: datetime | None = None
    end_timestamp: datetime | None = None
    custom: dict[str, Any] = {}
    attributes: dict[str, Any] = {}


class _Event(msgspec.Struct):
    attributes: _Span


class _Page(msgspec.Struct):
    data: tuple[_Event, ...] = ()
    errors: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    meta: dict[str, Any] = {}


class IndexedSpans(ByIdBackend):
    """Datadog's older search of spans, one call a trace. The newest 1,000 spans of a trace are read."""

    title: ClassVar[str] = "Datadog"
    needs: ClassVar[str] = _NEEDS
    permission: ClassVar[str] = _PERMISSION
    at_once: ClassVar[int] = 1
    """300 calls an hour are permitted, also at one go: `X-RateLimit-Reset` says when they are used up."""

    def __init__(
        self,
        fetcher: Fetcher,
        keep: Sequence[str] = (),
        window: tuple[float, float] | None = None,
        **more: Callable[..., Any],
    ) -> None:
        super().__init__(fetcher, keep, **more)
        self._from, self._to = ("now-15d", "now")
        if window is not None:
            self._from, self._to = str(int(window[0] - 3600) * 1000), str(int(window[1] + 3600) * 1000)

    def ask(self, group: Sequence[str]) -> Ask:
        (one,) = group
        # The id in both notations: which one is indexed depends on the version of the tracer.
        query = f"trace_id:({one} OR {int(one[16:], 16)})"
        attributes = {
            "filter": {"query": query, "from": self._from, "to": self._to},
            "page": {"limit": _PAGE},
            "sort": "timestamp",
        }
        body = msgspec.json.encode({"data": {"type": "search_request", "attributes": attributes}})
        return Ask("/api/v2/spans/events/search", body=body)

    def answers(self, group: Sequence[str], got: Fetched) -> Iterator[tuple[str, Answer]]:
        (one,) = group
        page = decoded(got, _Page)
        assert isinstance(page, _Page)
        _check_errors(page.errors)
        spans = [made for event in page.data if (made := _as_trace_span(one, event.attributes)) is not None]
        if not spans:
            yield one, Missing()
            return
        attributes = {"is_truncated": True, "spans": spans}
        body = msgspec.json.encode({"data": {"id": one, "type": "trace", "attributes": attributes}})
        traces = [_of_whole_ms(trace) for trace in traces_in("datadog", body, self.keep)]
        yield one, picked(traces, one, is_cut=True)


def _as_trace_span(trace_id: str, span: _Span) -> dict[str, Any] | None:
    """Return a span of the search in the form of the look-up by id. Return None without usable ids or times."""
    if span.start_timestamp is None or span.end_timestamp is None or not span.span_id.isdecimal():
        return None
    start_ns, end_ns = _ns(span.start_timestamp), _ns(span.end_timestamp)
    duration = span.custom.get("duration")
    if type(duration) is int and duration >= 0:
        end_ns = start_ns + duration  # in ns; the two times are whole ms
    parent = int(span.parent_id) if span.parent_id.isdecimal() else 0
    tags = {key: value for key, value in span.custom.items() if isinstance(value, str)}
    return {
        "traceID": int(trace_id[16:], 16),
        "traceIDFull": trace_id,
        "spanID": int(span.span_id),
        "parentID": parent,
        "name": str(span.attributes.get("operation_name") or span.custom.get("operation_name") or span.type),
        "resource": span.resource_name,
        "service": span.service,
        "type": span.type,
        "error": 1 if span.custom.get("error") else 0,
        "startTime": start_ns,
        "endTime": end_ns,
        "duration": end_ns - start_ns,
        "meta": tags,
        "metrics": {},
    }


def _of_whole_ms(trace: Trace) -> Trace:
    spans = (msgspec.structs.replace(one, resolution_ns=NS_PER_MS) for one in trace.spans)
    return msgspec.structs.replace(trace, spans=tuple(spans))


def _ns(at: datetime) -> int:
    """Return a time in ns since 1970, exactly: a float of s has a resolution of 0.2 µs only."""
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def _check_errors(errors: msgspec.Raw | msgspec.UnsetType) -> None:
    if errors is not msgspec.UNSET and bytes(errors) not in (b"null", b"[]"):
        raise Broken(f"Datadog answered with an error: {bytes(errors).decode('utf-8', 'replace')[:200]}")
