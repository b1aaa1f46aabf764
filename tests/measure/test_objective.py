"""An objective is over all that was due; without data it never passes."""

from collections.abc import Sequence
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import (
    Gap,
    Objective,
    SloResult,
    describe,
    evaluate,
    evaluate_all,
    number_text,
    span_text,
)
from loadgen.measure.objectives.sliding import slide
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.deltas import FakeAgent, Values, journey_key, request_key
from tests.support.dues import AGENTS, Event, L, broken_windows, told

P95 = Objective(kind="percentile", q=95, limit=300 * NS_PER_MS, text="p(95) < 300ms")
P999 = Objective(kind="percentile", q=99.9, limit=300 * NS_PER_MS, text="p(99.9) < 300ms")
ERRORS = Objective(kind="error_ratio", limit=0.001, text="error_ratio() < 0.1%")
FAST, SLOW = 100 * NS_PER_MS, 400 * NS_PER_MS


def merged(values: Values, region: str = "us", into: Merge | None = None) -> Merge:
    merge = into or Merge()
    merge.accept(region, FakeAgent(f"agent {len(merge.agents())}").delta(values))
    return merge


def judged(objective: Objective, merge: Merge, **given: object) -> SloResult:
    (result,) = evaluate(objective, merge, **given)  # type: ignore[arg-type]
    return result


def test_95_of_100_within_the_limit_keep_a_p95() -> None:
    result = judged(P95, merged({journey_key(): [FAST] * 95 + [SLOW] * 5}))
    assert (result.verdict, result.count, result.good, result.unit) == ("passed", 100, 95, "ms")
    assert result.observed == pytest.approx(100, rel=0.001)
    assert result.margin == pytest.approx(2 / 3, abs=0.001)
    assert (result.low, result.high, result.journey) == (None, None, "checkout")


def test_94_of_100_within_the_limit_break_it() -> None:
    result = judged(P95, merged({journey_key(): [FAST] * 94 + [SLOW] * 6}))
    assert result.verdict == "failed"
    assert result.observed == pytest.approx(400, rel=0.001)
    assert result.margin is not None
    assert result.margin < 0


@pytest.mark.parametrize(
    "bad",
    [
        journey_key(outcome="http 503"),
        journey_key(outcome="timeout", censored=True),
        journey_key(outcome="missed", censored=True),
        journey_key(outcome="cut off", censored=True),
    ],
    ids=lambda key: key.outcome,
)
def test_what_went_wrong_is_bad_however_fast_it_was(bad: SeriesKey) -> None:
    result = judged(P95, merged({journey_key(): [FAST] * 94, bad: [NS_PER_MS] * 6}))
    assert (result.verdict, result.good, result.count) == ("failed", 94, 100)
    assert result.observed == "> 300.0"
    assert result.margin is None


def test_share_is_compared_exactly() -> None:
    """99.9 % of 1,000 are 999; as binary floats they are a little more."""
    assert judged(P999, merged({journey_key(): [FAST] * 999 + [SLOW]})).verdict == "passed"
    assert judged(P999, merged({journey_key(): [FAST] * 998 + [SLOW] * 2})).verdict == "failed"


@given(
    st.lists(st.integers(1, 600), max_size=40),
    st.lists(st.integers(1, 600), max_size=10),
    st.sampled_from([1.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0]),
)
def test_verdict_is_that_of_a_plain_count_and_agrees_with_what_is_observed(
    ok_ms: list[int], bad_ms: list[int], q: float
) -> None:
    objective = Objective(kind="percentile", q=q, limit=300 * NS_PER_MS, text="p")
    if not ok_ms + bad_ms:
        return
    values = {
        journey_key(): [ms * NS_PER_MS for ms in ok_ms],
        journey_key(outcome="reset"): [ms * NS_PER_MS for ms in bad_ms],
    }
    result = judged(objective, merged(values))
    good = sum(ms <= 300 for ms in ok_ms)
    kept = Fraction(good, len(ok_ms + bad_ms)) * 100 >= Fraction(str(q))
    assert result.verdict == ("passed" if kept else "failed")
    assert (isinstance(result.observed, float) and result.observed <= 300) == kept


