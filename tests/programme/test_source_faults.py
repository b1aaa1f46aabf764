"""Faults of all sources over HTTP: what cannot be read is missing, with its sentence, and never zero errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from loadgen.aws.account import boto_clients
from loadgen.aws.account.boto_clients import Clients
from loadgen.programme.sources.asked import Asked, Asker
from loadgen.programme.sources.cloudwatch import CloudWatchSource
from loadgen.programme.sources.cloudwatch_answers import MetricQuery
from loadgen.programme.sources.datadog import DatadogSource
from loadgen.programme.sources.prometheus import PrometheusSource
from tests.support.aws import isolated
from tests.support.metrics_server import MetricsServer, metrics_server, page_reply

DATA = Path(__file__).parents[1] / "data" / "sources"
START: Final = 1_784_505_600
KEY: Final = "hunter2hunter2"
PAGE: Final = "<!doctype html><title>Sign in</title>"
HITS: Final = "sum:trace.http.request.hits{service:shop}.as_count()"
METRIC: Final = MetricQuery("eu-west-1", "Shop", "Requests", "Sum").text
NOT_ITS: Final = "the answer is not of CloudWatch, or it was cut off"
ASKED: Final = {
    "prometheus": Asked("fast", "shop_count", "shop_good", "", START, START + 1200, 300),
    "datadog": Asked("fast", HITS, HITS, "", START, START + 1200, 300, "0123abcd"),
    "cloudwatch": Asked("fast", METRIC, METRIC, "", START, START + 1200, 300),
}


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    with metrics_server() as found:
        yield found


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolated(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setattr(boto_clients, "TRIES", 1)


def source(kind: str, server: MetricsServer, waits: list[float], limit_s: float = 10) -> Asker:
    url = f"http://127.0.0.1:{server.port}"
    if kind == "cloudwatch":
        return CloudWatchSource(open_clients=lambda: Clients(url))
    if kind == "datadog":
        headers = {"DD-API-KEY": KEY, "DD-APPLICATION-KEY": f"app-{KEY}"}
        return DatadogSource(url, headers, (KEY, f"app-{KEY}"), limit_s=limit_s, sleep=waits.append)
    return PrometheusSource(url, {"Authorization": f"Bearer {KEY}"}, (KEY,), limit_s=limit_s, sleep=waits.append)


def closing(reply: bytes) -> bytes:
    # Otherwise a repeated request may meet the connection that the server has just closed.
    return reply.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


CASES: Final[dict[str, tuple[bytes, dict[str, str]]]] = {
    "401": (
        page_reply("{}", "401 Unauthorized"),
        {"": "http 401: the credentials are missing or wrong", "cloudwatch": "AWS returned 401"},
    ),
    "403": (
        page_reply(f'{{"errors": ["{KEY}"]}}', "403 Forbidden"),
        {"": "http 403: these credentials have no right to read it", "cloudwatch": "AWS returned 403"},
    ),
    "404": (
        page_reply("{}", "404 Not Found"),
        {"": "http 404: nothing is at this URL: check its path", "cloudwatch": "AWS returned 404"},
    ),
    "429": (
        page_reply("{}", "429 Too Many Requests", "Retry-After: 7\r\n"),
        {"": "http 429: too many requests; the server asks to wait 7 s", "cloudwatch": "AWS returned 429"},
    ),
    "500": (
        page_reply("oops", "500 Internal Server Error"),
        {"": "the server returned http 500", "cloudwatch": "AWS returned 500"},
    ),
    "empty": (page_reply(""), {"": "the answer is empty", "cloudwatch": NOT_ITS}),
    "HTML": (page_reply(PAGE), {"": "the answer is HTML, not JSON", "cloudwatch": NOT_ITS}),
    "cut body": (
        page_reply(b'{"status": "ok", "series": ['),
        {"": "cut off"},
    ),
    "cut answer": (
        page_reply(b'{"status": "ok", "series": []}' * 20)[:-300],
        {"": "peer closed connection", "cloudwatch": NOT_ITS},
    ),
}


@pytest.mark.parametrize("kind", sorted(ASKED))
@pytest.mark.parametrize("case", CASES)
def test_each_fault_of_each_source_is_missing_counts_with_a_sentence(
    server: MetricsServer, kind: str, case: str
) -> None:
    reply, sentences = CASES[case]
    server.reply(closing(reply))
    waits: list[float] = []
    one = source(kind, server, waits)

    pulled = one.pull(ASKED[kind])
    one.close()

    assert pulled.slices == ()
    (fault,) = pulled.faults
    assert sentences.get(kind, sentences[""]) in fault.text
    assert KEY not in fault.text
    assert "\n" not in fault.text
    if case == "429" and kind != "cloudwatch":
        assert waits == [7, 7]


@pytest.mark.parametrize("kind", sorted(ASKED))
def test_a_source_that_never_answers_is_missing_counts(
    server: MetricsServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto_clients, "READ_S", 0.1)
    server.hang()
    one = source(kind, server, [], limit_s=0.1)

    pulled = one.pull(ASKED[kind])
    one.close()

    assert pulled.slices == ()
    assert not pulled.has_answered
    (fault,) = pulled.faults
    assert "no complete answer within 0.1 s" in fault.text or "ReadTimeoutError" in fault.text


# -- Datadog ------------------------------------------------------------------------------------------


def recorded(name: str) -> bytes:
    return (DATA / "datadog" / f"{name}.json").read_bytes()


def answering(server: MetricsServer, query: bytes, history: bytes, headers: str = "") -> None:
    def answer(connection: Any) -> None:
        is_history = b"/history" in server.requests[-1].split(b" ", 2)[1]
        connection.sendall(page_reply(history if is_history else query, headers=headers))

    server.answer = answer


def test_both_keys_are_sent_and_the_own_figure_of_datadog_stands_beside_ours(server: MetricsServer) -> None:
    answering(server, recorded("counts"), recorded("history_of_a_time_slice_slo"))
    one = source("datadog", server, [])

    pulled = one.pull(ASKED["datadog"])
    one.close()

    assert [(s.good, s.total) for s in pulled.slices] == [(990, 1000), (1200, 1200), (799, 800), (0, 0)]
    assert (pulled.calls, pulled.faults, pulled.has_answered) == (2, (), True)
    assert pulled.notes == (
        "Datadog's own figure of the SLO 0123abcd in this time is 100.0000 %, ours is 99.6333 %;"
        " it counts time, and time without data counts as good there",
    )
    head = server.requests[0].lower()
    assert b"dd-api-key: " + KEY.encode() in head
    assert b"dd-application-key: app-" + KEY.encode() in head
    assert KEY not in pulled.slices[0].evidence


def test_a_spent_limit_is_waited_for_before_the_next_call(server: MetricsServer) -> None:
    limit = "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 12\r\n"
    answering(server, recorded("counts"), recorded("history_of_a_metric_slo"), limit)
    waits: list[float] = []
    one = source("datadog", server, waits)

    one.pull(ASKED["datadog"])
    one.close()

    assert waits == [12]


def test_a_limit_that_ends_in_an_hour_is_not_waited_for_by_any_promise(server: MetricsServer) -> None:
    limit = "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 3600\r\n"
    answering(server, recorded("counts"), recorded("history_of_a_metric_slo"), limit)
    waits: list[float] = []
    one = source("datadog", server, waits)

    first, second = one.pull(ASKED["datadog"]), one.pull(ASKED["datadog"])
    one.close()

    assert "the limit of calls is reached" in first.notes[0]
    assert "the limit of calls is reached for 600 s: pull again later" in str(second.faults[0])
    assert waits == []
    assert len(server.requests) == 1


def test_an_error_text_that_repeats_a_key_is_masked(server: MetricsServer) -> None:
    server.reply(closing(page_reply(json.dumps({"errors": [f"invalid key app-{KEY}"]}), "400 Bad Request")))
    one = source("datadog", server, [])

    (fault,) = one.pull(ASKED["datadog"]).faults
    one.close()

    assert fault.text == "Datadog returned an error: invalid key ***"


def test_an_error_text_of_a_vendor_steers_no_terminal(server: MetricsServer) -> None:
    text = "x\x1b[2J\r\n::error::gone\u202e\x07"
    server.reply(closing(page_reply(json.dumps({"status": "error", "error": text}))))
    one = source("datadog", server, [])

    (fault,) = one.pull(ASKED["datadog"]).faults
    one.close()

    assert not set("\x1b\u202e\x07\r\n") & set(fault.text)


# -- CloudWatch ---------------------------------------------------------------------------------------


def test_total_and_good_in_two_regions_are_a_fault() -> None:
    there = MetricQuery("us-east-1", "Shop", "Good", "Sum").text

    (fault,) = CloudWatchSource().pull(Asked("fast", METRIC, there, "", START, START + 300, 300)).faults

    assert fault.text == "total is in eu-west-1, and good in us-east-1: use one region"
