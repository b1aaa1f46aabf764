"""Measure the controller's cost for the deltas of a fleet: decoding, merging, and computing percentiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import process_time_ns
from typing import ParamSpec

import numpy as np

from bench.report import Section, spread
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.merging.checkpoint import freeze
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.measure.merging.stored_interval import cell_of, encode_cell
from loadgen.units import NS_PER_S
from loadgen.wire.codec import decode_with_beat, encode

P = ParamSpec("P")
NAMES, REQUESTS, AT_ONCE = 20, 100, 60
HOW = """\
{agents} agents in three regions, each with {names} request names (response and service time) and {requests} requests \
of each name a second, log-normal around 9 ms; {seconds} s of them, in this process, CPU time of it. *decode*: from \
the bytes on the wire to a delta; *accept*: `Merge.accept_all`, {at_once} at a time, the agents' first deltas (which \
bring their series) apart; *sum*: what a second's sum costs more, that it is added to those of the run, and packed for \
its end (by a thread); \
*checkpoint*: all of the merge as bytes, on the loop, every 8,000 deltas; *percentiles*: p50, p90, p95, p99 of each \
name over all regions, once a second. Journal, sockets and encryption are not in it."""


def measure(*, agents: int = 100, seconds: int = 10) -> Section:
    merge = Merge()
    merge.kept = []
    first: list[float] = []
    later: list[float] = []
    unpacked: list[float] = []
    asked: list[float] = []
    summed: list[float] = []
    frozen: list[float] = []
    fleet = [_deltas(agent, seconds) for agent in range(agents)]
    for second in range(seconds):
        packed = [encode(deltas[second]) for deltas in fleet]
        received: list[Delta] = []
        unpacked.append(_cpu_us(_decode, packed, received) / agents)
        (later if second else first).append(_cpu_us(_accept, merge, received) / agents)
        summed.append(_cpu_us(_sum, merge) / agents)
        frozen.append(_cpu_us(_freeze, merge))
        asked.append(_cpu_us(_ask, merge))
    rows = [
        ["decode, a delta", *spread(unpacked, 0)],
        ["accept, an agent's first delta", *spread(first, 0)],
        ["accept, a delta", *spread(later, 0)],
        ["sum, a delta", *spread(summed, 0)],
        [f"checkpoint, {agents} agents", *spread(frozen, 0)],
        [f"percentiles of {NAMES} names", *spread(asked, 0)],
    ]
    busy = (sorted(unpacked)[len(unpacked) // 2] + sorted(later)[len(later) // 2]) * agents / 1e6
    return Section(
        "Adding up a fleet",
        HOW.format(agents=agents, names=NAMES, requests=REQUESTS, seconds=seconds, at_once=AT_ONCE),
        ["", "CPU µs: least", "median"],
        rows,
        f"{agents} agents a second: {busy:.1%} of a core for decode and accept.",
    )


def _deltas(agent: int, seconds: int) -> list[Delta]:
    recorder = Recorder()
    chance = np.random.default_rng(agent)
    found = []
    series = [recorder.request_series("checkout", "shop", f"GET /{n}") for n in range(NAMES)]
    for second in range(seconds):
        for row in series:
            for ns in chance.lognormal(16, 0.7, REQUESTS).astype(np.int64).tolist():
                recorder.counters.requests_started += 1
                recorder.request(row, 0, 1000, ns, "ok", 100)
        delta = recorder.flip(second * NS_PER_S, (second + 1) * NS_PER_S)
        found.append(replace(delta, agent=f"agent-{agent}", epoch=1, run_id="bench"))
    return found


def _decode(packed: Sequence[bytes], into: list[Delta]) -> None:
    for data in packed:
        message, _ = decode_with_beat(data)
        assert isinstance(message, Delta)
        into.append(message)


def _accept(merge: Merge, deltas: Sequence[Delta]) -> None:
    for first in range(0, len(deltas), AT_ONCE):
        some = [(f"region-{n % 3}", delta) for n, delta in enumerate(deltas[first : first + AT_ONCE])]
        assert set(merge.accept_all(some)) == {Accepted.MERGED}


def _sum(merge: Merge) -> None:
    merge.close()
    for one in merge.kept or ():
        encode_cell(cell_of(one))
        one.is_free = True
    merge.kept = []


def _freeze(merge: Merge) -> None:
    freeze(merge)


def _ask(merge: Merge) -> None:
    for n in range(NAMES):
        observed, _ = merge.select("request", request=f"GET /{n}")
        for q in (50, 90, 95, 99):
            observed.percentile_us(q)


def _cpu_us(work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> float:
    began = process_time_ns()
    work(*args, **kwargs)
    return (process_time_ns() - began) / 1e3
