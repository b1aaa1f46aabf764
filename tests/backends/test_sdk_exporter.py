"""OpenTelemetry's own SDK and exporter send to the collector, and our backend reads their traces back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import pytest

pytest.importorskip("opentelemetry.sdk.trace")

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanKind, format_trace_id

from loadgen.backends.backend import Found, Missing
from loadgen.backends.collector.server import CollectorConfig, serve
from loadgen.backends.fetch import Fetcher
from loadgen.backends.jaeger import CollectorBackend

CONFIG = CollectorConfig(port=0)


def traced(url: str, compression: Compression) -> list[str]:
    """Make two traces of three spans each with the SDK, export them, and return their ids."""
    provider = TracerProvider(resource=Resource.create({"service.name": "shop", "service.version": "2.1"}))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces", compression=compression))
    )
    tracer = provider.get_tracer("test")
    ids = []
    for _ in range(2):
        with tracer.start_as_current_span(
            "GET /cart", kind=SpanKind.SERVER, attributes={"http.route": "/cart"}
        ) as root:
            ids.append(format_trace_id(root.get_span_context().trace_id))
            with tracer.start_as_current_span("reserve", attributes={"password": "canary"}):
                tracer.start_span("SELECT item", kind=SpanKind.CLIENT, attributes={"db.system": "postgresql"}).end()
    assert provider.force_flush()
    provider.shutdown()
    return ids


def read(url: str, ids: list[str]) -> list[object]:
    backend = CollectorBackend(Fetcher(url))
    try:
        return [answer for _, answer in backend.read(ids)]
    finally:
        backend.close()


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_traces_of_the_sdk_come_back_by_their_ids(compression: Compression) -> None:
    async with serve(CONFIG) as collector:
        ids = await asyncio.to_thread(traced, collector.url, compression)
        *found, missing = await asyncio.to_thread(read, collector.url, [*ids, "f" * 32])

    assert missing == Missing()
    assert collector.ring.counts.dropped_spans == 0
    for answer in found:
        assert isinstance(answer, Found)
        spans = {one.name: one for one in answer.trace.spans}
        assert sorted(spans) == ["shop: /cart", "shop: SELECT item", "shop: reserve"]
        roots = [one for one in spans.values() if not one.parent]
        assert [(one.kind, one.resource["service.version"]) for one in roots] == [("server", "2.1")]
        assert all((one.end_ns or 0) >= one.start_ns > 10**18 for one in spans.values())
        assert "canary" not in repr(spans)


async def test_the_sdk_understands_an_answer_with_rejected_spans() -> None:
    async with serve(replace(CONFIG, most_traces=1)) as collector:
        exporter = OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces")
        provider = TracerProvider()
        tracer = provider.get_tracer("test")
        spans = []
        for _ in range(2):
            span = tracer.start_span("a")
            span.end()
            spans.append(cast("ReadableSpan", span))
        for one in (spans[0], spans[1], spans[0]):  # the last one is late: its trace has left
            assert await asyncio.to_thread(exporter.export, [one]) is SpanExportResult.SUCCESS
        exporter.shutdown()  # type: ignore[no-untyped-call]

    assert collector.ring.counts.late_spans == 1
