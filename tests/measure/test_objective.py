"""An objective is over all that was due; without data it never passes."""

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.merge import Merge
from loadgen.measure.objective import Objective, SloResult, evaluate, number_text
from loadgen.measure.series import SeriesKey
from loadgen.units import NS_PER_MS
from tests.support.deltas import FakeAgent, Values, journey_key, request_key

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
