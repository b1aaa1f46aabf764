"""Collects the spans of documents into traces: one trace may be spread over several documents, lines and files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from loadgen.errors import TraceFormatError
from loadgen.traces.convert.attributes import attribute_filter, divided, operation_of
from loadgen.traces.convert.fields import trace_id
from loadgen.traces.convert.redaction import clean_text
from loadgen.traces.model import MOST_SPANS, OUR_SERVICE, Kind, Span, Status, Trace, Value

__all__ = ["MOST_LINKS", "UNKNOWN_SERVICE", "SpanCollector", "at"]

MOST_LINKS: Final = 128
_MOST_PROCESSES: Final = 4_096
UNKNOWN_SERVICE: Final = "unknown_service"
"""OpenTelemetry's name for a service without `service.name`."""


def at(error: TraceFormatError, place: str) -> TraceFormatError:
    """Return the error with its place in front, such as "OTLP JSON: span 3"."""
    return TraceFormatError(f"{place}: {error.message}", hint=error.hint)


class SpanCollector:
    """Spans by trace, in the order in which they arrive.

    keep: attributes beyond the usual names. only: ids of the traces to collect, None for all. A trace that is stored
    with 64 bits of its id is found by the whole id, too. most_spans: of all traces; more are a TraceFormatError.
    """

    __slots__ = ("_cut", "_left", "_of", "_processes", "_traces", "attributes")

    def __init__(
        self, keep: Sequence[str] = (), only: Collection[str] | None = None, most_spans: int = 5 * MOST_SPANS
    ) -> None:
        self.attributes = attribute_filter(tuple(keep))
        self._traces: dict[str, list[Span]] = {}
        self._cut: set[str] = set()
        self._left = most_spans
        self._processes: dict[object, Mapping[str, Value]] = {}
        """One mapping for the spans of a process, in formats that repeat its attributes in each span."""
        self._of: dict[str, str] | None = None
        """The trace id of the caller, by that of the format, as far as it is known."""
        if only is not None:
            self._of = {f"{one[16:]:0>32}": one for one in only if len(one) == 32} | {one: one for one in only}

    def wanted(self, text: str | None) -> str | None:
        """Return the id of a trace in the form of the model, or None if its spans are not collected.

        text: the id as the format has it.

        Raises:
            TraceFormatError: the id is invalid.
        """
        found = trace_id(text)
        return found if self._of is None else self._of.get(found)

    def add(self, trace: str, span: Span) -> None:
        """Add a span to the trace with this id. A trace keeps `MOST_SPANS` spans, then it is cut.

        Spans that the load generator exported itself are left out: the run has their times, and a trace of which
        nothing else arrived is missing.

        Raises:
            TraceFormatError: more than `most_spans` spans in all traces.
        """
        if span.service == OUR_SERVICE:
            return
        try:
            spans = self._traces[trace]
        except KeyError:
            spans = self._traces[trace] = []
        if len(spans) >= MOST_SPANS:
            self._cut.add(trace)
            return
        if self._left == 0:
            raise TraceFormatError("too many spans in all traces together", hint="read fewer files or traces at once")
        self._left -= 1
        spans.append(span)

    def add_flat(
        self,
        trace: str,
        *,
        id: str,
        parent: str,
        service: str,
        name: str,
        kind: Kind,
        status: Status,
        start_ns: int,
        end_ns: int | None,
        tags: Iterable[tuple[str, object]],
        resource: Mapping[str, Value] | None = None,
        links: tuple[str, ...] = (),
        resolution_ns: int = 1,
    ) -> None:
        """Clean the parts of a span and add it.

        resource: cleaned attributes of the process; None if the format has them among the tags.
        """
        attributes: Mapping[str, Value] = self.attributes.kept(tags)
        if resource is None:
            attributes, own = divided(attributes)
            key = tuple((name, type(value), value) for name, value in own.items())
            resource = self._processes.setdefault(key, own) if len(self._processes) < _MOST_PROCESSES else own
        span = Span(
            id,
            parent,
            clean_text(service) or UNKNOWN_SERVICE,
            operation_of(name, kind, attributes),
            start_ns,
            end_ns,
            kind,
            status,
            attributes,
            resource,
            links,
            resolution_ns,
        )
        self.add(trace, span)

    def cut(self, trace: str) -> None:
        """Record that the source returned only some of the spans of this trace."""
        self._cut.add(trace)

    def take(self, trace: str) -> Trace | None:
        """Return a trace with its spans so far, and forget it; None without any. Its spans no longer count."""
        spans = self._traces.pop(trace, None)
        if spans is None:
            return None
        self._left += len(spans)
        is_cut = trace in self._cut
        self._cut.discard(trace)
        return Trace(trace, tuple(spans), is_cut)

    def traces(self) -> list[Trace]:
        """Return all traces with their spans so far, and forget them."""
        found = [Trace(id, tuple(spans), id in self._cut) for id, spans in self._traces.items()]
        self._traces, self._cut = {}, set()
        return found
