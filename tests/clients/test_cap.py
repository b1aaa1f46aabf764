"""Above the cap no request starts, in whichever second one looks."""

from __future__ import annotations

from bisect import bisect_left
from datetime import date
from itertools import pairwise
from random import Random

import pytest

from loadgen.allow import Entry
from loadgen.clients import Cap, OverTheCap
from loadgen.clients.cap import capped
from loadgen.engine.meter import Meter
from loadgen.engine.recorder import Recorder
from loadgen.units import NS_PER_MS, NS_PER_S


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


def busiest(starts: list[int]) -> int:
    """Most of them within any second, [t, t + 1 s)."""
    return max(bisect_left(starts, at + NS_PER_S) - i for i, at in enumerate(starts))


@pytest.mark.parametrize("times", [0.9, 1.0, 10.0])
def test_no_second_has_more_than_the_cap_however_much_comes(times: float) -> None:
    clock, chance = Hand(), Random(7)
    cap = Cap(lambda per_s: int(per_s), 50.0, clock=clock)
    asked, starts = 0, []
    while clock.ns < 20 * NS_PER_S:
        clock.ns += round(chance.expovariate(50 * times) * NS_PER_S)
        asked += 1
        if cap.take():
            starts.append(clock.ns)

    assert busiest(starts) <= 50
    assert cap.refused == asked - len(starts)
    if times > 1:
        assert busiest(starts) == 50
        assert len(starts) >= 0.97 * 50 * 20
        later = [at for at in starts if at > NS_PER_S]
        assert min(b - a for a, b in pairwise(later)) >= 10 * NS_PER_MS  # no burst each second


def test_a_load_just_at_the_cap_loses_nothing_even_where_starts_are_late() -> None:
    clock, chance = Hand(), Random(3)
    cap = Cap(lambda per_s: int(per_s * 1.01), 100.0, clock=clock)
    for n in range(2_000):
        clock.ns = n * 10 * NS_PER_MS + chance.randrange(5 * NS_PER_MS)
        assert cap.take()


def test_the_strictest_entry_that_admits_a_connection_holds() -> None:
    clock = Hand()
    cap = Cap(lambda per_s: int(per_s), None, clock=clock)
    assert all(cap.take() for _ in range(1_000))
    for per_s in (10.0, 30.0, None):
        cap.admit(Entry(host="a", owner="us", expires=date(2027, 1, 1), max_requests_per_s=per_s))
    clock.ns = 10 * NS_PER_S
    assert sum(cap.take() for _ in range(100)) == 10


def test_shares_that_change_hold_from_then_on() -> None:
    clock = Hand()
    cap = Cap(lambda per_s: 5, 100.0, clock=clock)
    assert sum(cap.take() for _ in range(5)) == 5
    cap.lower(lambda per_s: 8)
    assert not cap.take()
    cap.reshare(lambda per_s: 8)
    clock.ns += NS_PER_S * 3
    assert sum(cap.take() for _ in range(100)) == 8
    cap.lower(lambda per_s: 2)
    clock.ns += NS_PER_S * 3
    assert sum(cap.take() for _ in range(100)) == 2
    clock.ns += NS_PER_S * 3
    cap.reshare(lambda per_s: 5)
    assert sum(cap.take() for _ in range(5)) == 5
    cap.reshare(lambda per_s: 8)
    assert sum(cap.take() for _ in range(100)) == 3


async def test_what_does_not_start_is_no_request_and_says_why() -> None:
    said: list[str] = []
    cap = Cap(lambda per_s: 2, 2.0, refuses=said.append)
    recorder = Recorder()
    meter = capped(Meter, cap)(recorder)
    meter.begin("journey", warmup=False, pool_limited=False)
    meter.ask("a")
    meter.ask("a")
    with pytest.raises(OverTheCap, match=r"over the cap: the allow-list admits 2 requests/s") as raised:
        meter.ask("a")

    assert recorder.counters.requests_started == 2
    assert 0 < raised.value.until_s <= 1
    assert (cap.refused, len(said)) == (1, 1)
