"""Deltas and Fins as a worker would send them, made without a worker."""

from __future__ import annotations

from dataclasses import replace

from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Counters, Delta, Health
from loadgen.measure.deltas.load_counts import Ending, LoadCounts
from loadgen.measure.deltas.series_key import OK
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.messages import Fin


class Recording:
    """What one agent measures: an interval at a time, `iterations` of one request each."""

    def __init__(self, agent: str, run_id: str = "run", epoch: int = 1, journey: str = "shop") -> None:
        self.agent, self.run_id, self.epoch, self.journey = agent, run_id, epoch, journey
        self.recorder = Recorder()
        self.deltas: list[Delta] = []
        self.recorded = 0

    def interval(
        self,
        iterations: int = 10,
        *,
        ms: float = 20,
        outcome: str = OK,
        unfit: str = "",
        open_ended: int = 0,
        pool_limited: int = 0,
        script_faults: int = 0,
    ) -> Delta:
        """One second: `open_ended` more iterations begin and do not end."""
        recorder, ns = self.recorder, round(ms * NS_PER_MS)
        counters = recorder.counters
        request = recorder.request_series(self.journey, None, "GET /")
        journey = recorder.journey_series(self.journey)
        counters.requests_started += iterations + open_ended
        counters.requests_pool_limited += pool_limited
        counters.iterations_due += iterations + open_ended
        counters.iterations_started += iterations + open_ended
        counters.script_faults += script_faults
        for n in range(iterations):
            recorder.request(request, 1, 2, ns + 1, OK if outcome == OK else outcome, 100)
            ended = "script KeyError" if n < script_faults else outcome
            recorder.iteration(journey, ns, ns, 0, 0, ended, censored=False)
        started = iterations + open_ended
        recorder.take_loads = lambda: (LoadCounts(0, started),) if started else ()
        k = len(self.deltas)
        health = Health(unfit=(unfit,) if unfit else ())
        delta = recorder.flip(k * NS_PER_S, (k + 1) * NS_PER_S, lambda _lag, _response: health)
        delta = replace(delta, agent=self.agent, epoch=self.epoch, run_id=self.run_id)
        self.deltas.append(delta)
        self.recorded += sum(s.n for s in delta.stats)
        return delta

    def fin(self, reason: str = "") -> Fin:
        totals = sum((delta.counters for delta in self.deltas), Counters())
        ending = Ending.DIED if reason else Ending.DONE
        return Fin(self.run_id, self.epoch, len(self.deltas) - 1, totals, self.recorded, 0, reason, ending)
