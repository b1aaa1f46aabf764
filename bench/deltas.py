"""Create deltas of an agent with the real recorder, from random times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from loadgen.engine.recording.exemplars import kept_of_one
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.deltas.series_key import OK
from loadgen.units import NS_PER_S

__all__ = ["JOURNEY", "drawn_seconds"]

JOURNEY = "shop"
_HEALTH = Health(
    loop_lag_p50_us=80,
    loop_lag_p99_us=400,
    loop_lag_max_us=900,
    cpu_share=0.3,
    rss_bytes=70 << 20,
    fds=80,
    fd_limit=1024,
)


def drawn_seconds(*, names: int, requests: int, agents: int, count: int, seed: int = 0) -> Sequence[Delta]:
    """Return the deltas of `count` successive seconds of one of `agents` agents. The first one declares the series.

    An iteration has one step with each of the `names` requests once, and there are `requests` iterations a second. So
    a delta has 2 * `names` + 6 series. Times are log-normal around 9 ms. The number of exemplars is that of one agent
    in a fleet of this size.
    """
    recorder, chance = Recorder(max_exemplars=kept_of_one(agents)), np.random.default_rng(seed)
    rows = [recorder.request_series(JOURNEY, "browse", f"GET /{n}") for n in range(names)]
    step, journey = recorder.step_series(JOURNEY, "browse"), recorder.journey_series(JOURNEY)
    made = []
    for second in range(count):
        begin_ns = second * NS_PER_S
        counters = recorder.counters
        for n in range(requests):
            times = chance.lognormal(16, 0.7, names).astype(np.int64).tolist()
            for row, ns in zip(rows, times, strict=True):
                counters.requests_started += 1
                if recorder.request(row, begin_ns, begin_ns + 20_000, begin_ns + ns, OK, 100):
                    recorder.exemplars.saw(row, OK, begin_ns, ns, ns - 20_000, n, 0, "")
            took = sum(times)
            recorder.step(step, took, took, OK, False)
            counters.iterations_due += 1
            counters.iterations_started += 1
            recorder.iteration(journey, took, took, 0, 100_000, OK, False, begin_ns, n)
        made.append(replace(recorder.flip(begin_ns, begin_ns + NS_PER_S), health=_HEALTH))
    return made