def test_limit_within_a_slot_is_never_contradicted_by_the_figure() -> None:
    """299.9 ms and 300 ms share a slot that ends at 300.031: it is shown as kept, and as 300.0."""
    result = judged(P95, merged({journey_key(): [299_900_000]}))
    assert (result.verdict, result.observed) == ("passed", 300.0)


def test_each_journey_is_judged_by_itself() -> None:
    merge = merged({journey_key("browse"): [FAST] * 1_000, journey_key("buy"): [SLOW] * 10})
    found = {r.journey: r.verdict for r in evaluate(P95, merge)}
    assert found == {"browse": "passed", "buy": "failed"}


def test_journey_of_the_plan_without_data_is_inconclusive() -> None:
    merge = merged({journey_key("browse"): [FAST]})
    found = {r.journey: (r.verdict, r.count) for r in evaluate(P95, merge, journeys=("buy", "browse"))}
    assert found == {"buy": ("inconclusive", 0), "browse": ("passed", 1)}


@pytest.mark.parametrize(
    "objective",
    [P95, ERRORS, msgspec.structs.replace(P95, step="pay"), msgspec.structs.replace(P95, request="GET /x", step="pay")],
    ids=["percentile", "errors", "step", "request"],
)
def test_without_data_nothing_passes(objective: Objective) -> None:
    result = judged(objective, Merge())
    assert (result.verdict, result.observed, result.count) == ("inconclusive", None, 0)


def test_warm_up_is_not_judged() -> None:
    merge = merged({journey_key(warmup=True): [SLOW] * 100, journey_key(): [FAST]})
    assert (judged(P95, merge).verdict, judged(P95, merge).count) == ("passed", 1)


def test_fault_of_the_script_is_neither_good_nor_bad() -> None:
    merge = merged({journey_key(): [FAST] * 99, journey_key(outcome="script KeyError"): [NS_PER_MS]})
    assert (judged(ERRORS, merge).observed, judged(ERRORS, merge).count) == (0.0, 99)
    only_faults = merged({journey_key(outcome="script KeyError"): [NS_PER_MS]})
    assert judged(ERRORS, only_faults).verdict == "inconclusive"


def test_error_ratio_counts_all_that_is_not_ok() -> None:
    merge = merged(
        {
            journey_key(): [FAST] * 996,
            journey_key(outcome="http 503"): [FAST],
            journey_key(outcome="timeout", censored=True): [SLOW],
            journey_key(outcome="missed", censored=True): [SLOW],
            journey_key(outcome="cut off", censored=True): [SLOW],
        }
    )
    result = judged(ERRORS, merge)
    assert (result.observed, result.unit, result.verdict) == (0.004, "ratio", "failed")


def test_error_ratio_must_be_below_its_limit() -> None:
    def with_errors(n: int) -> str:
        return judged(
            ERRORS, merged({journey_key(): [FAST] * (1_000 - n), journey_key(outcome="reset"): [FAST] * n})
        ).verdict

    assert [with_errors(0), with_errors(1), with_errors(2)] == ["passed", "failed", "failed"]


