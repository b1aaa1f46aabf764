"""Calls the readers of span formats. Backends use only this module of them, and tests may replace it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Literal

from loadgen.backends.collector.otlp_parts import Malformed, joined, split_protobuf
from loadgen.errors import TraceFormatError
from loadgen.traces.model import Trace

__all__ = ["SpanFormat", "traces_in", "traces_in_segments"]

SpanFormat = Literal["otlp json", "otlp protobuf", "zipkin", "datadog"]


def traces_in(form: SpanFormat, data: bytes, keep: Sequence[str] = ()) -> list[Trace]:
    """Return the traces of an answer, with attributes redacted.

    keep: names of attributes that are kept besides the usual ones.

    Raises:
        TraceFormatError: the data has another format.
    """
    # Imported here, because a command reads one format only.
    match form:
        case "otlp json":
            from loadgen.traces.convert.otlp_json import traces_of_otlp_json

            return traces_of_otlp_json(data, keep)
        case "otlp protobuf":
            if find_spec("opentelemetry") is None:  # it belongs to an extra, and this way needs no package
                return traces_in("otlp json", _as_json(data), keep)
            from loadgen.traces.convert.otlp_protobuf import traces_of_otlp

            return traces_of_otlp(data, keep)
        case "zipkin":
            from loadgen.traces.convert.zipkin import traces_of_zipkin

            return traces_of_zipkin(data, keep)
        case "datadog":
            from loadgen.traces.convert.datadog import traces_of_datadog

            return traces_of_datadog(data, keep)


def traces_in_segments(documents: Iterable[str | bytes], keep: Sequence[str] = ()) -> list[Trace]:
    """Return the traces of X-Ray's segment documents, with attributes redacted.

    keep: as for `traces_in`.

    Raises:
        TraceFormatError: a document is no segment.
    """
    from loadgen.traces.convert.xray_segments import traces_of_xray

    return traces_of_xray(documents, keep)


def _as_json(data: bytes) -> bytes:
    try:
        return joined(split_protobuf(data).parts)
    except Malformed as error:
        raise TraceFormatError(
            f"the OTLP message {error}", hint="ask again; if the error stays, the backend stored damaged spans"
        ) from None
