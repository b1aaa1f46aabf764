"""`--out`: all that is wrong is told at once, nothing secret is shown, and nothing is opened by reading."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest
import trustme

from loadgen.extras import how_to_install
from loadgen.sinks.options import KINDS, Wanted, open_outputs, read_outputs
from loadgen.units import NS_PER_S
from tests.support.sinks import http_receiver, snapshot


def read(*texts: str, **environ: str) -> tuple[tuple[Wanted, ...], list[tuple[str, str]]]:
    wrong: list[tuple[str, str]] = []
    return read_outputs(texts, lambda message, hint: wrong.append((message, hint)), environ), wrong


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("prometheus=127.0.0.1:9464", "127.0.0.1:9464"),
        ("prometheus=9464", "127.0.0.1:9464"),
        ("prometheus=:9464", "127.0.0.1:9464"),
        ("prometheus=[::1]:9464", "[::1]:9464"),
        ("statsd=metrics.internal:8125", "metrics.internal:8125"),
        ("dogstatsd=127.0.0.1:8125", "127.0.0.1:8125"),
        ("remote-write=https://prom.example/api/v1/write", "https://prom.example/api/v1/write"),
        ("otlp=http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/metrics"),
        ("otlp=http://127.0.0.1:4318/own/path", "http://127.0.0.1:4318/own/path"),
        ("influx=http://127.0.0.1:8086/write?db=x&precision=ns", "http://127.0.0.1:8086/write?db=x&precision=ns"),
        ("ndjson=-", "-"),
    ],
)
def test_where_figures_go_is_read(text: str, where: str) -> None:
    (wanted,), wrong = read(text)
    assert not wrong
    assert (wanted.kind, wanted.where) == (text.partition("=")[0], where)


def test_options_follow_with_commas() -> None:
    (wanted,), wrong = read(
        "otlp=https://collector.example:4318,header=Authorization:AUTH,header=X-Scope-OrgID:TENANT,every=15s,temporality=delta",
        AUTH="Bearer abc",
        TENANT="load",
    )
    assert not wrong
    assert wanted == Wanted(
        "otlp",
        "https://collector.example:4318/v1/metrics",
        {"Authorization": "AUTH", "X-Scope-OrgID": "TENANT"},
        every_ns=15 * NS_PER_S,
        temporality="delta",
    )
    assert "abc" not in repr(wanted)


def test_what_is_shown_of_an_output_has_no_query() -> None:
    (wanted,), _ = read("influx=http://127.0.0.1:8086/api/v2/write?org=o&bucket=b")
    assert wanted.shown == "http://127.0.0.1:8086/api/v2/write"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kafka=127.0.0.1:9092", '--out: unknown kind of output "kafka"'),
        ("prometheus", '--out prometheus: invalid address ""'),
        ("prometheus=nowhere", '--out prometheus: invalid address "nowhere"'),
        ("prometheus=127.0.0.1:70000", '--out prometheus: invalid address "127.0.0.1:70000"'),
        ("statsd=127.0.0.1:0", '--out statsd: invalid address "127.0.0.1:0"'),
        ("otlp=ftp://x", "--out otlp: a URL with http or https is required"),
        ("otlp=http://", "--out otlp: a URL with http or https is required"),
        ("otlp=http://h:99999", "--out otlp: invalid URL: invalid port 99999: must be at most 65535"),
        ("remote-write=", "--out remote-write: a URL with http or https is required"),
        (
            "influx=http://me:secret@h/write",
            "--out influx: the URL contains a user or password, which others could see",
        ),
        ("influx=http://h/write?db=x&p=secret", '--out influx: "p" in the URL is a secret that others would see'),
        ("otlp=http://h?api_key=secret", '--out otlp: "api_key" in the URL is a secret that others would see'),
        (
            "otlp=http://h,header=Authorization:NOT_SET",
            "--out otlp: the variable NOT_SET for the header Authorization is not set",
        ),
        (
            "otlp=http://h,header=Authorization:Bearer secret",
            "--out otlp: the header Authorization does not name an environment variable",
        ),
        ("otlp=http://h,header=X:BROKEN", "--out otlp: the value of BROKEN is invalid in a header"),
        ("otlp=http://h,header=secret", "--out otlp: the name of a header is missing or invalid"),
        ("otlp=http://h,temporality=sometimes", '--out otlp: unknown temporality "sometimes"'),
        ("influx=http://h,temporality=delta", "--out influx: this kind has no option temporality"),
        ("statsd=h:1,header=A:PATH", "--out statsd: this kind has no option header"),
        ("otlp=http://h,colour=red", '--out otlp: unknown option "colour"'),
        ("otlp=http://h,ca=nowhere.pem", "--out otlp: the certificate nowhere.pem does not exist"),
        ("ndjson=", "--out ndjson: the file name is missing"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do_and_without_what_may_be_secret(text: str, message: str) -> None:
    found, wrong = read(text, BROKEN="two\nlines")
    assert found == ()
    assert [one for one, _ in wrong] == [message]
    assert all(hint for _, hint in wrong)
    assert "secret@" not in str(wrong)
    assert "Bearer secret" not in str(wrong)


def test_all_that_is_wrong_is_told_at_once() -> None:
    found, wrong = read(
        "kafka=x",
        "otlp=http://me:pw@h?token=1,header=A:NOT_SET,every=soon,colour=red",
        "ndjson=ok.ndjson",
        "ndjson=ok.ndjson",
        *[f"statsd=127.0.0.1:{port}" for port in range(1, 10)],
    )
    assert [one.kind for one in found] == ["ndjson", *["statsd"] * 9]
    assert len(wrong) == 1 + 5 + 1 + 1


def test_a_file_that_cannot_be_written_is_found_before(tmp_path: Path) -> None:
    _, wrong = read(f"ndjson={tmp_path}/none/f.ndjson", f"ndjson={tmp_path}")
    assert [one for one, _ in wrong] == [
        f"--out ndjson: the folder {tmp_path}/none does not exist",
        f"--out ndjson: {tmp_path} is a folder",
    ]


def test_a_certificate_that_is_none_is_found_before(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    _, wrong = read(f"otlp=https://h,ca={tmp_path}/ca.pem")
    assert [one for one, _ in wrong] == [f"--out otlp: {tmp_path}/ca.pem contains no certificate"]
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "good.pem"))
    assert not read(f"otlp=https://h,ca={tmp_path}/good.pem")[1]


def test_a_busy_port_is_found_before_anything_starts() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        wanted, _ = read(f"prometheus=127.0.0.1:{port}", f"statsd=127.0.0.1:{port}")
        wrong: list[str] = []
        outputs = open_outputs(wanted, lambda message, hint: wrong.append(message))
    assert wrong == [f"--out: prometheus=127.0.0.1:{port}: Address already in use"]
    assert [feed.sink.kind for feed in outputs.feeds] == ["statsd"]


def test_every_kind_can_be_opened_and_headers_come_from_the_environment(tmp_path: Path) -> None:
    with http_receiver() as receiver:
        texts = [
            "prometheus=127.0.0.1:0",
            f"remote-write={receiver.url}/write,header=Authorization:AUTH",
            f"otlp={receiver.url},header=Authorization:AUTH",
            f"influx={receiver.url}/write?db=x,header=Authorization:AUTH",
            "statsd=127.0.0.1:9",
            "dogstatsd=127.0.0.1:9",
            f"ndjson={tmp_path}/f.ndjson",
        ]
        environ = {"AUTH": "Bearer abc"}
        wanted, wrong = read(*texts, **environ)
        outputs = open_outputs(wanted, lambda message, hint: wrong.append((message, hint)), environ)
        assert not wrong
        assert tuple(feed.sink.kind for feed in outputs.feeds) == KINDS_IN_ORDER
        for feed in outputs.feeds:
            feed.sink.deliver(snapshot(1.0)) if feed.sink.kind not in ("statsd", "dogstatsd") else None
        assert [one.path for one in receiver.got] == ["/write", "/v1/metrics", "/write?db=x"]
        assert {one.headers["authorization"] for one in receiver.got} == {"Bearer abc"}
        assert "abc" not in repr(outputs)
        outputs.close()


KINDS_IN_ORDER = ("prometheus", "remote-write", "otlp", "influx", "statsd", "dogstatsd", "ndjson")


def test_there_are_no_other_kinds() -> None:
    assert set(KINDS) == set(KINDS_IN_ORDER)


def test_a_kind_whose_package_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.sinks.options.find_spec", lambda name: None)
    found, wrong = read("prometheus=9464", "otlp=http://h", "remote-write=http://h/w", "statsd=h:1")
    assert [one.kind for one in found] == ["statsd"]
    assert wrong == [
        (f"--out {kind}: the package {package} is missing", how_to_install("outputs"))
        for kind, package in (
            ("prometheus", "prometheus_client"),
            ("otlp", "opentelemetry"),
            ("remote-write", "cramjam"),
        )
    ]


def test_a_port_of_ipv6_can_be_scraped() -> None:
    wanted, wrong = read("prometheus=[::1]:0")
    outputs = open_outputs(wanted, lambda message, hint: wrong.append((message, hint)))
    if wrong:
        pytest.skip("no IPv6 here")
    where = outputs.feeds[0].sink.where
    urllib.request.urlopen(f"http://{where}/metrics", timeout=60).close()
    outputs.close()
