"""Each metric of streams has its own verdict; objectives on an invalid one are inconclusive, with exit code 4."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from loadgen import goodput
from loadgen.errors import ExitCode
from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.run_fitness import Fitness
from loadgen.measure.deltas.series_key import GOODPUT_TAG, OWN_LIMITS_TAG, SeriesKey
from loadgen.measure.deltas.stream_health import MetricValidity, StreamHealth, in_time, of_workers
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, SloResult
from loadgen.measure.results.stream_figures import clock_notes
from loadgen_controller.core.events import End, Reason
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging import verdict as verdicts
from loadgen_controller.judging.stream_validity import held_back, metrics_of_own_limits, misled, stream_validity
from tests.controller.test_verdict import facts, merged, recordings
from tests.support.deltas import FakeAgent

ASSIGNMENT = Assignment(("eu-1", "us-1"), ("eu", "us"), (3.0, 1.0))


def of(seconds: int, *, ttft: int = 0, itl: int = 0, tpot: int = 0, streams: int = 800, kernel: bool = True) -> Fitness:
    """Seconds of which the last ones were unfit; the fit ones had 300 streams."""
    fitness = Fitness()
    for k in range(seconds):
        left = seconds - k
        unfit = left <= ttft, left <= itl, left <= tpot
        health = StreamHealth(
            unfit_ttft=int(unfit[0]),
            unfit_itl=int(unfit[1]),
            unfit_tpot=int(unfit[2]),
            streams=streams if any(unfit) else 300,
            kernel_reads=100 if kernel else 0,
            loop_reads=0 if kernel else 100,
            events=100,
            read_lag_p99_us=31_000 if any(unfit) else 200,
        )
        fitness.add(Health(streams=health))
    return fitness


def judged(**fitness: Fitness) -> dict[str, MetricValidity]:
    found = {name.replace("_", "-"): one for name, one in fitness.items()}
    return stream_validity(ASSIGNMENT, cast("Merge", SimpleNamespace(fitness=found, worker_fitness={})))


def test_a_run_without_streams_has_no_verdicts() -> None:
    assert judged(eu_1=Fitness(intervals=10), us_1=Fitness(intervals=10)) == {}


@pytest.mark.parametrize(
    ("unfit", "verdict"), [(0, "valid"), (2, "valid"), (3, "suspect"), (8, "suspect"), (9, "invalid")]
)
def test_the_share_of_unfit_seconds_decides_for_each_metric_alone(unfit: int, verdict: str) -> None:
    found = judged(eu_1=of(40, itl=unfit), us_1=of(40, itl=unfit))

    assert {found[name].verdict for name in ("itl", "icl", "stall")} == {verdict}
    assert {found[name].verdict for name in ("ttft", "ttft_due", "ttfo", "tpot")} == {"valid"}
    assert (found["itl"].unfit_s, found["itl"].seconds) == (2 * unfit, 80)


def test_an_agent_counts_by_its_share_of_the_load() -> None:
    assert judged(eu_1=of(40), us_1=of(40, ttft=40))["ttft"].verdict == "invalid"
    assert judged(eu_1=of(40), us_1=of(40, ttft=20))["ttft"].verdict == "suspect"


def test_one_second_may_be_chance() -> None:
    assert judged(eu_1=of(3, itl=1), us_1=of(3))["itl"].verdict == "valid"


def test_the_reason_has_figures_and_the_advice_the_streams_that_were_fit() -> None:
    one = judged(eu_1=of(40, itl=20), us_1=of(40))["itl"]

    assert one.reason == (
        "itl cannot be judged: workers read streams too late for it in 37.5 % of the seconds; agent eu-1 in 20 of 40"
        " seconds, with up to 800 streams and a read lag p99 of up to 31.0 ms"
    )
    assert one.advice == (
        "one core read up to 300 streams in time: use more workers on free cores, or more agents,"
        " so that each core has fewer"
    )


def test_the_reason_for_an_invalid_ttft_includes_late_requests() -> None:
    one = judged(eu_1=of(40, ttft=40), us_1=of(40, ttft=40))["ttft"]
    assert one.reason.startswith(
        "ttft cannot be judged: workers sent requests or read streams too late for it in 100 % of the seconds; "
    )


def test_if_as_many_streams_were_fit_in_other_seconds_the_advice_is_not_to_have_fewer() -> None:
    one = judged(eu_1=of(40, itl=20, streams=300), us_1=of(40))["itl"]
    expected = "in other seconds, as many streams were read in time: close other programs or use another machine"
    assert one.advice == expected


def test_without_a_fit_second_the_advice_is_fewer_streams() -> None:
    one = judged(eu_1=of(40, itl=40), us_1=of(40, itl=40))["itl"]
    assert one.advice == (
        "workers were too late in every second with streams: use a machine with nothing else on it, or fewer streams"
    )


def objective(metric: str, text: str) -> Objective:
    return Objective(kind="percentile", text=text, limit=80e6, q=99, metric=metric)  # type: ignore[arg-type]


def result(text: str) -> SloResult:
    return SloResult(objective=text, journey="ask", observed=20.0, unit="ms", count=100, good=100, verdict="passed")


def test_an_objective_on_an_invalid_metric_is_inconclusive_and_others_keep_their_verdicts() -> None:
    objectives = [objective("itl", "p(99, metric=itl) < 80ms"), objective("ttft", "p(99, metric=ttft) < 80ms")]
    validity = judged(eu_1=of(40, itl=40), us_1=of(40, itl=40))

    results, sentences = held_back([result(one.text) for one in objectives], objectives, validity)

    assert [one.verdict for one in results] == ["inconclusive", "passed"]
    assert results[0].reason == validity["itl"].reason
    assert len(sentences) == 1
    assert sentences[0].startswith("SLO p(99, metric=itl) < 80ms of ask is inconclusive: itl cannot be judged")


def test_metrics_of_limits_that_requests_have_of_their_own_decide_goodput_too() -> None:
    good = goodput(ttft="1s") > "95%"
    assert good.objective is not None
    validity = judged(eu_1=of(40, itl=40, tpot=40), us_1=of(40, itl=40, tpot=40))

    for own, verdict in (((), "passed"), (("ttft<=5ms,tpot<=9ms",), "inconclusive"), (("(other)",), "inconclusive")):
        key = SeriesKey("goodput", "ask", None, "chat", "ok", "value", tags=((GOODPUT_TAG, "ttft<=1000ms"),))
        merge = Merge()
        tagged = {replace(key, tags=(*key.tags, (OWN_LIMITS_TAG, text))): [1_000] for text in own}
        merge.accept("eu", FakeAgent("a").delta({key: [1_000], **tagged}))
        metrics = metrics_of_own_limits(merge)
        results, _ = held_back([result(good.objective.text)], [good.objective], validity, metrics)
        assert results[0].verdict == verdict, metrics
    assert metrics == ("ttft", "ttft_due", "ttfo", "tpot", "tpot", "stall", "e2e")


def test_an_objective_on_a_suspect_metric_keeps_its_verdict() -> None:
    one = objective("itl", "p(99, metric=itl) < 80ms")
    validity = judged(eu_1=of(40, itl=4), us_1=of(40, itl=4))

    results, sentences = held_back([result(one.text)], [one], validity)

    assert (validity["itl"].verdict, results[0].verdict, sentences) == ("suspect", "passed", ())


def test_a_run_with_an_objective_on_an_invalid_metric_has_the_exit_code_of_an_invalid_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = recordings()
    given = facts(found, End(Reason.FINISHED, ""))
    judged_before = verdicts.judge(given, merged(found))
    invalid = {
        "response": MetricValidity("response", "invalid", 40, 40, "it cannot be judged: it was late", "use more")
    }
    monkeypatch.setattr(verdicts, "stream_validity", lambda assignment, merge: invalid)

    after = verdicts.judge(given, merged(found))

    assert (judged_before.exit_code, after.exit_code, after.result) == (ExitCode.PASSED, ExitCode.INVALID, "invalid")
    assert after.validity.verdict == "valid"
    assert {one.verdict for one in after.slos} == {"inconclusive"}
    assert after.streams == invalid


def test_a_run_whose_load_followed_an_invalid_metric_is_invalid() -> None:
    followed = [objective("itl", "p(99, metric=itl) < 80ms"), objective("ttft", "p(99, metric=ttft) < 80ms")]
    validity = judged(eu_1=of(40, itl=40), us_1=of(40, itl=40))

    (sentence,) = misled(followed, validity)

    assert sentence.startswith("the load followed p(99, metric=itl) < 80ms, so its rates are not to be trusted: itl")
    assert validity["itl"].reason in sentence


def test_a_verdict_says_that_the_load_was_misled(monkeypatch: pytest.MonkeyPatch) -> None:
    found = recordings()
    given = replace(facts(found, End(Reason.FINISHED, "")), followed=(objective("itl", "p(99, metric=itl) < 80ms"),))
    invalid = {"itl": MetricValidity("itl", "invalid", 40, 40, "it cannot be judged: it was late", "use more")}
    monkeypatch.setattr(verdicts, "stream_validity", lambda assignment, merge: invalid)

    after = verdicts.judge(given, merged(found))

    assert after.exit_code is ExitCode.INVALID
    assert after.reasons[0].startswith("the load followed p(99, metric=itl) < 80ms")


# -- adding up ------------------------------------------------------------------------------------


def test_successive_intervals_add_their_seconds_and_several_workers_share_one() -> None:
    first = StreamHealth(unfit_itl=1, streams=5, kernel_reads=7, loop_reads=1, events=10, shared_ours=2)
    second = StreamHealth(streams=9, kernel_reads=3, events=3, read_lag_p99_us=4)

    joined, together = in_time(first, second), of_workers([first, None, second])

    assert joined is not None
    assert together is not None
    assert (joined.intervals, joined.unfit_itl, joined.streams, joined.events) == (2, 1, 9, 13)
    assert (together.intervals, together.unfit_itl, together.streams, together.events) == (1, 1, 14, 13)
    assert joined.is_possible(2)
    assert together.is_possible(1)
    assert in_time(None, second) is second
    assert of_workers([None, None]) is None


@pytest.mark.parametrize(
    "wrong",
    [{"intervals": 0}, {"unfit_itl": 2}, {"shared_ours": 5}, {"kernel_reads": 9}, {"events": 1 << 50}],
)
def test_reads_that_do_not_add_up_are_impossible(wrong: dict[str, int]) -> None:
    right = StreamHealth(kernel_reads=7, loop_reads=1, events=10, shared_ours=2)
    assert right.is_possible(1)
    assert not msgspec.structs.replace(right, **wrong).is_possible(1)


def test_a_note_names_the_share_of_reads_that_the_event_loop_timed() -> None:
    assert list(clock_notes([of(10), Fitness()])) == []
    (note,) = clock_notes([of(10), of(10, kernel=False)])
    assert note.startswith("50.0 % of the reads of streams were timed by the event loop")
