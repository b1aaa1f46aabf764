"""A real run, told to a real Prometheus by scrape and by remote write at once: both agree with the summary.

So do the same run's report, what an OTLP receiver decodes, files and packets; the dashboard's expressions are answered.
(That a live page has what the report has is shown in `tests/integration/test_live_page.py`.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from loadgen.report.from_run_folder import document_of
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.run_json_document import encode
from loadgen.sinks.buckets import EDGES_S
from tests.sinks.test_dashboard import expressions
from tests.sinks.test_otlp import points
from tests.support.ports import free_port
from tests.support.prometheus import RunningPrometheus, running_prometheus
from tests.support.run import DATA, Finished, loadgen
from tests.support.sinks import HttpReceiver, eventually, http_receiver, udp_receiver
from tests.support.target import running_target

HISTOGRAMS = {"request": "loadgen_request_duration_seconds", "journey": "loadgen_journey_response_seconds"}
BY_WRITE, BY_SCRAPE = 'instance=""', 'instance!=""'
"""What is written has no instance, what is scraped has."""


@dataclass(frozen=True, slots=True)
class Told:
    run: Finished
    prometheus: RunningPrometheus
    ndjson: list[dict[str, Any]]
    packets: list[str]
    otlp: HttpReceiver

    @property
    def summary(self) -> dict[str, Any]:
        return self.run.summary

    @property
    def run_id(self) -> str:
        return str(self.summary["run_id"])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Of regions and outcomes."""
        for row in self.summary["series"]:
            if row["kind"] in HISTOGRAMS and row["region"] != "*" and row["outcome"] != "*":
                yield row

    def select(self, row: dict[str, Any], way: str) -> str:
        labels = {name: row[name] for name in ("journey", "outcome", "region")}
        if row["kind"] == "request":
            labels |= {"request": row["request"], "step": row["step"] or ""}
        named = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
        return f'{{run_id="{self.run_id}",warmup="false",{way},{named}}}'


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("told")
    place = f"127.0.0.1:{free_port()}"
    with (
        running_prometheus(folder, place) as prometheus,
        running_target() as target,
        udp_receiver() as (port, packets),
        http_receiver() as otlp,
    ):
        run = loadgen(
            *("run", f"{DATA}/one_get.py", "--target", target.url, "--duration", "6s"),
            *("--out", f"prometheus={place}", "--out", f"remote-write={prometheus.write_url}"),
            *("--out", f"ndjson={folder}/figures.ndjson", "--out", f"dogstatsd=127.0.0.1:{port}"),
            *("--out", f"otlp={otlp.url}"),
            runs_dir=tmp_path_factory.mktemp("runs"),
        )
        assert run.folder.exists(), run.err
        lines = [json.loads(line) for line in (folder / "figures.ndjson").read_text().splitlines()]
        yield Told(run, prometheus, lines, packets, otlp)


@pytest.mark.parametrize("way", [BY_SCRAPE, BY_WRITE])
def test_the_last_count_of_each_series_is_that_of_its_row_in_the_summary(told: Told, way: str) -> None:
    rows = list(told.rows())
    assert len(rows) >= 6
    for row in rows:
        name, where = HISTOGRAMS[row["kind"]], told.select(row, way)
        assert told.prometheus.value(f"last_over_time({name}_count{where}[10m])") == row["count"]
        assert told.prometheus.value(f'last_over_time({name}_bucket{where[:-1]},le="+Inf"}}[10m])') == row["count"]


@pytest.mark.parametrize("way", [BY_SCRAPE, BY_WRITE])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95, 0.99])
def test_its_quantiles_are_those_of_the_summary_within_a_bucket(told: Told, way: str, quantile: float) -> None:
    for kind, name in HISTOGRAMS.items():
        buckets = f'last_over_time({name}_bucket{{run_id="{told.run_id}",{way}}}[10m])'
        seen = told.prometheus.value(f"histogram_quantile({quantile}, sum by (le) ({buckets}))")
        row = told.run.row(kind, outcome="*", region="*")
        exact = row["response_ms"][f"p{quantile * 100:g}"] / 1000
        below = max((edge for edge in EDGES_S if edge < exact), default=0.0)
        above = min(edge for edge in EDGES_S if edge >= exact)
        assert below <= seen <= above


def test_its_report_has_the_counts_and_percentiles_of_the_summary(told: Told) -> None:
    rows = json.loads(encode(document_of(open_run(told.run.folder))))["rows"]
    assert {row["kind"] for row in rows} >= {"journey", "request"}
    for row in rows:
        same = told.run.row(row["kind"], outcome="*", region="*", request=row["request"], step=row["step"])
        assert (row["count"], row["response_ms"]) == (same["count"], same["response_ms"])


