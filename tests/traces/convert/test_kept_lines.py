"""Traces that are written to the run folder and read again are the same."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from loadgen.traces.convert.detect import traces_of
from loadgen.traces.convert.otlp_json import otlp_json_line, trace_of_kept_line, traces_of_otlp_json
from loadgen.traces.model import Span, Trace, Value
from tests.support.trace_documents import as_otlp, shop_trace

_ids = st.integers(1, (1 << 64) - 1).map("{:016x}".format)
_times = st.integers(0, (1 << 63) - 1)
_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_values: st.SearchStrategy[Value] = (
    _texts | st.integers(-(1 << 63), (1 << 63) - 1) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
)
_attributes = st.dictionaries(
    _texts.filter(lambda name: not name.startswith(("loadgen.", "service."))), _values, max_size=4
)
_spans = st.builds(
    Span,
    id=_ids,
    parent=_ids | st.just(""),
    service=_texts,
    operation=_texts,
    start_ns=_times,
    end_ns=st.none() | _times,
    kind=st.sampled_from(["internal", "server", "client", "producer", "consumer"]),
    status=st.sampled_from(["unset", "ok", "error"]),
    attributes=_attributes,
    resource=_attributes,
    links=st.lists(_ids, max_size=3).map(tuple),
    resolution_ns=st.sampled_from([1, 1_000, 1_000_000]),
)
_traces = st.builds(
    Trace,
    id=st.integers(1, (1 << 128) - 1).map("{:032x}".format),
    spans=st.lists(_spans, min_size=1, max_size=5).map(tuple),
    is_cut=st.booleans(),
)


def in_types(trace: Trace) -> str:
    """The trace as a text: True and 1 are equal, but not the same."""
    return repr(trace)


@given(_traces)
def test_any_trace_is_read_from_its_line_as_it_was(trace: Trace) -> None:
    line = otlp_json_line(trace)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    found = trace_of_kept_line(line)
    assert found is not None
    assert in_types(found) == in_types(trace)


@given(_traces.filter(lambda trace: all(span.start_ns for span in trace.spans)))
def test_a_line_is_otlp_that_the_ordinary_reader_reads(trace: Trace) -> None:
    [found] = traces_of("x.jsonl", otlp_json_line(trace))
    assert found.id == trace.id
    assert found.is_cut == trace.is_cut
    for ours, read in zip(trace.spans, found.spans, strict=True):
        assert (read.id, read.parent, read.start_ns, read.end_ns or None, read.kind, read.status, read.links) == (
            *(ours.id, ours.parent, ours.start_ns, ours.end_ns or None, ours.kind, ours.status, ours.links),
        )
        assert read.resolution_ns == ours.resolution_ns


def test_a_line_read_by_the_ordinary_reader_gives_the_same_spans_again() -> None:
    [trace] = traces_of_otlp_json(json.dumps(as_otlp(*shop_trace())).encode())
    assert traces_of_otlp_json(otlp_json_line(trace)) == [trace]


def test_spans_of_one_process_share_the_entry_of_their_resource() -> None:
    [trace] = traces_of_otlp_json(json.dumps(as_otlp(*shop_trace(n_queries=36))).encode())
    assert len(json.loads(otlp_json_line(trace))["resourceSpans"]) == 2


def test_a_trace_without_spans_becomes_a_line_without_spans() -> None:
    assert trace_of_kept_line(otlp_json_line(Trace("1" * 32, ()))) is None
