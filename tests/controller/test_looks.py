"""A look at a run costs in proportion to its series and metrics, however many there are: counted in lines of Python."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loadgen.measure.deltas.custom import CustomStats, CustomTable
from loadgen.measure.deltas.limits import CUSTOM_OF_AGENT, SHOWN_ROWS, SUMMARY_LINES
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.hlog import read_hlog, write_hlog
from loadgen.measure.results.summary import RunFacts, build
from loadgen.measure.statistics.batch_means import Batches
from loadgen.units import NS_PER_S
from loadgen_controller.core.lifecycle import Phase
from loadgen_controller.run.view import ViewState
from loadgen_controller.screen.figures_builder import Watch
from loadgen_controller.screen.live_figures import value_text
from tests.controller.conftest import spec
from tests.support.deltas import FakeAgent, request_key
from tests.support.insider import Cost
from tests.support.steps import lines_of
from tests.support.streams import merged as stream_run_merged

FACTS = RunFacts("run", "shop.py", "plan", "fleet", datetime(2026, 1, 1, tzinfo=UTC), 3.0, "passed", 0)


def merged(series: int, steps: int = 1) -> Merge:
    merge, agent = Merge(), FakeAgent("a")
    keys = [request_key(f"GET /{n}", step=f"step {n % steps}") for n in range(series)]
    merge.accept("eu", agent.delta({key: [1_000_000] for key in keys}, k=0))
    return merge


def with_customs(metrics: int) -> Merge:
    merge = merged(10)
    for agent in range(4):
        merge.custom.add("eu", f"a{agent}", [CustomStats(f"check: {n}", "rate", 2, 1) for n in range(metrics)])
    return merge


def look(merge: Merge) -> object:
    state = ViewState("run", Phase.RUNNING, 2 * NS_PER_S, spec(), merge, (), frozenset(), 0)
    return Watch(lambda: state)()


def summary(merge: Merge) -> object:
    return build(FACTS, merge)


def intervals(merge: Merge) -> object:
    batches = Batches(0, 3 * NS_PER_S)
    batches.read([("eu", FakeAgent("a").delta({key: [1_000_000] for key in merge.keys()}, k=0))])  # noqa: SIM118
    return batches.rows()


@pytest.mark.parametrize("what", [look, summary, intervals], ids=lambda what: what.__name__)
@pytest.mark.parametrize("steps", [1, 100_000], ids=["one step", "a step for each"])
def test_a_look_is_linear_in_the_number_of_series(what: Callable[[Merge], object], steps: int) -> None:
    few, many = (merged(n, steps) for n in (100, 400))
    assert lines_of(lambda: what(many)) < 5 * lines_of(lambda: what(few))


@pytest.mark.parametrize("what", [look, summary], ids=lambda what: what.__name__)
def test_a_look_is_linear_in_the_number_of_custom_metrics(what: Callable[[Merge], object]) -> None:
    few, many = with_customs(250), with_customs(CUSTOM_OF_AGENT)
    assert lines_of(lambda: what(many)) < 5 * lines_of(lambda: what(few))


def test_a_summary_is_linear_in_the_number_of_trends() -> None:
    def of(count: int) -> Merge:
        merge, agent = merged(100), FakeAgent("b")
        keys = [SeriesKey("trend", "", None, f"t{n}", OK, "value") for n in range(count)]
        merge.accept("eu", agent.delta({key: [1_000_000] for key in keys}, k=0))
        return merge

    few, many = of(50), of(200)
    assert lines_of(lambda: summary(many)) < 4 * lines_of(lambda: summary(few))


def test_a_live_view_shows_a_bounded_number_of_rows_and_says_how_many_more_there_are() -> None:
    figures = look(merged(1_000))
    assert len(figures.parts) == SHOWN_ROWS + 1  # type: ignore[attr-defined]
    assert figures.parts[-1].name == "700 more are in the report"  # type: ignore[attr-defined]


def test_a_live_view_has_the_streams_of_the_last_interval() -> None:
    found = look(stream_run_merged(3, failing_from=2)).streams  # type: ignore[attr-defined]

    assert (found.ttft.count, found.itl.count, found.in_flight, found.goodput) == (14, 194, 0, "")
    assert found.output_tokens_per_s == 200.0
    assert [value_text(value) for value in found.itl.at[:1]] == ["11.0"]


def test_a_live_view_without_requests_to_models_has_no_streams() -> None:
    assert look(merged(10)).streams is None  # type: ignore[attr-defined]


def test_a_summary_has_the_most_frequent_rows_and_a_note_about_the_others() -> None:
    merge, agent = Merge(), FakeAgent("a")
    many = {request_key(f"GET /{n}"): [1_000_000] * (1 + (n == 2_500)) for n in range(3_000)}
    merge.accept("eu", agent.delta(many, k=0))
    made = build(FACTS, merge)
    series = made["series"]
    assert isinstance(series, list)
    assert sum(line["region"] == "*" for line in series) == SUMMARY_LINES
    assert {"request": "GET /2500", "count": 2}.items() <= next(
        line for line in series if line["request"] == "GET /2500"
    ).items()
    assert made["notes"] == [
        "2,000 rows with the fewest values are left out of the summary; `histograms.hlog` has all of them"
    ]
    assert made["requests"]["finished"] == 3_001  # type: ignore[index]


def test_a_custom_metric_is_asked_for_among_its_own_rows_only() -> None:
    table = CustomTable()
    for agent in range(3):
        table.add("eu" if agent else "us", f"a{agent}", [CustomStats(f"m{n}", "counter", 1, agent) for n in range(50)])
    found = table.of("m7"), table.of("m7", "eu")
    assert [one and one.total for one in found] == [3, 3]
    assert table.names() == [f"m{n}" for n in range(50)]
    assert table.kind("m7") == "counter"
    assert table.kind("other") is None
    assert table.names_of("a1") == set(table.names())
    again = CustomTable()
    again.take_state(table.state())
    assert again == table


def test_a_histogram_log_of_wide_series_takes_no_whole_histograms(tmp_path: Path) -> None:
    hour = 3_599_000_000_000
    keys = [request_key(f"GET /{n}") for n in range(1_000)]
    delta = FakeAgent("a").delta({key: [hour] for key in keys}, k=0)
    cost = Cost()
    assert write_hlog(tmp_path / "x.hlog", [("eu", delta)], datetime(2026, 1, 1, tzinfo=UTC)) == 1_000
    assert cost.peak_bytes < 64 << 20  # whole histograms would take 188 MB
    assert sum(line.histogram.total for line in read_hlog(tmp_path / "x.hlog")) == 1_000
