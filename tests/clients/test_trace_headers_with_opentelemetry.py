"""OpenTelemetry's SDK reads our trace headers: its spans have our trace id, our span as parent, and our decision."""

from __future__ import annotations

from random import Random

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from loadgen.clients.request.tracing import Trace, Tracer
from tests.support.scripted import Received, client_of, ok, scripted


def _spans_of(requests: list[Received]) -> list[ReadableSpan]:
    """Return the spans that a server with OpenTelemetry exports for these requests."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ParentBased(ALWAYS_ON))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("server")
    for request in requests:
        context = TraceContextTextMapPropagator().extract(dict(request.headers))
        tracer.start_span("GET /", context).end()
    return list(exporter.get_finished_spans())


@pytest.mark.parametrize("sample", [0.0, 0.25, 1.0])
async def test_the_sdk_continues_our_trace_below_our_span_and_keeps_exactly_what_we_sample(sample: float) -> None:
    trace = Trace(sample=sample)
    async with scripted(ok()) as server, client_of(server.url, tracer=Tracer(trace, Random(7))) as client:
        ours = [(await client.get("/")).trace for _ in range(60)]
        received = list(server.requests)
    spans = _spans_of(received)

    kept = [one for one in ours if trace.samples(one)]
    assert [f"{span.context.trace_id:032x}" for span in spans] == kept
    sent = {dict(one.headers)["traceparent"].split("-")[1]: dict(one.headers)["traceparent"] for one in received}
    for span in spans:
        assert span.parent is not None
        assert span.parent.is_remote
        assert f"{span.parent.span_id:016x}" == sent[f"{span.context.trace_id:032x}"].split("-")[2]
