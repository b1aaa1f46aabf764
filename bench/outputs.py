"""Measure the controller's cost for live outputs: an interval's snapshot on its loop, and the outputs' threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter, thread_time

from bench.deltas import drawn_seconds
from bench.report import Section, held, spread
from loadgen.measure.merging.merge import Merge
from loadgen.sinks.influx import InfluxSink
from loadgen.sinks.otlp import OtlpSink
from loadgen.sinks.output_queue import Sink
from loadgen.sinks.post import Poster
from loadgen.sinks.prometheus import ScrapeSink
from loadgen.sinks.remote_write import RemoteWriteSink
from loadgen.sinks.snapshot import RunName, Snapshot, SnapshotMaker
from loadgen.units import NS_PER_S

HOW = """\
3 agents in three regions, log-normal times around 9 ms, 50 requests of each name, agent and second. *snapshot*: what \
the controller's loop does for an interval, CPU time; *longest turn*: the longest of an interval that it does without \
giving the loop a turn, wall time, median. *with histograms of the interval*: as InfluxDB, StatsD and NDJSON want \
them. The others are what a thread does with one snapshot, CPU time, without sending it: the text of a \
scrape (per scrape), the messages of remote write, OTLP and InfluxDB (per interval). First and later interval apart: \
the first encodes the labels. A series has 71 lines in Prometheus."""
_AGENTS = ("eu-west-1", "us-east-1", "ap-south-1")


def measure(*, names: tuple[int, ...] = (66, 333), seconds: int = 20) -> Section:
    rows = []
    shares = []
    for number in names:
        for with_recent in (False, True):
            own_ms, turn_ms, series, both = _snapshots(number, seconds, with_recent)
            shares.append((series, sum(own_ms[1:]) / len(own_ms[1:]) / 10))
            least, median = spread(own_ms[1:], 1)
            what = f"{series} series: {'with histograms of the interval' if with_recent else 'snapshot'}, ms"
            figure = f"{least} / {median} / {own_ms[0]:.1f}; {sorted(turn_ms)[len(turn_ms) // 2]:.1f}"
            rows.append([f"{what}: least / median / first; longest turn", figure])
        for name, first_ms, later_ms, size_kb in _delivered(*both):
            rows.append(
                [f"{series} series: {name}, ms: first / later; kB", f"{first_ms:.0f} / {later_ms:.0f}; {size_kb:.0f}"]
            )
    few, share = shares[1]
    return Section(
        "Live outputs",
        HOW,
        ["what", "figure"],
        rows,
        f"Budget: 5 % of a core on the loop at 200 series and 1 Hz; {few} series: {share:.1f} %, {held(share <= 5)}.",
    )


def _seconds(names: int, seconds: int) -> Iterator[Merge]:
    merge = Merge()
    drawn = [
        drawn_seconds(names=names, requests=50, agents=len(_AGENTS), count=min(seconds, 20), seed=n)
        for n, _ in enumerate(_AGENTS)
    ]
    for k in range(seconds):
        for agent, some in zip(_AGENTS, drawn, strict=True):
            delta = replace(some[k if k < len(some) else 1 + (k - 1) % (len(some) - 1)], agent=agent, epoch=1, seq=k)
            merge.accept(agent, replace(delta, start_ns=k * NS_PER_S, end_ns=(k + 1) * NS_PER_S, exemplars=()))
        yield merge


def _snapshots(
    names: int, seconds: int, with_recent: bool
) -> tuple[list[float], list[float], int, tuple[Snapshot, Snapshot]]:
    """Return (CPU ms per interval, longest loop turn per interval in ms, number of series, the last two snapshots)."""
    maker = SnapshotMaker(RunName("bench", "bench", "embedded"), with_recent=with_recent)
    own_ms, turn_ms = [], []
    told: list[Snapshot] = []
    for k, merge in enumerate(_seconds(names, seconds)):
        window = merge.window(k)
        merge.count("request")  # deltas are merged with or without outputs
        turns, began_s, cpu_s = [], perf_counter(), thread_time()
        for step in maker.steps(merge, window, 0, (k + 1) * NS_PER_S):
            turns.append(perf_counter() - began_s)
            told, began_s = (told if step is None else [*told, step][-2:]), perf_counter()
        own_ms.append((thread_time() - cpu_s) * 1e3)
        turn_ms.append(max(turns) * 1e3)
    before, last = told
    return own_ms, turn_ms, len(last.series), (before, last)


def _delivered(before: Snapshot, last: Snapshot) -> Iterator[tuple[str, float, float, float]]:
    """Yield (name, CPU ms of the first snapshot, of a later one, kB) for each output."""
    scrape = ScrapeSink("127.0.0.1", 0)
    scrape.deliver(last)
    times, data = [], b""
    for _ in range(2):
        began_s = thread_time()
        data, _type = scrape.answer("")
        times.append((thread_time() - began_s) * 1e3)
    scrape.close()
    yield "scrape", times[0], times[1], len(data) / 1e3
    url = "http://127.0.0.1:1/"
    sinks: dict[str, Sink] = {
        "remote write": RemoteWriteSink(url, url, {}),
        "OTLP": OtlpSink(url, url, {}),
        "InfluxDB": InfluxSink(url, url, {}),
    }
    for name, sink in sinks.items():
        sizes: list[int] = []
        poster: Poster = _Nowhere(sizes)
        sink._poster = poster  # type: ignore[attr-defined]
        times = []
        for snapshot in (before, last):
            sizes.clear()
            began_s = thread_time()
            sink.deliver(snapshot)
            times.append((thread_time() - began_s) * 1e3)
        yield name, times[0], times[1], sum(sizes) / 1e3


class _Nowhere(Poster):
    def __init__(self, sizes: list[int]) -> None:
        self._sizes = sizes

    def post(self, content: bytes, headers: object) -> bytes:
        self._sizes.append(len(content))
        return b""
