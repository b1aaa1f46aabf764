"""Objectives on requests to AI models: known answers, any number of agents, windows beside the whole run."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import goodput, maximum, mean, p, throughput, total
from loadgen.dsl.plans.objectives.slo import Slo, TimeMetric
from loadgen.measure.objectives.objective import Objective, SloResult, describe, evaluate_all
from loadgen.measure.statistics.batches_of_run import read_batches
from loadgen.measure.statistics.objective_intervals import with_intervals
from loadgen.report.slos import slo_words
from tests.support.examples import examples
from tests.support.made_up_streams import Ask, L, Lost, Made, deltas_of, good_and_bad, made_up, recorded, values_of

TIMES: tuple[TimeMetric, ...] = ("ttft", "ttft_due", "ttfo", "itl", "icl", "stall", "tpot")
SHARES = (
    *(p(80, metric=metric) < "300us" for metric in TIMES),
    *(p(50, metric=metric) < "60us" for metric in TIMES),
    p(90, metric="ttft", request="summary") < "500us",
    goodput(ttft="500us") > "60%",
    goodput(ttft="500us", tpot="60us") > "60%",
    goodput(ttft_due="700us", e2e="1ms", request="chat") > "60%",
)
OTHERS = (
    mean(metric="ttft") < "300us",
    mean(metric="ttft_due") < "300us",
    mean(metric="itl") < "60us",
    mean(metric="tpot") < "60us",
    maximum(metric="stall") < "200us",
    mean(metric="output_tokens") > 6,
    total("output_tokens") > 50,
    throughput("output_tokens") > "20000/s",
    total("prompt_tokens") > 50,
)


def objectives(slos: tuple[Slo, ...], window_ns: int = 0) -> list[Objective]:
    found = []
    for slo in slos:
        assert slo.objective is not None, slo.faults
        found.append(msgspec.structs.replace(slo.objective, window_ns=window_ns))
    return found


def judged(slos: list[Objective], made: Made, agents: int = 1) -> list[SloResult]:
    merge = recorded(made, slos, agents)
    return list(evaluate_all(slos, merge, from_ns=made.warmup_ns, end_ns=made.intervals * L))


def the_result(slo: Slo, *asks: Ask, lost: tuple[Lost, ...] = ()) -> SloResult:
    (found,) = judged(objectives((slo,)), Made(asks, lost, 2))
    return found


# -- known answers ---------------------------------------------------------------------------------

FAST = Ask(0, 400, ((100, 1), (140, 2), (400, 1)), wait_us=50)
"""ttft 100, ttft_due 150; itl 20, 20, 260; icl 40, 260; stall 260; tpot 300 / 3; 4 tokens."""
SLOW = Ask(1, 700, ((600, 1), (700, 1)))
"""ttft 600; itl, icl, stall and tpot 100; 2 tokens; no due time."""
DEAD = Ask(2, 30, outcome="http 503", wait_us=0)
"""Failed after 30 µs without a token."""
BROKEN = Ask(3, 500, ((90, 1), (100, 3)), outcome="stream truncated")
"""Failed after a first token at 90 and three more, 10 / 3 = 3 each."""


@pytest.mark.parametrize(
    ("slo", "observed", "good", "count", "text"),
    [
        (p(50, metric="ttft") < "100us", 0.6, 1, 4, "p50 of 4 requests to models: 600 µs"),
        (p(51, metric="ttft") < "100us", "> 0.6", 1, 4, "p51 of 4 requests to models: > 0.6 ms"),
        (p(25, metric="ttft") < "100us", 0.1, 1, 4, "p25 of 4 requests to models: 100 µs"),
        (
            p(50, metric="ttft_due") < "200us",
            0.15,
            1,
            2,
            "p50 of 2 of 4 requests to models that had a due time: 150 µs",
        ),
        (p(40, metric="itl") < "50us", 0.1, 2, 7, "p40 of 7 tokens: 100 µs"),
        (p(50, metric="icl") < "100us", 0.1, 2, 4, "p50 of 4 reads with tokens: 100 µs"),
        (p(50, metric="stall") < "260us", 0.26, 2, 4, "p50 of 4 requests to models: 260 µs"),
        (p(25, metric="tpot") < "99us", 0.1, 0, 4, "p25 of 4 requests to models: 100 µs"),
    ],
    ids=str,
)
def test_a_percentile_of_streams(slo: Slo, observed: float | str, good: int, count: int, text: str) -> None:
    result = the_result(slo, FAST, SLOW, DEAD, BROKEN)
    assert (result.observed, result.good, result.count) == (observed, good, count)
    assert result.detail == text


def test_failed_requests_to_models_are_above_every_value_and_other_requests_do_not_count() -> None:
    # 2 of 4 requests to models ended ok, so p50 has a value, and p51 has none.
    assert the_result(p(50, metric="ttft") < "1ms", FAST, SLOW, DEAD, BROKEN).verdict == "passed"
    assert the_result(p(51, metric="ttft") < "1ms", FAST, SLOW, DEAD, BROKEN).verdict == "failed"


def test_a_mean_is_of_all_values_and_a_missing_first_token_is_a_bound() -> None:
    result = the_result(mean(metric="ttft") < "300us", FAST, SLOW, BROKEN)
    assert (result.observed, result.verdict) == (0.263, "passed")
    assert result.detail == "mean of 3 requests to models, 1 of them failed: 263 µs"
    bound = the_result(mean(metric="ttft") < "300us", FAST, SLOW, DEAD, BROKEN)
    assert (bound.observed, bound.verdict, bound.bounds) == ("> 0.205", "inconclusive", 1)


def test_tokens_are_counted_as_tokens() -> None:
    few = the_result(mean(metric="output_tokens") > 3, FAST, SLOW)
    assert (few.observed, few.unit, few.verdict, few.limit) == (3.0, "tokens", "failed", 3.0)
    assert few.detail == "mean of 2 requests to models: 3 tokens"
    assert few.limit_ms is None
    all_of_them = the_result(total("output_tokens") >= 6, FAST, SLOW, BROKEN)
    assert (all_of_them.observed, all_of_them.verdict, all_of_them.detail) == (6.0, "passed", "6 output tokens")
    rate = the_result(throughput("output_tokens") > "2999/s", FAST, SLOW, BROKEN)  # of two intervals of 1 ms
    assert (rate.observed, rate.verdict, rate.detail) == (3_000.0, "passed", "3,000/s: 6 output tokens in 2.00 ms")
    none = the_result(throughput("output_tokens") > "1/s", DEAD)
    assert (none.observed, none.verdict) == (0.0, "failed")


@pytest.mark.parametrize(
    ("objective", "margin"),
    [
        (goodput(ttft="150us", tpot="100us") > "20%", "150 % above"),
        (mean(metric="output_tokens") > 4, "25 % below"),
        (mean(metric="output_tokens") > 3, "at the limit"),
        (mean(metric="ttft") < "400us", "12 % below"),
        (mean(metric="ttft") < "50us", "600 % above"),
    ],
)
def test_the_margin_names_the_side_of_the_limit_whatever_the_good_side_is(objective: Slo, margin: str) -> None:
    assert slo_words(the_result(objective, FAST, SLOW)).margin == margin


def test_goodput_is_the_share_of_the_good_ones_among_all_that_were_offered() -> None:
    lost = (Lost(5, "missed"), Lost(6, "cut off"), Lost(7, "missed", "browse"))
    result = the_result(goodput(ttft="150us", tpot="100us") > "20%", FAST, SLOW, DEAD, BROKEN, lost=lost)
    assert (result.journey, result.good, result.count, result.verdict) == ("ask", 1, 6, "failed")
    assert result.detail == "16.7 % of 6 offered were good, 2 of these are iterations that were missed or cut off"
    assert describe(result) == f"observed {result.detail}"
    assert (slo_words(result).observed, slo_words(result).margin) == ("16.7 %", "17 % below")
    assert result.allowed == 0.8
    assert result.budget == pytest.approx(5 / (6 * 0.8), abs=1e-4)


def test_limits_of_a_request_replace_those_of_goodput_and_the_text_names_them() -> None:
    asks = (
        FAST,
        replace(SLOW, own=(("ttft", 700),)),  # good: only by its own limit
        replace(FAST, at_ns=3, own=(("stall", 100),)),  # not good: by its own limit, it stalls
        replace(SLOW, at_ns=4, own=(("tpot", 200),)),  # good: it has no limit of ttft
        replace(DEAD, own=(("ttft", 700),)),
    )
    for window_ns, start in ((0, "60.0 % of 5 offered were good"), (2 * L, "worst window 0:00")):
        (one,) = objectives((goodput(ttft="150us", tpot="100us") > "50%",), window_ns)
        (result,) = judged([one], Made(asks, (), 2))
        assert (result.good, result.count, result.verdict) == (3, 5, "passed" if not window_ns else result.verdict)
        assert result.detail.startswith(start)
        assert result.detail.endswith(
            "4 were judged by limits of their own (slo=): 50.0 % of 2 with ttft<=0.7ms,"
            " 0.00 % of 1 with stall<=0.1ms, 100 % of 1 with tpot<=0.2ms"
        )


def test_very_many_limits_are_merged_in_the_text_and_each_request_is_judged_by_its_own() -> None:
    asks = tuple(replace(FAST, at_ns=k, own=(("ttft", 100 + k),)) for k in range(100))  # its ttft from due is 150
    result = the_result(goodput(ttft="1us") > "1%", *asks)
    assert (result.good, result.count) == (50, 100)
    assert "100 were judged by limits of their own (slo=): 62.5 % of 80 with (other), 0.00 % of 1 with" in result.detail
    assert result.detail.endswith(", and 17 more")


@pytest.mark.parametrize(
    ("limits", "is_good"),
    [
        ({"ttft": "149us"}, False),  # it counts from when the request was due
        ({"ttft": "150us"}, True),
        ({"ttft_due": "149us"}, False),
        ({"tpot": "99us"}, False),
        ({"tpot": "100us"}, True),
        ({"itl": "99us"}, False),
        ({"stall": "259us"}, False),
        ({"stall": "260us"}, True),
        ({"e2e": "449us"}, False),
        ({"e2e": "450us"}, True),
        ({"ttfo": "99us"}, False),
    ],
    ids=str,
)
def test_each_limit_of_goodput(limits: dict[str, str], is_good: bool) -> None:
    assert the_result(goodput(**limits) > "50%", FAST).good == is_good  # type: ignore[arg-type]


def test_a_figure_that_a_request_does_not_have_breaks_no_limit() -> None:
    single = Ask(0, 50, ((50, 1),))
    assert the_result(goodput(tpot="1us", stall="1us", ttft_due="1us") > "50%", single).good == 1


@pytest.mark.parametrize(
    "slo",
    [
        *(p(95, metric=metric) < "1s" for metric in TIMES),
        p(95, metric="ttft", request="none") < "1s",
        mean(metric="ttft") < "1s",
        goodput(ttft="1s") > "1%",
        goodput(ttft="1s", journey="browse") > "1%",
        throughput("output_tokens") < "1/s",
        total("output_tokens") < 1,
    ],
    ids=lambda slo: slo.objective.text if slo.objective else "",
)
def test_without_data_nothing_passes(slo: Slo) -> None:
    lost = (Lost(5, "missed", "browse"),)
    for window_ns in (0, L):
        (one,) = objectives((slo,), window_ns)
        (result,) = judged([one], Made((), lost, 2))
        assert result.verdict != "passed"
        if one.kind not in ("throughput", "total") or not window_ns:
            assert (result.verdict, result.reason) == ("inconclusive", "there are no data for it")


# -- beside plain Python ---------------------------------------------------------------------------


def test_shares_count_what_plain_python_counts() -> None:
    slos, seen = objectives(SHARES), 0
    for seed in range(60):
        made = made_up(seed)
        for one, result in zip_of(slos, judged(slos, made)):
            if result.journey is not None:
                seen += 1
                assert (result.good, result.count) == good_and_bad(one, made, result.journey), (seed, result)
    assert seen > 500


def zip_of(slos: list[Objective], results: list[SloResult]) -> list[tuple[Objective, SloResult]]:
    by_text = {one.text: one for one in slos}
    return [(by_text[result.objective], result) for result in results]


def test_means_and_sums_are_those_of_plain_python() -> None:
    slos = objectives(OTHERS)
    for seed in range(60):
        made = made_up(seed)
        for one, result in zip_of(slos, judged(slos, made)):
            asks = [ask for ask in made.measured if result.journey in (None, ask.journey)]
            values = values_of(one.metric, asks)
            if one.text.startswith('total("output'):
                assert (result.observed or 0) == sum(n for n, outcome, _ in values if outcome == "ok"), seed
            elif one.kind == "mean" and values and result.journey is not None:
                value = sum(us for us, _, _ in values) / len(values)
                scale = 1 if result.unit == "tokens" else 1_000
                assert result.count == len(values)
                if isinstance(result.observed, float):
                    assert result.observed == pytest.approx(value / scale, abs=1e-3), (seed, one.text)
                assert isinstance(result.observed, str) == any(is_bound for _, _, is_bound in values)


@settings(max_examples=examples(160), deadline=None)
@given(st.integers(0, 100_000), st.integers(2, 3))
def test_any_number_of_agents_give_the_result_of_one(seed: int, agents: int) -> None:
    made = made_up(seed)
    for slos in (objectives(SHARES + OTHERS), objectives(SHARES + OTHERS[:7], 2 * L)):
        one, several = judged(slos, made), judged(slos, made, agents)
        assert sorted(one, key=str) == sorted(several, key=str)


@settings(max_examples=examples(160), deadline=None)
@given(st.integers(0, 100_000))
def test_a_window_as_long_as_the_run_counts_what_the_whole_run_counts(seed: int) -> None:
    made = made_up(seed, warm=False)
    slos = SHARES + OTHERS[:4] + OTHERS[5:8]
    whole = judged(objectives(slos), made)
    windowed = judged(objectives(slos, made.intervals * L), made)
    found = {(one.objective, one.journey): one for one in windowed}
    for one in whole:
        if one.verdict == "inconclusive" and not one.count:
            continue
        other = found[one.objective, one.journey]
        if one.unit == "ratio" or "p(" in one.objective:
            # Windows of too few events are not judged.
            if other.count:
                assert (other.good, other.count) == (one.good, one.count), one
        elif isinstance(one.observed, float):
            assert other.observed == pytest.approx(one.observed, abs=2e-3), one
        else:
            assert isinstance(other.observed, str), one


def test_the_bins_of_the_intervals_count_what_is_judged() -> None:
    slos, seen = objectives(SHARES + OTHERS), 0
    for seed in range(40):
        made = made_up(seed)
        end_ns = made.intervals * L
        batches = read_batches(deltas_of(made, slos), made.warmup_ns, end_ns, L, objectives=slos)
        results = evaluate_all(slos, batches, from_ns=made.warmup_ns, end_ns=end_ns)
        for one, result in zip_of(slos, list(results)):
            found = batches._of_objectives.of(slos.index(one), result.journey)
            if found is None or not result.count or one.of or one.kind == "maximum":
                continue
            seen += 1
            assert found.whole_count == result.count, (seed, one.text)
            if one.is_share:
                assert found.bad.sum() <= result.count - result.good
        for sure in with_intervals(results, slos, batches):
            assert sure.sure is not None
            assert bool(sure.unsure) == (not sure.sure and sure.verdict != "inconclusive"), sure
    assert seen > 300


def test_a_throughput_of_tokens_has_an_interval_and_goodput_one_of_its_share() -> None:
    asks = tuple(
        Ask(k * L + i * 1_000, 90, ((50, 1), (90, 9 if (k + i) % 3 else 5))) for k in range(100) for i in range(20)
    )
    made = Made(asks, (), 100)
    slos = objectives((throughput("output_tokens") > "100000/s", goodput(ttft="60us", tpot="6us") > "50%"))
    batches = read_batches(deltas_of(made, slos), 0, 100 * L, L, objectives=slos)
    rate, share = with_intervals(evaluate_all(slos, batches, from_ns=0, end_ns=100 * L), slos, batches)
    assert rate.observed == pytest.approx(173_333, rel=0.01)
    assert rate.low is not None
    assert rate.high is not None
    assert rate.low < 173_333 < rate.high
    assert rate.sure
    assert share.observed == pytest.approx(2 / 3, abs=0.01)
    assert share.low is not None
    assert share.high is not None
    assert 0.5 < share.low < 2 / 3 < share.high < 0.8
    assert share.sure
