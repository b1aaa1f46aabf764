"""Debian's Prometheus and node exporter: gaps, restarts and rates are those that were served, on the probe's clock."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from loadgen.probes.journal import Begin, ProbeOfRun, Record, Zero
from loadgen.probes.prometheus.presets import PROMETHEUS_PRESETS
from loadgen.probes.prometheus.reader import open_reader
from loadgen.probes.reader import Reading, Tools
from loadgen.probes.recorded import Recorded
from loadgen.probes.running.http_fetch import new_loop
from loadgen.probes.running.one_probe import OneProbe
from loadgen.probes.settings import probe_of
from tests.support.metrics_server import MetricsServer, metrics_server
from tests.support.prometheus import RunningPrometheus, running_node_exporter, running_prometheus

S = 1_000_000_000


class Served:
    """A counter that rises by 10 each second of the machine's clock, and the times of its restart and its absence."""

    def __init__(self) -> None:
        self.began_s = self.started_s = time.time()

    def page(self) -> str:
        hits = int((time.time() - self.started_s) * 10)
        return (
            f"# TYPE served_hits counter\nserved_hits_total {hits}\n# TYPE served_level gauge\nserved_level 7\n"
            f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {self.started_s}\n"
        )

    def restart(self) -> None:
        self.started_s = time.time()


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self.said: list[str] = []

    def record(self, *records: Record) -> None:
        self.records += records

    def notice(self, text: str) -> None:
        self.said.append(text)


def wait_for(prometheus: RunningPrometheus, query: str, least: float) -> None:
    until_s = time.monotonic() + 60
    while not (found := prometheus.ask(query)) or float(found[0]["value"][1]) < least:
        assert time.monotonic() < until_s, (query, found)
        time.sleep(0.1)


def recorded_of(server: RunningPrometheus, **more: object) -> Recorded:
    """Read once what the server has of the last minute, as a run does at its end."""
    spec, wrong = probe_of("p", {"kind": "prometheus", "url": server.url, **more})
    assert spec is not None, wrong
    kept = Kept()
    begin_ns = time.perf_counter_ns()

    async def run() -> None:
        tools = Tools(time.perf_counter_ns, lambda _: None)
        reader = open_reader(spec, tools)
        readings: list[Reading] = [await reader.read(60), await reader.late(begin_ns, 60)]
        await reader.close()
        probe = OneProbe(0, spec, tools, kept)
        for reading in readings:
            kept.record(*probe._records(reading))

    loop = new_loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    about = ProbeOfRun("p", server.url, spec.every_ns, kind="prometheus")
    return Recorded([Begin(2, "", 0, (about,)), Zero(begin_ns - 60 * S), *kept.records])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningPrometheus, MetricsServer, Served, str]]:
    """A Prometheus that scrapes a page each 300 ms, and the node exporter each second."""
    served, folder = Served(), tmp_path_factory.mktemp("prometheus")
    with metrics_server(served.page) as server, running_node_exporter(folder) as machine:
        jobs = [
            {
                "job_name": name,
                "static_configs": [{"targets": [place]}],
                "scrape_interval": each,
                "scrape_timeout": each,
            }
            for name, place, each in (("page", f"127.0.0.1:{server.port}", "300ms"), ("machine", machine, "1s"))
        ]
        with running_prometheus(folder, more={"scrape_configs": jobs}) as prometheus:
            yield prometheus, server, served, machine


def test_a_restart_and_an_outage_are_gaps_and_rates_are_true(
    real: tuple[RunningPrometheus, MetricsServer, Served, str],
) -> None:
    prometheus, server, served, _ = real
    wait_for(prometheus, "served_hits_total", 10)
    away(server)
    wait_for(prometheus, 'count_over_time((up{job="page"} == 0)[60s:300ms])', 4)
    server.say(served.page)
    wait_for(prometheus, "served_hits_total", (time.time() - served.started_s) * 10 + 10)
    served.restart()
    wait_for(prometheus, 'changes(process_start_time_seconds{job="page"}[60s])', 1)
    wait_for(prometheus, "served_hits_total", 10)

    recorded = recorded_of(prometheus, selectors=["served_hits_total", "served_level"])

    (figures,) = recorded.figures()
    rows = {row["key"].partition("[")[0]: row for row in figures["rows"]}
    assert abs(rows["served_hits_total"]["mean"] - 10) < 1
    assert figures["resets"] == 1
    assert figures["gaps"] >= 2
    assert figures["last_gap"] == "the server has no sample of this time"
    rates = [row for row in recorded.table() if row["statistic"] == "rate"]
    assert [row for row in rates if row["value"] is None], "the interval with the restart has no value"
    assert all(row["value"] is None or row["value"] >= 0 for row in rates)  # type: ignore[operator]
    levels = [row for row in recorded.table() if row["statistic"] == "value"]
    assert {row["value"] for row in levels} == {7.0}
    assert figures["clock"]["error_ms"] < 10_000


def away(server: MetricsServer) -> None:
    server.reply(b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n")


def test_the_values_of_a_machine_are_those_of_its_kernel(
    real: tuple[RunningPrometheus, MetricsServer, Served, str],
) -> None:
    prometheus, _, _, place = real
    wait_for(prometheus, 'count_over_time(node_load1{job="machine"}[60s])', 3)

    recorded = recorded_of(
        prometheus, preset="node", match=f'instance="{place}"', expressions={"targets": 'sum(up{job="machine"})'},
        step="1s",
    )  # fmt: skip
    total = float(prometheus.ask("node_memory_MemTotal_bytes")[0]["value"][1])

    (figures,) = recorded.figures()
    rows = {row["key"].partition("[")[0]: row for row in figures["rows"]}
    machine = {one.row.key for one in PROMETHEUS_PRESETS["node"]} - {"cpu_pressure", "memory_pressure", "io_pressure"}
    assert machine - {"disk_busy"} <= set(rows)  # kernels without PSI, containers without disks
    assert 0 <= rows["cpu"]["mean"] <= 100.5
    assert 0 <= rows["steal"]["mean"] <= 100.5
    assert 0 < rows["memory_available"]["last"] <= total / (1 << 20)
    assert rows["run_queue"]["last"] >= 1
    assert 0 <= rows["retransmits"]["mean"] <= 100
    assert rows["expression targets"]["last"] == 1
