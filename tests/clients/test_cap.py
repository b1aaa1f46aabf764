"""Above the cap no request starts, in whichever second one looks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from datetime import date
from functools import partial
from itertools import pairwise
from random import Random

import pytest

from loadgen.allowlist import CapShare, Entry, share_of_cap
from loadgen.clients.request.rate_cap import Cap, OverTheCap, capped
from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Change, Deal
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from loadgen.units import NS_PER_MS, NS_PER_S


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


def of(part: float = 1.0) -> Callable[[float], CapShare]:
    """So much of the fleet's cap."""
    return lambda per_s: CapShare(int(per_s * part), per_s * part)


def busiest(starts: list[int]) -> int:
    """Most of them within any second, [t, t + 1 s)."""
    return max(bisect_left(starts, at + NS_PER_S) - i for i, at in enumerate(starts))


@pytest.mark.parametrize("times", [0.9, 1.0, 10.0])
def test_no_second_has_more_than_the_cap_however_much_comes(times: float) -> None:
    clock, chance = Hand(), Random(7)
    cap = Cap(of(), 50.0, clock=clock)
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
    cap = Cap(of(1.01), 100.0, clock=clock)
    for n in range(2_000):
        clock.ns = n * 10 * NS_PER_MS + chance.randrange(5 * NS_PER_MS)
        assert cap.take()


def test_the_strictest_entry_that_admits_a_connection_holds() -> None:
    clock = Hand()
    cap = Cap(of(), None, clock=clock)
    assert all(cap.take() for _ in range(1_000))
    for per_s in (10.0, 30.0, None):
        cap.admit(Entry(host="a", owner="us", expires=date(2027, 1, 1), max_requests_per_s=per_s))
    clock.ns = 10 * NS_PER_S
    assert sum(cap.take() for _ in range(100)) == 10


def test_a_share_changes_at_its_instant_and_by_the_average_over_the_second_after_it() -> None:
    limits = []
    for tenth in (90, 99, 100, 101, 105, 110, 120):  # each in a second of its own
        clock = Hand()
        clock.ns = tenth * NS_PER_S // 10
        cap = Cap(of(0.8), 100.0, clock=clock)
        cap.reshare(of(0.4), 10 * NS_PER_S)
        limits.append(sum(cap.take() for _ in range(1_000)))
    assert limits == [80, 80, 80, 76, 60, 40, 40]


@pytest.mark.parametrize(("rate", "cap"), [(60, 60), (110, 110), (990, 1000)])
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize(
    ("weights", "change"),
    [((1.0, 1.0, 1.0), (1.0, 1.0, 0.0)), ((3.0, 3.0, 0.0), (2.0, 2.0, 2.0))],
    ids=["leave", "join"],
)
def test_a_plan_within_its_cap_loses_nothing_when_an_agent_leaves_or_joins(
    rate: int, cap: int, workers: int, weights: tuple[float, ...], change: tuple[float, ...]
) -> None:
    """F37. Each worker's own arrivals from the change on, up to 2 ms late, and the workers' starts together."""
    at_s, chance, starts = 2, Random(1), []
    for index in range(len(weights)):
        for worker in range(workers):
            clock = Hand()
            one = Cap(
                partial(share_of_cap, weights=weights, index=index, worker=worker, workers=workers), cap, clock=clock
            )
            dealt = partial(share_of_cap, weights=change, index=index, worker=worker, workers=workers)
            one.reshare(dealt, at_s * NS_PER_S)
            deal = Deal(Share.of(index, weights, [1.0], worker, workers)).changed(Change(1, at_s * rate, change))
            for arrivals, _ in deal.blocks(0, 10 * rate, 1_000):
                for n in arrivals.tolist():
                    clock.ns = n * NS_PER_S // rate + chance.randrange(2 * NS_PER_MS)
                    assert one.take(), f"worker {worker} of agent {index} refuses arrival {n}"
                    starts.append(clock.ns)
    assert len(starts) == 10 * rate
    assert busiest(sorted(starts)) <= 1.02 * cap + 1


def test_a_late_joiner_may_start_nothing_under_a_change_from_before_it_and_its_share_from_its_own_on() -> None:
    """Three agents, of which the third joined later: in the change from before it, its weight is 0."""
    clock = Hand()
    cap = Cap(partial(share_of_cap, weights=(2.0, 1.0, 1.0), index=2), 100.0, clock=clock)
    for at_s, weights in ((2, (1.0, 1.0, 0.0)), (4, (1.0, 1.0, 2.0))):
        cap.reshare(partial(share_of_cap, weights=weights, index=2), at_s * NS_PER_S)
    starts = []
    while clock.ns < 10 * NS_PER_S:
        clock.ns += 2 * NS_PER_MS
        if cap.take():
            starts.append(clock.ns / NS_PER_S)
    assert [at for at in starts if 3 < at < 4] == []
    assert busiest([round(at * NS_PER_S) for at in starts if at > 6]) == 51


def test_after_a_change_ten_times_the_share_is_held_to_the_limit() -> None:
    clock = Hand()
    cap = Cap(of(0.2), 100.0, clock=clock)
    cap.reshare(of(0.5), NS_PER_S)
    starts = []
    while clock.ns < 10 * NS_PER_S:
        clock.ns += 2 * NS_PER_MS
        if cap.take():
            starts.append(clock.ns)
    late = [at for at in starts if at > 2 * NS_PER_S]
    assert 48 <= busiest(late) <= 50
    assert busiest(starts) <= 50


async def test_what_does_not_start_is_no_request_and_says_why() -> None:
    said: list[str] = []
    cap = Cap(of(), 2.0, refuses=said.append)
    recorder = Recorder()
    meter = capped(Meter, cap)(recorder)
    meter.begin("journey", warmup=False, pool_limited=False)
    meter.ask("a")
    meter.ask("a")
    with pytest.raises(OverTheCap, match=r"over the cap: the allow-list's cap is 2 requests/s") as raised:
        meter.ask("a")

    assert recorder.counters.requests_started == 2
    assert 0 < raised.value.until_s <= 1
    assert (cap.refused, len(said)) == (1, 1)
