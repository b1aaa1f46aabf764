"""Requests to AI models that still run, as objectives over windows see them: overdue, undecided, cancelled."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from loadgen import goodput, mean, p
from loadgen.clients.llm.own_limits import read_own_limits
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.slo_windows import Watches
from loadgen.engine.recording.stream_series import StreamSeries, goodputs_of
from loadgen.engine.recording.tagging import Tagging, TagSpec
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import Tags
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.measure.streams import CONTENT, StreamTimes
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent
from tests.support.llm_streams import stream_times

S, MS = NS_PER_S, NS_PER_MS
T0 = 7_000 * S


class Model:
    """One worker that asks a model, with a clock that stands at `now_ns`."""

    def __init__(self, *slos: Slo, tags: tuple[TagSpec, ...] = ()) -> None:
        self.objectives = [one.objective for one in slos if one.objective is not None]
        assert len(self.objectives) == len(slos), [one.faults for one in slos]
        self.now_ns = T0
        self.watches = Watches(self.objectives, ["ask"], S, "eu", None, lambda: self.now_ns, tags=tags)
        self.recorder = Recorder(watches=self.watches, tagging=Tagging(tags))
        self.recorder.goodputs = goodputs_of(self.objectives)
        self.watches.t0_ns = T0
        self.has_token = False

    def streams(self, tags: Tags = ()) -> StreamSeries:
        return self.recorder.streams_of(self.recorder.request_series("ask", None, "chat", tags=tags))

    def counts(self, at_ns: int) -> tuple[DueCounts, ...]:
        self.now_ns = T0 + at_ns
        return self.watches.take(self.now_ns)


def times(ttft_ns: int) -> StreamTimes:
    return stream_times([ttft_ns, ttft_ns + 5], bytes([CONTENT] * 2), [1, 1])


TTFT = p(95, metric="ttft", window="30s") < "500ms"
DUE = p(95, metric="ttft_due", window="30s") < "500ms"
GOOD = goodput(ttft="500ms", tpot="50ms", window="30s") > "95%"


def test_a_stream_without_a_token_that_is_older_than_the_limit_is_bad_now() -> None:
    model = Model(TTFT, GOOD, p(95, metric="tpot", window="30s") < "50ms")
    running = model.streams().begun(T0, None, lambda: model.has_token)
    assert running is not None
    assert model.counts(500 * MS) == tuple(DueCounts(i, "ask", 0, undecided=1) for i in range(3))
    assert model.counts(501 * MS) == (
        DueCounts(0, "ask", 0, overdue=1),
        DueCounts(1, "ask", 0, overdue=1),
        DueCounts(2, "ask", 0, undecided=1),
    )
    model.has_token = True  # a long answer is not bad because of its length
    assert model.counts(20 * S) == tuple(DueCounts(i, "ask", 0, undecided=1) for i in range(3))
    running.over(model.streams())
    model.streams().ended(times(600 * MS), T0, 20 * S, "ok")
    assert model.counts(21 * S) == (
        DueCounts(0, "ask", 0, bad=1),
        DueCounts(1, "ask", 0, bad=1),
        DueCounts(2, "ask", 0, good=1),
    )
    assert model.counts(22 * S) == ()


def test_ages_count_from_when_a_request_was_due_for_ttft_due_and_goodput() -> None:
    model = Model(TTFT, DUE, GOOD)
    assert model.streams().begun(T0, 300 * MS, lambda: False) is not None
    assert model.counts(201 * MS) == (
        DueCounts(0, "ask", 0, undecided=1),
        DueCounts(1, "ask", 0, overdue=1),
        DueCounts(2, "ask", 0, overdue=1),
    )


def test_a_request_without_a_due_time_is_no_event_of_ttft_due() -> None:
    model = Model(DUE)
    assert model.streams().begun(T0, None, lambda: False) is not None
    assert model.counts(9 * S) == ()
    model.streams().ended(times(S), T0, 2 * S, "ok")
    assert model.counts(9 * S) == ()


def test_a_limit_of_the_last_token_shows_a_stream_without_any() -> None:
    model = Model(goodput(e2e="2s", tpot="50ms", window="30s") > "95%")
    assert model.streams().begun(T0, None, lambda: False) is not None
    assert model.counts(2 * S) == (DueCounts(0, "ask", 0, undecided=1),)
    assert model.counts(2 * S + 1) == (DueCounts(0, "ask", 0, overdue=1),)


@pytest.mark.parametrize(
    ("own", "wait_ns", "overdue_from_ns"),
    [
        ({"ttft": "2s"}, None, 2 * S),
        ({"ttft": "100ms"}, None, 100 * MS),
        ({"ttft": "2s", "e2e": "3s"}, 300 * MS, 1_700 * MS),
        ({"tpot": "10ms"}, None, None),
    ],
)
def test_a_running_request_is_overdue_by_a_limit_of_its_own(
    own: dict[str, str], wait_ns: int | None, overdue_from_ns: int | None
) -> None:
    model, limits = Model(TTFT, GOOD), read_own_limits(own)
    running = model.streams().begun(T0, wait_ns, lambda: model.has_token, limits)
    assert running is not None
    last = overdue_from_ns or 50 * S
    assert model.counts(last)[1] == DueCounts(1, "ask", 0, undecided=1)
    if overdue_from_ns is not None:
        assert model.counts(last + 1)[1] == DueCounts(1, "ask", 0, overdue=1)
    model.has_token = True
    assert model.counts(50 * S)[1] == DueCounts(1, "ask", 0, undecided=1)
    running.over(model.streams((("engine", "new"),)))
    model.streams((("engine", "new"),)).ended(times(90 * MS), T0, 50 * S, "ok", wait_ns, limits)
    assert model.counts(51 * S)[1] in (DueCounts(1, "ask", 0, good=1), DueCounts(1, "ask", 0, bad=1))
    assert model.counts(52 * S) == ()


@pytest.mark.parametrize(("after_ns", "bad"), [(400 * MS, 0), (600 * MS, 1)])
def test_a_cancelled_stream_is_bad_for_ttft_if_it_was_overdue_and_goodput_counts_its_iteration(
    after_ns: int, bad: int
) -> None:
    model = Model(TTFT, GOOD)
    running = model.streams().begun(T0, None, lambda: model.has_token)
    assert running is not None
    model.now_ns = T0 + after_ns
    running.gone()
    assert model.counts(2 * S) == ((DueCounts(0, "ask", 0, bad=1),) if bad else ())
    model.recorder.cut_off(model.recorder.journey_series("ask"), S, S, 0, 0, T0)
    assert model.counts(3 * S) == (DueCounts(1, "ask", 0, bad=1, total=1),)


def test_a_cancelled_stream_with_a_token_does_not_count() -> None:
    model = Model(TTFT, GOOD)
    running = model.streams().begun(T0, None, lambda: True)
    assert running is not None
    model.now_ns = T0 + 9 * S
    running.gone()
    assert model.counts(9 * S) == ()


def test_a_request_that_gets_a_tag_from_its_response_is_undecided_until_then_and_counted_once() -> None:
    slo = p(95, metric="ttft", window="30s", tags={"engine": "new"}) < "500ms"
    model = Model(slo, tags=(TagSpec(name="engine", header="x-engine", most=5),))
    running = model.streams().begun(T0, None, lambda: False)
    assert running is not None
    assert model.counts(9 * S) == (DueCounts(0, "ask", 0, undecided=1),)
    tagged = model.streams((("engine", "new"),))
    running.over(tagged)
    tagged.ended(times(600 * MS), T0, S, "ok")
    assert model.counts(10 * S) == (DueCounts(0, "ask", 0, bad=1),)
    assert model.counts(11 * S) == ()


def test_plans_without_such_objectives_watch_nothing() -> None:
    model = Model(p(95, window="30s") < "1s", p(95, metric="ttft") < "1s", goodput(ttft="1s") > "9%")
    assert not model.streams().is_watched
    assert model.streams().begun(T0, None, lambda: False) is None


def test_a_stream_metric_is_no_objective_of_the_request_itself() -> None:
    model = Model(TTFT, p(95, request="chat", window="30s") < "1s")
    series = model.recorder.request_series("ask", None, "chat")
    assert series.watch is not None
    series.watch.ended(T0, 2 * S, "ok")
    assert model.counts(3 * S) == (DueCounts(1, "ask", 0, bad=1),)


# -- what the controller makes of it ---------------------------------------------------------------


def judged(slo: Slo, *counts: DueCounts, is_over: bool = False) -> tuple[str, int]:
    assert slo.objective is not None
    objective: Objective = msgspec.structs.replace(slo.objective, window_ns=S)
    merge = Merge()
    merge.accept("eu", replace(FakeAgent("a").delta({}), due=counts))
    (result,) = evaluate(objective, merge, index=0, end_ns=S, is_over=is_over)
    return result.verdict, result.count


def test_tokens_to_come_of_a_running_stream_keep_a_window_from_breaking() -> None:
    slo = p(90, metric="itl", window="1s") < "50ms"
    ended = DueCounts(0, "ask", 0, good=50, bad=50)
    assert judged(slo, ended)[0] == "failed"
    assert judged(slo, replace(ended, undecided=1)) == ("passed", 100)  # so far
    of_mean, gaps = mean(metric="itl", window="1s") < "50ms", DueCounts(0, "ask", 0, good=100, total=9_000_000)
    assert judged(of_mean, gaps)[0] == "failed"
    assert judged(of_mean, replace(gaps, undecided=1))[0] == "inconclusive"


def test_lost_iterations_of_a_journey_that_never_asked_a_model_are_not_offered() -> None:
    slo = goodput(ttft="1s", window="1s") > "50%"
    assert judged(slo, DueCounts(0, "browse", 0, bad=9, total=9)) == ("inconclusive", 0)
    assert judged(slo, DueCounts(0, "ask", 0, good=9, bad=11, total=9)) == ("failed", 20)
