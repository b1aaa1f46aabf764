"""What is read of a Prometheus server: each sample once, chunks, limits, and what a server does not have."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from loadgen.probes.prometheus.reader import POINTS_MOST, open_reader
from loadgen.probes.reader import NotRead, Reading, Tools
from loadgen.probes.running.http_fetch import new_loop
from loadgen.probes.settings import probe_of
from tests.support.metrics_server import page_reply
from tests.support.prometheus_api import PrometheusApi, prometheus_api

S = 1_000_000_000
NOW_S = 1_700_000_000


class Clock:
    """The clock of a probe, which stands still; the server's is `NOW_S` at 0."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def settings(**more: Any) -> dict[str, Any]:
    return {"kind": "prometheus", **more}


def read(api: PrometheusApi, times_s: list[float], *, is_late: bool = False, secrets: Any = None, **more: Any) -> Any:
    """Read at each of these times of the probe's clock, then late; return the readings, or the errors."""
    spec, wrong = probe_of("p", {**settings(url=api.url), **more})
    assert spec is not None, wrong
    clock = Clock()

    async def run() -> list[Reading | NotRead]:
        reader = open_reader(spec, Tools(clock, (secrets or {}).get))
        found: list[Reading | NotRead] = []
        for at_s in times_s:
            clock.now_ns, api.now_s = round(at_s * S), NOW_S + at_s
            try:
                found.append(await reader.read(60))
            except NotRead as error:
                found.append(error)
        if is_late:
            found.append(await reader.late(0, 60))
        await reader.close()
        return found

    loop = new_loop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


def times(reading: Reading, row: str = "") -> list[float]:
    """The times of all values in s after `NOW_S`."""
    return sorted(at / 1_000 - NOW_S for one in reading.timed if row in one.series.row for at in one.at_ms)


TARGET = {"__name__": "hits_total", "job": "shop", "instance": "a:1"}


def every(seconds: int, until: int, start: int = -60) -> dict[float, float | str]:
    return {NOW_S + at: float(at) for at in range(start, until, seconds)}


def test_each_raw_sample_is_read_once_and_none_is_carried_on() -> None:
    with prometheus_api() as api:
        api.series["hits_total"] = [(TARGET, every(15, 30) | every(15, 300, 150))]
        first, second, third = read(api, [20, 30, 170], selectors=["hits_total"])

    assert times(first) == [-30, -15, 0, 15]
    assert times(second) == []
    assert times(third) == [150, 165]  # nothing from 30 to 150: a gap
    (series,) = [one.series for one in first.timed]
    assert (series.row, series.name) == ("hits_total[instance=a:1]", "hits_total")
    assert first.rows[0].kind == "counter"


def test_what_could_not_be_read_is_read_the_next_time() -> None:
    with prometheus_api() as api:
        api.series["hits_total"] = [(TARGET, every(15, 300))]
        api.series["level"] = [({"__name__": "level", "instance": "a:1"}, every(15, 300))]

        def fails(_: str, given: dict[str, str]) -> bytes | None:
            is_away = 40 <= api.now_s - NOW_S < 200 and given.get("query", "").startswith("level")
            return page_reply("", "503 Busy") if is_away else None

        api.reply = fails
        first, second, third = read(api, [20, 100, 210], selectors=["hits_total", "level"])

    assert str(second) == "the server returned http 503"
    assert times(first, "hits") + times(third, "hits") == list(range(-30, 211, 15))
    assert times(first, "level") + times(third, "level") == list(range(-30, 211, 15))


def test_samples_of_the_future_are_left_out() -> None:
    with prometheus_api() as api:
        api.series["hits_total"] = [(TARGET, every(15, 30))]
        later = [[NOW_S + at, "1"] for at in (0, 15, 10**6)]
        data = {"resultType": "matrix", "result": [{"metric": TARGET, "values": later}]}

        def lies(_: str, given: dict[str, str]) -> bytes | None:
            is_asked = given.get("query", "").startswith("hits_total")
            return page_reply(json.dumps({"status": "success", "data": data})) if is_asked else None

        api.reply = lies
        (first,) = read(api, [20], selectors=["hits_total"])

    assert times(first) == [0, 15]


