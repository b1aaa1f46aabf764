"""Ranked causes of simulated faults: path, attribute, kind and beginning are known, and so is that there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from loadgen.analysis.slow_requests.answer import causes_between, causes_of
from loadgen.traces.causes import Causes, Objective, cause_document
from loadgen.traces.own_times import OTHERS, OwnTimes, added
from loadgen.traces.timed import Observed, TimedTrace
from tests.support.made_traces import FAULTS, STOCK_PATH, Fault, Made, made

INJECTED: Sequence[Fault] = [fault for fault in FAULTS if fault not in ("none", "story")]
WITHOUT_SPAN: Sequence[Fault] = ("network", "pool wait", "retries", "one region")
OF_NO_INSTANCE: Sequence[Fault] = ("more calls", "more requests", "retries", "retries elsewhere")
"""Faults that have nothing to do with an instance, although slow requests have more calls."""


def long_run(fault: Fault, seed: int) -> Made:
    """Ten minutes of 140 requests/s, of which up to 180 slow traces are kept."""
    return made(fault, seed)


def short_run(fault: Fault, seed: int) -> Made:
    """A smaller run with at least 30 slow traces, also if half of them are lost."""
    if fault == "missing traces":
        return made(fault, seed, seconds=200, rate=140, most_slow=8, most_other=5)
    return made(fault, seed, seconds=200, rate=140 if fault == "pause" else 60, most_slow=4, most_other=5)


def answer(run: Made, seed: int, resamples: int = 200) -> Causes:
    return causes_of(run.timed, run.objective, seed=seed, asked=run.asked, resamples=resamples)


def found(runs: Iterable[Made], resamples: int = 200) -> Counter[str]:
    """Return in how many runs the injected path, kind, attribute and beginning were those of the first line.

    blamed: in how many runs the first line has an attribute of an instance.
    """
    right: Counter[str] = Counter()
    for seed, run in enumerate(runs):
        causes, known = answer(run, seed, resamples), run.known
        if not causes.ranked:
            continue
        first = causes.ranked[0]
        right["path"] += first.path == known.path
        right["kind"] += first.kind == known.kind
        lines = first.attributes[:1]
        named = {(line.where, line.key, line.value) for line in lines} | {
            one for line in lines for one in line.together
        }
        right["attribute"] += known.attribute is None or known.attribute in named
        keys = {line.key for line in first.attributes} | {
            key for line in first.attributes for _, key, _ in line.together
        }
        right["blamed"] += bool(keys & {"service.instance.id", "service.version", "zone"})
        if known.since_s is None:
            right["since"] += first.since_s is None
        elif first.since_s is not None and first.since_error_s is not None:
            right["since"] += abs(first.since_s - known.since_s) <= first.since_error_s
    return right


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("fault", INJECTED)
def test_injected_fault_is_first_in_95_percent_of_200_runs(fault: Fault) -> None:
    right = found((long_run(fault, seed) for seed in range(200)), 1_000)
    assert min(right[what] for what in ("path", "kind", "attribute")) >= 190, right
    assert right["since"] >= 180, right
    assert right["blamed"] <= 10 or fault not in OF_NO_INSTANCE, right


@pytest.mark.parametrize("fault", [fault for fault in INJECTED if fault not in WITHOUT_SPAN])
def test_injected_fault_of_a_span_is_first_in_five_short_runs(fault: Fault) -> None:
    right = found(short_run(fault, seed) for seed in range(5))
    assert (right["path"], right["kind"]) == (5, 5), right
    # More than 1 of 5 happens once in 40 times at 5 %.
    assert right["blamed"] <= 1 or fault not in OF_NO_INSTANCE, right


@pytest.mark.parametrize("fault", WITHOUT_SPAN)
def test_injected_wait_that_no_span_shows_is_first_in_three_short_runs(fault: Fault) -> None:
    right = found(short_run(fault, seed) for seed in range(3))
    assert (right["path"], right["kind"], right["attribute"]) == (3, 3, 3)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_run_without_a_fault_ranks_nothing_in_95_percent_of_200_runs() -> None:
    assert sum(bool(answer(long_run("none", seed), seed, 1_000).ranked) for seed in range(200)) <= 10


def test_run_without_a_fault_ranks_nothing() -> None:
    ranked = [answer(made("none", seed, seconds=300), seed).ranked for seed in range(6)]
    assert not any(ranked)


def test_answer_without_a_breached_objective_has_the_reason() -> None:
    causes = answer(made("none", 1, seconds=300), 1)
    assert causes.not_ranked == (
        "no objective is breached, and the slow requests are within the ordinary range of each path"
    )
    assert not causes.is_refused
    assert causes.candidates[0].attributes == ()


def test_lines_and_unexplained_paths_add_up_to_the_whole_difference() -> None:
    causes = answer(short_run("more calls", 1), 1)
    parts = [*(line.added_ns for line in causes.candidates), *(line.added_ns for line in causes.unexplained)]
    assert sum(parts) == pytest.approx(causes.difference_ns, rel=1e-9)
    assert causes.unexplained[-1].path == OTHERS
    assert causes.same_shape_ns + causes.more_of_shape_ns == pytest.approx(causes.difference_ns, rel=1e-9)
    first = causes.ranked[0]
    assert first.more_calls_ns + first.slower_calls_ns == pytest.approx(first.added_ns, rel=1e-9)


def test_more_calls_are_told_from_slower_calls() -> None:
    causes = answer(short_run("more calls", 2), 2)
    first = causes.ranked[0]
    # The injected requests have 21 calls, but every tenth slow one is an ordinary one.
    assert first.slow_calls == pytest.approx(20, abs=2)
    assert first.more_calls_ns > 0.9 * first.added_ns
    assert first.without_share_over < 0.1 * causes.share_over


def test_lost_slow_traces_are_reported_with_their_rates_and_corrected() -> None:
    run = short_run("missing traces", 1)
    causes = answer(run, 1)
    assert causes.is_corrected
    assert causes.found is not None
    assert causes.found.asked == len(run.asked)
    assert causes.found.slow is not None
    assert causes.found.slow < 0.6


def test_same_seed_gives_the_same_answer_whatever_the_order_of_traces() -> None:
    run = made("slow version", 3, seconds=200)
    one, other = (causes_of(traces, run.objective, seed=5, resamples=200) for traces in (run.timed, run.timed[::-1]))
    assert cause_document(one) == cause_document(other)


# Decision 1 of the specification: a percentile is not a mean.


def test_rare_long_pause_adds_much_but_the_frequent_slow_query_makes_the_percentile() -> None:
    """A query is slower by 150 ms on 5 % of requests; stock-2 stands still for 2 s twice (0.3 % of requests)."""
    run = made("story", 1, most_slow=40)
    causes = causes_of(run.timed, run.objective, seed=1, resamples=200)
    by_path = {cause.path: cause for cause in causes.ranked}
    query, pause = by_path[STOCK_PATH], by_path["stock: standing still of stock-2",]
    assert causes.ranked[0] is query
    assert query.without_percentile_ns < 0.5 * causes.percentile_ns
    assert pause.without_percentile_ns > 0.95 * causes.percentile_ns
    assert pause.kind == "pause"
    assert (pause.pauses, round(pause.pause_ns / 1e9, 1)) == (2, 2.0)
    # The mean says something else about the slowest requests: one of 10 s is in the pause, but it adds as much.
    assert pause.added_ns > 0.2 * causes.difference_ns


def test_slowest_request_of_each_second_blames_the_pause_although_the_query_makes_the_percentile() -> None:
    """200 requests/s: a query is slower by 150 ms in 5 %, and 0.1 % wait for 2 s.

    The specification has +387 against +190 ms, and a p99 of 299 ms that falls to 148 or to 295.
    """
    chance = np.random.default_rng(1)
    n = 600 * 200
    base, query, pause = chance.lognormal(np.log(80), 0.25, n), np.zeros(n), np.zeros(n)
    query[chance.uniform(size=n) < 0.05] = 150
    pause[chance.uniform(size=n) < 0.001] = 2_000
    response = base + query + pause
    own, nothing = np.column_stack((base, query, pause)), np.zeros((n, 3))
    table = OwnTimes((("base",), ("query",), ("pause",)), own, nothing, nothing, nothing, np.zeros(3, dtype=np.bool_))
    slowest = np.zeros(n)
    slowest[response.reshape(600, 200).argmax(axis=1) + np.arange(600) * 200] = 1
    _, of_query, of_pause = added(table, slowest, (response <= np.median(response)).astype(np.float64)).own_ns
    assert of_pause > 1.5 * of_query
    p99, without_query, without_pause = (
        np.quantile(some, 0.99) for some in (response, response - query, response - pause)
    )
    assert without_query < 0.65 * p99
    assert without_pause > 0.97 * p99


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_order_of_seven_slow_traces_is_right_in_95_percent_of_200_draws() -> None:
    """The specification has 98.5 %."""
    chance = np.random.default_rng(1)
    run = made("story", 1, most_slow=200)
    limit = run.objective.threshold_ns or 0
    slow = [one for one in run.timed if one.observed.response_ns > limit]
    others = [one for one in run.timed if one.observed.response_ns <= limit]
    right = 0
    for _ in range(200):
        drawn = [slow[n] for n in chance.choice(len(slow), 7, replace=False)]
        few = causes_of([*drawn, *others], run.objective, resamples=100)
        right += bool(few.candidates) and few.candidates[0].path == STOCK_PATH
    assert right >= 190


# Refusals and reasons.


def test_fewer_than_30_slow_traces_have_figures_but_no_ranking() -> None:
    run = made("slow version", 1, rate=60)
    limit = run.objective.threshold_ns or 0
    slow = [one for one in run.timed if one.observed.response_ns > limit]
    rest = [one for one in run.timed if one.observed.response_ns <= limit]
    causes = causes_of([*slow[:29], *rest], run.objective, resamples=200)
    assert causes.not_ranked == "only 29 slow traces; a ranking needs 30"
    assert causes.is_refused
    assert causes.ranked == ()
    assert causes.candidates[0].path == STOCK_PATH
    assert causes.difference_ns > 0


def test_no_traces_give_an_answer_without_figures() -> None:
    causes = causes_of([], Objective("x", threshold_ns=5))
    assert causes.not_ranked == "only 0 slow traces; a ranking needs 30"
    assert cause_document(causes)["ranked"] == []


def test_slow_traces_without_fast_ones_are_refused() -> None:
    run = made("slow version", 1, seconds=200)
    slow = [one for one in run.timed if one.observed.response_ns > (run.objective.threshold_ns or 0)]
    assert causes_of(slow, run.objective, resamples=100).is_refused


def test_missing_beyond_correction_is_refused_with_its_class() -> None:
    run = made("slow version", 1, rate=60)
    slowest = sorted(run.timed, key=lambda one: -one.observed.response_ns)
    # Nothing of the slowest 60 was found.
    causes = causes_of(slowest[60:], run.objective, asked=run.asked, resamples=200)
    assert causes.is_refused
    assert causes.not_ranked.startswith("too many slow traces are missing: only 0 of ")


def test_two_equal_faults_have_no_single_path() -> None:
    run = made("pool wait", 1, seconds=300)
    other = made("retries", 2, seconds=300)
    causes = causes_of([*run.timed, *other.timed], replace(run.objective, share_over=None), resamples=200)
    assert causes.not_ranked.startswith("no single path") or causes.ranked[0].stays_first >= 0.8
    assert len(causes.candidates) >= 2
    assert causes.pairs[0].without_share_over < 0.5 * causes.candidates[0].without_share_over


def test_failed_requests_are_explained_apart() -> None:
    run = made("retries", 1, seconds=200)
    limit = run.objective.threshold_ns or 0
    traces = [
        TimedTrace(replace_outcome(one), one.tree, one.paths)
        if one.observed.response_ns > limit and one.observed.at_s < 100
        else one
        for one in run.timed
    ]
    causes = causes_of(traces, run.objective, resamples=200)
    assert causes.failed.outcomes == {"timeout": causes.failed.traces}
    assert causes.failed.paths[0].path == run.known.path
    assert sum(line.added_ns for line in causes.failed.paths) == pytest.approx(causes.failed.added_ns, rel=1e-9)


def replace_outcome(one: TimedTrace) -> Observed:
    return msgspec.structs.replace(one.observed, outcome="timeout")


# Run against run.


def compared(fault: Fault, seed: int, *, resamples: int = 200, seconds: int = 200) -> Causes:
    run, other = made(fault, 2 * seed, seconds=seconds), made("none", 2 * seed + 1, seconds=seconds)
    objective = Objective("checkout", threshold_ns=run.objective.threshold_ns)
    return causes_between(run.timed, other.timed, objective, against="20261124-1", seed=seed, resamples=resamples)


def test_slower_path_of_a_run_is_first_against_another_run() -> None:
    causes = compared("more calls", 1)
    assert causes.ranked[0].path == STOCK_PATH
    assert causes.ranked[0].kind == "more calls"
    assert causes.against == "20261124-1"
    parts = [*(line.added_ns for line in causes.candidates), *(line.added_ns for line in causes.unexplained)]
    assert sum(parts) == pytest.approx(causes.difference_ns, rel=1e-9)


def test_equal_runs_have_no_difference() -> None:
    assert [compared("none", seed).ranked for seed in range(5)] == [()] * 5


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_equal_runs_rank_a_difference_in_at_most_5_percent_of_200_pairs() -> None:
    assert sum(bool(compared("none", seed, seconds=600).ranked) for seed in range(200)) <= 10
