"""Requests to AI models in the document of a run: exact sums of tokens, and the same live as after the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.figures import figures
from loadgen.report.charts.timeline_data import History
from loadgen.report.from_run_folder import document_of
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.run_json_document import Facts, changes, document, encode
from loadgen.report.run_page_table import Table
from loadgen.units import NS_PER_MS
from tests.support.deltas import FakeAgent, journey_key, request_key
from tests.support.past_runs import past_run
from tests.support.spliced import apply
from tests.support.streams import BROKEN, RUN_ID, answer, recorded, stream_run

FACTS = Facts(run={"id": RUN_ID}, done={"a1": False, "a2": False})


def plain(value: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode(value))
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return plain(document_of(open_run(stream_run(tmp_path_factory.mktemp("runs")))))


def test_tokens_of_a_slot_are_those_of_the_requests_that_ended_in_it(shown: dict[str, Any]) -> None:
    tokens = shown["slots"]["tokens"]

    assert tokens["output"] == [2 * 5 * 20] * 12
    assert tokens["prompt"] == [2 * 5 * 64] * 12
    assert tokens["wasted"] == [0] * 8 + [2 * len(BROKEN.reads_ms)] * 4
    assert sum(tokens["output"]) == shown["streams"]["totals"]["tokens"]["output"]
    assert sum(tokens["wasted"]) == shown["streams"]["totals"]["wasted_output_tokens"]


def test_percentiles_of_a_slot_are_those_of_its_values(shown: dict[str, Any]) -> None:
    ttft = Histogram.of_ns([round(answer(3, n).reads_ms[0] * NS_PER_MS) for n in range(5) for _ in range(2)])
    lines = shown["response"]["streams"]["ttft"]

    assert {name: lines[name][3] for name in ("p50", "p99")} == {
        name: value for name, value in (figures(ttft) or {}).items() if name in ("p50", "p99")
    }
    assert lines["count"] == [10] * 8 + [14] * 4, "a truncated stream had a token, and a time-out is a bound"
    assert lines["censored"] == [0] * 8 + [2] * 4


def test_heatmaps_have_each_value_once(shown: dict[str, Any]) -> None:
    cells = shown["heatmap"]["streams"]

    assert [sum(slot[1::2]) for slot in cells["ttft"]] == [10] * 8 + [14] * 4
    assert [sum(slot[1::2]) for slot in cells["itl"]] == [190] * 8 + [190 + 4] * 4


def test_a_request_that_failed_at_once_is_no_short_time_to_first_token() -> None:
    merge, agent = Merge(), FakeAgent("a1")
    key = request_key("chat", "http 429", step=None)
    bound = replace(key, metric="ttft", censored=True)
    good = replace(key, metric="ttft", outcome="ok")
    merge.accept("eu", agent.delta({key: [NS_PER_MS], bound: [NS_PER_MS], good: [90 * NS_PER_MS]}))
    history = History()

    history.look(merge, is_over=True)

    assert history.response()["streams"]["ttft"]["count"] == [1]  # type: ignore[index]
    assert sum(history.stream_heat()["ttft"][0][1::2]) == 1


def test_a_run_without_requests_to_models_has_a_document_without_them(tmp_path: Path) -> None:
    found = plain(document_of(open_run(past_run(tmp_path, seconds=12))))

    assert "streams" not in found
    assert "streams" not in found["response"]
    assert "streams" not in found["heatmap"]
    assert not {"tokens", "requests_started"} & set(found["slots"])


def test_the_document_of_before_with_the_changes_is_the_document_of_now_also_when_models_are_asked_late() -> None:
    merge, history = Merge(), History()
    table = Table(history)
    http = FakeAgent("b1")
    for k in range(2):
        merge.accept("eu", http.delta({journey_key(): [NS_PER_MS], request_key(): [NS_PER_MS]}, k=k))
    history.look(merge)
    table.look(merge, at_once=None)
    known = plain(document(history, table, FACTS))
    assert "streams" not in known

    for n, (region, delta) in enumerate(recorded(6)):
        merge.accept(region, delta)
        if n % 3 == 2:
            history.look(merge)
            table.look(merge, at_once=None)
            for event, data in changes(history, table, FACTS, known["seq"]):
                known = apply(known, event, plain(data))

    assert known == plain(document(history, table, FACTS))
    assert known["slots"]["tokens"]["output"] == [200] * 6


def test_the_live_document_is_that_of_the_run_folder(shown: dict[str, Any]) -> None:
    merge, history = Merge(), History()
    for region, delta in recorded():
        merge.accept(region, delta)
        history.look(merge)
    table = Table(history)
    table.look(merge, at_once=None)
    live = plain(document(history, table, FACTS))

    for part in ("response", "heatmap"):
        assert live[part]["streams"] == shown[part]["streams"]
    assert live["slots"]["tokens"] == shown["slots"]["tokens"]
    assert live["streams"]["rows"] == shown["streams"]["rows"]
    assert live["streams"]["spectrum"] == shown["streams"]["spectrum"]
