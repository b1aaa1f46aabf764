"""A run over time: what a slot says is what was measured in it, however it came in and however long slots become."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.deltas.series_key import OTHER, SeriesKey
from loadgen.measure.histograms.histogram import Histogram, percentiles
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.measure.results.figures import PERCENTILES, figure
from loadgen.report.charts.bulk_percentiles import COARSE, coarse
from loadgen.report.charts.series_to_chart_lines import ERRORS, ROWS
from loadgen.report.charts.timeline_data import History
from loadgen.report.run_json_document import Facts, changes, document, encode
from loadgen.report.run_page_table import Table
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.examples import examples
from tests.support.spliced import apply

AGENTS = {"eu": False, "us": False}


def ms(*values: float) -> list[int]:
    return [round(value * NS_PER_MS) for value in values]


def merged(deltas: Sequence[tuple[str, Delta]]) -> Merge:
    merge = Merge()
    for region, delta in deltas:
        assert merge.accept(region, delta) is Accepted.MERGED
    return merge


def told(history: History, merge: Merge, agents: Mapping[str, bool] = AGENTS) -> dict[str, Any]:
    table = Table(history)
    table.look(merge, at_once=None)
    found: dict[str, Any] = json.loads(encode(document(history, table, Facts(run={"id": "run"}, done=agents))))
    return found


def a_second(agent: FakeAgent, k: int, *values_ms: float, failed_ms: Sequence[float] = ()) -> Delta:
    return agent.delta(
        {
            journey_key(): ms(*values_ms),
            request_key(): ms(*values_ms),
            request_key(outcome="http 503"): ms(*failed_ms),
        },
        k=k,
    )


def test_a_slot_has_what_all_agents_measured_in_it() -> None:
    eu, us = FakeAgent("eu"), FakeAgent("us")
    merge = merged(
        [
            ("eu-west-1", a_second(eu, 0, 10, 20)),
            ("us-east-1", a_second(us, 0, 30, failed_ms=[5])),
            ("eu-west-1", a_second(eu, 1, 100)),
        ]
    )
    history = History()
    history.look(merge, is_over=True)
    found = told(history, merge)

    assert found["slots"]["count"] == 2
    assert found["slots"]["requests"] == [4, 1]
    assert found["slots"]["request_errors"] == [1, 0]
    assert found["slots"]["finished"] == [3, 1]
    assert found["slots"]["reported"] == [2, 1]
    assert found["slots"]["agents"] == [2, 2]
    assert found["response"]["requests"]["count"] == [4, 1]
    assert found["response"]["requests"]["max"] == [30.015, 100.031]
    assert found["response"]["regions"]["us-east-1"]["count"] == [2, 0]
    assert found["response"]["regions"]["us-east-1"]["p50"] == [5.003, None]
    assert found["errors"] == {"http 503": [1, 0]}


def test_the_percentile_of_a_slot_is_that_of_all_raw_values_in_it() -> None:
    random = np.random.default_rng(7)
    raw = {name: random.lognormal(3, 1, (6, 500)) for name in AGENTS}
    agents = {name: FakeAgent(name) for name in AGENTS}
    merge = merged([(n, a_second(agents[n], k, *raw[n][k])) for k in range(6) for n in AGENTS])
    history = History(slots=3)
    history.look(merge, is_over=True)

    shown = told(history, merge)["response"]["requests"]
    assert history.span == 2
    for slot in range(3):
        values = np.sort(np.concatenate([raw[n][2 * slot : 2 * slot + 2].ravel() for n in AGENTS]))
        for name, q in PERCENTILES.items():
            exact = values[max(int(q * len(values) / 100 + 0.5), 1) - 1]
            assert shown[name][slot] == pytest.approx(exact, rel=0.001)


Values = st.lists(st.floats(0.01, 90_000), max_size=6)
Second = st.tuples(Values, Values, Values)


def deltas_of(seconds: Mapping[str, Sequence[tuple[Any, ...]]]) -> dict[str, list[Delta]]:
    made: dict[str, list[Delta]] = {}
    for name, some in seconds.items():
        agent = FakeAgent(name)
        made[name] = [
            agent.delta(
                {
                    request_key(): ms(*fine),
                    request_key(outcome="timeout", censored=True): ms(*late),
                    journey_key(): ms(*ended),
                },
                k=k,
                health=Health(users=len(fine), unfit=("lag",) if len(fine) > 4 else ()),
            )
            for k, (fine, late, ended) in enumerate(some)
        ]
    return made


Runs = st.fixed_dictionaries({name: st.lists(Second, min_size=1, max_size=20) for name in AGENTS})


@settings(max_examples=examples(60), deadline=None)
@given(Runs, st.randoms(use_true_random=False), st.integers(2, 40))
def test_slots_come_to_what_the_merge_came_to_however_it_came_in(
    seconds: dict[str, Any], random: Any, most: int
) -> None:
    waiting = deltas_of(seconds)
    merge, history = Merge(), History(slots=most, sparks=most)
    while any(waiting.values()):
        name = random.choice([name for name, some in waiting.items() if some])
        merge.accept(name, waiting[name].pop(0))
        if random.random() < 0.4:
            history.look(merge)
    history.look(merge, is_over=True)

    assert history.is_exact
    assert history.count <= most
    assert history.intervals.totals() == merge.counters()
    observed, censored = merge.select("request")
    requests = [history.requests_of(slot) for slot in range(history.count)]
    assert sum(int(sums.counts.sum()) for sums in requests) == observed.total + censored.total
    shown = told(history, merge)
    assert sum(shown["response"]["requests"]["count"]) == observed.total + censored.total
    assert sum(shown["response"]["requests"]["censored"]) == censored.total
    assert sum(count for slot in shown["heatmap"]["slots"] for count in slot[1::2]) == observed.total + censored.total
    assert sum(shown["errors"].get("timeout", [])) == censored.total
    for row in shown["rows"]:
        assert sum(row["spark"]["count"]) == row["count"]


@settings(max_examples=examples(60), deadline=None)
@given(Runs, st.integers(1, 8))
def test_a_slot_ranks_as_a_histogram_of_its_values_does(seconds: dict[str, Any], most: int) -> None:
    made = deltas_of(seconds)
    merge, history = merged([(n, d) for n, some in made.items() for d in some]), History(slots=most)
    history.look(merge, is_over=True)

    shown = told(history, merge)["response"]["requests"]
    for slot in range(history.count):
        parts: list[list[int]] = [[], []]
        for some in seconds.values():
            for fine, late, _ in some[slot * history.span : (slot + 1) * history.span]:
                parts[0] += ms(*fine)
                parts[1] += ms(*late)
        observed, censored = map(Histogram.of_ns, parts)
        wanted = [figure(v) for v in percentiles(observed, censored, tuple(PERCENTILES.values()))]
        assert [shown[name][slot] for name in PERCENTILES] == wanted


@settings(max_examples=examples(40), deadline=None)
@given(Runs, st.randoms(use_true_random=False), st.integers(3, 40))
def test_the_document_of_before_with_the_changes_is_the_document_of_now(
    seconds: dict[str, Any], random: Any, most: int
) -> None:
    waiting = deltas_of(seconds)
    merge, history = Merge(), History(slots=most, sparks=most)
    table, facts = Table(history), Facts(run={}, done=AGENTS)

    def now() -> dict[str, Any]:
        made: dict[str, Any] = json.loads(encode(document(history, table, facts)))
        return made

    known = now()
    while any(waiting.values()):
        name = random.choice([name for name, some in waiting.items() if some])
        merge.accept(name, waiting[name].pop(0))
        if random.random() < 0.5:
            history.look(merge)
            table.look(merge, at_once=2)
        if random.random() < 0.3:
            for event, data in changes(history, table, facts, known["seq"]):
                known = now() if event == "again" else apply(known, event, json.loads(encode(data)))
            assert known == now()


def test_a_gap_says_how_many_agents_are_missing_and_since_when() -> None:
    eu, us = FakeAgent("eu"), FakeAgent("us")
    merge = merged(
        [("eu", a_second(eu, k, 10)) for k in range(6)] + [("us", a_second(us, k, 10)) for k in range(6) if k != 3]
    )
    history = History()
    history.look(merge, is_over=True)

    assert history.columns(AGENTS)["reported"] == [2, 2, 2, 1, 2, 2]
    assert history.columns(AGENTS)["agents"] == [2] * 6


def test_an_agent_that_joined_later_or_has_ended_is_not_missing() -> None:
    eu, us, late = FakeAgent("eu"), FakeAgent("us"), FakeAgent("late")
    merge = merged(
        [("eu", a_second(eu, k, 10)) for k in range(6)]
        + [("us", a_second(us, k, 10)) for k in range(3)]
        + [("us", a_second(late, k, 10)) for k in range(2, 6)]
    )
    history = History()
    history.look(merge, is_over=True)

    assert history.columns({"eu": False, "us": True, "late": False})["agents"] == [2, 2, 3, 2, 2, 2]
    assert history.columns({"eu": False, "us": False, "late": False})["agents"] == [2, 2, 3, 3, 3, 3]


def test_what_comes_too_late_for_the_windows_is_counted_and_makes_it_inexact() -> None:
    eu, us = FakeAgent("eu"), FakeAgent("us")
    merge, history = Merge(), History()
    for k in range(40):
        merge.accept("eu", a_second(eu, k, 10))
        history.look(merge)
    merge.accept("us", a_second(us, 0, 10, 20))
    history.look(merge, is_over=True)

    assert not history.is_exact
    assert history.late.requests_finished == 2


def test_an_interval_that_is_not_whole_is_not_shown_while_the_run_goes_on() -> None:
    eu = FakeAgent("eu")
    merge = merged([("eu", a_second(eu, k, 10)) for k in range(5)])
    history = History(slots=2)
    history.look(merge, upto=3)
    assert (history.span, history.count) == (2, 2)

    history.look(merge, upto=4)
    assert (history.span, history.count) == (4, 1)
    history.look(merge, is_over=True)
    assert history.count == 2


def test_unfit_seconds_are_told_with_who_and_why() -> None:
    eu, us = FakeAgent("eu"), FakeAgent("us")
    worse = Health(unfit=("lag p99 14 ms",), loop_lag_p99_us=14_000)
    less = Health(unfit=("lag p99 9 ms",), loop_lag_p99_us=9_000)
    merge = merged([("eu", eu.delta({}, health=less)), ("us", us.delta({}, health=worse)), ("eu", eu.delta({}))])
    history = History()
    history.look(merge, is_over=True)

    shown = told(history, merge)["slots"]
    assert shown["unfit"] == {"0": "agent us: lag p99 14 ms (and 1 more)"}
    assert shown["generator"]["agents_unfit"] == [2, 0]
    assert shown["generator"]["loop_lag_p99_ms"] == [14.0, 0.0]


def test_names_beyond_the_cap_are_one_row_with_all_their_values() -> None:
    eu = FakeAgent("eu")
    names = [f'GET /{n} <b>"\n😀' for n in range(ROWS + 50)]
    values: dict[SeriesKey, list[int]] = {request_key(name): ms(n + 1) for n, name in enumerate(names)}
    merge = merged([("eu", eu.delta(values)), ("eu", eu.delta(values))])
    history = History()
    history.look(merge, is_over=True)

    rows = told(history, merge)["rows"]
    (other,) = [row for row in rows if row["request"] == OTHER]
    assert len(rows) == ROWS + 1
    assert other["count"] == 100 == sum(other["spark"]["count"])
    assert other["response_ms"]["p50"] == pytest.approx(325, rel=0.001)
    assert sum(row["count"] for row in rows) == 2 * len(names)


def test_kinds_of_errors_beyond_the_cap_are_counted_together() -> None:
    eu = FakeAgent("eu")
    kinds = [f"http {500 + n}" for n in range(ERRORS + 5)]
    merge = merged([("eu", eu.delta({request_key(outcome=kind): ms(1) for kind in kinds}))])
    history = History()
    history.look(merge, is_over=True)

    errors = told(history, merge)["errors"]
    assert list(errors) == [*kinds[:ERRORS], OTHER]
    assert errors[OTHER] == [5]


def test_a_ramp_has_a_curve_and_a_steady_load_has_none() -> None:
    def curve(rates: Sequence[int]) -> list[Any]:
        eu = FakeAgent("eu")
        merge = merged([("eu", a_second(eu, k, *([rate] * rate))) for k, rate in enumerate(rates)])
        history = History()
        history.look(merge, planned=lambda start, _: (float(rates[start // NS_PER_S]), None), is_over=True)
        found: list[Any] = told(history, merge)["curve"]
        return found

    ramp = curve([10, 20, 30, 40, 40])
    assert [(level["rate_per_s"], level["count"]) for level in ramp] == [(10, 10), (20, 20), (30, 30), (40, 80)]
    assert ramp[-1]["p50"] == 40.031
    assert curve([10, 10, 11]) == []


def test_rows_are_worked_on_by_turns_and_are_all_there_after_a_while() -> None:
    eu = FakeAgent("eu")
    values = {request_key(f"GET /{n}"): ms(5) for n in range(30)}
    merge = merged([("eu", eu.delta(values))])
    history = History()
    history.look(merge)
    table = Table(history)

    seen = []
    for _ in range(4):
        table.look(merge, at_once=10)
        rows = table.as_json()["rows"]
        assert isinstance(rows, list)
        seen.append(len(rows))
    assert seen == [10, 20, 30, 30]


def test_a_coarse_cell_holds_its_slots_and_is_narrow() -> None:
    slots = np.arange(2_000, 20_000)
    cells = coarse(slots)

    assert all(np.diff(cells) >= 0)
    for cell in (int(cells[0]), int(cells[-1])):
        low, high = COARSE.lowest_us(cell), COARSE.highest_us(cell)
        assert (high - low + 1) / low <= 1 / 64
