"""The reads of streams of one worker: counts, causes of shared reads, and the metrics for which a second was unfit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine.health.stream_reads import THEIRS_BELOW_NS, Reads, StreamReads, unfit_for
from loadgen.measure.deltas.stream_health import StreamHealth
from loadgen.units import NS_PER_MS


def ms(value: float) -> int:
    return round(value * NS_PER_MS)


def test_without_reads_there_is_nothing_to_judge() -> None:
    assert StreamReads().take(ms(50), ms(50)) is None


def test_reads_are_counted_by_clock_and_events_by_the_cause_of_sharing() -> None:
    reads = StreamReads()
    reads.lag_ns = THEIRS_BELOW_NS - 1
    reads.first(3, ms(200))
    reads.lag_ns = THEIRS_BELOW_NS
    reads.later(2, ms(20))
    reads.lag_ns = -1
    reads.later(4, ms(30))

    health = reads.take(0, 0)

    assert health is not None
    assert (health.kernel_reads, health.loop_reads, health.events) == (2, 1, 9)
    assert (health.shared_theirs, health.shared_ours, health.shared_unknown) == (2, 1, 3)
    assert (health.ttft_p50_us, health.icl_p50_us) == (200_000, 20_000)
    assert (health.read_lag_max_us, health.is_possible(1)) == (500, True)
    assert reads.take(0, 0) is None


@pytest.mark.parametrize("n", [1, 3, 5, 7, 11])
def test_of_an_odd_number_of_values_the_middle_one_is_the_median(n: int) -> None:
    reads = StreamReads()
    for value in range(n):
        reads.lag_ns = ms(value)
        reads.first(1, ms(100 + value))
        reads.later(1, ms(10 + value))

    health = reads.take(0, 0)

    assert health is not None
    middle = n // 2 * 1_000
    assert health.ttft_p50_us == 100_000 + middle
    assert health.icl_p50_us == 10_000 + middle
    assert health.read_lag_p50_us == middle  # there are two reads with each lag


def test_the_p99_is_the_value_that_one_in_100_exceeds() -> None:
    reads = StreamReads()
    for value in range(160):
        reads.lag_ns = ms(value)
        reads.first(1, 1)

    health = reads.take(0, 0)

    assert health is not None
    assert health.read_lag_p99_us == 158_000


def test_the_most_streams_that_were_open_at_once_are_counted() -> None:
    reads = StreamReads()
    for _ in range(3):
        reads.opened()
        reads.first(1, 1)
    reads.closed(10)
    first = reads.take(0, 0)
    reads.later(1, 1)
    second = reads.take(0, 0)

    assert first is not None
    assert second is not None
    assert (first.streams, second.streams) == (3, 2)


@pytest.mark.parametrize(
    ("lag", "send", "ttft_p50", "is_unfit"),
    [(2.0, 0, 0, False), (2.1, 0, 0, True), (0, 2.1, 0, True), (30, 0, 300, False), (31, 0, 300, True)],
)
def test_ttft_bears_a_lag_of_2_ms_or_of_a_tenth_of_its_median(
    lag: float, send: float, ttft_p50: float, is_unfit: bool
) -> None:
    seen = Reads(lag_p99_ns=ms(lag), send_lag_p99_ns=ms(send), has_kernel_clock=True, ttft_p50_ns=ms(ttft_p50))
    assert unfit_for(seen)[0] is is_unfit


@pytest.mark.parametrize(
    ("lag", "icl_p50", "is_unfit"), [(1.0, 0, False), (1.1, 0, True), (2.0, 20, False), (2.1, 20, True)]
)
def test_by_the_loops_clock_the_gaps_bear_1_ms_or_a_tenth_of_their_median(
    lag: float, icl_p50: float, is_unfit: bool
) -> None:
    assert unfit_for(Reads(lag_p99_ns=ms(lag), icl_p50_ns=ms(icl_p50)))[1] is is_unfit


@pytest.mark.parametrize(("ours", "is_unfit"), [(0, False), (10, False), (11, True)])
def test_by_the_kernels_clock_only_events_that_we_merged_spoil_the_gaps(ours: int, is_unfit: bool) -> None:
    seen = Reads(lag_p99_ns=ms(50), has_kernel_clock=True, icl_p50_ns=ms(20), events=1_000, ours=ours)
    assert unfit_for(seen)[1] is is_unfit


def test_one_merged_event_in_a_quiet_second_is_chance() -> None:
    assert not unfit_for(Reads(has_kernel_clock=True, events=4, ours=1))[1]


def test_tpot_stands_where_itl_falls_because_its_error_is_divided_by_the_gaps() -> None:
    seen = Reads(lag_p99_ns=ms(50), icl_p50_ns=ms(20), mean_events=101)
    assert unfit_for(seen)[1:] == (True, False)
    assert unfit_for(Reads(lag_p99_ns=ms(50), icl_p50_ns=ms(20), mean_events=5))[2]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(-1, 10**9)), max_size=40))
def test_every_event_has_its_read_or_a_cause_for_sharing_one(given_reads: list[tuple[int, int]]) -> None:
    reads = StreamReads()
    for events, lag_ns in given_reads:
        reads.lag_ns = lag_ns
        reads.later(events, 1)
    health = reads.take(0, 0) or StreamHealth()

    assert not given_reads or health.is_possible(1)
    assert health.events == sum(events for events, _ in given_reads)
