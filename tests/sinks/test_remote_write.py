"""Remote write: the message as Prometheus' own definition of it reads it, and what is made of bad answers."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import cramjam
import pytest
import trustme
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from loadgen.sinks.buckets import BUCKETS
from loadgen.sinks.output_queue import Feed, Undelivered
from loadgen.sinks.remote_write import RemoteWriteSink
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import request_key
from tests.support.namespace import in_namespace
from tests.support.sinks import RUN, STARTED_NS, Fleet, HttpReceiver, http_receiver, interval_of, snapshot


def write_request() -> Any:
    """The class of prometheus.WriteRequest, by the numbers of prompb/remote.proto and types.proto."""
    file = descriptor_pb2.FileDescriptorProto(name="prompb.proto", package="prometheus", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    fields = {
        "Label": [("name", 1, kinds.TYPE_STRING, ""), ("value", 2, kinds.TYPE_STRING, "")],
        "Sample": [("value", 1, kinds.TYPE_DOUBLE, ""), ("timestamp", 2, kinds.TYPE_INT64, "")],
        "TimeSeries": [("labels", 1, kinds.TYPE_MESSAGE, "Label"), ("samples", 2, kinds.TYPE_MESSAGE, "Sample")],
        "WriteRequest": [("timeseries", 1, kinds.TYPE_MESSAGE, "TimeSeries")],
    }
    for name, members in fields.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of in members:
            label = kinds.LABEL_REPEATED if of else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, type=kind, label=label)
            if of:
                added.type_name = f".prometheus.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


def sink_to(receiver: HttpReceiver, headers: dict[str, str] | None = None) -> RemoteWriteSink:
    return RemoteWriteSink(f"{receiver.url}/api/v1/write", f"{receiver.url}/api/v1/write", headers or {})


def received(receiver: HttpReceiver) -> dict[tuple[tuple[str, str], ...], tuple[float, int]]:
    found = {}
    for got in receiver.got:
        message = write_request().FromString(bytes(cramjam.snappy.decompress_raw(got.body)))
        for series in message.timeseries:
            labels = tuple((label.name, label.value) for label in series.labels)
            (sample,) = series.samples
            assert list(labels) == sorted(labels), "labels have to be sorted"
            assert all(value for _, value in labels), "an empty label is one that is not there"
            assert labels not in found
            found[labels] = sample.value, sample.timestamp
    return found


def test_the_message_has_every_series_of_the_scrape_with_one_sample_of_the_interval_s_end() -> None:
    fleet = Fleet(a="eu")
    fleet.report("a", 0, {request_key("GET /é", step=None): [3 * NS_PER_MS] * 5 + [9_000 * NS_PER_MS]})
    with http_receiver() as receiver:
        sink_to(receiver).deliver(interval_of(fleet, 0))
        headers = receiver.got[0].headers
        found = received(receiver)
    assert headers["content-encoding"] == "snappy"
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["x-prometheus-remote-write-version"] == "0.1.0"
    assert {time_ms for _, time_ms in found.values()} == {(STARTED_NS + NS_PER_S) // NS_PER_MS}
    requests = {k: v for k, (v, _) in found.items() if dict(k)["__name__"].startswith("loadgen_request_duration")}
    of = {"job": "loadgen", "journey": "checkout", "outcome": "ok", "plan": "shop", "region": "eu"}
    for labels in map(dict, requests):
        assert of.items() <= labels.items()
        assert labels["request"] == "GET /é"
        assert labels["run_id"] == RUN.run_id
        assert "step" not in labels
    buckets = [(float(dict(k)["le"]), v) for k, v in requests.items() if "le" in dict(k)]
    assert len(buckets) == BUCKETS
    assert [v for edge, v in sorted(buckets) if edge < 0.003] == [0] * sum(edge < 0.003 for edge, _ in buckets)
    assert max(v for edge, v in buckets if edge < 8) == 5
    assert dict(sorted(buckets))[float("inf")] == 6
    sums = {dict(k)["__name__"].rpartition("_")[2]: v for k, v in requests.items() if "le" not in dict(k)}
    assert sums == {"count": 6, "sum": pytest.approx(9.015)}
    finished = [v for k, (v, _) in found.items() if dict(k)["__name__"] == "loadgen_requests_finished_total"]
    assert finished == [6]


def test_many_series_go_in_several_messages() -> None:
    fleet = Fleet(a="eu")
    fleet.report("a", 0, {request_key(f"GET /{n}"): [NS_PER_MS] for n in range(150)})
    with http_receiver() as receiver:
        sink_to(receiver).deliver(interval_of(fleet, 0))
        assert len(receiver.got) == 3
        counts = [k for k in received(receiver) if dict(k)["__name__"] == "loadgen_request_duration_seconds_count"]
    assert len(counts) == 150


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"status": 503, "answer": b"overloaded"}, "the server answers http 503: overloaded"),
        (
            {"status": 400, "answer": b"out of\norder\x1b[31m sample"},
            "the server answers http 400: out of order\\x1b[31m sample",
        ),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, "the server answers http 302"),
        ({"status": 500, "answer": b"x" * 10_000}, "the server answers http 500: " + "x" * 157 + "..."),
    ],
)
def test_an_answer_that_is_no_success_is_told_in_one_short_line(how: dict[str, Any], why: str) -> None:
    with http_receiver(**how) as receiver, pytest.raises(Undelivered) as raised:
        sink_to(receiver).deliver(snapshot(1.0))
    assert str(raised.value) == why


def test_a_secret_that_the_answer_has_in_it_is_not_told() -> None:
    with http_receiver(status=401, echoes="Authorization") as receiver, pytest.raises(Undelivered) as raised:
        sink_to(receiver, {"Authorization": "Bearer t0ps3cret"}).deliver(snapshot(1.0))
    assert str(raised.value) == "the server answers http 401: ***"


def test_nobody_there_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with pytest.raises(Undelivered, match=r"^Connection refused$"):
        RemoteWriteSink(url, url, {}).deliver(snapshot(1.0))


def test_an_answer_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.sinks.post.ANSWER_S", 0.2)
    with (
        http_receiver(hangs=threading.Event()) as receiver,
        pytest.raises(Undelivered, match=r"no answer within 0.2 s"),
    ):
        sink_to(receiver).deliver(snapshot(1.0))


def test_an_answer_that_comes_in_drops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.sinks.post.WHOLE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                try:
                    for _ in range(200):
                        connection.sendall(b".")
                        time.sleep(0.05)
                except OSError:
                    return

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(Undelivered, match=r"incomplete after 0.3 s"):
            RemoteWriteSink(url, url, {}).deliver(snapshot(1.0))


def test_who_speaks_no_http_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")
                connection.recv(65536)

        threading.Thread(target=babble, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(Undelivered):
            RemoteWriteSink(url, url, {}).deliver(snapshot(1.0))


def no_route() -> str:
    """In a network of which only the loopback is there."""
    try:
        RemoteWriteSink("http://192.0.2.1:9090/", "there", {}).deliver(snapshot(1.0))
    except Undelivered as error:
        return str(error)
    return "it was taken"


def test_no_route_is_told_at_once() -> None:
    assert in_namespace("tests.sinks.test_remote_write:no_route") == "Network is unreachable"


def test_a_receiver_that_dies_and_returns_has_the_counts_of_all() -> None:
    fleet = Fleet(a="eu")
    with http_receiver() as receiver:
        port = receiver.port
        feed = Feed(sink_to(receiver))
        tally = feed.tally("run")
        fleet.report("a", 0, {request_key(): [1] * 3})
        feed.offer(interval_of(fleet, 0), tally)
        feed.wait(tally, time.monotonic() + 60)
    fleet.report("a", 1, {request_key(): [1] * 4})
    feed.offer(interval_of(fleet, 1), tally)
    feed.wait(tally, time.monotonic() + 60)
    assert (tally.sent, tally.dropped) == (1, 1)
    with http_receiver(port) as again:
        fleet.report("a", 2, {request_key(): [1] * 5})
        feed.offer(interval_of(fleet, 2), tally)
        feed.wait(tally, time.monotonic() + 60)
        found = received(again)
    assert (tally.sent, tally.dropped) == (2, 1)
    assert [v for k, (v, _) in found.items() if dict(k)["__name__"] == "loadgen_requests_finished_total"] == [12]


def test_certificates_are_verified_and_a_house_s_own_is_trusted_by_name(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as secured, secured.makefile("rb") as asked:
                        heads = dict(line.split(b": ") for line in iter(asked.readline, b"\r\n") if b": " in line)
                        asked.read(int(heads[b"Content-Length"]))  # all of it: who closes before that resets
                        secured.sendall(answer)
                except OSError:
                    continue

        threading.Thread(target=serve, daemon=True).start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(Undelivered, match="certificate"):
            RemoteWriteSink(url, url, {}).deliver(snapshot(1.0))
        RemoteWriteSink(url, url, {}, tmp_path / "ca.pem").deliver(snapshot(1.0))
