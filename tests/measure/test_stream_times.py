"""Our figures of a stream: the fast functions against the plain ones, and single cases by hand."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadgen.measure.conventions import Event, figures
from loadgen.measure.streams import (
    CONTENT,
    DONE,
    FINISH,
    KIND_NUMBERS,
    KINDS,
    REASONING,
    ROLE,
    USAGE,
    StreamTimes,
)
from tests.support.llm_streams import stream_times

MS = 1_000_000


@st.composite
def any_stream(draw: st.DrawFn) -> list[Event]:
    """Streams of all kinds, with reads of several events, unknown, known and wrong counts."""
    size = draw(st.integers(0, 12))
    gaps = draw(st.lists(st.sampled_from([0, 0, 1, 7 * MS, 20 * MS, 5_000 * MS]), min_size=size, max_size=size))
    kinds = draw(st.lists(st.sampled_from([*KINDS, "content", "content", "usage"]), min_size=size, max_size=size))
    tokens = draw(st.lists(st.sampled_from([-1, -1, -1, 0, 1, 2, 3, 9, 20]), min_size=size, max_size=size))
    return list(zip(accumulate(gaps), kinds, tokens, strict=True))


@st.composite
def server_stream(draw: st.DrawFn) -> list[Event]:
    """Streams as servers send them: a role, chunks, a finish reason, usage at the end or in each chunk."""
    times = accumulate(draw(st.lists(st.sampled_from([0, 5 * MS, 20 * MS]), min_size=1, max_size=12)), initial=9 * MS)
    usage = draw(st.sampled_from(["none", "final", "continuous", "wrong"]))
    known = draw(st.booleans())
    events: list[Event] = []
    total = now = 0
    for now in times:
        count = draw(st.integers(1, 4))
        total += count
        events.append((now, draw(st.sampled_from(["reasoning", "content"])), count if known else -1))
        if usage == "continuous":
            events.append((now, "usage", total))
    events.append((now + MS, "finish", -1))
    if usage != "none":
        events.append((now + MS, "usage", total + (draw(st.integers(-3, 3)) if usage == "wrong" else 0)))
    return [(MS, "role", -1), *events, (now + 2 * MS, "done", -1)]


def fast(events: list[Event], hidden: int = 0) -> StreamTimes:
    return stream_times(
        [t for t, _, _ in events],
        bytearray(KIND_NUMBERS[kind] for _, kind, _ in events),
        [n for _, _, n in events],
        hidden_tokens=hidden,
    )


def ms(ns: float) -> float | None:
    return None if ns < 0 else ns / 1e6


def assert_same(events: list[Event], hidden: int) -> None:
    found, plain = fast(events, hidden), figures(events, "ours", hidden_tokens=hidden)

    itl = [ns / 1e6 for ns, count in found.itl for _ in range(count)]
    assert itl == pytest.approx(plain["itl_ms"], abs=1e-6)
    assert {
        "ttfb_ms": ms(found.ttfb_ns),
        "ttft_ms": ms(found.ttft_ns),
        "ttfo_ms": ms(found.ttfo_ns),
        "icl_ms": [ns / 1e6 for ns in found.icl_ns],
        "stall_ms": ms(found.stall_ns),
        "tpot_ms": ms(found.tpot_ns),
        "e2e_ms": ms(found.last_token_ns),
        "closed_ms": ms(found.closed_ns),
        "output_tokens": found.output_tokens,
        "itl_is_exact": found.itl_is_exact,
    } == {key: value for key, value in plain.items() if key != "itl_ms"}


@example(events=[(0, "content", -1), (5, "content", -1), (6, "usage", 3)], hidden=0)
@example(events=[(0, "content", 2), (5, "content", 2), (6, "usage", 3)], hidden=3)
@example(events=[(0, "content", 2), (5, "content", 2), (6, "usage", 3)], hidden=1)
@example(events=[(0, "usage", 1), (0, "reasoning", -1)], hidden=0)
@example(events=[(0, "usage", 2), (5, "content", 1), (9, "content", 1)], hidden=0)
@given(events=st.one_of(any_stream(), server_stream()), hidden=st.sampled_from([0, 0, 0, 1, 5]))
def test_the_fast_figures_are_those_of_the_convention_ours(events: list[Event], hidden: int) -> None:
    assert_same(events, hidden)


@given(events=st.one_of(any_stream(), server_stream()))
def test_the_latencies_of_the_tokens_add_up_to_the_time_between_first_and_last(events: list[Event]) -> None:
    found = fast(events)

    if found.ttft_ns >= 0 and all(count for _, count in found.itl) and len(found.itl) == len(found.icl_ns):
        tokens = sum(count for _, count in found.itl)
        spent = sum(ns * count for ns, count in found.itl)
        assert found.last_token_ns - found.ttft_ns - tokens <= spent <= found.last_token_ns - found.ttft_ns


@given(events=st.one_of(any_stream(), server_stream()), shift=st.integers(0, 10**15))
def test_figures_count_from_the_time_that_the_request_was_asked(events: list[Event], shift: int) -> None:
    moved = stream_times(
        [t + shift for t, _, _ in events],
        [KIND_NUMBERS[kind] for _, kind, _ in events],
        [n for _, _, n in events],
        asked_ns=shift,
    )

    assert moved == fast(events)


def test_a_stream_without_events_has_no_figures() -> None:
    assert stream_times([], b"", []) == StreamTimes(output_tokens=0)


def test_the_client_can_give_the_times_that_no_event_has() -> None:
    found = stream_times([30, 40], [ROLE, CONTENT], [-1, -1], asked_ns=10, first_byte_ns=25, closed_ns=99)

    assert (found.ttfb_ns, found.ttft_ns, found.closed_ns) == (15, 30, 89)


def test_usage_in_each_chunk_makes_inter_token_latencies_exact() -> None:
    found = stream_times(
        [10, 10, 40, 40, 50], [CONTENT, USAGE, CONTENT, USAGE, DONE], [-1, 2, -1, 5, -1], token_source="tokenizer"
    )

    assert found.itl == [(10, 3)]
    assert found.itl_is_exact
    assert (found.first_read_tokens, found.output_tokens, found.token_source) == (2, 5, "server")
    assert found.tpot_ns == 10


def test_usage_at_the_end_is_spread_over_the_chunks_and_marked_as_estimated() -> None:
    found = stream_times([0, 10, 20, 30], [CONTENT, CONTENT, CONTENT, USAGE], [-1, -1, -1, 7])

    assert found.itl == [(5, 2), (3, 3)]
    assert not found.itl_is_exact


def test_fewer_tokens_than_chunks_leave_the_first_and_the_last_chunk_one() -> None:
    found = stream_times([0, 10, 20, 30], [CONTENT, CONTENT, CONTENT, USAGE], [-1, -1, -1, 2])

    assert found.itl == [(20, 1)]
    assert found.icl_ns == [10, 10]
    assert found.tpot_ns == 20


def test_as_many_tokens_as_chunks_are_exact() -> None:
    found = stream_times([0, 10, 30, 31], [CONTENT, CONTENT, CONTENT, USAGE], [-1, -1, -1, 3])

    assert found.itl == [(10, 1), (20, 1)]
    assert found.itl_is_exact


def test_without_usage_and_counts_each_chunk_is_one_token_and_the_source_is_events() -> None:
    found = stream_times([0, 10, 11], [CONTENT, CONTENT, FINISH], [-1, -1, -1])

    assert (found.output_tokens, found.token_source, found.itl_is_exact) == (2, "events", False)


def test_counts_of_a_tokenizer_are_used_where_there_is_no_usage() -> None:
    found = stream_times([0, 10], [CONTENT, CONTENT], [2, 3])

    assert (found.output_tokens, found.token_source, found.itl_is_exact) == (5, "tokenizer", True)


def test_hidden_reasoning_is_output_but_in_no_latency() -> None:
    found = stream_times(
        [500, 510, 520, 530],
        [CONTENT, CONTENT, CONTENT, USAGE],
        [-1, -1, -1, 403],
        reasoning_tokens=400,
        hidden_tokens=400,
    )

    assert (found.output_tokens, found.reasoning_tokens) == (403, 400)
    assert found.itl == [(10, 1), (10, 1)]
    assert found.tpot_ns == 10


def test_one_token_has_no_latency_between_tokens() -> None:
    found = stream_times([10, 11, 12], [CONTENT, USAGE, DONE], [-1, 1, -1])

    assert (found.ttft_ns, found.last_token_ns, found.tpot_ns, found.stall_ns) == (10, 10, -1.0, -1)
    assert found.itl == []


def test_all_tokens_in_one_read_have_no_latency_between_tokens() -> None:
    found = stream_times([10, 10, 10, 10], [CONTENT, CONTENT, USAGE, DONE], [-1, -1, 8, -1])

    assert (found.first_read_tokens, found.output_tokens, found.tpot_ns) == (8, 8, -1.0)
    assert found.itl == []


def test_only_reasoning_has_no_first_output_token() -> None:
    found = stream_times([10, 20], [REASONING, REASONING], [-1, -1])

    assert (found.ttft_ns, found.ttfo_ns) == (10, -1)


def test_a_usage_that_is_smaller_than_before_is_ignored() -> None:
    found = stream_times([10, 10, 20, 20], [CONTENT, USAGE, CONTENT, USAGE], [-1, 6, -1, 4])

    assert found.output_tokens == 7
    assert not found.itl_is_exact


def test_usage_without_any_token_event_is_the_output() -> None:
    found = stream_times([10, 20], [ROLE, USAGE], [-1, 12])

    assert (found.output_tokens, found.ttft_ns, found.itl_is_exact) == (12, -1, False)
