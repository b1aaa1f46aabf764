"""Phases of a whole run, exact against the target's own log: who opened a connection, and where the time went."""

from __future__ import annotations

import pytest

from loadgen import open_run
from loadgen.measure.deltas.series_key import Metric
from tests.support.nginx import running_nginx
from tests.support.run import DATA, Finished, loadgen


@pytest.fixture(scope="module")
def run_and_connections(tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, int]:
    with running_nginx() as nginx:
        url = nginx.url.replace("127.0.0.1", "localhost")
        run = loadgen("run", f"{DATA}/phases.py", "--target", url, "--quiet", runs_dir=tmp_path_factory.mktemp("runs"))
        nginx.settled_count(160)
        lines = nginx.access_log.read_text().splitlines()
        return run, len({line.split(" ")[3] for line in lines})


def test_each_connection_of_the_access_log_is_a_value_of_connect(run_and_connections: tuple[Finished, int]) -> None:
    run, connections = run_and_connections
    assert connections == 80  # one each iteration
    rows = [s for s in run.summary["series"] if s["kind"] == "request" and s["outcome"] == "*"]
    counts = {(s["region"], s["request"]): {phase: of["count"] for phase, of in s["phases_ms"].items()} for s in rows}
    first, second = counts["*", "first"], counts["*", "second"]
    assert 1 <= first.pop("dns") <= 80  # who found the name known did not wait for it
    assert first == {"connect": 80, "send": 80, "wait": 80, "receive": 80}
    assert second == {"send": 80, "wait": 80, "receive": 80}
    for name in ("first", "second"):
        by_region = [counts[region, name] for region in ("us-east-1", "eu-west-1")]
        assert sum(of["wait"] for of in by_region) == 80
    assert sum(counts[region, "first"]["connect"] for region in ("us-east-1", "eu-west-1")) == 80


def test_send_wait_and_receive_of_the_whole_run_are_its_service_time_to_the_nanosecond(
    run_and_connections: tuple[Finished, int],
) -> None:
    run, _ = run_and_connections
    merge = open_run(run.folder).merge

    def total_ns(metric: Metric) -> int:
        return sum(part.sum_ns for part in merge.select("request", metric=metric))

    assert total_ns("send") + total_ns("wait") + total_ns("receive") == total_ns("service") > 0
    blocked_and_opened = total_ns("dns") + total_ns("connect")
    assert 0 < blocked_and_opened < total_ns("response") - total_ns("service")


def test_phases_are_shown_and_can_be_asked_for_by_window(run_and_connections: tuple[Finished, int]) -> None:
    run, _ = run_and_connections
    assert "Phases of requests, ms" in run.out
    windows = list(open_run(run.folder).windows(metric="wait"))
    assert sum(window.count for window in windows) == 160
    assert {window.request for window in windows} == {"first", "second"}
