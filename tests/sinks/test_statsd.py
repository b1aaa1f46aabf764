"""StatsD over UDP: counts of all packets add up to the run's, in packets that fit, with names that all servers read."""

from __future__ import annotations

import re
import socket
from collections import Counter

import pytest

from loadgen.sinks.snapshot import SnapshotMaker
from loadgen.sinks.statsd import StatsdSink
from loadgen.units import NS_PER_MS
from tests.support.deltas import request_key
from tests.support.sinks import RUN, Fleet, eventually, final_of, interval_of, snapshot, udp_receiver

LINE = re.compile(
    r"[A-Za-z0-9_.-]+:-?\d+(\.\d+)?(e-?\d+)?\|(c|g|d)(\|@\d+(\.\d+)?(e-?\d+)?)?(\|#[^|#,\s]+:[^|#,\s]+(,[^|#,\s]+:[^|#,\s]+)*)?"
)


def lines_of(packets: list[str]) -> list[str]:
    return [line for packet in packets for line in packet.split("\n")]


def counts(packets: list[str], name: str) -> int:
    found = [line for line in lines_of(packets) if line.startswith(name) and "|c" in line]
    return sum(int(line[len(name) :].split(":", 1)[1].split("|")[0]) for line in found)


@pytest.mark.parametrize("is_dog", [False, True])
def test_counts_of_all_packets_add_up_to_those_of_the_run(is_dog: bool) -> None:
    fleet, maker = Fleet(a="eu", b="us"), SnapshotMaker(RUN)
    with udp_receiver() as (port, packets):
        sink = StatsdSink("127.0.0.1", port, is_dog=is_dog)
        for k in range(4):
            fleet.report("a", k, {request_key(f"GET /{n}"): [NS_PER_MS * (n + 1)] * (k + 1) for n in range(30)})
            fleet.report("b", k, {request_key("GET /0"): [NS_PER_MS] * 2})
            sink.deliver(interval_of(fleet, k, maker))
        fleet.report("b", 1, {request_key("GET /0"): [NS_PER_MS] * 7})  # late
        sink.deliver(final_of(fleet.merge, maker))
        done = "loadgen.region.us.requests_finished" if not is_dog else "loadgen.requests_finished"
        total = fleet.merge.counters("*" if is_dog else "us").requests_finished
        eventually(lambda: counts(packets, done) >= total)
        sink.close()
    assert counts(packets, done) == total
    of_requests = counts(packets, "loadgen.request.")
    assert of_requests == fleet.merge.counters().requests_finished == 30 * 10 + 8 + 7
    assert max(len(packet) for packet in packets) <= 1432
    assert not [line for line in lines_of(packets) if not LINE.fullmatch(line)]


def test_percentiles_of_the_interval_are_gauges() -> None:
    with udp_receiver() as (port, packets):
        StatsdSink("127.0.0.1", port).deliver(snapshot(*[float(n) for n in range(1, 101)]))
        eventually(lambda: bool(packets))
    gauges = dict(line.split(":") for line in lines_of(packets) if ".request." in line and "|g" in line)
    assert gauges["loadgen.request.checkout.browse.GET.ok.eu.p50_ms"] == "50.015|g"
    assert gauges["loadgen.request.checkout.browse.GET.ok.eu.max_ms"] == "100.031|g"


def test_distributions_stand_for_all_values_of_their_bucket() -> None:
    with udp_receiver() as (port, packets):
        StatsdSink("127.0.0.1", port, is_dog=True).deliver(snapshot(*[1.0] * 49, 50.0))
        eventually(lambda: bool(packets))
    weights: Counter[float] = Counter()
    for line in lines_of(packets):
        if "|d|" in line:
            value, _, rate, tags = line.removeprefix("loadgen.request.response:").split("|")
            weights[float(value)] += round(1 / float(rate.removeprefix("@")))
            assert "request:GET_/" in tags
            assert f"run_id:{RUN.run_id}" in tags
    assert sorted(weights.values()) == [1, 49]
    assert [abs(value - ms / 1000) / (ms / 1000) < 0.15 for value, ms in zip(sorted(weights), (1, 50), strict=True)]


@pytest.mark.parametrize("is_dog", [False, True])
def test_names_with_what_separates_are_made_plain(is_dog: bool) -> None:
    key = request_key('GET /a:b|c#d,e\nf "é"', "fail: no, really")
    with udp_receiver() as (port, packets):
        StatsdSink("127.0.0.1", port, is_dog=is_dog).deliver(snapshot(1.0, key=key))
        eventually(lambda: bool(packets))
    assert not [line for line in lines_of(packets) if line.count("|c") > 1 or "\t" in line]
    if not is_dog:
        assert "loadgen.request.checkout.browse.GET_a_b_c_d_e_f.fail_no_really.eu.count:1|c" in lines_of(packets)


def test_that_nobody_listens_is_noticed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fleet, maker = Fleet(a="eu"), SnapshotMaker(RUN)
    fleet.report("a", 0, {request_key(f"GET /{n}"): [1] for n in range(100)})
    sink = StatsdSink("127.0.0.1", port)
    with pytest.raises(ConnectionRefusedError):  # the kernel tells with the packets that follow
        sink.deliver(interval_of(fleet, 0, maker))


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(OSError, match=r".+"):
        StatsdSink("nowhere.invalid", 8125).deliver(snapshot(1.0))
