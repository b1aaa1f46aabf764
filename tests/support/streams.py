"""A run folder of requests to a model that nobody asked: recorded by a real recorder from made-up streams.

Each second, each of two agents asks `chat` five times and, from `failing_from` on, once more with a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_series import Goodput
from loadgen.measure.convention_metrics import RecordedConvention, good_metric, good_ns, values_ns
from loadgen.measure.conventions import Event, figures
from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.deltas.series_key import OK, TIMEOUT
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.summary import AgentFacts, RunFacts, build
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.measure.streams import KIND_NUMBERS, StreamTimes
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire import codec
from tests.support.llm_streams import stream_times
from tests.support.past_runs import AGENTS, manifest_of, spec_of

RUN_ID = "20261128-120000-chat-0001"


@dataclass(frozen=True)
class Stream:
    """One made-up answer: times of its reads after the call, in ms, each with one token; the usage; its outcome."""

    reads_ms: tuple[float, ...]
    prompt: int = 64
    cached: int = 16
    outcome: str = OK
    took_ms: float = 0.0
    wait_ms: float | None = 2.0

    @property
    def end_ns(self) -> int:
        return round(max(self.took_ms, *self.reads_ms, 1.0) * NS_PER_MS)

    @property
    def events(self) -> list[Event]:
        """Role, a token a read, finish, usage: the last two with the last read."""
        if not self.reads_ms:
            return []
        role = round((self.reads_ms[0] - 1) * NS_PER_MS)
        tokens: list[Event] = [(round(ms * NS_PER_MS), "content", 1) for ms in self.reads_ms]
        end: list[Event] = [(self.end_ns, "finish", -1), (self.end_ns, "usage", len(self.reads_ms))]
        end = end if self.outcome == OK else []
        return [(role, "role", -1), *tokens, *end]

    @property
    def times(self) -> StreamTimes:
        t_ns, kinds, tokens = zip(*self.events, strict=True) if self.events else ((), (), ())
        return stream_times(
            t_ns,
            bytearray(KIND_NUMBERS[kind] for kind in kinds),
            tokens,
            closed_ns=self.end_ns,
            prompt_tokens=self.prompt if self.outcome == OK else -1,
            cached_tokens=self.cached if self.outcome == OK else -1,
        )


def answer(k: int, n: int) -> Stream:
    """The n-th answer of second k: the first token after 100 to 180 ms, and 20 tokens about 10 ms apart."""
    first = 100 + 20 * n + k
    return Stream(tuple(first + 10 * i + (i * 7 + n) % 3 for i in range(20)))


BROKEN = Stream((120.0, 130.0, 145.0), outcome="stream truncated", took_ms=150)
LATE = Stream((), outcome=TIMEOUT, took_ms=900)


def recorded(
    seconds: int = 12,
    failing_from: int = 8,
    goodputs: tuple[Goodput, ...] = (),
    conventions: tuple[RecordedConvention, ...] = (),
    exported: Mapping[RecordedConvention, Mapping[str, int]] | None = None,
) -> list[tuple[str, Delta]]:
    """The (region, delta) pairs of a made-up run, with the figures of these conventions besides our own.

    exported: limits in ns by which requests are good for each of these conventions.
    """
    found = []
    for seq, (agent, region) in enumerate(AGENTS.items()):
        recorder = Recorder()
        recorder.goodputs = goodputs
        for k in range(seconds):
            series = recorder.request_series("ask", None, "chat")
            journey = recorder.journey_series("ask")
            streams = [answer(k, n) for n in range(5)] + ([BROKEN, LATE] if k >= failing_from else [])
            for one in streams:
                recorder.counters.requests_started += 1
                recorder.counters.iterations_due += 1
                recorder.counters.iterations_started += 1
                asked = k * NS_PER_S + 1
                recorder.request(series, asked, asked, asked + one.end_ns, one.outcome, 100)
                recorder.streams_of(series).ended(
                    one.times,
                    asked,
                    one.end_ns,
                    one.outcome,
                    None if one.wait_ms is None else round(one.wait_ms * NS_PER_MS),
                )
                for name in conventions if one.outcome == OK else ():
                    for metric, values in values_ns(name, figures(one.events, name)):
                        recorder.trend_series(metric).ok[0].extend(values)
                    if exported:
                        good = good_ns(name, figures(one.events, name), exported[name])
                        recorder.trend_series(good_metric(name)).ok[0].append(good)
                is_late = one.outcome == TIMEOUT
                recorder.iteration(journey, one.end_ns, one.end_ns, 0, 0, one.outcome, is_late)
            delta = recorder.flip(k * NS_PER_S, (k + 1) * NS_PER_S, lambda *_: Health(users=5, in_flight=1))
            found.append((k, seq, region, replace(delta, agent=agent, epoch=1, run_id=RUN_ID)))
    return [(region, delta) for _, _, region, delta in sorted(found, key=lambda one: one[:2])]


def merged(seconds: int = 12, **more: Any) -> Merge:
    """The same run, merged."""
    merge = Merge(NS_PER_S)
    for region, delta in recorded(seconds, **more):
        merge.accept(region, delta)
    return merge


def stream_run(runs_dir: Path, seconds: int = 12, *, facts: Mapping[str, Any] | None = None, **more: Any) -> Path:
    """The folder of this run, sealed."""
    deltas = recorded(seconds, **more)
    merge = Merge(NS_PER_S)
    folder = RunDir.create(runs_dir, RUN_ID)
    folder.write_manifest(manifest_of(RUN_ID, "chat.py", spec_of(seconds, 10)))
    for region, delta in deltas:
        merge.accept(region, delta)
        folder.append(codec.encode(delta))
    told = RunFacts(
        run_id=RUN_ID,
        scenario="chat.py",
        plan="plan",
        placement="embedded",
        started_at=datetime(2026, 11, 28, 12, tzinfo=UTC),
        duration_s=seconds + 0.5,
        result="passed",
        exit_code=0,
        measured_s=float(seconds),
        agents=tuple(AgentFacts(name, region, complete=True) for name, region in AGENTS.items()),
    )
    folder.seal(build(replace(told, **(facts or {})), merge))
    folder.sync()
    folder.close()
    return folder.path