def test_a_long_time_is_read_in_chunks_of_600_s() -> None:
    with prometheus_api() as api:
        api.series["hits_total"] = [(TARGET, every(60, 2_000))]
        _, second = read(api, [0, 1_700], selectors=["hits_total"])

    assert times(second) == list(range(60, 1_700, 60))
    asked = [query for query in api.queries() if query.startswith("hits_total")]
    assert asked == ["hits_total[60s]", "hits_total[600s]", "hits_total[600s]", "hits_total[530s]"]


def test_late_samples_are_found_after_the_load_and_only_they() -> None:
    with prometheus_api() as api:
        samples = every(15, 100)
        late = samples.pop(NOW_S + 15)
        api.series["hits_total"] = [(TARGET, samples)]
        spec, _ = probe_of("p", settings(url=api.url, selectors=["hits_total", "never"]))
        assert spec is not None
        clock = Clock()

        async def run() -> tuple[Reading, Reading]:
            reader = open_reader(spec, Tools(clock, lambda _: None))
            clock.now_ns, api.now_s = 90 * S, NOW_S + 90
            first = await reader.read(60)
            samples[NOW_S + 15] = late
            clock.now_ns, api.now_s = 100 * S, NOW_S + 100
            second = await reader.late(0, 60)
            await reader.close()
            return first, second

        first, second = asyncio.run(run())

    assert times(first) == [30, 45, 60, 75, 90]
    assert times(second) == [-60, -45, -30, -15, 0, 15]
    assert "the server never had samples of never" in second.remarks


def test_an_expression_is_read_on_the_grid_of_its_step_without_the_newest() -> None:
    with prometheus_api() as api:
        api.series["sum(x)"] = [({}, {NOW_S + at: 1.0 for at in range(-60, 300, 5)})]
        first, second, last = read(api, [20, 40], is_late=True, expressions={"x": "sum(x)"}, step="5s")

    assert times(first) == list(range(-40, 16, 5))
    assert times(second) == [20, 25, 30, 35]  # those of before have not changed
    assert times(last) == [-60, -55, -50, -45, 40]  # the minute before the load, and now the newest, too
    assert first.rows[0].title == "x"


def test_an_expression_is_read_in_chunks_of_11_000_points() -> None:
    with prometheus_api() as api:
        api.series["vector(1)"] = [({}, {NOW_S - 5: 1.0})]
        read(api, [0, 30_000], expressions={"one": "vector(1)"}, step="1s")
        ranges = [
            (float(given["end"]) - float(given["start"])) / float(given["step"]) + 1
            for path, given in api.asked
            if path.endswith("query_range")
        ]

    assert max(ranges) == POINTS_MOST
    assert len(ranges) == 1 + 3


def test_a_step_below_the_scrape_interval_is_raised_and_told() -> None:
    with prometheus_api() as api:
        up = {"__name__": "up", "job": "shop", "instance": "a:1"}
        api.series['up{instance=~"a:1"}'] = [(up, every(15, 30, -300))]
        api.series["sum(x)"] = [({}, {NOW_S + at: 1.0 for at in range(-65, 300, 5)})]

        def fastest(_: str, given: dict[str, str]) -> bytes | None:
            if not given.get("query", "").startswith("topk"):
                return None
            found = {"resultType": "vector", "result": [{"metric": up, "value": [NOW_S, "20"]}]}
            return page_reply(json.dumps({"status": "success", "data": found}))

        api.reply = fastest
        (first,) = read(api, [25], expressions={"x": "sum(x)"}, step="5s")

    assert first.remarks == (
        "step is 5 s, but targets are scraped every 15 s: expressions are read with a step of 15 s",
    )
    assert {given["step"] for path, given in api.asked if path.endswith("query_range")} == {"15"}