def test_objective_on_step_request_and_region_looks_only_there() -> None:
    def step_key(step: str) -> SeriesKey:
        return SeriesKey("step", "checkout", step, None, "ok", "response")

    merge = merged({step_key("pay"): [FAST], step_key("cart"): [SLOW], request_key("GET /x", step="pay"): [SLOW]})
    merged({step_key("pay"): [SLOW] * 2}, "eu", merge)
    change = msgspec.structs.replace
    assert judged(change(P95, step="cart"), merge).verdict == "failed"
    assert judged(change(P95, step="pay"), merge).count == 3
    assert judged(change(P95, step="pay", region="us"), merge).verdict == "passed"
    assert judged(change(P95, step="pay", region="eu"), merge).count == 2
    assert judged(change(P95, step="pay", request="GET /x"), merge).verdict == "failed"
    assert judged(change(P95, journey="other"), merge).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("good", "share", "verdict"),
    [
        (100, 0.1, "inconclusive"),  # never passed, however good what is there
        (90, 0.1, "failed"),  # 90 + 11 of 111 are 91 %
        (90, 0.5, "inconclusive"),  # 90 + 100 of 200 are exactly 95 %
        (90, 0.49, "failed"),
        (94, 0.2, "inconclusive"),
        (0, 0.94, "failed"),
        (0, 0.96, "inconclusive"),
        (50, 1.0, "inconclusive"),
    ],
)
def test_incomplete_run_has_failed_only_if_the_missing_could_not_have_saved_it(
    good: int, share: float, verdict: str
) -> None:
    merge = merged({journey_key(): [FAST] * good + [SLOW] * (100 - good)})
    assert judged(P95, merge, complete=False, missing_share=share).verdict == verdict


def test_incomplete_error_ratio_can_be_saved_too() -> None:
    merge = merged({journey_key(): [FAST] * 99, journey_key(outcome="reset"): [FAST]})
    assert judged(ERRORS, merge, complete=False, missing_share=0.5).verdict == "failed"
    assert judged(ERRORS, merge, complete=False, missing_share=0.95).verdict == "inconclusive"


def test_window_can_be_judged_like_the_run() -> None:
    merge = merged({journey_key(): [SLOW]})
    window = merge.latest_window()
    assert window is not None
    assert evaluate(P95, window) == evaluate(P95, merge)


@given(
    st.builds(
        Objective,
        kind=st.sampled_from(["percentile", "error_ratio"]),
        text=st.text(),
        limit=st.floats(0, 1e15),
        q=st.floats(0, 100),
        journey=st.none() | st.text(),
        step=st.none() | st.text(),
    )
)
def test_objective_survives_as_json(objective: Objective) -> None:
    assert msgspec.json.decode(msgspec.json.encode(objective), type=Objective) == objective


def test_numbers_are_written_without_exponent() -> None:
    assert [number_text(ms) for ms in (1234.5, 60_000, 0.0004, 3_600_000.1239)] == [
        "1234.5",
        "60000.0",
        "0.0",
        "3600000.124",
    ]


# -- over sliding windows ------------------------------------------------------------------------

W3 = Objective(kind="percentile", q=90, limit=300, window_ns=3 * L, text="windows")


def windowed(**change: object) -> Objective:
    return msgspec.structs.replace(W3, **change)


def at_the_end(events: Sequence[Event], objective: Objective, agents: int = 1, **given: object) -> SloResult:
    *_, (_, merge) = told(events, [objective], agents)
    (result,) = evaluate(objective, merge, index=0, journeys=["shop"], **given)  # type: ignore[arg-type]
    return result


EVENTS = st.lists(
    st.builds(
        Event,
        agent=st.integers(0, 2),
        due_ns=st.integers(0, 12 * L - 1),
        response_ns=st.sampled_from([0, 1, 299, 300, 301, 999, 1_000, 1_001, 5_000]),
        outcome=st.sampled_from(
            ["ok"] * 4 + ["http 503", "timeout", "missed", "cut off", "skipped", "script KeyError"]
        ),
    ),
    max_size=60,
)
WINDOWED = st.builds(
    windowed,
    kind=st.sampled_from(["percentile", "error_ratio"]),
    q=st.sampled_from([50, 75, 90, 99, 100]),
    limit=st.sampled_from([300.0, 1_000.0]),
    window_ns=st.sampled_from([1, L, L + 1, 3 * L, 12 * L, 13 * L]),
    region=st.sampled_from([None, "eu"]),
).map(lambda o: msgspec.structs.replace(o, limit=0.3, q=0) if o.kind == "error_ratio" else o)


