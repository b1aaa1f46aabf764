"""The offset of a server's clock: the bounds always hold the true offset, also with drift, and jumps are found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadgen.probes.reader import ServerTime
from loadgen.probes.server_clock import MOST_DRIFT, ServerClockOffset

S = 1_000_000_000
MS = 1_000_000


def exchange(sent_ns: int, there_ns: int, back_ns: int, offset_ns: int, resolution_ns: int = 1) -> ServerTime:
    """An exchange with a true offset; the server's clock is read `there_ns` after the request."""
    read = sent_ns + there_ns + offset_ns
    return ServerTime(sent_ns, sent_ns + there_ns + back_ns, read // resolution_ns * resolution_ns, resolution_ns)


@given(
    offset_s=st.integers(-(10**9), 10**9),
    drift=st.floats(-MOST_DRIFT * 0.99, MOST_DRIFT * 0.99),
    delays=st.lists(st.tuples(st.integers(1, 50 * MS), st.integers(1, 50 * MS)), min_size=1, max_size=30),
    resolution_ns=st.sampled_from([1, MS]),
    at=st.floats(-20, 60),
)
def test_the_true_offset_lies_within_the_bounds(
    offset_s: int, drift: float, delays: list[tuple[int, int]], resolution_ns: int, at: float
) -> None:
    def true_offset(time_ns: int) -> int:
        return offset_s * S + int(drift * time_ns)

    clock = ServerClockOffset()
    for n, (there, back) in enumerate(delays):
        sent = n * 2 * S
        clock.add(exchange(sent, there, back, true_offset(sent + there), resolution_ns))

    time_ns = int(at * S)
    found = clock.at(time_ns)
    assert found is not None
    assert not clock.jumps
    assert abs(found[0] - true_offset(time_ns)) <= found[1] + 2
    told = clock.probe_time(time_ns + true_offset(time_ns))
    assert told is not None
    assert abs(told[0] - time_ns) <= told[1] + MS


def test_many_exchanges_are_narrower_than_each_of_them() -> None:
    clock = ServerClockOffset()
    for n in range(40):
        fast = n % 10 == 0
        clock.add(exchange(n * S, 1 * MS if fast else 5 * MS, 9 * MS if not fast else 1 * MS, 12 * MS))

    found = clock.at(20 * S)
    assert found is not None
    assert abs(found[0] - 12 * MS) <= found[1] <= 2 * MS


def test_a_clock_that_jumps_has_two_offsets() -> None:
    clock = ServerClockOffset()
    for n in range(20):
        clock.add(exchange(n * S, MS, MS, 0 if n < 10 else 5 * S))

    before, after = clock.at(3 * S), clock.at(15 * S)
    assert before is not None
    assert after is not None
    assert (abs(before[0]) <= MS, abs(after[0] - 5 * S) <= MS) == (True, True)
    assert clock.jumps == (10 * S + MS,)


def test_without_an_exchange_nothing_is_known() -> None:
    assert ServerClockOffset().at(0) is None
    assert ServerClockOffset().probe_time(0) is None