def test_the_bucket_counts_of_a_histogram_become_bounds_of_percentiles() -> None:
    name = "latency_seconds_bucket"
    with prometheus_api() as api:
        api.series[name] = [
            ({"__name__": name, "instance": "a:1", "le": le}, every(15, 30)) for le in ("0.1", "0.5", "+Inf", "odd")
        ]
        (first,) = read(api, [20], selectors=[name])

    assert {row.kind for row in first.rows} == {"histogram"}
    assert [one.series.le for one in first.timed] == [0.1, 0.5, None]
    assert {one.series.name for one in first.timed} == {"latency_seconds"}


def test_start_times_of_the_counted_processes_are_read_too() -> None:
    with prometheus_api() as api:
        api.series["hits_total"] = [(TARGET, every(15, 30))]
        start = {"__name__": "process_start_time_seconds", "job": "shop", "instance": "a:1"}
        api.series['process_start_time_seconds{instance=~"a:1"}'] = [(start, every(15, 30))]
        (first,) = read(api, [20], selectors=["hits_total"])

    counted, started = first.timed
    assert (started.series.row, started.series.part) == ("", "start")
    assert counted.group == started.group == "job=shop,instance=a:1"


def test_the_type_of_a_metric_is_asked_for_and_a_server_without_it_is_fine() -> None:
    with prometheus_api() as api:
        api.types["odd"] = "counter"
        api.series["odd"] = [({"__name__": "odd", "instance": "a:1"}, every(15, 30))]
        api.series["plain"] = [({"__name__": "plain", "instance": "a:1"}, every(15, 30))]
        api.reply = lambda path, given: page_reply("", "404 No") if given.get("metric") == "plain" else None
        (first,) = read(api, [20], selectors=["odd", "plain"])

    assert {row.names[0]: row.kind for row in first.rows} == {"odd": "counter", "plain": "gauge"}


def test_warnings_of_a_partial_answer_are_kept_and_told() -> None:
    with prometheus_api() as api:
        api.series["hits_total"] = [(TARGET, every(15, 30))]
        api.warnings = ["store b is away\x1b[2J"]
        (first,) = read(api, [20], selectors=["hits_total"])

    assert first.remarks == ("the server gave a partial answer: store b is away\\x1b[2J",)
    assert {note.body["text"] for note in first.notes} == {"store b is away\\x1b[2J"}
    assert {note.kind for note in first.notes} == {"settings"}


def test_more_series_than_a_probe_records_are_told() -> None:
    with prometheus_api() as api:
        api.series["level"] = [({"__name__": "level", "n": str(n)}, every(15, 30)) for n in range(20)]
        (first,) = read(api, [20], selectors=["level"])

    assert len(first.rows) == 8
    assert "some series are not recorded" in first.remarks[0]


def test_the_presets_ask_for_what_their_exporters_have_and_only_of_the_chosen() -> None:
    with prometheus_api() as api:
        cpu = 'node_cpu_seconds_total{mode!~"guest.*",instance="a:9100"}'
        busy = 'node_cpu_seconds_total{mode!~"idle|iowait|steal|guest.*",instance="a:9100"}'
        labels = {"__name__": "node_cpu_seconds_total", "job": "node", "instance": "a:9100", "cpu": "0"}
        api.series[cpu] = [({**labels, "mode": mode}, every(15, 30)) for mode in ("idle", "user")]
        api.series[busy] = [({**labels, "mode": "user"}, every(15, 30))]
        (first,) = read(api, [20], preset="node", match='instance="a:9100"')

    assert all('instance="a:9100"' in query for query in api.queries() if query != "time()")
    rows = {row.key: row for row in first.rows}
    assert rows["cpu[instance=a:9100]"].title == "CPU busy, a:9100"
    parts = [one.series.part for one in first.timed if one.series.row == "cpu[instance=a:9100]"]
    assert parts == ["value", "of", "of"]


def test_containers_that_have_moved_to_another_machine_have_two_rows() -> None:
    name = "container_memory_working_set_bytes"
    selector = f'{name}{{container!="",container!="POD"}}'
    pod = {"__name__": name, "namespace": "shop", "pod": "db-0", "container": "db", "job": "cadvisor"}
    with prometheus_api() as api:
        api.series[selector] = [({**pod, "instance": place}, every(15, 30)) for place in ("node-a", "node-b")]
        (first,) = read(api, [20], preset="cadvisor")

    assert len({row.key for row in first.rows}) == 2
    assert len({one.group for one in first.timed}) == 2


