"""OpenTelemetry's SDK as a service sets it up: batches of spans to a collector; the parent decides on sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

__all__ = ["provider_of"]

_EVERY_MS: Final = 300
"""Time between two batches: the SDK waits for 5 s, and a test would wait as long for the last spans."""


class _OffByS(SpanExporter):
    """Writes spans as a machine with a wrong clock does."""

    def __init__(self, to: SpanExporter, off_s: float) -> None:
        self._to, self._off_ns = to, round(off_s * 1e9)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._to.export([self._moved(span) for span in spans])

    def shutdown(self) -> None:
        self._to.shutdown()

    def _moved(self, span: ReadableSpan) -> ReadableSpan:
        assert span.start_time is not None
        assert span.end_time is not None
        return ReadableSpan(
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=span.attributes,
            kind=span.kind,
            status=span.status,
            start_time=span.start_time + self._off_ns,
            end_time=span.end_time + self._off_ns,
            instrumentation_scope=span.instrumentation_scope,
        )


def provider_of(collector: str, service: str, version: str, instance: str, clock_off_s: float = 0.0) -> TracerProvider:
    """Return a provider that exports to a collector. collector: its URL, without `/v1/traces`.

    A request without a trace header is not sampled, so only spans of sampled requests of loadgen are exported.
    """
    names = {"service.name": service, "service.version": version, "service.instance.id": instance}
    provider = TracerProvider(resource=Resource.create(names), sampler=ParentBased(ALWAYS_OFF))
    exporter: SpanExporter = OTLPSpanExporter(f"{collector}/v1/traces", timeout=5)
    if clock_off_s:
        exporter = _OffByS(exporter, clock_off_s)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_EVERY_MS))
    return provider
