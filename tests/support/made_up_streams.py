"""Made-up requests to AI models, recorded by real recorders and judged a second time by plain Python.

`recorded` sends them through recorder, watches and merge. `good_and_bad` and `values_of` judge the lists themselves,
without any code of `loadgen.measure.objectives`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from loadgen.clients.llm.own_limits import read_own_limits
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.slo_windows import Watches
from loadgen.engine.recording.stream_series import Goodput, goodputs_of
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import CUT_OFF
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective
from loadgen.measure.streams import CONTENT, USAGE, StreamTimes
from tests.support.llm_streams import stream_times

__all__ = ["Ask", "L", "Lost", "Made", "deltas_of", "good_and_bad", "made_up", "recorded", "values_of"]

L = 1_000_000
"""Length of an interval, ns. Values are whole µs below 2,048, which histograms keep exactly."""
T0 = 77_000_000
NAMES = ("chat", "summary")


@dataclass(frozen=True)
class Ask:
    """One request to a model. Times in µs from its call.

    reads: (time, tokens) of each read with tokens. wait_us: from when it was due to its call; None: no due time.
    own: limits of its own (`slo=`), in µs.
    """

    at_ns: int
    took_us: int
    reads: tuple[tuple[int, int], ...] = ()
    outcome: str = "ok"
    wait_us: int | None = None
    name: str = "chat"
    journey: str = "ask"
    own: tuple[tuple[str, int], ...] = ()

    @property
    def own_limits(self) -> Goodput | None:
        return read_own_limits({name: f"{us}us" for name, us in self.own}) if self.own else None

    @property
    def end_ns(self) -> int:
        return self.at_ns + self.took_us * 1_000

    @property
    def tokens(self) -> int:
        return sum(n for _, n in self.reads)

    @property
    def ttft(self) -> int | None:
        return self.reads[0][0] if self.reads else None

    @property
    def ttft_due(self) -> int | None:
        return None if self.ttft is None or self.wait_us is None else self.ttft + self.wait_us

    @property
    def icl(self) -> list[int]:
        return [b - a for (a, _), (b, _) in zip(self.reads, self.reads[1:], strict=False)]

    @property
    def itl(self) -> list[int]:
        later = self.reads[1:]
        return [gap // n for gap, (_, n) in zip(self.icl, later, strict=True) for _ in range(n)]

    @property
    def tpot(self) -> float | None:
        later = self.tokens - (self.reads[0][1] if self.reads else 0)
        return (self.reads[-1][0] - self.reads[0][0]) / later if later else None

    def times(self) -> StreamTimes:
        at = [self.at_ns + us * 1_000 for us, _ in self.reads]
        kinds, counts = bytearray([CONTENT] * len(at)), [n for _, n in self.reads]
        if self.outcome == "ok":  # the server's count comes at the end
            at, kinds, counts = [*at, self.end_ns], kinds + bytes([USAGE]), [*counts, self.tokens]
        return stream_times(at, kinds, counts, asked_ns=self.at_ns, closed_ns=self.end_ns, prompt_tokens=7)


@dataclass(frozen=True)
class Lost:
    """An iteration that was missed, or cut off."""

    due_ns: int
    outcome: str
    journey: str = "ask"


@dataclass(frozen=True)
class Made:
    asks: tuple[Ask, ...]
    lost: tuple[Lost, ...]
    intervals: int
    warmup_ns: int = 0

    @property
    def measured(self) -> list[Ask]:
        return [one for one in self.asks if one.at_ns >= self.warmup_ns]


def made_up(seed: int, *, warm: bool = True) -> Made:
    """A run that follows from the seed; two journeys ask models, and a third one does not."""
    draw, draw_own = Random(seed), Random(-seed - 1)
    intervals = draw.randint(2, 6)
    outcomes = draw.choice(
        (("ok",), ("ok",) * 6 + ("timeout", "http 503", "stream truncated"), ("http 503", "timeout"))
    )
    asks, lost = [], []
    for _ in range(draw.choice((0, 3, 30, 60))):
        outcome = draw.choice(outcomes)
        reads: list[tuple[int, int]] = []
        us, per_token = draw.randint(1, 900), draw.randint(1, 120)
        for _ in range(draw.randint(1, 6) if outcome == "ok" else draw.randint(0, 3)):
            n = draw.choice((1, 1, 1, 2, 4))
            us += n * per_token if reads else 0  # so that tpot is whole µs, which histograms keep exactly
            reads.append((us, n))
        took = max(us, draw.randint(1, 900)) if outcome != "ok" else us
        wait = draw.choice((None, 0, draw.randint(0, 400)))
        at = draw.randrange(intervals * L)
        name, journey = draw.choice(NAMES), draw.choice(("ask", "ask", "support"))
        own = draw_own.choice(((), (), (("ttft", 700),), (("tpot", 60), ("e2e", 900)), (("ttft_due", 400),)))
        asks.append(Ask(at, took, tuple(reads), outcome, wait, name, journey, own))
    for _ in range(draw.choice((0, 0, 5))):
        journey = draw.choice(("ask", "support", "browse"))
        lost.append(Lost(draw.randrange(intervals * L), draw.choice(("missed", CUT_OFF)), journey))
    warmup_ns = draw.choice((0, L)) if warm else 0
    return Made(tuple(asks), tuple(lost), intervals, warmup_ns)


# -- through the recorder --------------------------------------------------------------------------


def deltas_of(made: Made, objectives: Sequence[Objective], agents: int = 1) -> Iterator[tuple[str, Delta]]:
    """(region, delta) of each agent and interval; agent i gets each event whose number modulo `agents` is i."""
    for k, parts in enumerate(zip(*(_agent(made, objectives, i, agents) for i in range(agents)), strict=True)):
        for i, delta in enumerate(parts):
            yield "eu", replace(delta, agent=f"agent-{i}", epoch=1, seq=k)


def _agent(made: Made, objectives: Sequence[Objective], index: int, agents: int) -> Iterator[Delta]:
    watches = Watches(objectives, ["ask", "support", "browse"], L, "eu", None, lambda: 0)
    recorder = Recorder(watches=watches)
    recorder.goodputs = goodputs_of(objectives)
    recorder.t0_ns = watches.t0_ns = T0
    recorder.warmup_ns = made.warmup_ns
    asks, lost = made.asks[index::agents], made.lost[index::agents]
    running = {}
    last = max([made.intervals, *(one.end_ns // L + 1 for one in made.asks)])
    for k in range(last):
        for one in asks:
            if one.at_ns // L == k:
                series = recorder.request_series(one.journey, None, one.name, warmup=one.at_ns < made.warmup_ns)
                wait = None if one.wait_us is None else one.wait_us * 1_000
                streams = recorder.streams_of(series)
                running[one] = streams, streams.begun(T0 + one.at_ns, wait, _token_test(one), one.own_limits), wait
        for one in asks:
            if one.end_ns // L == k:
                streams, run, wait = running.pop(one)
                if run is not None:
                    run.over(streams)
                streams.ended(one.times(), T0 + one.at_ns, one.took_us * 1_000, one.outcome, wait, one.own_limits)
        for gone in lost:
            if gone.due_ns // L == k:
                journey = recorder.journey_series(gone.journey, warmup=gone.due_ns < made.warmup_ns)
                if gone.outcome == CUT_OFF:
                    recorder.cut_off(journey, 5, 5, 0, 0, T0 + gone.due_ns)
                else:
                    recorder.missed(journey, 5, T0 + gone.due_ns)
        yield recorder.flip(k * L, (k + 1) * L)


def _token_test(one: Ask) -> Callable[[], bool]:
    return lambda: bool(one.reads)


def recorded(made: Made, objectives: Sequence[Objective], agents: int = 1) -> Merge:
    merge = Merge(L)
    for region, delta in deltas_of(made, objectives, agents):
        merge.accept(region, delta)
    return merge


# -- by plain Python -------------------------------------------------------------------------------


def values_of(metric: str, asks: Iterable[Ask]) -> list[tuple[float, str, bool]]:
    """(value in µs or tokens, outcome, whether it is only a bound) of each event with this metric."""
    found: list[tuple[float, str, bool]] = []
    for one in asks:
        match metric:
            case "ttft":
                found.append((one.took_us if one.ttft is None else one.ttft, one.outcome, one.ttft is None))
            case "ttft_due":
                if one.wait_us is not None:
                    first = one.took_us if one.ttft is None else one.ttft
                    found.append((first + one.wait_us, one.outcome, one.ttft is None))
            case "ttfo":
                if one.ttft is not None:
                    found.append((one.ttft, one.outcome, False))
            case "itl" | "icl":
                found += [(us, one.outcome, False) for us in getattr(one, metric)]
            case "stall":
                if one.icl:
                    found.append((max(one.icl), one.outcome, one.outcome == "timeout"))
            case "tpot":
                if one.tpot is not None:
                    found.append((round(one.tpot * 1_000) / 1_000, one.outcome, False))
            case "output_tokens":
                found.append((one.tokens, one.outcome, False))
    return found


def good_and_bad(objective: Objective, made: Made, journey: str) -> tuple[int, int]:
    """(good, all) of a percentile below a limit, or of a goodput, for one journey."""
    asks = [one for one in made.measured if one.journey == journey and objective.request in (None, one.name)]
    if objective.kind == "goodput":
        lost = [one for one in made.lost if one.journey == journey and one.due_ns >= made.warmup_ns]
        planned = dict(objective.limits)
        own = [{name: us * 1_000 for name, us in one.own} for one in asks]
        good = sum(one.outcome == "ok" and _keeps(its or planned, one) for one, its in zip(asks, own, strict=True))
        return good, len(asks) + len(lost)
    values = values_of(objective.metric, asks)
    good = sum(outcome == "ok" and not is_bound and us * 1_000 <= objective.limit for us, outcome, is_bound in values)
    ok = sum(outcome == "ok" for _, outcome, _ in values)
    if objective.metric in ("itl", "icl", "ttft_due"):
        return good, len(values)
    return good, ok + sum(one.outcome != "ok" for one in asks)


def _keeps(limits: dict[str, int], one: Ask) -> bool:
    wait = one.wait_us or 0
    figures = {
        "ttft": (one.ttft or 0) + wait,
        "ttft_due": one.ttft_due,
        "tpot": one.tpot,
        "e2e": one.reads[-1][0] + wait if one.reads else None,
    }
    return all((us := figures[name]) is None or us * 1_000 <= limit for name, limit in limits.items())
