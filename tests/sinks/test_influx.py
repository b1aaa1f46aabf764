"""InfluxDB's line protocol: read back by rules of our own, and by a real InfluxDB where it is installed."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadgen.sinks.influx import InfluxSink
from loadgen.sinks.snapshot import SnapshotMaker
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import journey_key, request_key
from tests.support.ports import free_ports
from tests.support.sinks import RUN, STARTED_NS, Fleet, final_of, http_receiver, interval_of, snapshot

ODD = 'GET /a b,c=d"e"\n\\é\\'


def test_lines_have_names_tags_and_times_as_they_are_demanded() -> None:
    with http_receiver(status=204) as receiver:
        url = f"{receiver.url}/write?db=x"
        InfluxSink(url, url, {}).deliver(snapshot(2.0, 2.0, key=request_key("GET /a b", step=None)))
        (got,) = receiver.got
    lines = got.body.decode().split("\n")
    assert lines[0] == (
        f"loadgen_request,run_id={RUN.run_id},plan=shop,journey=checkout,request=GET\\ /a\\ b,outcome=ok,region=eu,"
        "warmup=false count=2i,censored=0i,interval_count=2i,mean_ms=2.0,p50_ms=2.0,p90_ms=2.0,p95_ms=2.0,p99_ms=2.0,"
        f"max_ms=2.0 {STARTED_NS + NS_PER_S}"
    )
    assert lines[1].startswith(f"loadgen_region,run_id={RUN.run_id},plan=shop,region=eu requests_started=2i,")
    assert len(lines) == 2


def test_a_bound_is_in_a_field_of_its_own() -> None:
    with http_receiver(status=204) as receiver:
        sink = InfluxSink(f"{receiver.url}/write", "", {})
        sink.deliver(snapshot(1000.0, key=request_key(outcome="timeout", censored=True)))
        body = receiver.got[0].body.decode()
    assert "p99_at_least_ms=1000.0" in body
    assert "p99_ms" not in body


def test_no_name_breaks_a_line() -> None:
    with http_receiver(status=204) as receiver:
        InfluxSink(f"{receiver.url}/write", "", {}).deliver(snapshot(1.0, key=request_key(ODD, "fail: a, b")))
        lines = receiver.got[0].body.decode().split("\n")
    assert len(lines) == 2
    assert len(re.split(r"(?<!\\) ", lines[0])) == 3


@contextlib.contextmanager
def influxd(folder: Path) -> Iterator[str]:
    program = shutil.which("influxd")
    if program is None:
        pytest.skip("influxd is not installed (Debian: influxdb)")
    port, rpc = free_ports(2)
    (folder / "influxdb.conf").write_text(
        f'bind-address = "127.0.0.1:{rpc}"\nreporting-disabled = true\n'
        f'[meta]\n  dir = "{folder}/meta"\n[data]\n  dir = "{folder}/data"\n  wal-dir = "{folder}/wal"\n'
        f'[http]\n  bind-address = "127.0.0.1:{port}"\n  log-enabled = false\n'
    )
    with subprocess.Popen([program, "-config", str(folder / "influxdb.conf")], stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        until_s = time.monotonic() + 60
        try:
            while True:
                try:
                    urllib.request.urlopen(f"{url}/ping", timeout=2).close()
                    break
                except OSError:
                    assert process.poll() is None, "influxd did not start"
                    assert time.monotonic() < until_s, "influxd does not answer"
                    time.sleep(0.05)
            urllib.request.urlopen(f"{url}/query", data=b"q=CREATE DATABASE loadgen", timeout=60).close()
            yield url
        finally:
            process.terminate()
            process.wait(60)


def ask(url: str, query: str) -> list[Any]:
    asked = urllib.parse.urlencode({"db": "loadgen", "q": query})
    with urllib.request.urlopen(f"{url}/query?{asked}", timeout=60) as reply:
        return json.loads(reply.read())["results"][0].get("series", [])  # type: ignore[no-any-return]


def test_a_real_influxdb_takes_all_of_it_and_comes_to_the_same_counts(tmp_path: Path) -> None:
    fleet, maker = Fleet(a="eu", b="us"), SnapshotMaker(RUN)
    with influxd(tmp_path) as url:
        sink = InfluxSink(f"{url}/write?db=loadgen", url, {})
        for k in range(4):
            fleet.report("a", k, {request_key(ODD): [NS_PER_MS] * (k + 1), journey_key(): [NS_PER_MS * 2]})
            fleet.report("b", k, {request_key(): [3 * NS_PER_MS], request_key(outcome="http 503"): [1]})
            sink.deliver(interval_of(fleet, k, maker))
        sink.deliver(final_of(fleet.merge, maker))
        (asked,) = ask(url, "SELECT sum(interval_count) FROM loadgen_request")
        assert asked["values"][0][1] == fleet.merge.counters().requests_finished == 10 + 8
        tags = ask(url, "SELECT last(count) FROM loadgen_request GROUP BY request, outcome, region")
        counts = {(one["tags"]["request"], one["tags"]["outcome"]): one["values"][0][1] for one in tags}
        assert counts == {
            ('GET /a b,c=d"e" \\é', "ok"): 10,
            ("GET /", "ok"): 4,
            ("GET /", "http 503"): 4,
        }
        (regions,) = ask(
            url, "SELECT sum(value) FROM (SELECT last(requests_finished) AS value FROM loadgen_region GROUP BY region)"
        )
        assert regions["values"][0][1] == 18
