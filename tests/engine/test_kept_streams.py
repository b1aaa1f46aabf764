"""A worker keeps the event lists of a share of streams, the same ones on any number of agents, within its limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from math import log2
from random import Random
from typing import Any

import pytest

from loadgen.clients.llm.settings import Llm
from loadgen.clients.llm_apis.apis import APIS
from loadgen.clients.llm_apis.stream_reading import StreamReading
from loadgen.engine.recording.kept_streams import KeepLimits, StreamKeeper
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_meter import StreamMeter
from loadgen.measure.conventions import CONVENTIONS
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.kept_stream import kept_share_of
from loadgen.measure.deltas.validate import check_delta
from loadgen.measure.streams import StreamTimes
from loadgen.units import NS_PER_MS

MS = NS_PER_MS
T0 = 1_000_000 * MS
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"a secret word"},"finish_reason":null}]}\n\n'
FIRST = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
LAST = (
    b'data: {"choices":[{"index":0,"delta":{"content":"."},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\ndata: [DONE]\n\n'
)


class Sample:
    """The reply to one request: what a meter needs of it."""

    def __init__(self, worker: Worker, reading: StreamReading, outcome: str, warmup: bool, wait_ns: int | None) -> None:
        self.series = worker.recorder.request_series("ask", None, "chat", warmup)
        self.asked_ns, self.sent_ns = T0, T0 + MS
        self.done_ns = self.first_byte_ns = reading.t_ns[-1] + MS
        self.outcome, self.size_bytes, self.trace = outcome, 10, "a" * 32
        self.reading, self.wait_ns, self.own_limits = reading, wait_ns, None

    def stream_times(self) -> StreamTimes:
        return self.reading.times(self.asked_ns, self.done_ns)

    def stream_events(self) -> Any:
        return self.reading.kept_events(is_stamped=True)

    def convention_figures(self) -> Iterable[Any]:
        return ()


class Worker:
    """One worker with a keeper."""

    def __init__(self, share: float = 0.1, seed: int = 3, limits: KeepLimits | None = None) -> None:
        self.recorder = Recorder()
        self.recorder.t0_ns = T0
        self.recorder.keeper = StreamKeeper(share, seed, limits)
        self.meter = StreamMeter(self.recorder)
        self._interval = self._series = 0

    def streams(
        self,
        arrivals: Iterable[int],
        *,
        ttft_ms: float = 100,
        chunks: int = 1,
        calls: int = 1,
        outcome: str = "ok",
        warmup: bool = False,
        wait_ns: int | None = 2 * MS,
    ) -> None:
        for n in arrivals:
            self.meter.begin("ask", warmup=warmup, pool_limited=False, n=n)
            for _ in range(calls):
                reading = StreamReading(APIS["chat"])
                reading.feed(FIRST, T0 + 50 * MS)
                for i in range(chunks):
                    reading.feed(CHUNK, T0 + round((ttft_ms + 10 * i) * MS))
                reading.feed(LAST, T0 + round((ttft_ms + 10 * chunks) * MS))
                self.meter.hold(Sample(self, reading, outcome, warmup, wait_ns))
                self.meter.settle()

    def delta(self) -> Delta:
        start, self._interval = self._interval, self._interval + 1
        found = self.recorder.flip(start * 1_000 * MS, self._interval * 1_000 * MS)
        check_delta(replace(found, agent="a", epoch=1), self._series)
        self._series += len(found.new_series)
        return found

    def kept(self) -> list[int]:
        return [one.n for one in self.delta().streams if one.why == "share"]


def test_a_kept_stream_has_the_times_of_its_request_and_the_figures_of_every_tool() -> None:
    worker = Worker(share=1.0)
    worker.streams([5], chunks=3)

    (stream,) = worker.delta().streams

    assert (stream.journey, stream.request, stream.outcome, stream.load, stream.n) == ("ask", "chat", "ok", 0, 5)
    assert (stream.why, stream.clock, stream.at_ns, stream.wait_ns, stream.send_ns) == (
        "share",
        "kernel",
        0,
        2 * MS,
        MS,
    )
    assert (stream.prompt_tokens, stream.output_tokens, stream.end_ns) == (7, 3, 131 * MS)
    assert (stream.kinds, stream.joined) == ("02222567", (4, 2))
    assert [t / MS for t in stream.t_ns] == [50, 100, 110, 120, 130, 130, 130, 130]
    reading = StreamReading(APIS["chat"])
    for ms, data in ((50, FIRST), (100, CHUNK), (110, CHUNK), (120, CHUNK), (130, LAST)):
        reading.feed(data, ms * MS)
    for convention in CONVENTIONS:
        assert stream.figures(convention) == reading.figures(convention, 0), convention


def test_no_text_of_an_answer_is_in_a_kept_stream() -> None:
    worker = Worker(share=1.0)
    worker.streams([5])

    assert "secret" not in repr(worker.delta().streams)


@pytest.mark.parametrize("agents", [1, 2, 3, 7])
def test_the_same_streams_are_kept_on_any_number_of_agents(agents: int) -> None:
    alone, workers = Worker(), [Worker() for _ in range(agents)]
    random = Random(agents)
    alone.streams(range(300))
    for n in range(300):
        random.choice(workers).streams([n])

    assert sorted(n for worker in workers for n in worker.kept()) == alone.kept()


def test_another_seed_or_load_keeps_other_streams_and_each_has_the_same_chance() -> None:
    keepers = [StreamKeeper(0.01, seed) for seed in range(20)]
    chosen = [{n for n in range(20_000) if keeper.hash(0, n) < keeper.below} for keeper in keepers]
    other_load = {n for n in range(20_000) if keepers[0].hash(1, n) < keepers[0].below}

    # Binomial with n p = 200: 4 standard deviations are 56.
    assert all(144 < len(one) < 256 for one in (*chosen, other_load))
    # Pairs share 2 of 20,000 by chance, and 12 in less than 1 of 10^5 cases.
    assert max(len(a & b) for a in (*chosen, other_load) for b in chosen if a is not b) < 12
    # The first half of a run has half of them: 3,990 expected, 4 standard deviations are 180.
    assert abs(sum(n < 10_000 for one in chosen for n in one) - sum(map(len, chosen)) / 2) < 180


def test_numbers_of_users_iterations_are_chosen_with_the_same_chance() -> None:
    """In a closed load, n is (user << 32) + the number of the user's iteration."""
    keeper = StreamKeeper(0.1, 7)

    chosen = [n for n in range(20_000) if keeper.hash(0, (n % 100 << 32) + n // 100) < keeper.below]

    assert 1_830 < len(chosen) < 2_170  # 4 standard deviations of a binomial are 170


def test_all_streams_of_an_iteration_are_kept_or_none() -> None:
    worker = Worker()
    worker.streams(range(100), calls=3)

    kept = worker.kept()

    assert kept
    assert all(kept.count(n) == 3 for n in kept)


def test_the_slowest_stream_of_each_interval_is_kept_besides() -> None:
    worker = Worker(share=1e-9)
    for slow in (3, 8):
        worker.streams(range(slow))
        worker.streams([100 + slow], ttft_ms=400)
        worker.streams(range(20, 25))

        assert [(one.n, one.why) for one in worker.delta().streams] == [(100 + slow, "slowest")]


def test_a_chosen_stream_that_is_the_slowest_is_kept_once() -> None:
    worker = Worker(share=1.0)
    worker.streams([1])
    worker.streams([2], ttft_ms=300)

    assert [(one.n, one.why) for one in worker.delta().streams] == [(1, "share"), (2, "share")]


def test_the_slowest_streams_of_a_long_run_are_spread_over_it_and_few() -> None:
    limits = KeepLimits(slowest=8)
    worker = Worker(share=1e-9, limits=limits)
    at = []
    for k in range(400):
        worker.streams([k])
        at += [one.n for one in worker.delta().streams]

    assert len(at) <= 8 * (1 + log2(400 / 8))
    assert at[:8] == list(range(8)), "one of each interval at first"
    assert all(later - earlier <= 64 for earlier, later in pairwise(at))


def test_the_last_slowest_stream_is_sent_at_the_end_of_the_run() -> None:
    worker = Worker(share=1e-9, limits=KeepLimits(slowest=1))
    sent = []
    for k in range(6):
        worker.streams([k], ttft_ms=100 + k)
        if k == 5:
            assert worker.recorder.keeper is not None
            worker.recorder.keeper.finish()
        sent += [one.n for one in worker.delta().streams]

    assert sent == [0, 2, 5]


def test_streams_of_the_warm_up_and_streams_without_a_token_are_never_the_slowest() -> None:
    worker = Worker(share=1e-9)
    worker.streams([1], ttft_ms=900, warmup=True)
    worker.streams([2], chunks=0, outcome="stream truncated", ttft_ms=100)
    worker.streams([3], ttft_ms=200)

    assert [one.n for one in worker.delta().streams] == [3]


def test_a_stream_that_failed_is_kept_with_its_outcome() -> None:
    worker = Worker(share=1.0)
    worker.streams([1], outcome="stream stalled", wait_ns=None)

    (stream,) = worker.delta().streams

    assert (stream.outcome, stream.wait_ns) == ("stream stalled", -1)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (KeepLimits(streams=5), [5, 5]),
        (KeepLimits(events=35), [5, 5]),  # 7 events each
        (KeepLimits(of_run=8), [8, 0]),
        (KeepLimits(events_of_run=63), [9, 0]),
    ],
)
def test_beyond_a_limit_streams_are_counted_and_said(limits: KeepLimits, kept: list[int]) -> None:
    worker = Worker(share=1.0, limits=limits)
    deltas = []
    for k in range(2):
        worker.streams(range(20 * k, 20 * k + 20), chunks=2)
        deltas.append(worker.delta())

    assert [sum(one.why == "share" for one in delta.streams) for delta in deltas] == kept
    assert [delta.streams_left_out for delta in deltas] == [20 - n for n in kept]
    assert "left out, because a limit was reached" in " ".join(worker.recorder.take_notes())


