"""Measure the cost of recording a request and of folding a second. Budget: 0.3 µs per request."""

from __future__ import annotations

from time import perf_counter_ns

import numpy as np
from hdrh.histogram import HdrHistogram

from bench.report import Section, cost_ns, spread
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.histograms.histogram import Histogram, slots_of_ns

COUNT = 100_000
BUDGET_NS = 300
HOW = f"""\
{COUNT:,} values a run, seven runs, in this process. *Recorder.request*: response and service time of an ok request. \
*Meter*: series by name, hold and settle, with it. *flip*: folding, in one series and in 300 series of 20 values each; \
`record_value` is the hdrhistogram package's, which we use as codec and oracle only."""


class _Sample:
    def __init__(self, series: RequestSeries) -> None:
        self.series = series
        self.asked_ns = self.sent_ns = 1
        self.first_byte_ns = 2
        self.done_ns = 1_500_000
        self.outcome = OK
        self.size_bytes = 100


def record_requests() -> None:
    recorder = Recorder()
    series = recorder.request_series("checkout", "login", "POST /login")
    request = recorder.request
    for done_ns in range(1_000_000, 1_000_000 + COUNT):
        request(series, 1, 2, done_ns, OK, 100)


def _meter() -> None:
    meter = Meter(Recorder())
    meter.begin("checkout", warmup=False, pool_limited=False)
    sample = _Sample(meter.ask("POST /login"))
    for _ in range(COUNT):
        meter.ask("POST /login")
        meter.hold(sample)
        meter.settle()


def _flips(series: int, values: int) -> list[float]:
    """Return the ns per value to fold `values` requests of each of `series` series. A request has two values."""
    drawn = np.random.default_rng(1).lognormal(16, 0.7, values).astype(np.int64).tolist()
    costs = []
    for _ in range(8):
        recorder = Recorder()
        for n in range(series):
            row = recorder.request_series("checkout", "login", f"GET /{n}")
            for ns in drawn:
                recorder.request(row, 0, 1, ns, OK, 0)
        began_ns = perf_counter_ns()
        recorder.flip(0, 1)
        costs.append((perf_counter_ns() - began_ns) / (2 * series * values))
    return costs[1:]


def _record_value() -> None:
    histogram = HdrHistogram(1, 3_600_000_000, 3)
    for us in range(1_000, 1_000 + COUNT // 10):
        histogram.record_value(us)


def measure() -> Section:
    values_ns = np.random.default_rng(1).lognormal(16, 0.7, COUNT).astype(np.int64)
    request = cost_ns(record_requests, COUNT)
    rows = [
        ["Recorder.request, a request", *spread(request, 0)],
        ["Meter request + hold + settle, a request", *spread(cost_ns(_meter, COUNT), 0)],
        ["flip, a value, one series", *spread(_flips(1, COUNT), 1)],
        ["flip, a value, 300 series × 20", *spread(_flips(300, 20), 0)],
        ["slots_of_ns, a value", *spread(cost_ns(lambda: slots_of_ns(values_ns), COUNT), 1)],
        ["Histogram.of_ns, a value", *spread(cost_ns(lambda: Histogram.of_ns(values_ns), COUNT), 1)],
        ["record_value of hdrhistogram, a value", *spread(cost_ns(_record_value, COUNT // 10), 0)],
    ]
    held = sorted(request)[len(request) // 2] <= BUDGET_NS
    verdict = f"Budget of Recorder.request 300 ns: {'held' if held else 'NOT HELD'}."
    return Section("Recording", HOW, ["", "ns: least", "median"], rows, verdict)
