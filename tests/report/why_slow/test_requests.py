"""Which sampled requests are compared, with which weights, and how they are joined with their traces."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from loadgen.measure.deltas.exemplar import Exemplar, KeptExemplar
from loadgen.measure.objectives.terms import TagSelector
from loadgen.report.why_slow.choice import Chosen
from loadgen.report.why_slow.joined import joined
from loadgen.report.why_slow.requests import Sampled, asked_for, sampled_of, sampled_requests, unmeasured
from loadgen.traces.model import Span, Trace

MS = 1_000_000
TRACE = "65630c0f4bf92f3577b34da6a3ce92{:02d}"
CHOSEN = Chosen(
    journey="checkout", step="pay", request="POST /pay", region="", limit_ns=100 * MS, why="", count=100, text="p(99)"
)


def kept(n: int, *, region: str = "eu", **values: Any) -> KeptExemplar:
    exemplar = Exemplar(
        journey="checkout",
        step="pay",
        request="POST /pay",
        outcome="ok",
        why="random",
        load=0,
        n=n,
        at_ns=n * 1_000 * MS,
        response_ns=50 * MS,
        service_ns=49 * MS,
        trace=TRACE.format(n),
        span=f"{n:016x}",
        sampled=True,
        stands_for=10.0,
    )
    return KeptExemplar(region, "a1", replace(exemplar, **values))


def span(name: str, own: str, parent: str, begin_ms: float, end_ms: float) -> Span:
    return Span(own, parent, "shop", name, round(begin_ms * MS), round(end_ms * MS), "server")


def sampled(*exemplars: KeptExemplar, chosen: Chosen = CHOSEN) -> list[Sampled]:
    return sampled_of(exemplars, chosen)


def test_only_the_chosen_series_region_and_measured_time_count() -> None:
    others = (
        kept(2, request="GET /cart"),
        kept(3, step="look"),
        kept(4, journey="browse"),
        kept(5, warmup=True),
        kept(6, region="us"),
        kept(7, sampled=False),
        kept(8, trace=""),
    )
    found = sampled(kept(1), *others, chosen=replace(CHOSEN, region="eu"))
    assert [one.observed.at_s for one in found] == [1.0]


def test_objective_without_a_step_covers_the_request_in_all_steps() -> None:
    assert len(sampled(kept(1), kept(2, step="look"), chosen=replace(CHOSEN, step=""))) == 2


def test_objective_on_a_tag_covers_requests_with_its_values_only() -> None:
    gold = replace(CHOSEN, tags=(TagSelector(name="tenant", values=("gold",)),))
    found = sampled(kept(1, tags=(("tenant", "gold"),)), kept(2, tags=(("tenant", "silver"),)), kept(3), chosen=gold)
    assert [one.observed.at_s for one in found] == [1.0]


def test_objective_on_a_load_covers_its_requests_only() -> None:
    payout = replace(CHOSEN, load="payout")
    found = sampled_of([kept(1, load=0), kept(2, load=1)], payout, ["day", "payout"])
    assert [one.observed.at_s for one in found] == [2.0]


def test_weights_are_those_of_the_agents_and_requests_without_one_are_left_out() -> None:
    found = sampled(kept(1), kept(2, stands_for=0.0), kept(3, stands_for=2.5))
    assert [one.observed.weight for one in found] == [10.0, 2.5]


def test_requests_of_older_runs_stand_for_themselves() -> None:
    found = sampled(kept(1, span="", sampled=False, stands_for=0.0), kept(2, span="", sampled=False, stands_for=0.0))
    assert [one.observed.weight for one in found] == [1.0, 1.0]


def test_slowest_that_comes_again_with_a_weight_counts_once() -> None:
    found = sampled(kept(1, stands_for=0.0, why="slowest"), kept(1, why="over"))
    assert [one.observed.weight for one in found] == [10.0]


def test_unfit_and_pool_limited_requests_keep_their_marks() -> None:
    found = sampled(kept(1, unfit=True), kept(2, pool_limited=True))
    assert [(one.observed.is_fit, one.observed.is_pool_limited) for one in found] == [(False, False), (True, True)]


def test_attributes_are_those_of_our_side() -> None:
    one = kept(1, tags=(("tenant", "gold"),), reused=True, remote="10.0.0.7:443", active_loads=(0, 1), load=1)
    (found,) = sampled_of([one], CHOSEN, ["day", "payout"])
    assert found.observed.attributes == {
        "agent": "a1",
        "tenant": "gold",
        "load": "payout",
        "load day active": True,
        "load payout active": True,
        "connection reused": True,
        "remote": "10.0.0.7:443",
    }


def test_both_groups_keep_the_number_of_requests_that_they_stand_for() -> None:
    slow = [kept(n, response_ns=200 * MS) for n in range(1, 41)]
    fast = [kept(n) for n in range(41, 99)]
    asked = asked_for(sampled(*slow, *fast), CHOSEN.limit_ns, 40, seed=1)
    assert (len(asked.slow), len(asked.fast)) == (20, 20)
    assert sum(one.weighing for one in asked.slow) == 400.0
    assert abs(sum(one.weighing for one in asked.fast) - 580.0) < 1e-9
    assert len(set(asked.ids)) == 40


def test_a_group_that_is_small_leaves_its_room_to_the_other() -> None:
    slow = [kept(n, response_ns=200 * MS) for n in range(1, 6)]
    fast = [kept(n) for n in range(6, 90)]
    asked = asked_for(sampled(*slow, *fast), CHOSEN.limit_ns, 40, seed=1)
    assert (len(asked.slow), len(asked.fast)) == (5, 35)


def test_ids_alternate_so_that_a_stopped_reading_has_both_groups() -> None:
    slow = [kept(n, response_ns=200 * MS) for n in range(1, 11)]
    fast = [kept(n) for n in range(11, 21)]
    asked = asked_for(sampled(*slow, *fast), CHOSEN.limit_ns, 20, seed=1)
    of_slow = {one.observed.trace for one in asked.slow}
    assert [one in of_slow for one in asked.ids] == [True, False] * 10


def test_iterations_with_several_traces_share_the_room_for_traces() -> None:
    whole = Chosen(journey="checkout", step="", request="", region="", limit_ns=90 * MS, why="", text="p(99)")
    some = []
    for n in range(1, 41):
        parts = [f"{TRACE.format(2 * n % 99)}-{n:016x}", f"{TRACE.format((2 * n + 1) % 99)}-{n:016x}"]
        took = 200 if n % 2 else 50
        some.append(kept(n, step="", request="", trace="", response_ns=took * MS, requests=tuple(parts)))
    asked = asked_for(sampled(*some, chosen=whole), whole.limit_ns, 20, seed=1)
    assert (len(asked.slow), len(asked.fast), asked.slow_of, asked.traces_each) == (5, 5, 20, 2.0)


def test_failed_requests_are_read_only_if_they_were_slow() -> None:
    failed = [kept(1, outcome="timeout", response_ns=900 * MS), kept(2, outcome="http 503")]
    asked = asked_for(sampled(*failed, kept(3)), CHOSEN.limit_ns, 20, seed=1)
    assert [one.observed.outcome for one in asked.slow] == ["timeout"]
    assert [one.observed.outcome for one in asked.fast] == ["ok"]


def test_the_same_seed_chooses_the_same_requests() -> None:
    some = sampled(*(kept(n) for n in range(1, 90)))
    assert asked_for(some, CHOSEN.limit_ns, 20, seed=3) == asked_for(some, CHOSEN.limit_ns, 20, seed=3)


# -- joined with traces -------------------------------------------------------------------------------


def test_request_is_joined_with_its_trace_and_its_parts_add_up() -> None:
    (one,) = sampled(kept(1))
    trace = Trace(TRACE.format(1), (span("POST /pay", "aa", f"{1:016x}", 1_000, 1_040),))
    found = joined(lambda: (trace,), [one])
    (timed,) = found.timed
    assert found.found == {TRACE.format(1)}
    assert sum(part.own_ns for part in timed.paths.values()) == 50 * MS
    assert timed.paths["shop: POST /pay",].own_ns == 40 * MS


def test_foreign_traces_are_ignored() -> None:
    found = joined(lambda: (Trace("f" * 32, (span("GET /", "aa", "", 0, 1),)),), sampled(kept(1)))
    assert (found.timed, found.found) == ([], set())


def test_target_that_keeps_64_bits_of_a_trace_id_is_recognised() -> None:
    (one,) = sampled(kept(1))
    short = TRACE.format(1)[16:].zfill(32)
    found = joined(lambda: (Trace(short, (span("POST /pay", "aa", f"{1:016x}", 0, 40),)),), [one])
    assert [timed.observed.trace for timed in found.timed] == [TRACE.format(1)]


def test_trace_that_cannot_be_repaired_is_refused_with_its_reason() -> None:
    (one,) = sampled(kept(1))
    cycle = Trace(TRACE.format(1), (span("a", "aa", "bb", 0, 1), span("b", "bb", "aa", 0, 1)))
    found = joined(lambda: (cycle,), [one])
    assert found.timed == []
    assert found.refused == {"the parents of spans form a cycle": 1}


def iteration(*parts: str) -> KeptExemplar:
    return kept(1, step="", request="", trace="", span="", service_ns=0, response_ns=100 * MS, requests=parts)


def test_iteration_is_joined_with_the_traces_of_all_of_its_requests() -> None:
    whole = Chosen(journey="checkout", step="", request="", region="", limit_ns=90 * MS, why="", text="p(99)")
    (one,) = sampled(iteration(f"{TRACE.format(1)}-{1:016x}", f"{TRACE.format(2)}-{2:016x}"), chosen=whole)
    first = Trace(TRACE.format(1), (span("GET /cart", "aa", f"{1:016x}", 0, 30),))
    second = Trace(TRACE.format(2), (span("POST /pay", "bb", f"{2:016x}", 50, 95),))
    (timed,) = joined(lambda: (first, second), [one]).timed
    times = {path[-1]: part.own_ns / MS for path, part in timed.paths.items()}
    assert times["shop: GET /cart"] == 30
    assert times["shop: POST /pay"] == 45
    assert times["loadgen: requests"] == 20
    assert sum(times.values()) == 100


def test_iteration_with_a_missing_trace_is_not_compared() -> None:
    (one,) = sampled_requests([iteration(f"{TRACE.format(1)}-{1:016x}", f"{TRACE.format(2)}-{2:016x}")])
    first = Trace(TRACE.format(1), (span("GET /cart", "aa", f"{1:016x}", 0, 30),))
    found = joined(lambda: (first,), [one])
    assert (found.timed, found.found) == ([], set())


def test_iteration_that_is_one_trace_is_joined_with_it() -> None:
    (one,) = sampled_requests([iteration(f"{TRACE.format(1)}-{1:016x}", f"{TRACE.format(1)}-{2:016x}")])
    spans = (span("GET /cart", "aa", f"{1:016x}", 0, 30), span("POST /pay", "bb", f"{2:016x}", 50, 95))
    (timed,) = joined(lambda: (Trace(TRACE.format(1), spans),), [one]).timed
    assert timed.tree.root.name == "loadgen: requests"


def test_requests_of_one_trace_each_have_their_own_spans() -> None:
    both = sampled(
        kept(1, trace=TRACE.format(1), response_ns=31 * MS, service_ns=30 * MS),
        kept(2, trace=TRACE.format(1), response_ns=46 * MS, service_ns=45 * MS),
    )
    spans = (span("GET /cart", "aa", f"{1:016x}", 0, 30), span("POST /pay", "bb", f"{2:016x}", 50, 95))
    found = joined(lambda: (Trace(TRACE.format(1), spans),), both)
    assert [one.tree.root.operation for one in found.timed] == ["GET /cart", "POST /pay"]
    assert not found.cut


def test_trace_that_no_agent_measured_is_as_long_as_its_spans() -> None:
    trace = Trace(TRACE.format(1), (span("a", "aa", "", 5, 9), span("b", "bb", "aa", 6, 8)))
    assert unmeasured(trace).observed.response_ns == 4 * MS
    assert unmeasured(Trace("0" * 32, ())).observed.response_ns == 0
