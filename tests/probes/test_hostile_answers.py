"""Answers of servers that are damaged or hostile: each one is a gap with a reason, never a crash."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from loadgen.probes.kubernetes.answers import autoscalers_of, events_of, pods_of, time_ns, why_refused
from loadgen.probes.postgres.connection import Connection, Lost
from loadgen.probes.prometheus.answers import SeriesValues, parse_answer, parse_time, parse_types
from loadgen.probes.prometheus.series_rows import Query, place
from loadgen.probes.reader import NotRead

DEEP = b"[" * 200_000


def test_a_metric_with_the_type_of_a_histogram_and_without_buckets_is_left_out() -> None:
    one = SeriesValues("waits", (), (1,), (1.0,))

    assert place(Query("waits"), one, {"waits": "histogram"}) is None


def test_a_title_from_a_label_is_cut() -> None:
    one = SeriesValues("level", (("pod", "x" * 1_000_000),), (1,), (1.0,))
    placed = place(Query("level"), one, {"level": "gauge"})

    assert placed is not None
    assert len(placed.row.title) == 200


def matrix(values: object) -> bytes:
    result = [{"metric": {"job": "shop"}, "values": values}]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


@pytest.mark.parametrize("parse", [parse_answer, parse_time, pods_of, events_of, autoscalers_of])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"\xff\xfe",
        b"<html>",
        DEEP,
        b'{"status": "success", "other": ' + DEEP,
        b'{"status": "success", "data": {"resultType": "matrix", "result": ' + DEEP,
        b'{"status": "success", "data": {"resultType": "scalar", "result": ' + DEEP,
        b'{"kind": "PodList", "items": [{"metadata": ' + DEEP,
        b'{"status": "success", "data": {"resultType": "matrix", "res',
    ],
)
def test_a_damaged_or_deeply_nested_answer_is_a_gap(parse: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(NotRead):
        parse(body)


@pytest.mark.parametrize("at", [-1.0, 1e11, 1e300])
def test_an_impossible_time_of_a_sample_is_a_gap(at: float) -> None:
    with pytest.raises(NotRead, match="impossible time"):
        parse_answer(matrix([[at, "1"]]))


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-5", "1e300"])
def test_an_impossible_clock_of_a_server_is_a_gap(text: str) -> None:
    body = {"status": "success", "data": {"resultType": "scalar", "result": [1, text]}}

    with pytest.raises(NotRead, match="impossible time"):
        parse_time(json.dumps(body).encode())


def test_an_error_of_a_server_is_one_line_without_control_characters() -> None:
    body = json.dumps({"status": "error", "errorType": "\x1b[31mx", "error": "a\n::error::b\x1b[2J" + "c" * 1_000_000})

    with pytest.raises(NotRead) as error:
        parse_answer(body.encode())

    assert str(error.value).isprintable()
    assert "::error" not in str(error.value)
    assert len(str(error.value)) < 300


def test_deeply_nested_texts_that_only_explain_are_left_out() -> None:
    assert parse_types(b'{"status": "success", "data": ' + DEEP) == {}
    assert why_refused(b'{"message": ' + DEEP) == ""


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z", "yesterday", ""])
def test_a_time_of_a_cluster_outside_of_64_bits_is_unknown(text: str) -> None:
    assert time_ns(text) is None


@pytest.mark.parametrize("password", ["canary", "it's canary", "back\\canary", "can\x1bary"])
def test_a_password_in_a_message_of_libpq_is_masked(password: str) -> None:
    # libpq repeats an invalid value in its message.
    parts = {"hostaddr": "127.0.0.1", "sslmode": password, "password": password}

    with pytest.raises(Lost) as error:
        asyncio.run(Connection.open(parts, 1.0))

    assert str(error.value) == 'invalid sslmode value: "<redacted>"'
