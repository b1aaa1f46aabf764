"""What a Prometheus server answers, and what counts then: any fault is a sentence, and its counts are missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from loadgen.programme.sources.asked import Asked, NoCounts, Reply, selector_in
from loadgen.programme.sources.prometheus import PrometheusSource
from loadgen.programme.sources.prometheus_answers import edges_request, parse_edges, parse_interval, why_not_asked
from tests.support.metrics_server import MetricsServer, metrics_server, page_reply

START = 1_784_505_600
TOTAL, GOOD = "shop_seconds_count", 'shop_seconds_bucket{le="0.3"}'
ASKED = Asked("checkout-fast", TOTAL, GOOD, "", START, START + 600, 300)
LABELS = {"job": "shop", "instance": "shop:80"}


def body(result: list[dict[str, Any]], **more: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **more}).encode()


def edges(role: str, values: list[int], resets: int = 0) -> list[dict[str, Any]]:
    """The parts of one series at the three edges of `ASKED`, each sample 4 s old."""
    at = [START, START + 300, START + 600]
    parts = {
        "value": values,
        "at": [one - 4 for one in at],
        "resets": [resets] * 3,
        "seen": [20] * 3,
    }
    return [
        {
            "metric": {**LABELS, "loadgen_part": f"{role} {part}"},
            "values": [[t, str(v)] for t, v in zip(at, found, strict=True)],
        }
        for part, found in parts.items()
    ]


WHOLE = edges("total", [100, 200, 350]) + edges("good", [90, 180, 300])
RAW = [{"metric": LABELS, "values": [[START + 600 - 15 * n - 4, "1"] for n in range(40, 0, -1)]}]


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    with metrics_server() as found:
        yield found


def source(server: MetricsServer, **more: Any) -> tuple[PrometheusSource, list[float]]:
    waits: list[float] = []
    url = f"http://127.0.0.1:{server.port}"
    return PrometheusSource(url, {"Authorization": "Bearer hunter2"}, ("hunter2",), sleep=waits.append, **more), waits


def answering(server: MetricsServer, by_path: dict[str, bytes]) -> list[dict[str, list[str]]]:
    asked: list[dict[str, list[str]]] = []

    def answer(connection: Any) -> None:
        parts = urlsplit(server.requests[-1].split(b" ", 2)[1].decode())
        asked.append(parse_qs(parts.query))
        connection.sendall(page_reply(by_path[parts.path.rpartition("/")[2]]))

    server.answer = answer
    return asked


def test_two_calls_give_the_slices_of_an_objective(server: MetricsServer) -> None:
    asked = answering(server, {"query_range": body(WHOLE), "query": body(RAW)})
    one, _ = source(server)

    pulled = one.pull(ASKED)
    one.close()

    assert [(s.start, s.good, s.total, s.missing_s) for s in pulled.slices] == [
        (START, 90, 100, 0),
        (START + 300, 120, 150, 0),
    ]
    assert (pulled.calls, pulled.faults, pulled.notes) == (2, (), ())
    assert asked[0]["start"] == [str(START)]
    assert asked[0]["step"] == ["300"]
    assert pulled.slices[0].evidence == f"{one.shown}: counters total {TOTAL} and good {GOOD}"


@pytest.mark.parametrize(
    ("reply", "why", "tries"),
    [
        (page_reply("{}", "401 Unauthorized"), "http 401: the credentials are missing or wrong", 1),
        (page_reply("{}", "403 Forbidden"), "http 403: these credentials have no right to read it", 1),
        (page_reply("{}", "404 Not Found"), "http 404: nothing is at this URL: check its path", 1),
        (
            page_reply("{}", "429 Too Many Requests", "Retry-After: 7\r\n"),
            "http 429: too many requests; the server asks to wait 7 s",
            3,
        ),
        (page_reply("oops", "500 Internal Server Error"), "the server returned http 500", 3),
        (page_reply(""), "the answer is empty", 3),
        (page_reply("<!doctype html><title>Sign in</title>"), "the answer is HTML, not JSON", 1),
        (page_reply(body(WHOLE)[:-300]), "the answer is not of the API of Prometheus, or it was cut off", 3),
        (page_reply(body(WHOLE))[:-300], "peer closed connection", 3),
        (page_reply(body(WHOLE, warnings=["remote read: shard 2 timed out"])), "the answer is partial: remote read", 3),
        (
            page_reply('{"status":"error","errorType":"bad_data","error":"parse error"}', "400 Bad Request"),
            "the server returned an error: bad_data: parse error",
            1,
        ),
        (page_reply(body([])), f"no series is {TOTAL}", 1),
    ],
)
def test_each_fault_is_missing_counts_with_a_sentence(
    server: MetricsServer, reply: bytes, why: str, tries: int
) -> None:
    server.reply(reply)
    one, waits = source(server)

    pulled = one.pull(ASKED)
    one.close()

    assert pulled.slices == ()
    (fault,) = pulled.faults
    assert why in fault.text
    assert "hunter2" not in fault.text
    assert one.calls == tries
    assert waits == [] or len(waits) == tries - 1
    if "429" in why:
        assert waits == [7, 7]


def test_a_server_that_never_answers_is_missing_counts(server: MetricsServer) -> None:
    server.hang()
    one, _ = source(server, limit_s=0.1)

    pulled = one.pull(ASKED)
    one.close()

    assert [fault.text for fault in pulled.faults] == ["no complete answer within 0.1 s"]


def test_a_wait_of_an_hour_is_not_waited_for(server: MetricsServer) -> None:
    server.reply(page_reply("{}", "429 Too Many Requests", "Retry-After: 3600\r\n"))
    one, waits = source(server)

    (fault,) = one.pull(ASKED).faults
    one.close()

    assert waits == []
    assert fault.text.endswith("which is longer than 60 s")


def test_a_restart_is_looked_at_in_the_raw_samples(server: MetricsServer) -> None:
    changed = edges("total", [100, 200, 350], 1) + edges("good", [90, 180, 300])
    # The counters begin again at 5 between two samples, 146 s after the beginning.
    raw = [{"metric": LABELS, "values": [[START + 15 * n - 4, str(100 + n if n < 10 else n - 5)] for n in range(41)]}]
    asked = answering(server, {"query_range": body(changed), "query": body(raw)})
    one, _ = source(server)

    pulled = one.pull(ASKED)
    one.close()

    assert [given["query"][0] for given in asked[2:]] == [
        f"{TOTAL}[631s]",
        f"{GOOD}[631s]",
        'up{instance=~"shop:80"}[662s]',
    ]
    assert [(s.total, s.missing_s) for s in pulled.slices] == [(9 + 5 + 10, 15), (20, 0)]


def test_a_bucket_that_does_not_exist_is_a_fault_and_not_zero_good_requests(server: MetricsServer) -> None:
    buckets = [{"metric": {"le": le}, "values": [[START, "1"]]} for le in ("0.5", "+Inf", "0.25")]
    answering(server, {"query_range": body(edges("total", [100, 200, 350])), "query": body(buckets)})
    one, _ = source(server)

    pulled = one.pull(ASKED)
    one.close()

    assert pulled.slices == ()
    assert [fault.text for fault in pulled.faults] == [
        f"no series is {GOOD}: the bucket must exist exactly; there are le = 0.25, 0.5, +Inf"
    ]


def test_bad_requests_without_a_series_are_none_and_a_note_says_it(server: MetricsServer) -> None:
    answering(server, {"query_range": body(edges("total", [100, 200, 350])), "query": body(RAW)})
    one, _ = source(server)

    pulled = one.pull(Asked("a", TOTAL, "", 'shop_failures{code="500"}', START, START + 600, 300))
    one.close()

    assert [(s.good, s.total) for s in pulled.slices] == [(100, 100), (150, 150)]
    assert "check its spelling" in pulled.notes[0]


def test_a_scrape_interval_near_the_width_is_a_fault(server: MetricsServer) -> None:
    raw = [{"metric": LABELS, "values": [[START, "1"], [START + 200, "1"]]}]
    answering(server, {"query_range": body(WHOLE), "query": body(raw)})
    one, _ = source(server)

    (fault,) = one.pull(ASKED).faults
    one.close()

    assert fault.text == "a scrape interval of 200 s is too long for slices of 300 s"


def test_remarks_of_prometheus_about_names_are_no_partial_answers() -> None:
    remarks = ["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket"]

    assert not isinstance(parse_edges(Reply(200, body(WHOLE, warnings=remarks)), ASKED), NoCounts)


def test_native_histograms_and_foreign_series_are_faults() -> None:
    native = [{"metric": LABELS, "histograms": [[START, {"count": "1"}]]}]

    found = [parse_edges(Reply(200, body(one)), ASKED) for one in (native, RAW)]

    assert [str(one).partition(":")[0] for one in found] == [
        "native histograms are not read",
        "the answer has series that were not asked for",
    ]


def test_too_many_points_and_no_whole_slice_are_faults_before_any_call() -> None:
    long = Asked("a", TOTAL, GOOD, "", START, START + 300 * 11_001, 300)
    short = Asked("a", TOTAL, GOOD, "", START + 1, START + 300, 300)

    assert "11,002 points are more than the 11,000" in str(why_not_asked(long))
    assert "no whole slice of 300 s" in str(why_not_asked(short))
    assert why_not_asked(ASKED) is None


def test_the_scrape_interval_is_the_median_of_the_raw_samples() -> None:
    assert parse_interval(Reply(200, body(RAW))) == 15
    assert parse_interval(Reply(200, body([]))) == 0


def test_the_call_for_the_edges_asks_for_values_times_resets_and_samples() -> None:
    query = dict(edges_request(ASKED).given)["query"]

    assert query.count("label_replace(") == 8
    assert f"timestamp({TOTAL})" in query
    assert f"resets({GOOD}[600s])" in query


@pytest.mark.parametrize(
    ("query", "selector"),
    [
        ("x_total", "x_total"),
        ('sum(rate(x_total{job="shop"}[5m]))', 'x_total{job="shop"}'),
        ("sum by (job) (increase(x_total[{{.window}}]))", "x_total"),
        ("sum(x_total) by (job)", "x_total"),
        (" sum(\n  x_total\n) ", "x_total"),
    ],
)
def test_the_counters_of_a_query_are_found(query: str, selector: str) -> None:
    assert selector_in(query) == selector


@pytest.mark.parametrize("query", ["x / y", "histogram_quantile(0.9, x)", "sum(a) - sum(b)", "", "x offset 5m"])
def test_other_queries_are_rejected_with_what_to_write(query: str) -> None:
    with pytest.raises(ValueError, match=r"is not a plain counter: it .*; write a selector such as"):
        selector_in(query)