def test_an_otlp_receiver_has_the_counts_of_the_summary_and_its_percentiles_within_a_bucket(told: Told) -> None:
    last = {
        tuple(sorted(attributes.items())): point
        for attributes, point in points(told.otlp, "loadgen.request.duration")
        if attributes["warmup"] == "false"
    }
    counts = {(dict(key)["region"], dict(key)["outcome"]): point.count for key, point in last.items()}
    rows = [row for row in told.rows() if row["kind"] == "request"]
    assert counts == {(row["region"], row["outcome"]): row["count"] for row in rows}
    together = [sum(in_bucket) for in_bucket in zip(*(point.bucket_counts for point in last.values()), strict=True)]
    whole = told.run.row("request", outcome="*", region="*")
    for q in (50, 90, 95, 99):
        rank, so_far, where = whole["count"] * q / 100, 0, 0
        while (so_far := so_far + together[where]) < rank:
            where += 1
        exact = whole["response_ms"][f"p{q}"] / 1000
        assert (EDGES_S[where - 1] if where else 0.0) < exact <= EDGES_S[where]


@pytest.mark.parametrize("way", [BY_SCRAPE, BY_WRITE])
def test_counters_come_to_the_totals_of_the_summary(told: Told, way: str) -> None:
    for group, names in (("requests", ("started", "finished")), ("iterations", ("due", "started", "finished"))):
        for name in names:
            metric = f'loadgen_{group}_{name}_total{{run_id="{told.run_id}",{way}}}'
            assert told.prometheus.value(f"sum(last_over_time({metric}[10m]))") == told.summary[group][name]


def test_counts_went_up_while_the_run_went_on_and_never_fell(told: Told) -> None:
    for way in (BY_SCRAPE, BY_WRITE):
        metric = f'loadgen_requests_finished_total{{run_id="{told.run_id}",{way}}}[10m]'
        assert told.prometheus.value(f"sum(resets({metric}))") == 0
        assert told.prometheus.value(f"max(changes({metric}))") >= 3


def test_all_series_of_one_way_are_those_of_the_other(told: Told) -> None:
    seen = []
    for way in (BY_SCRAPE, BY_WRITE):
        found = told.prometheus.ask(f'last_over_time({{__name__=~"loadgen_.+",run_id="{told.run_id}",{way}}}[10m])')
        seen.append({tuple(sorted((k, v) for k, v in one["metric"].items() if k != "instance")) for one in found})
    assert len(seen[0]) > 400
    assert seen[0] == seen[1]


def test_every_expression_of_the_dashboard_is_answered(told: Told) -> None:
    values = {"$run_id": told.run_id, "$region": ".*", "$journey": ".*", "$__rate_interval": "4s"}
    at_s = max(float(one["value"][0]) for one in told.prometheus.ask("vector(1)"))
    end = told.prometheus.value(f'max(timestamp(last_over_time(loadgen_users{{run_id="{told.run_id}"}}[10m])))')
    silent = []
    for where, expression in expressions():
        for name, value in values.items():
            expression = expression.replace(name, value)
        if found := re.fullmatch(r"label_values\((.+), (\w+)\)", expression):
            expression = found[1]
        if not any(told.prometheus.ask(expression, min(end, at_s) - after) for after in (0, 2, 3)):
            silent.append(where)
    assert silent == ["p95 by step"], "this run has no steps, and all else"


def test_lines_and_packets_of_the_same_run_have_the_same_counts(told: Told) -> None:
    last = {
        (one["kind"], one["region"], one["outcome"]): one["count"]
        for one in told.ndjson
        if one["final"] and one["kind"] in HISTOGRAMS
    }
    assert last == {(row["kind"], row["region"], row["outcome"]): row["count"] for row in told.rows()}
    by_interval = sum(one["interval_count"] for one in told.ndjson if one["kind"] == "request")
    assert by_interval == told.summary["requests"]["finished"]

    def counted() -> int:
        counts = re.findall(r"^loadgen\.requests_finished:(\d+)\|c", "\n".join(told.packets), re.MULTILINE)
        return sum(map(int, counts))

    eventually(lambda: counted() >= told.summary["requests"]["finished"])
    assert counted() == told.summary["requests"]["finished"]


def test_the_summary_says_what_became_of_each_output(told: Told) -> None:
    rows = {row["kind"]: row for row in told.summary["outputs"]}
    assert list(rows) == ["prometheus", "remote-write", "ndjson", "dogstatsd", "otlp"]
    for row in rows.values():
        assert row["sent"] >= 3
        assert (row["dropped"], row["trouble"]) == (0, None)
