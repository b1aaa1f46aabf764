"""The collector's memory: bounded by bytes and by traces, and everything that is dropped is counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadgen.backends.collector.otlp_parts import Part
from loadgen.backends.collector.trace_ring import TraceRing


def part(trace: int, size: int = 100, spans: int = 1) -> Part:
    return Part(f"{trace:032x}", b"x" * size, spans, False)


def ids(ring: TraceRing, *traces: int) -> list[bool]:
    return [ring.get(f"{trace:032x}") is not None for trace in traces]


def test_parts_of_a_trace_are_returned_together() -> None:
    ring = TraceRing(1 << 20, 10)
    ring.add([part(1), part(2)])
    ring.add([part(1, spans=3)])

    assert ring.get(f"{1:032x}") == ([part(1), part(1, spans=3)], False)
    assert (len(ring), ring.counts.spans, ring.counts.dropped_spans) == (2, 5, 0)


def test_the_oldest_trace_leaves_first_and_is_counted() -> None:
    ring = TraceRing(1 << 20, 2)
    ring.add([part(1, spans=2), part(2), part(1), part(3)])

    assert ids(ring, 1, 2, 3) == [False, True, True]
    assert (ring.counts.evicted_traces, ring.counts.evicted_spans) == (1, 3)


def test_late_spans_of_a_trace_that_left_do_not_make_half_a_trace() -> None:
    ring = TraceRing(1 << 20, 1)
    ring.add([part(1), part(2)])

    assert ring.add([part(1, spans=4)]) == 4
    assert ids(ring, 1, 2) == [False, True]
    assert ring.counts.late_spans == 4


def test_a_trace_that_would_fill_the_memory_is_cut_and_says_so() -> None:
    ring = TraceRing(40_000, 100)
    ring.add([part(1, 5_000), part(1, 5_000, spans=7), part(2)])

    kept = ring.get(f"{1:032x}")
    assert kept is not None
    assert (len(kept[0]), kept[1]) == (1, True)
    assert ring.counts.cut_spans == 7
    assert ids(ring, 2) == [True]


def test_a_part_that_is_larger_than_a_trace_may_be_leaves_no_empty_trace() -> None:
    ring = TraceRing(4_000, 3)
    for trace in range(20):
        ring.add([part(trace, 5_000)])

    assert not any(ids(ring, *range(20)))
    assert len(ring) <= 3


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3_000), st.integers(1, 5)), max_size=80))
def test_limits_hold_and_each_span_is_kept_or_counted(given_parts: list[tuple[int, int, int]]) -> None:
    ring = TraceRing(20_000, 5)
    for trace, size, spans in given_parts:
        ring.add([part(trace, size, spans)])

    kept = [found for trace in range(31) if (found := ring.get(f"{trace:032x}")) is not None]
    stored = sum(one.spans for parts, _ in kept for one in parts)
    assert ring.size <= 20_000
    assert len(ring) <= 5
    assert stored + ring.counts.dropped_spans == sum(spans for _, _, spans in given_parts)
