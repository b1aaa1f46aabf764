"""The scrape: what prometheus_client's own parsers read of it, who is served, and who is not waited for."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from loadgen.measure.deltas.delta import COUNTER_NAMES
from loadgen.sinks.buckets import EDGES_S
from loadgen.sinks.metric_names_and_labels import COUNTERS, FAMILIES
from loadgen.sinks.prometheus import ScrapeSink
from loadgen.units import NS_PER_MS
from tests.support.deltas import request_key
from tests.support.sinks import RUN, Fleet, eventually, final_of, interval_of, snapshot

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def sink() -> Iterator[ScrapeSink]:
    made = ScrapeSink("127.0.0.1", 0)
    yield made
    made.close()


def scrape(sink: ScrapeSink, **headers: str) -> tuple[str, dict[str, str]]:
    request = urllib.request.Request(f"http://{sink.where}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        data = reply.read()
        if reply.headers["Content-Encoding"] == "gzip":
            data = gzip.decompress(data)
        return data.decode(), dict(reply.headers)


def port_of(sink: ScrapeSink) -> int:
    return int(sink.where.rpartition(":")[2])


def test_all_counters_of_a_delta_are_told() -> None:
    assert set(COUNTERS) == set(COUNTER_NAMES)


def test_names_are_by_convention_and_unique() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))
    assert all(name.startswith("loadgen_") for name in names)
    assert all(family.name.endswith("_seconds") for family in FAMILIES if family.unit == "s")
    assert not [family.name for family in FAMILIES if family.name.endswith("_total")]


@pytest.mark.parametrize("accept", ["text/plain; version=0.0.4", OPENMETRICS])
def test_both_formats_are_read_by_the_library_s_own_parser(sink: ScrapeSink, accept: str) -> None:
    fleet = Fleet(a="eu", b="us")
    odd = request_key('GET /"x"\\\n{é}')
    fleet.report("a", 0, {request_key(): [3 * NS_PER_MS] * 5, odd: [1]})
    fleet.report("b", 0, {request_key(outcome="timeout", censored=True): [60_000 * NS_PER_MS] * 2})
    sink.deliver(interval_of(fleet, 0))
    text, headers = scrape(sink, Accept=accept, **{"Accept-Encoding": "gzip"})
    assert headers["Content-Type"].startswith(accept.split(";")[0])
    families = {family.name: family for family in (parse_openmetrics if "openmetrics" in accept else parse)(text)}
    requests = families["loadgen_request_duration_seconds"].samples
    counts = {
        (s.labels["request"], s.labels["outcome"], s.labels["region"]): s.value
        for s in requests
        if s.name.endswith("_count")
    }
    assert counts == {("GET /", "ok", "eu"): 5, ('GET /"x"\\\n{é}', "ok", "eu"): 1, ("GET /", "timeout", "us"): 2}
    of_one = [s for s in requests if s.labels["request"] == "GET /" and s.labels["outcome"] == "ok"]
    buckets = {s.labels["le"]: s.value for s in of_one if s.name.endswith("_bucket")}
    assert list(map(float, buckets)) == [*EDGES_S, float("inf")]
    at = {float(edge): count for edge, count in buckets.items()}
    assert [at[edge] for edge in EDGES_S if edge < 0.003] == [0] * sum(edge < 0.003 for edge in EDGES_S)
    assert all(at[edge] == 5 for edge in EDGES_S if edge >= 0.003)
    timed_out = {s.labels["le"]: s.value for s in requests if s.labels["outcome"] == "timeout" and "le" in s.labels}
    assert {count for edge, count in timed_out.items() if edge != "+Inf"} == {0}
    assert timed_out["+Inf"] == 2
    finished = {s.labels["region"]: s.value for s in families["loadgen_requests_finished"].samples}
    assert finished == {"eu": 6, "us": 2}


def test_a_scrape_has_the_newest_figures_of_each_run_and_its_labels(sink: ScrapeSink) -> None:
    sink.deliver(snapshot(1.0))
    sink.deliver(snapshot(1.0, 2.0))
    text, _ = scrape(sink)
    assert f'plan="shop",region="eu",request="GET /",run_id="{RUN.run_id}",step="browse",warmup="false"}} 2.0' in text
    assert f'loadgen_run_info{{placement="embedded",plan="shop",run_id="{RUN.run_id}"}} 1.0' in text
    assert sink.taken(RUN.run_id) == 1


def test_nothing_to_tell_is_an_empty_answer_and_no_error(sink: ScrapeSink) -> None:
    assert scrape(sink)[0] == ""
    assert sink.awaits_s("run") == 0


def test_the_end_waits_for_one_more_scrape_only_where_somebody_scrapes(sink: ScrapeSink) -> None:
    sink.deliver(snapshot(1.0))
    assert sink.awaits_s(RUN.run_id) == 0  # nobody came
    scrape(sink)
    sink.deliver(snapshot(1.0, is_final=True))
    assert 1.5 <= sink.awaits_s(RUN.run_id) <= 30
    text, _ = scrape(sink)
    assert "loadgen_requests_finished_total" in text
    assert sink.awaits_s(RUN.run_id) == 0


def test_a_run_that_is_over_is_told_of_for_five_minutes(sink: ScrapeSink, monkeypatch: pytest.MonkeyPatch) -> None:
    sink.deliver(snapshot(1.0, is_final=True))
    now_s = time.monotonic()
    monkeypatch.setattr("loadgen.sinks.prometheus.time.monotonic", lambda: now_s + 299)
    assert "loadgen_run_info" in sink.answer("")[0].decode()
    monkeypatch.setattr("loadgen.sinks.prometheus.time.monotonic", lambda: now_s + 301)
    assert "loadgen_run_info" not in sink.answer("")[0].decode()


def test_who_connects_and_says_nothing_keeps_nobody_else_waiting(sink: ScrapeSink) -> None:
    sink.deliver(snapshot(1.0))
    with socket.create_connection(("127.0.0.1", port_of(sink))) as silent:
        silent.sendall(b"GET /metr")
        assert "loadgen_run_info" in scrape(sink)[0]


def test_who_comes_beside_too_many_others_is_hung_up_on_and_the_run_is_served_again(sink: ScrapeSink) -> None:
    sink.deliver(snapshot(1.0))
    silent = [socket.create_connection(("127.0.0.1", port_of(sink))) for _ in range(4)]
    eventually(lambda: sink._server.turns._value == 0)
    with socket.create_connection(("127.0.0.1", port_of(sink))) as fifth:
        fifth.settimeout(5)
        assert fifth.recv(1) == b""
    for one in silent:
        one.close()
    eventually(lambda: sink._server.turns._value == 4)
    assert "loadgen_run_info" in scrape(sink)[0]


def test_counts_never_fall_from_scrape_to_scrape_and_end_as_all_that_was_merged(sink: ScrapeSink) -> None:
    fleet = Fleet(a="eu", b="eu")
    seen = []
    for k in range(5):
        fleet.report("a", k, {request_key(): [NS_PER_MS] * (k + 1)})
        sink.deliver(interval_of(fleet, k))
        seen.append(_count(scrape(sink)[0]))
    fleet.report("b", 2, {request_key(): [NS_PER_MS] * 100})
    sink.deliver(final_of(fleet.merge))
    seen.append(_count(scrape(sink)[0]))
    assert seen == [1, 3, 6, 10, 15, 115]


def _count(text: str) -> float:
    (family,) = [f for f in parse(text) if f.name == "loadgen_request_duration_seconds"]
    return sum(s.value for s in family.samples if s.name.endswith("_count"))


def test_a_scrape_for_which_no_thread_starts_takes_no_turn_from_later_ones(
    sink: ScrapeSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as none:
        none.setattr(threading.Thread, "start", full)
        for _ in range(9):
            with pytest.raises(OSError):
                scrape(sink)

    text, _ = scrape(sink)
    assert text is not None
