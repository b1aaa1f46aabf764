"""A run folder of calls with messages that nobody made: recorded by a real recorder from made-up times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from loadgen.clients.ws_client.counts import WsCounts
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.summary import AgentFacts, RunFacts, build
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire import codec
from tests.support.past_runs import AGENTS, manifest_of, spec_of

__all__ = ["AGES_MS", "ANSWERS_MS", "FIRST_MS", "GAPS_MS", "WATCH", "message_run"]

RUN_ID = "20261129-120000-cart-0001"
WATCH = "shop.v1.Cart/Watch"
FIRST_MS = [20.0 + n for n in range(10)]
"""One a second, in each agent."""
GAPS_MS = [10.0, 11.0, 12.0, 13.0]
"""Of each call, which so has 5 messages."""
ANSWERS_MS = [5.0]
AGES_MS = [3.0, 0.0]
"""Of a run with stamps; the second message has one that is later than its arrival."""


def message_run(runs_dir: Path, *, has_stamps: bool = False) -> Path:
    """The folder of a run of 10 s, sealed: each agent watches a cart once a second, and looks it up once."""
    merge = Merge(NS_PER_S)
    folder = RunDir.create(runs_dir, RUN_ID)
    folder.write_manifest(manifest_of(RUN_ID, "cart.py", spec_of(10, 10)))
    for agent, region in AGENTS.items():
        recorder = Recorder()
        counts = WsCounts.of(recorder) if has_stamps else None
        for k, first in enumerate(FIRST_MS):
            watch, get = (recorder.request_series("shop", None, name) for name in (WATCH, "shop.v1.Cart/Get"))
            asked = k * NS_PER_S + 1
            watch.phase("first_message", round(first * NS_PER_MS))
            for gap in GAPS_MS:
                watch.phase("message_gap", round(gap * NS_PER_MS))
            for ms in ANSWERS_MS:
                watch.phase("answer", round(ms * NS_PER_MS))
            if counts is not None:
                for ms in AGES_MS:
                    watch.phase("message_age", round(ms * NS_PER_MS))
                counts.early_stamps.add()
            for series in (watch, get):
                recorder.counters.requests_started += 1
                recorder.request(series, asked, asked, asked + 80 * NS_PER_MS, OK if k else "grpc aborted", 100)
            recorder.counters.iterations_due += 1
            recorder.counters.iterations_started += 1
            recorder.iteration(recorder.journey_series("shop"), 90 * NS_PER_MS, 90 * NS_PER_MS, 0, 0, OK, False)
            made = recorder.flip(k * NS_PER_S, (k + 1) * NS_PER_S, lambda *_: Health(users=5, in_flight=1))
            delta = replace(made, agent=agent, epoch=1, run_id=RUN_ID)
            merge.accept(region, delta)
            folder.append(codec.encode(delta))
    facts = RunFacts(
        run_id=RUN_ID,
        scenario="cart.py",
        plan="plan",
        placement="embedded",
        started_at=datetime(2026, 11, 29, 12, tzinfo=UTC),
        duration_s=10.5,
        result="passed",
        exit_code=0,
        measured_s=10.0,
        agents=tuple(AgentFacts(name, region, complete=True) for name, region in AGENTS.items()),
    )
    folder.seal(build(facts, merge))
    folder.sync()
    folder.close()
    return folder.path
