"""Two sides beside each other: what is said to differ, what only looks like it, and what is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from scipy import stats

from loadgen.errors import UsageError
from loadgen.history.compare.compare import compare
from loadgen.history.compare.comparison import Comparison, Outcome, Row, Side, Verdict
from loadgen.history.store.stored_run import Accepted
from tests.support.accepted import KEY, accepted, history

SHOP = {"checkout": 400.0, "checkout > login": 120.0, "checkout > login > POST /login": 110.0}
PAST = history(20, SHOP, sd=0.02)


def side(label: str, *runs: Accepted) -> Side:
    return Side(label, runs)


def one(p95: dict[str, float], label: str = "B", **more: object) -> Side:
    return side(label, accepted(p95, run_id=f"run-{label}", **more))  # type: ignore[arg-type]


def times(factor: float, *names: str) -> dict[str, float]:
    """The shop with these names so many times as slow; all of them if none is given."""
    return {name: ms * (factor if name in names or not names else 1.0) for name, ms in SHOP.items()}


def row(found: Comparison, name: str = "checkout", percentile: str = "p95", region: str = "*", agent: str = "*") -> Row:
    return next(r for r in found.rows if (r.name, r.percentile, r.region, r.agent) == (name, percentile, region, agent))


# -- how much runs differ -------------------------------------------------------------------------


def test_one_run_beside_one_is_inconclusive_however_much_they_differ() -> None:
    found = compare(one(SHOP, "A"), one(times(2.0)))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert row(found).verdict is Verdict.UNKNOWN
    assert row(found).shift is not None
    assert row(found).shift.change == pytest.approx(1.0)  # type: ignore[union-attr]
    assert "the run-to-run variation of this code is unknown" in found.reasons[0]


def test_with_a_history_one_run_beside_one_is_decided() -> None:
    found = compare(one(SHOP, "A"), one(times(1.3)), history=PAST)
    assert found.outcome is Outcome.COMPARED
    assert {r.verdict for r in found.whole} == {Verdict.SLOWER}


def test_with_a_history_a_difference_as_large_as_that_of_runs_is_not_clear() -> None:
    found = compare(one(SHOP, "A"), one(times(1.03)), history=PAST)
    assert {r.verdict for r in found.whole} == {Verdict.NO_CLEAR}


def test_what_somebody_states_counts_before_the_history() -> None:
    sure = compare(one(SHOP, "A"), one(times(1.3)), history=PAST, between_runs=0.03)
    unsure = compare(one(SHOP, "A"), one(times(1.3)), history=PAST, between_runs=0.30)
    assert (row(sure).verdict, row(unsure).verdict) == (Verdict.SLOWER, Verdict.NO_CLEAR)


def test_several_runs_a_side_are_welchs_test_on_logarithms() -> None:
    before, after = history(4, SHOP, seed=2), history(3, times(1.1), seed=3, first=4)
    found = row(compare(side("A", *before), side("B", *after)))
    a, b = ([run.log_values("p95")["checkout"] for run in runs] for runs in (before, after))
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert found.shift is not None
    assert found.shift.p == pytest.approx(float(expected.pvalue))
    assert found.shift.change == pytest.approx(float(np.expm1(np.mean(b) - np.mean(a))))
    assert found.base_ms == pytest.approx(float(np.exp(np.mean(a))))


def test_runs_that_took_turns_are_students_test_of_pairs() -> None:
    drift = np.exp(np.array([0.0, 0.1, 0.2, 0.3]))
    before, after = (
        history(4, {n: ms * drift * own for n, ms in SHOP.items()}, sd=0.01, seed=k) for k, own in ((2, 1.0), (3, 1.08))
    )
    sides = side("A", *before), side("B", *after)
    found, alone = row(compare(*sides, is_paired=True, history=PAST)), row(compare(*sides))
    a, b = ([run.log_values("p95")["checkout"] for run in runs] for runs in (before, after))
    assert found.shift is not None
    assert found.shift.p == pytest.approx(float(stats.ttest_rel(b, a).pvalue))
    assert (found.verdict, alone.verdict) == (Verdict.SLOWER, Verdict.NO_CLEAR)


def test_a_name_that_is_not_in_all_pairs_is_inconclusive() -> None:
    before, after = history(3, {**SHOP, "pay": 50.0}, seed=2), history(3, SHOP, seed=3, first=3)
    some = (*after[:2], history(1, {**SHOP, "pay": 50.0}, seed=4, first=5)[0])
    found = compare(side("A", *before), side("B", *some), is_paired=True)
    assert (row(found, "pay").verdict, row(found, "pay").why) == (Verdict.UNKNOWN, "missing in some pairs")
    assert row(found).shift is not None


@pytest.mark.parametrize("counts", [(2, 3), (1, 1)])
def test_sides_that_make_no_pairs_are_refused(counts: tuple[int, int]) -> None:
    a, b = (side(label, *history(n, SHOP, seed=n)) for label, n in zip("AB", counts, strict=True))
    with pytest.raises(UsageError, match="cannot pair"):
        compare(a, b, is_paired=True)


def test_runs_that_are_compared_are_no_history_of_themselves() -> None:
    a, b = accepted(SHOP, run_id="a"), accepted(times(3.0), run_id="b")
    with_them = compare(side("A", a), side("B", b), history=[*PAST, a, b])
    assert row(with_them).shift == row(compare(side("A", a), side("B", b), history=PAST)).shift


def test_a_history_too_short_to_tell_is_named() -> None:
    a, *others = history(3, SHOP)
    found = compare(side("A", a), one(times(1.3)), history=[a, *others])
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reasons[0].endswith("is unknown: the history has only 2 other runs, and at least 3 are needed")


def test_runs_that_are_not_fit_are_no_history() -> None:
    wild = [replace(run, result="interrupted") for run in history(20, SHOP, sd=0.5, seed=5)]
    found = compare(one(SHOP, "A"), one(times(1.3)), history=[*PAST, *wild])
    assert row(found).verdict is Verdict.SLOWER


def test_a_name_that_the_history_does_not_have_is_inconclusive_and_said() -> None:
    new = {**SHOP, "pay": 50.0}
    found = compare(one(new, "A"), one(new), history=PAST)
    assert row(found, "pay").verdict is Verdict.UNKNOWN
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "pay" in found.reasons[0]


def test_a_run_too_short_for_an_error_of_its_own_has_all_that_runs_differ_by() -> None:
    found = compare(one(SHOP, "A", error=nan, why="too short"), one(times(1.3), error=nan), history=PAST)
    assert row(found).verdict is Verdict.SLOWER
    assert row(found).why == "too short to estimate the error within a run"


def test_a_run_too_short_for_an_error_of_its_own_is_inconclusive_by_what_is_stated() -> None:
    found = compare(one(SHOP, "A", error=nan, why="too short"), one(times(1.3)), between_runs=0.03)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reasons == ("one run against one run, too short to estimate the error within a run",)


# -- many names -----------------------------------------------------------------------------------


def called_slower(seed: int, trials: int, names: int = 20) -> int:
    """Comparisons of two runs of the same code in which some name is called slower, with runs that differ by 2 %."""
    wrong = 0
    for trial in range(trials):
        shop = {f"journey {n}": 100.0 for n in range(names)}
        past = history(20, shop, sd=0.02, seed=seed + 3 * trial, error=0.004)
        (a,), (b,) = (history(1, shop, sd=0.02, seed=seed + 3 * trial + k, first=20 + k, error=0.004) for k in (1, 2))
        found = compare(side("A", a), side("B", b), history=past)
        wrong += any(r.verdict is Verdict.SLOWER for r in found.whole if r.percentile == "p95")
    return wrong


def test_of_many_names_of_the_same_code_few_comparisons_call_any_slower() -> None:
    assert stats.binomtest(called_slower(100, 20), 20, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.slow
def test_of_1000_comparisons_of_20_equal_names_at_most_5_in_100_call_any_slower(
    record_property: Callable[[str, object], None],
) -> None:
    wrong = called_slower(10_000, 1000)
    record_property("seen", f"20 names: {wrong} of 1000")
    assert wrong <= 50


# -- what only looks like a difference ------------------------------------------------------------


def regional(factors: dict[str, float]) -> dict[str, dict[str, float]]:
    return {region: {name: ms * factor for name, ms in SHOP.items()} for region, factor in factors.items()}


def test_one_slow_region_is_named_and_is_not_the_code() -> None:
    past = history(20, SHOP, regions=regional({"eu": 1.0, "us": 1.0, "ap": 1.0}))
    base = one(SHOP, "A", regions=regional({"eu": 1.0, "us": 1.0, "ap": 1.0}))
    new = one(times(1.2), regions=regional({"eu": 1.0, "us": 1.4, "ap": 1.0}))
    found = compare(base, new, history=past)
    assert {(odd.kind, odd.place) for odd in found.odd} == {("region", "us")}
    assert found.odd[0].change == pytest.approx(0.4)
    assert found.odd[0].rest == pytest.approx(0.0, abs=1e-9)


def test_a_release_that_is_slower_everywhere_has_no_odd_region() -> None:
    base = one(SHOP, "A", regions=regional({"eu": 1.0, "us": 1.0}))
    new = one(times(1.3), regions=regional({"eu": 1.28, "us": 1.31}))
    assert compare(base, new, history=PAST).odd == ()


def test_one_slow_agent_is_named_with_its_side() -> None:
    def agents(*factors: float) -> dict[tuple[str, str], dict[str, float]]:
        return {("eu", f"agent-{n}"): times(factor) for n, factor in enumerate(factors)}

    base = one(SHOP, "A", regions={"eu": SHOP}, agents=agents(1.0, 1.0, 1.0))
    new = one(times(1.2), regions={"eu": times(1.2)}, agents=agents(1.0, 1.0, 1.6))
    (odd, *_) = compare(base, new, history=PAST).odd
    assert (odd.kind, odd.place, odd.side) == ("agent", "agent-2", "B")


def test_failures_that_come_fast_are_no_improvement() -> None:
    new = one(times(0.7), failed=dict.fromkeys(SHOP, 600))
    found = compare(one(SHOP, "A"), new, history=PAST)
    assert row(found).verdict is Verdict.MORE_ERRORS
    assert found.faster_by_failing == tuple(SHOP)
    assert Verdict.FASTER not in {r.verdict for r in found.whole}
    assert found.errors[0].shift.change == pytest.approx(600 / 12_000)


def test_a_release_that_is_slower_and_fails_more_is_slower() -> None:
    found = compare(one(SHOP, "A"), one(times(1.5), failed=dict.fromkeys(SHOP, 600)), history=PAST)
    assert row(found).verdict is Verdict.SLOWER
    assert found.errors[0].verdict is Verdict.MORE_ERRORS
    assert found.faster_by_failing == ()


def test_a_few_more_errors_are_no_matter() -> None:
    found = compare(one(SHOP, "A"), one(SHOP, failed=dict.fromkeys(SHOP, 4), failed_error=0.00001), history=PAST)
    assert {r.verdict for r in found.errors} == {Verdict.NO_CLEAR}


def test_a_change_of_the_tail_alone_is_seen_there_and_nowhere_else() -> None:
    tail = {"p99": {name: ms * 1.5 * 1.3 for name, ms in SHOP.items()}}
    found = compare(one(SHOP, "A"), one(SHOP, others=tail), history=PAST)
    assert row(found, percentile="p99").verdict is Verdict.SLOWER
    assert row(found, percentile="p50").verdict is Verdict.NO_CLEAR


def test_where_only_a_bound_is_known_nothing_is_clear() -> None:
    found = compare(one(SHOP, "A"), one(SHOP, others={"p99": dict.fromkeys(SHOP, inf)}), history=PAST)
    assert row(found, percentile="p99").verdict is Verdict.UNKNOWN
    assert row(found, percentile="p99").why == "only a lower bound is known"
    assert row(found).verdict is Verdict.NO_CLEAR


# -- what should not have been compared -----------------------------------------------------------


def test_other_plans_are_said_and_compared() -> None:
    other = replace(KEY, plan=KEY.plan.replace("200/s", "400/s"), rate="400/s", placement="fleet")
    found = compare(one(SHOP, "A"), one(SHOP, key=other), history=PAST)
    said = "\n".join(found.differences)
    assert "rate: 200/s here, 400/s there" in said
    assert "placement: embedded here, fleet there" in said
    assert found.rows


def test_names_of_one_side_only_are_said() -> None:
    base = one({**SHOP, "browse": 80.0}, "A")
    new = one({**SHOP, "pay": 90.0})
    assert compare(base, new, history=PAST).missing == ("only in A: browse", "only in B: pay")


def test_runs_with_no_name_in_common_are_refused() -> None:
    with pytest.raises(UsageError, match="A and B have no name in common"):
        compare(one({"browse": 80.0}, "A"), one({"pay": 90.0}))


def test_a_side_without_a_run_is_refused() -> None:
    with pytest.raises(UsageError, match="no run of A"):
        compare(side("A"), one(SHOP))


@pytest.mark.parametrize(
    ("more", "outcome", "said"),
    [
        ({"result": "invalid", "validity": "invalid", "reasons": ("lag",)}, Outcome.INVALID, "not fit to measure: lag"),
        ({"result": "incomplete"}, Outcome.INCONCLUSIVE, "data are missing"),
        ({"result": "interrupted"}, Outcome.INCONCLUSIVE, "interrupted"),
        ({"achieved_rate": 150.0}, Outcome.INCONCLUSIVE, "only 150.0 of 200.0 iterations/s"),
    ],
)
def test_a_run_that_is_not_fit_is_shown_and_decides_nothing(
    more: dict[str, object], outcome: Outcome, said: str
) -> None:
    found = compare(one(SHOP, "A"), one(times(1.3), "B", **more), history=PAST)
    assert found.outcome is outcome
    assert said in found.reasons[0]
    assert found.reasons[0].startswith("run-B: ")
    assert row(found).new_ms == pytest.approx(SHOP["checkout"] * 1.3)