@given(EVENTS, WINDOWED, st.integers(0, 4), st.sampled_from([1, 3]))
def test_windows_are_those_of_a_plain_count_of_every_event(
    events: list[Event], objective: Objective, first: int, agents: int
) -> None:
    events = [e for e in events if e.agent < agents]
    result = at_the_end(events, objective, agents, from_ns=first * L, end_ns=12 * L)
    counted = [e for e in events if objective.region in (None, AGENTS[e.agent][1])]
    broken = broken_windows(counted, objective, first, 12)
    assert result.windows_failed == len(broken)
    assert (result.verdict == "failed") == bool(broken)
    if broken:
        assert result.worst_window_s is not None
        worst = (round(result.worst_window_s * NS_PER_S) // L, result.count - result.good, result.count)
        assert worst in broken
        assert result.budget is None or result.budget >= 1


@given(EVENTS, WINDOWED, st.sampled_from([1, 3]))
def test_a_window_that_is_broken_while_the_run_goes_on_is_broken_at_its_end(
    events: list[Event], objective: Objective, agents: int
) -> None:
    """Whatever is in flight still becomes good or bad; only faults of the script and skips are nobody's."""
    events = [e for e in events if e.agent < agents and e.outcome != "skipped" and not e.outcome.startswith("script")]
    failed = [
        (evaluate(objective, merge, index=0, journeys=["shop"], end_ns=min(end_ns, 12 * L), is_over=False)[0])
        for end_ns, merge in told(events, [objective], agents)
    ]
    counts = [result.windows_failed for result in failed]
    assert counts == sorted(counts)


@given(EVENTS, WINDOWED, st.integers(0, 11), st.integers(0, 12))
def test_what_was_never_told_can_only_save_a_window(
    events: list[Event], objective: Objective, start: int, length: int
) -> None:
    gap = Gap(start * L, min(12, start + length) * L, "eu", 0.5, 1.0)
    told_all = at_the_end(events, objective, 3, end_ns=12 * L)
    told_less = at_the_end(events, objective, 3, end_ns=12 * L, complete=False, gaps=[gap])
    assert told_less.verdict in ("failed", "inconclusive")
    assert told_less.windows_failed <= told_all.windows_failed


def spread(ms: int, seconds: range, *, each: int = 10, outcome: str = "ok") -> list[Event]:
    return [Event(0, k * L + n * L // each, ms, outcome) for k in seconds for n in range(each)]


def test_the_worst_window_is_told_with_its_place_count_and_budget() -> None:
    events = spread(100, range(12)) + spread(400, range(5, 6), each=2)
    result = at_the_end(events, windowed(limit=300, q=95))
    assert (result.verdict, result.windows, result.windows_failed) == ("failed", 10, 3)
    assert (result.worst_window_s, result.window_s) == (3 * L / NS_PER_S, 3 * L / NS_PER_S)
    assert (result.good, result.count, result.observed, result.unit) == (30, 32, 0.0625, "ratio")
    assert (result.budget, result.margin) == (1.25, -0.25)


def test_a_window_that_is_kept_says_how_much_of_its_budget_is_used() -> None:
    result = at_the_end(spread(100, range(12)) + spread(400, range(5, 6), each=1), windowed())
    assert (result.verdict, result.windows_failed) == ("passed", 0)
    assert result.budget == pytest.approx(1 / 3.1, abs=1e-4)


def test_short_outage_that_the_whole_run_forgives_breaks_a_window() -> None:
    events = spread(100, range(100)) + spread(100, range(50, 53), each=10, outcome="refused")
    assert at_the_end(events, windowed(q=95)).verdict == "failed"
    assert 1 - 30 / len(events) > 0.95


def test_a_frozen_target_breaks_its_window_while_nothing_ends() -> None:
    """It answers no more from the 6th interval on: an interval later the window of 3 is broken by what is overdue."""
    events = spread(100, range(6)) + spread(50 * L, range(6, 12))
    broken = [
        end_ns // L
        for end_ns, merge in told(events, [W3])
        if evaluate(W3, merge, index=0, journeys=["shop"], end_ns=end_ns, is_over=False)[0].windows_failed
    ]
    assert broken[0] == 7


def test_young_iterations_in_flight_are_no_reason_to_call_a_window_broken() -> None:
    """All take 10 intervals, and the bad fail at once: half way, only failures have ended, and they are 5 %."""
    events = spread(10 * L, range(12), each=19) + spread(10, range(12), each=1, outcome="reset")
    ratio = windowed(kind="error_ratio", limit=0.1, window_ns=2 * L)
    for end_ns, merge in told(events, [ratio]):
        live = evaluate(ratio, merge, index=0, journeys=["shop"], end_ns=min(end_ns, 12 * L), is_over=False)[0]
        assert live.windows_failed == 0
    assert live.verdict == "passed"


def test_too_few_events_decide_nothing_and_say_so() -> None:
    result = at_the_end(spread(100, range(12)), windowed(q=99))
    assert (result.verdict, result.windows) == ("inconclusive", 0)
    assert result.reason == "too few samples: a window of 3.00 µs needs 100, the fullest has 30"


def test_one_bad_event_of_few_is_chance_and_more_than_the_least_count_allows_is_not() -> None:
    few = spread(100, range(12), each=1)
    one_bad = [*few, *spread(400, range(5, 6), each=1)]
    assert at_the_end(one_bad, windowed(q=99)).verdict == "inconclusive"
    two_bad = [*few, *spread(400, range(5, 6), each=2)]
    assert at_the_end(two_bad, windowed(q=99)).verdict == "failed"


def test_a_run_shorter_than_its_window_decides_nothing() -> None:
    result = at_the_end(spread(400, range(2)), W3, end_ns=2 * L)
    assert (result.verdict, result.reason) == (
        "inconclusive",
        "the run ended before the first window of 3.00 µs was full",
    )
    assert at_the_end(spread(400, range(2)), W3, end_ns=2 * L, is_over=False).reason.endswith("is not full yet")


def test_windows_begin_after_the_warm_up() -> None:
    slow_first = spread(400, range(2)) + spread(100, range(2, 12))
    assert at_the_end(slow_first, W3).verdict == "failed"
    assert at_the_end(slow_first, W3, from_ns=2 * L).verdict == "passed"
    assert at_the_end(slow_first, W3, from_ns=L + 1).verdict == "passed", "the first interval wholly after it"


def test_windows_without_any_data_are_inconclusive() -> None:
    merge = Merge(L)
    (result,) = evaluate(W3, merge, index=0, journeys=["shop"], end_ns=12 * L)
    assert (result.verdict, result.count, result.observed, result.reason) == (
        "inconclusive",
        0,
        None,
        "there are no data for it",
    )


def test_missing_data_leave_only_a_broken_window_decided() -> None:
    half = Gap(3 * L, 12 * L, "us", 0.5, 1.0)
    kept = at_the_end(spread(100, range(12)), W3, end_ns=12 * L, complete=False, gaps=[half])
    assert (kept.verdict, kept.reason) == ("inconclusive", "data are missing")
    saved = spread(100, range(12)) + spread(400, range(8, 9), each=4)  # 4 of 34 are bad; of 68 they would be 5.9 %
    assert at_the_end(saved, W3, end_ns=12 * L).verdict == "failed"
    assert at_the_end(saved, W3, end_ns=12 * L, complete=False, gaps=[half]).verdict == "inconclusive"
    lost = spread(100, range(12)) + spread(400, range(8, 9), each=40)
    assert at_the_end(lost, W3, end_ns=12 * L, complete=False, gaps=[half]).verdict == "failed"


def test_windows_are_of_a_whole_run_and_by_the_objectives_index() -> None:
    merge = merged({journey_key(): [FAST]})
    with pytest.raises(ValueError, match="and its index"):
        evaluate(W3, merge)
    with pytest.raises(ValueError, match="of the whole run"):
        evaluate(W3, merge.windows()[0], index=0)


def test_budget_of_a_whole_run_is_the_share_of_the_allowed_bad_that_is_used() -> None:
    result = judged(P95, merged({journey_key(): [FAST] * 98 + [SLOW] * 2}))
    assert (result.budget, result.allowed, result.limit_ms, result.window_s) == (0.4, 0.05, 300, None)
    assert judged(ERRORS, merged({journey_key(): [FAST] * 998, journey_key(outcome="reset"): [FAST] * 2})).budget == 2
    never = msgspec.structs.replace(P95, q=100)
    assert judged(never, merged({journey_key(): [FAST, SLOW]})).budget is None
    assert judged(never, merged({journey_key(): [FAST]})).budget == 0


def test_what_was_skipped_is_neither_good_nor_bad() -> None:
    merge = merged({journey_key(): [FAST] * 99, journey_key(outcome="skipped"): [NS_PER_MS]})
    assert (judged(ERRORS, merge).observed, judged(ERRORS, merge).count) == (0.0, 99)


def test_results_are_described_in_the_words_of_a_report() -> None:
    worst = SloResult(
        objective="o",
        journey="shop",
        observed=0.079,
        unit="ratio",
        count=1_000,
        good=921,
        verdict="failed",
        allowed=0.05,
        limit_ms=300,
        window_s=60,
        windows=540,
        windows_failed=31,
        worst_window_s=130,
    )
    change = msgspec.structs.replace
    assert describe(worst) == (
        "worst window 2:10 to 3:10: 92.1 % of 1,000 ended ok within 300 ms (needs 95 %); 31 of 540 windows broke it"
    )
    assert describe(change(worst, limit_ms=None, windows_failed=0)) == (
        "worst window 2:10 to 3:10: 7.90 % of 1,000 went wrong (allowed: below 5 %)"
    )
    assert describe(judged(P95, merged({journey_key(): [FAST] * 2}))).endswith("ms of 2 that were due")
    assert describe(judged(P95, Merge())) == "there are no data for it"
    assert [span_text(*span) for span in ((0, 5), (3_599, 1), (0.25, 1))] == [
        "0:00 to 0:05",
        "59:59 to 1:00:00",
        "0:00.2 to 0:01.2",
    ]


def test_all_objectives_of_a_plan_are_judged_in_its_order() -> None:
    *_, (_, merge) = told(spread(100, range(12)), [P95, W3])
    found = evaluate_all([P95, W3], merge, journeys=["shop"], end_ns=12 * L)
    assert [(r.objective, r.verdict) for r in found] == [("p(95) < 300ms", "inconclusive"), ("windows", "passed")]


def test_whole_percentages_are_compared_exactly_in_windows_too() -> None:
    """0.1 % of 1,000 is 1: as binary floats it is a little more or less."""
    counts = np.array([[999], [1], [0], [0]], dtype=np.int64)
    assert slide(counts, 1, windowed(q=99.9).budget).broken == 0
    assert slide(counts + np.array([[-1], [1], [0], [0]]), 1, windowed(q=99.9).budget).broken == 1
    ratio = windowed(kind="error_ratio", limit=0.001).budget
    assert slide(counts, 1, ratio).broken == 1, "below, not at"
    assert slide(counts + np.array([[1], [0], [0], [0]]), 1, ratio).broken == 0
    odd = windowed(q=99.73123456789).budget  # its fraction does not fit 64 bits times the count
    assert slide(counts * 10**9, 1, odd).broken == 0