def test_a_stream_of_very_many_events_is_left_out() -> None:
    worker = Worker(share=1.0)
    worker.streams([1], chunks=20_001)
    worker.streams([2])

    delta = worker.delta()

    assert ([one.n for one in delta.streams], delta.streams_left_out) == ([2], 1)


def test_the_limits_of_all_workers_of_an_agent_fit_into_its_deltas() -> None:
    for of_agent in (1, 2, 16, 1_024):
        for workers in (of_agent, 10_000):
            one = KeepLimits.of_one(max(workers, of_agent), of_agent)

            assert one.streams * of_agent <= max(250, of_agent)
            assert one.events * of_agent <= 40_000
            assert one.of_run * of_agent <= 20_000
            assert one.slowest >= 4


def test_without_a_keeper_nothing_is_kept() -> None:
    worker = Worker()
    worker.recorder.keeper = None
    worker.streams(range(50))

    delta = worker.delta()

    assert (delta.streams, delta.streams_left_out) == ((), 0)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), True, "1 %", None])
def test_the_share_of_kept_streams_is_from_0_to_1(share: Any) -> None:
    (wrong,) = Llm(model="m", keep_streams=share).wrongs()

    assert wrong == (f"Llm: keep_streams={share!r} must be a share from 0 to 1", "write keep_streams=0.01")


def test_a_plan_keeps_one_percent_unless_it_says_otherwise() -> None:
    assert not list(Llm(model="m", keep_streams=0).wrongs())
    assert not list(Llm(model="m", keep_streams=1).wrongs())
    assert [kept_share_of(llm.as_json()) for llm in (Llm(), Llm(keep_streams=0), Llm(keep_streams=0.5))] == [
        0.01,
        0,
        0.5,
    ]
    assert kept_share_of(None) == 0
