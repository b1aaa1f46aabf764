"""Deltas made by hand: an agent that interns its series and counts its epochs and seqs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from loadgen.measure.deltas.delta import Counters, Delta, Health, SeriesStats
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.histograms.histogram import SLOTS, slots_of_ns
from loadgen.units import NS_PER_S

Values = Mapping[SeriesKey, Sequence[int]]


def request_key(
    name: str = "GET /",
    outcome: str = OK,
    *,
    journey: str = "checkout",
    step: str | None = "browse",
    censored: bool = False,
    warmup: bool = False,
) -> SeriesKey:
    return SeriesKey("request", journey, step, name, outcome, "response", censored, warmup)


def journey_key(
    journey: str = "checkout", outcome: str = OK, *, censored: bool = False, warmup: bool = False
) -> SeriesKey:
    return SeriesKey("journey", journey, None, None, outcome, "response", censored, warmup)


class FakeAgent:
    """Makes well-formed deltas whose counters agree with their values."""

    def __init__(self, name: str, epoch: int = 1, interval_ns: int = NS_PER_S) -> None:
        self.name, self.epoch, self.interval_ns = name, epoch, interval_ns
        self.seq = 0
        self.ids: dict[SeriesKey, int] = {}

    def delta(self, values: Values, *, k: int | None = None, health: Health | None = None) -> Delta:
        """The next delta; for interval `k`, otherwise that of its seq. Values are ns."""
        new = [key for key, ns in values.items() if len(ns) and key not in self.ids]
        for key in new:
            self.ids[key] = len(self.ids)
        index, count, stats = [], [], []
        for key, ns in sorted(((k, v) for k, v in values.items() if len(v)), key=lambda item: self.ids[item[0]]):
            slots, counts = np.unique(slots_of_ns(np.array(ns, dtype=np.int64)), return_counts=True)
            index.append((slots + self.ids[key] * SLOTS).astype("<u4").tobytes())
            count.append(counts.astype("<u4").tobytes())
            stats.append(SeriesStats(self.ids[key], len(ns), sum(ns), min(ns), max(ns)))
        at = self.seq if k is None else k
        made = Delta(
            agent=self.name,
            epoch=self.epoch,
            seq=self.seq,
            start_ns=at * self.interval_ns,
            end_ns=(at + 1) * self.interval_ns,
            new_series=tuple(new),
            index=b"".join(index),
            count=b"".join(count),
            stats=tuple(stats),
            counters=counters_of(values),
            health=health or Health(),
            run_id="run",
        )
        self.seq += 1
        return made


def counters_of(values: Values) -> Counters:
    """What a recorder would have counted."""
    counters = Counters()
    for key, ns in values.items():
        if key.metric != "response":
            continue
        if key.kind == "request":
            counters.requests_started += len(ns)
            counters.requests_finished += len(ns)
            counters.requests_errors += len(ns) if key.outcome != OK else 0
        elif key.kind == "journey":
            counters.iterations_due += len(ns)
            match key.outcome:
                case "missed":
                    counters.iterations_missed += len(ns)
                case "cut off":
                    counters.iterations_started += len(ns)
                    counters.iterations_cut_off += len(ns)
                case _:
                    counters.iterations_started += len(ns)
                    counters.iterations_finished += len(ns)
                    counters.iterations_errors += len(ns) if key.outcome != OK else 0
    return counters