def test_the_tenant_and_the_secret_are_sent_and_no_error_shows_the_secret() -> None:
    with prometheus_api() as api:
        api.series["hits_total"] = [(TARGET, every(15, 30))]
        error = {"status": "error", "errorType": "bad_data", "error": "who is Bearer canary?\n canary"}
        refusal = page_reply(json.dumps(error), "400 Bad")
        api.reply = lambda _, given: refusal if "bad" in given.get("query", "") else None
        login: dict[str, Any] = {"secrets": {"login": "Bearer canary"}, "auth_secret": "login", "tenant": "shop"}
        (first,) = read(api, [20], selectors=["hits_total"], **login)
        (second,) = read(api, [20], selectors=["bad"], **login)

    assert isinstance(first, Reading)
    head = api.server.requests[0]
    assert b"Authorization: Bearer canary\r\n" in head
    assert b"X-Scope-OrgID: shop\r\n" in head
    assert str(second) == "the server returned an error: bad_data: who is ***? ***"


def no_series(api: PrometheusApi) -> None:
    api.series.clear()


def odd(body: object, status: str = "200 OK") -> Callable[[PrometheusApi], None]:
    text = body if isinstance(body, str) else json.dumps(body)

    def arrange(api: PrometheusApi) -> None:
        api.reply = lambda path, given: None if given.get("query") == "time()" else page_reply(text, status)

    return arrange


def of_series(values: object, metric: object = None) -> dict[str, Any]:
    result = [{"metric": metric or {"__name__": "hits_total"}, "values": values}]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


@pytest.mark.parametrize(
    ("arrange", "why"),
    [
        (no_series, "the server has no samples of the probe's selectors and expressions"),
        (odd("<html>login</html>"), "the answer is HTML, not of the API of Prometheus"),
        (odd("ok"), "the answer is not of the API of Prometheus"),
        (odd({"status": "success"}), "the answer has no series: its type is missing"),
        (odd({"status": "error", "errorType": "execution", "error": "too many samples"}), "execution: too many"),
        (odd(of_series([[1.0, "x\x1b"]])), r"the value x\x1b, which is not a number"),
        (odd(of_series([[2.0, "1"], [1.0, "1"]])), "times that do not increase"),
        (odd(of_series([[1.0, "1"]], {str(n): "" for n in range(70)})), "too many labels"),
        (odd(of_series([["a", "1"]])), "the answer has no series"),
        (odd("", "401 Unauthorized"), "the server returned http 401"),
        (odd("", "503 Busy"), "the server returned http 503"),
    ],
)
def test_a_bad_answer_is_a_gap_with_its_reason(arrange: Callable[[PrometheusApi], None], why: str) -> None:
    with prometheus_api() as api:
        api.series["hits_total"] = [(TARGET, every(15, 30))]
        arrange(api)
        (found,) = read(api, [20], selectors=["hits_total"])

    assert isinstance(found, NotRead)
    assert why in str(found)


def test_a_server_that_hangs_costs_no_more_than_the_limit() -> None:
    with prometheus_api() as api:
        api.server.hang()
        spec, _ = probe_of("p", settings(url=api.url, selectors=["x"]))
        assert spec is not None
        began_s = time.monotonic()

        async def run() -> None:
            reader = open_reader(spec, Tools(time.perf_counter_ns, lambda _: None))
            with pytest.raises(NotRead, match="no complete answer"):
                await reader.read(0.3)
            await reader.close()

        asyncio.run(run())
        assert time.monotonic() - began_s < 20


def test_nan_and_infinity_are_missing_values() -> None:
    with prometheus_api() as api:
        api.series["level"] = [({"__name__": "level"}, {NOW_S: "NaN", NOW_S + 15: "+Inf", NOW_S + 16: "1e3"})]
        (first,) = read(api, [20], selectors=["level"])

    assert str(first.timed[0].values) == "(nan, inf, 1000.0)"
