"""A run that only fails is stopped, with the reason; one that tests overload is not, where it says so."""

from __future__ import annotations

from collections.abc import Iterable

from loadgen.units import NS_PER_S
from loadgen_controller.core.events import Reason
from loadgen_controller.judging.error_fuse import Blown, Fuse, Interval, step


def interval(
    second: int, requests: int = 100, errors: int = 0, unreached: int = 0, not_allowed: int = 0, iterations: int = 10
) -> Interval:
    start_ns = second * NS_PER_S
    return Interval(
        start_ns, start_ns + NS_PER_S, requests, errors, unreached, iterations, not_allowed, "not allowed: port"
    )


def blown_at(intervals: Iterable[Interval]) -> tuple[int, Blown] | None:
    """After how many seconds, and why."""
    fuse = Fuse()
    for one in intervals:
        fuse, blown = step(fuse, one)
        if blown is not None:
            return one.end_ns // NS_PER_S, blown
    return None


def test_more_than_half_for_30_seconds_stops_the_run() -> None:
    found = blown_at(interval(s, errors=51 if s >= 5 else 0) for s in range(60))

    assert found is not None
    assert found[0] == 35
    assert found[1].reason is Reason.ERROR_FUSE
    assert "51 of 100" in found[1].text


def test_half_is_not_more_than_half_and_a_good_second_begins_anew() -> None:
    assert blown_at(interval(s, errors=50) for s in range(60)) is None
    assert blown_at(interval(s, errors=0 if s % 30 == 29 else 100) for s in range(300)) is None


def test_seconds_without_requests_change_nothing() -> None:
    seconds = [interval(s, requests=100 if s % 2 else 0, errors=60 if s % 2 else 0) for s in range(60)]
    found = blown_at(seconds)

    assert found is not None
    assert found[0] in (31, 32)
    assert blown_at(interval(s, requests=0, iterations=0) for s in range(300)) is None


def test_nobody_who_gets_a_connection_for_10_seconds_stops_the_run() -> None:
    found = blown_at(interval(s, errors=100, unreached=100) for s in range(60))
    assert found is not None
    assert found[0] == 10
    assert "no agent got a connection" in found[1].text
    assert blown_at(interval(s, errors=40, unreached=40) for s in range(60)) is None


def test_where_only_refusals_of_the_list_come_the_run_ends_at_once() -> None:
    found = blown_at(interval(s, errors=50, not_allowed=10) for s in range(60))
    assert found is not None
    assert found[0] == 2
    assert found[1].reason is Reason.NOT_ALLOWED
    assert "not allowed: port" in found[1].text
    assert blown_at(interval(s, errors=50, not_allowed=9) for s in range(60)) is None
