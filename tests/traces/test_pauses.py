"""Instances that stand still: found where waits end together, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadgen.traces.compact_trace import compacted
from loadgen.traces.model import Span
from loadgen.traces.path_times import timed
from loadgen.traces.pauses import Pauses, pauses_of
from loadgen.traces.span_facts import Instance, instance_at
from loadgen.traces.timed import WIRE, Observed, TimedTrace
from tests.support.small_trees import MS, call, tree

STOCK_2 = {"service.instance.id": "stock-2"}
SELECT = ("shop: POST /", "shop: POST stock", "stock: reserve", "stock: SELECT")


def trace(number: int, root: call, wire_ms: float = 0.0) -> TimedTrace:
    made = tree(root, f"{number:032x}")
    duration = made.root.end_ns - made.root.start_ns if made.root.end_ns else 0
    service_ns = duration + round(wire_ms * MS)
    observed = Observed(
        trace=made.trace,
        journey="buy",
        step="",
        request="POST /",
        outcome="ok",
        region="",
        at_s=made.root.start_ns / 1e9,
        response_ns=service_ns,
        service_ns=service_ns,
        weight=1,
    )
    return timed(observed, made)


def shop(start: float, wait: float, select: float = 5, *, kind: str = "server") -> call:
    """A request that begins at a time; stock-2 answers after a wait, then reads its database."""
    begins = start + 2 + wait
    ends = begins + select
    stock = call(
        "stock: reserve", begins, ends, call("stock: SELECT", begins, ends, resource=STOCK_2), resource=STOCK_2
    )
    return call("shop: POST /", start, ends + 3, call("shop: POST stock", start + 1, ends + 1, stock, kind="client"))


def found(traces: Sequence[TimedTrace]) -> list[Pauses]:
    return pauses_of(compacted(traces))


def paused(pauses: int = 4, each: int = 3) -> list[TimedTrace]:
    """stock-2 stands still for 200 ms every 20 s: calls that arrive meanwhile begin at its end."""
    traces: list[TimedTrace] = []
    for k in range(pauses):
        for n in range(each):
            into = 20 + 40 * n  # ms of the pause that are over when the call arrives
            traces.append(trace(len(traces), shop(20_000 * k + into - 2, 200 - into)))
    return traces


def quick(count: int = 60) -> list[TimedTrace]:
    return [trace(1_000 + n, shop(1_234 * n, 0.5)) for n in range(count)]


def test_instance_that_stands_still_is_found_with_its_periods() -> None:
    (one,) = found([*paused(), *quick()])
    assert one.instance == Instance("stock", "stock-2")
    assert one.instance.path == ("stock: standing still of stock-2",)
    assert len(one.periods_ns) == 4
    # The first trace arrives 20 ms after the begin; what was before cannot be seen.
    assert [(end - begin) / MS for begin, end in one.periods_ns] == [181] * 4
    assert one.traces == 12


def test_what_a_pause_took_from_a_trace_is_what_it_saves() -> None:
    traces = [*paused(), *quick()]
    (one,) = found(traces)
    # The client's own millisecond before the call arrives is part of the wait.
    assert [round(ns / MS) for ns in one.saved_ns[:12]] == [181, 141, 101] * 4
    assert one.saved_ns[12:].sum() == 0
    moved = [sum(ns for to in moves.values() for ns in to.values()) for moves in one.moved]
    assert moved == one.saved_ns.tolist()


def test_pause_within_a_span_is_found_whatever_the_span() -> None:
    # Calls of which some had begun before the pause, some before their query.
    inside = [trace(50 + k, shop(20_000 * k - 5, 0.5, select=205)) for k in range(4)]
    (one,) = found([*paused(each=2), *inside, *quick()])
    assert one.traces == 12
    assert {path for moves in one.moved for path in moves} >= {SELECT}


def test_root_that_stands_still_holds_requests_up_on_the_wire() -> None:
    traces: list[TimedTrace] = []
    for k in range(4):
        for n in range(3):
            into = 20 + 40 * n
            root = call("shop: POST /", 20_000 * k + 200, 20_000 * k + 210)
            traces.append(trace(len(traces), root, wire_ms=200 - into))
    (one,) = found(traces)
    assert one.instance == Instance("shop", "")
    assert set(one.moved[0]) == {WIRE}
    assert one.saved_ns[0] == 180 * MS


def test_slow_queries_that_end_at_random_are_no_pause() -> None:
    chance = np.random.default_rng(3)
    slow = [trace(n, shop(float(at), 0.5, 150)) for n, at in enumerate(chance.uniform(0, 600_000, 120))]
    assert found([*slow, *quick()]) == []


def test_burst_of_equal_queries_is_no_pause_because_they_begin_together_too() -> None:
    slow = [trace(5 * k + n, shop(20_000.0 * k + n, 0.5, 150)) for k in range(6) for n in range(3)]
    assert found([*slow, *quick()]) == []


def test_instance_that_answers_meanwhile_does_not_stand_still() -> None:
    # Calls of the same instance begin and end while the others wait: a lock, not a pause.
    others = [trace(500 + n, shop(20_000 * (n // 8) + 10 + 24 * (n % 8), 0.5)) for n in range(32)]
    assert found([*paused(), *others]) == []


def test_two_long_waits_are_too_few() -> None:
    assert found([*paused(pauses=1, each=2), *quick()]) == []


def test_single_traces_of_further_pauses_count_once_an_instance_is_known_to_stand_still() -> None:
    single = [trace(70 + k, shop(200_000 + 20_000 * k + 18, 180)) for k in range(3)]
    (one,) = found([*paused(), *single, *quick()])
    assert len(one.periods_ns) == 7


def test_instance_is_named_by_its_resource_or_not_at_all() -> None:
    span = Span("1", "", "stock", "x", 0, 1, resource={"host.name": "h1", "k8s.pod.name": "p1"})
    assert instance_at(span) == Instance("stock", "p1")
    assert instance_at(Span("1", "", "stock", "x", 0, 1)).path == ("stock: standing still",)


def test_same_seed_gives_the_same_pauses() -> None:
    traces = [*paused(), *quick()]
    assert found(traces)[0].periods_ns == found(traces[::-1])[0].periods_ns
