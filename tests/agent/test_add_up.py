"""What workers measured becomes what their agent measured: nothing lost, nothing twice, in whatever order it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import Counters, Delta, Health
from loadgen.measure.deltas.exemplar import MAX_EXEMPLARS, MAX_FAILURES, Exemplar, Failure
from loadgen.measure.deltas.limits import CUSTOM_OF_AGENT, KEPT_STREAMS_IN_DELTA
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.validate import check_delta
from loadgen.measure.deltas.worker_loss import NOBODY, Loss
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.units import NS_PER_S
from loadgen.wire.messages import Fin
from loadgen_agent.delivery.aggregate import AddUp, together
from tests.support.counts import counts_of
from tests.support.deltas import FakeAgent, request_key
from tests.support.examples import examples
from tests.support.kept_streams import kept

S = NS_PER_S
A, B, C = request_key("GET /a"), request_key("GET /b"), request_key("GET /c")


def crew(workers: int = 2) -> AddUp:
    add_up = AddUp(workers)
    for worker in range(workers):
        add_up.begin(worker)
    return add_up


def spans(deltas: Iterable[Delta]) -> list[tuple[int, int]]:
    return [(delta.start_ns // S, delta.end_ns // S) for delta in deltas]


def merged(deltas: Iterable[Delta]) -> Merge:
    merge = Merge()
    for delta in deltas:
        assert merge.accept("eu", replace(delta, agent="eu", epoch=1)) is Accepted.MERGED
    return merge


def fin_of(deltas: Sequence[Delta]) -> Fin:
    totals = sum((delta.counters for delta in deltas), Counters())
    return Fin("r1", 0, len(deltas) - 1, totals, sum(s.n for d in deltas for s in d.stats))


# -- intervals ------------------------------------------------------------------------------------


def test_an_interval_is_complete_when_each_worker_has_told_it() -> None:
    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    assert add_up.take(0, one.delta({A: [1000]})) == []
    (delta,) = add_up.take(1, two.delta({A: [2000], B: [5]}))
    assert (delta.seq, delta.start_ns, delta.end_ns) == (0, 0, S)
    assert merged([delta]).counters().requests_finished == 3


def test_a_slow_worker_delays_and_loses_nothing() -> None:
    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    for _ in range(3):
        assert add_up.take(0, one.delta({A: [1000]})) == []
    spanning = replace(two.delta({A: [7]}, k=0), end_ns=2 * S)  # its loop was blocked for 2 s
    first = add_up.take(1, spanning)
    assert spans(first) == [(0, 2)]
    second = add_up.take(1, two.delta({A: [7]}, k=2))
    assert spans(second) == [(2, 3)]
    assert merged([*first, *second]).counters().requests_finished == 5


def test_who_has_finished_or_died_is_waited_for_no_more() -> None:
    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    add_up.take(0, one.delta({A: [1]}))
    add_up.take(0, one.delta({A: [1]}))
    assert spans(add_up.end(1)) == [(0, 1), (1, 2)]
    assert spans(add_up.take(0, one.delta({A: [1]}))) == [(2, 3)]
    del two


def test_of_a_worker_that_is_alone_each_delta_passes_as_it_is() -> None:
    add_up, one = crew(1), FakeAgent("0")
    delta = one.delta({A: [1]})
    assert add_up.take(0, delta) == [delta]


def test_the_process_after_one_that_died_has_series_ids_of_its_own() -> None:
    add_up, first = crew(1), FakeAgent("0")
    deltas = add_up.take(0, first.delta({A: [1], B: [2]}))
    deltas += add_up.end(0)
    second = FakeAgent("0 again")
    add_up.begin(0, 3 * S)
    deltas += add_up.take(0, second.delta({C: [1], B: [2, 3]}, k=3))
    counts: Counter[str] = Counter()
    for (key, _), count in counts_of(deltas).items():
        counts[key.request or ""] += count
    assert counts == {"GET /a": 1, "GET /b": 3, "GET /c": 1}
    assert spans(deltas) == [(0, 1), (3, 4)]
    assert merged(deltas).counters().requests_finished == 5


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.data())
def test_in_whatever_order_it_comes_and_whoever_dies_the_sum_is_the_whole_with_no_gap_in_seq(
    workers: int, seconds: int, data: st.DataObject
) -> None:
    add_up = crew(workers)
    agents = [FakeAgent(str(worker)) for worker in range(workers)]
    due = [list(range(seconds)) for _ in range(workers)]
    life = [0] * workers
    sent: list[list[Delta]] = []
    out: list[Delta] = []
    mine: list[list[Delta]] = [[] for _ in range(workers)]
    while any(due):
        worker = data.draw(st.sampled_from([w for w in range(workers) if due[w]]))
        if life[worker] < 2 and data.draw(st.integers(0, 9)) == 0:
            out += add_up.end(worker)
            sent.append(mine[worker])
            life[worker], agents[worker], mine[worker] = life[worker] + 1, FakeAgent("again"), []
            floor = max(due[worker][0], max((d.end_ns for d in out), default=0) // S)
            due[worker] = [k for k in due[worker] if k >= floor]
            add_up.begin(worker, floor * S)
            continue
        k = due[worker].pop(0)
        keys = data.draw(st.lists(st.sampled_from([A, B, C]), unique=True, max_size=3))
        delta = agents[worker].delta({key: data.draw(st.lists(st.integers(0, 10**9), max_size=5)) for key in keys}, k=k)
        mine[worker].append(delta)
        out += add_up.take(worker, delta)
    for worker in range(workers):
        out += add_up.end(worker, fin_of(mine[worker]))
        sent.append(mine[worker])
    out += add_up.rest()
    assert [delta.seq for delta in out] == list(range(len(out)))
    whole: Counter[object] = Counter()
    for deltas in sent:
        whole.update(counts_of(deltas))
    assert counts_of(out) == whole
    for earlier, later in pairwise(out):
        assert earlier.end_ns <= later.start_ns
    known = 0
    for delta in out:
        check_delta(replace(delta, agent="eu"), known)
        known += len(delta.new_series)
    fin = add_up.fin("r1")
    assert fin.reason == ""
    assert fin.last_seq == len(out) - 1
    assert fin.totals == sum((delta.counters for delta in out), Counters())
    assert fin.recorded == sum(s.n for delta in out for s in delta.stats) == sum(whole.values())


def test_a_delta_that_did_not_arrive_is_said_in_the_fin() -> None:
    add_up, one = crew(), FakeAgent("0")
    sent = [one.delta({A: [1]}), one.delta({A: [1]})]
    add_up.take(0, sent[0])
    add_up.end(0, fin_of(sent))
    assert "worker 0 sent 2 deltas, 1 arrived" in add_up.fin("r1").reason


# -- what adds up otherwise -----------------------------------------------------------------------


def with_(agent: FakeAgent, k: int, **more: object) -> Delta:
    return replace(agent.delta({}, k=k), **more)  # type: ignore[arg-type]


def test_what_is_in_flight_is_the_last_word_of_each_and_of_one_that_died_it_stands() -> None:
    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    add_up.take(0, with_(one, 0, due=(DueCounts(0, "j", 0, good=5, undecided=2),)))
    (first,) = add_up.take(1, with_(two, 0, due=(DueCounts(0, "j", 0, good=1, bad=1, overdue=3),)))
    assert first.due == (DueCounts(0, "j", 0, good=6, bad=1, overdue=3, undecided=2),)
    add_up.end(1)
    (second,) = add_up.take(0, with_(one, 1, due=(DueCounts(0, "j", 0, good=2),)))
    assert second.due == (DueCounts(0, "j", 0, good=2, overdue=3),)


def test_a_gauge_is_the_sum_of_the_workers_last_values_also_of_one_that_did_not_set_it_now() -> None:
    def gauge(*values: float) -> CustomStats:
        return CustomStats("open", "gauge", len(values), 0, min(values), max(values), values[-1])

    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    add_up.take(0, with_(one, 0, custom=(gauge(1, 4), CustomStats("sold", "counter", 1, 10))))
    (first,) = add_up.take(1, with_(two, 0, custom=(gauge(7), CustomStats("sold", "counter", 1, 5))))
    assert first.custom == (CustomStats("open", "gauge", 3, 0, 1, 7, 11), CustomStats("sold", "counter", 2, 15))
    add_up.take(0, with_(one, 1, custom=(gauge(2),)))
    (second,) = add_up.take(1, with_(two, 1))
    assert second.custom == (CustomStats("open", "gauge", 1, 0, 2, 2, 9),)
    add_up.end(1)
    (third,) = add_up.take(0, with_(one, 2, custom=(gauge(3),)))
    assert third.custom[0].last == 3  # what the one that died had open is not open any more


def failure(n: int, outcome: str = "http 500", body: str = "") -> Failure:
    return Failure("j", "", "GET /", outcome, 0, n, 0, 5, received=body)


def test_the_first_five_failures_of_a_kind_are_the_agents_and_not_each_workers() -> None:
    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    add_up.take(0, with_(one, 0, failures=tuple(map(failure, range(4)))))
    (first,) = add_up.take(1, with_(two, 0, failures=tuple(map(failure, range(10, 14)))))
    assert [one.n for one in first.failures] == [0, 1, 2, 3, 10]


def test_failures_and_exemplars_beyond_what_a_delta_may_bring_wait_or_are_picked_from_all() -> None:
    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    many = tuple(failure(n, f"http {n}", "x" * 40_000) for n in range(20))
    few = tuple(failure(n, f"http {n}") for n in range(100, 100 + MAX_FAILURES))
    exemplars = tuple(Exemplar("j", "", "", "ok", "slowest", 0, n, 0, 5) for n in range(400))
    add_up.take(0, with_(one, 0, failures=many, exemplars=exemplars))
    out = add_up.take(1, with_(two, 0, failures=few, exemplars=exemplars))
    assert len(out[0].exemplars) == MAX_EXEMPLARS
    out += [*add_up.end(0), *add_up.end(1), *add_up.rest()]
    assert sorted(one.n for delta in out for one in delta.failures) == sorted(one.n for one in (*many, *few))
    for delta in out:
        check_delta(replace(delta, agent="eu"), 0)


def test_exemplars_with_a_weight_stand_for_as_many_requests_after_they_are_thinned() -> None:
    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    exemplars = tuple(Exemplar("j", "", "", "ok", "random", 0, n, 0, 5, stands_for=100.0) for n in range(400))
    add_up.take(0, with_(one, 0, exemplars=exemplars))
    (out,) = add_up.take(1, with_(two, 0, exemplars=exemplars))
    assert len(out.exemplars) == MAX_EXEMPLARS
    assert sum(one.stands_for for one in out.exemplars) == pytest.approx(2 * 400 * 100.0)


def test_kept_streams_beyond_what_a_delta_may_bring_wait_for_the_next_one() -> None:
    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    add_up.take(0, with_(one, 0, streams=tuple(map(kept, range(300))), streams_left_out=2))
    out = add_up.take(1, with_(two, 0, streams=tuple(map(kept, range(300, 600))), streams_left_out=3))
    assert (len(out[0].streams), out[0].streams_left_out) == (KEPT_STREAMS_IN_DELTA, 5)
    out += [*add_up.end(0), *add_up.end(1), *add_up.rest()]
    assert [stream.n for delta in out for stream in delta.streams] == list(range(600))
    for delta in out:
        check_delta(replace(delta, agent="eu"), 0)


def test_of_health_the_worst_counts_and_each_worker_is_kept_apart() -> None:
    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    lag = "lag p99 41.0 ms is above 2.00 ms"
    add_up.take(0, one.delta({}, health=Health(users=3, cpu_share=0.9, loop_lag_p99_us=41_000, unfit=(lag,))))
    (delta,) = add_up.take(1, two.delta({}, health=Health(users=4, cpu_share=0.4, loop_lag_p99_us=300)))
    health = delta.health
    assert (health.users, health.cpu_share, health.loop_lag_p99_us, health.unfit) == (7, 0.9, 41_000, (lag,))
    assert [(one.worker, one.health.unfit) for one in delta.workers] == [(0, (lag,)), (1, ())]
    merge = merged([delta])
    assert {worker: fitness.unfit for worker, fitness in merge.worker_fitness["eu"].items()} == {0: 1, 1: 0}


def test_of_memory_and_descriptors_what_is_scarcest_counts() -> None:
    found = together([Health(fds=10, fd_limit=1000, memory_free_bytes=5), Health(fds=9, fd_limit=20)])
    assert (found.fds, found.fd_limit, found.memory_free_bytes) == (9, 20, 5)


def test_open_connections_of_the_workers_add_up() -> None:
    found = together([Health(http_connections=10, websockets=1), Health(http_connections=5, tcp_connections=2)])
    assert (found.http_connections, found.websockets, found.tcp_connections) == (15, 1, 2)


# -- losses ---------------------------------------------------------------------------------------


LOSS = Loss(1, 2, 1_400_000_000, S, NOBODY, 3, "worker 1 was killed by SIGKILL")


def test_a_loss_goes_with_the_next_delta_or_at_once_in_one_of_no_time() -> None:
    add_up, one, two = crew(), FakeAgent("0"), FakeAgent("1")
    add_up.take(0, one.delta({A: [1]}))
    add_up.lose(LOSS)
    (with_it,) = add_up.end(1)
    assert (with_it.losses, add_up.tell()) == ((LOSS,), [])
    add_up.lose(replace(LOSS, resumed_ns=2 * S))
    (alone,) = add_up.tell()
    assert (alone.start_ns, alone.end_ns, alone.losses[0].resumed_ns) == (S, S, 2 * S)
    merge = merged([with_it, alone])
    assert [loss.resumed_ns for loss in merge.losses("eu")] == [2 * S]
    assert merge.fitness["eu"].intervals == 1
    assert len(merge.windows()) == 1
    del two


def test_iterations_that_were_begun_and_never_ended_are_known() -> None:
    add_up, one = crew(1), FakeAgent("0")
    add_up.take(0, with_(one, 0, counters=Counters(iterations_started=7, iterations_finished=4, iterations_cut_off=1)))
    assert (add_up.in_flight(0), add_up.told_ns(0)) == (2, S)


@pytest.mark.parametrize("wrong", [{"worker": 2}, {"in_flight": -1}, {"resumed_ns": 5}, {"cause": "x" * 3000}])
def test_an_impossible_loss_is_refused(wrong: dict[str, object]) -> None:
    delta = replace(FakeAgent("eu").delta({}), losses=(replace(LOSS, **wrong),))  # type: ignore[arg-type]
    with pytest.raises(Exception, match="impossible loss"):
        check_delta(delta, 0)


def test_names_of_checks_of_all_workers_together_are_within_what_an_agent_may_have() -> None:
    """Each worker has up to 200, and there may be many workers; hits and tries are exact."""
    adding, workers = AddUp(8), 8
    made = []
    for worker in range(workers):
        adding.begin(worker)
    for worker in range(workers):
        rows = tuple(CustomStats(f"check: {worker} {n}", "rate", 2, 1) for n in range(199))
        delta = replace(Recorder().flip(0, NS_PER_S), custom=(*rows, CustomStats("orders", "counter", 1, 5)))
        made += adding.take(worker, delta)
    (delta,) = made
    found = {one.name: one for one in delta.custom}
    assert len(found) <= CUSTOM_OF_AGENT
    assert found["orders"].total == 5 * workers
    assert sum(one.n for one in found.values() if one.kind == "rate") == 2 * 199 * workers
    assert found["check: (other)"].n == 2 * (199 * workers - 799)
