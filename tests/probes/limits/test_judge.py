"""Objectives on probes: what their samples prove, and what missing samples leave open."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from loadgen.measure.objectives.terms import SloResult
from loadgen.probes.limits.judge import judge_objective, keeps_of
from loadgen.probes.limits.limit_text import parse_bound
from loadgen.probes.limits.objective import ProbeObjective
from loadgen.probes.recorded import Recorded
from loadgen.probes.rows import Row
from tests.probes.limits.samples import COUNTER, GAUGE, HISTOGRAM, SHARE_OF_LIMIT, S, histogram_records, records


def objective(row: Row, limit: object, statistic: Any = "every", operator: Any = "<", **more: Any) -> ProbeObjective:
    return ProbeObjective(
        text="probe(...)", name=f"db.{row.key}", probe="db", row=row.key, statistic=statistic,
        operator=operator, bound=parse_bound(limit), **more,
    )  # fmt: skip


def judged(
    row: Row, values: dict[float, float | None], of: ProbeObjective, end_s: int = 10, from_s: int = 0
) -> SloResult:
    (found,) = judge_objective(of, Recorded(records(row, values)), from_s * S, end_s * S)
    return found


def steady(value: float, end_s: int = 10) -> dict[float, float | None]:
    return {float(at): value for at in range(-1, end_s + 1)}


def test_every_sample_must_be_within_an_upper_limit() -> None:
    found = judged(GAUGE, steady(3) | {5.0: 19.0}, objective(GAUGE, 20))
    assert (found.verdict, found.observed, found.probe, found.limit, found.margin) == (
        "passed",
        19,
        "db.waiting",
        20,
        0.05,
    )
    assert found.detail == "maximum 19 of 10 samples"
    broken = judged(GAUGE, steady(3) | {5.0: 20.0}, objective(GAUGE, 20))
    assert (broken.verdict, broken.observed, broken.sure) == ("failed", 20, True)


def test_every_sample_must_be_above_a_lower_limit() -> None:
    assert judged(GAUGE, steady(3), objective(GAUGE, 2, operator=">")).verdict == "passed"
    assert judged(GAUGE, steady(3) | {4.0: 1.0}, objective(GAUGE, 2, operator=">")).observed == 1


def test_a_percentage_is_of_the_limit_that_the_row_has() -> None:
    found = judged(SHARE_OF_LIMIT, steady(0.83), objective(SHARE_OF_LIMIT, "80%"))
    assert (found.verdict, found.observed, found.unit, found.margin) == ("failed", 83, "%", -0.0375)


def test_samples_before_the_measured_time_and_after_the_load_do_not_count() -> None:
    values = steady(3, 12) | {1.0: 99.0, 10.0: 99.0}
    assert judged(GAUGE, values, objective(GAUGE, 20), from_s=2).verdict == "passed"


def test_without_samples_nothing_passes_and_the_reason_is_the_last_gap() -> None:
    found = judged(GAUGE, dict.fromkeys(map(float, range(10))), objective(GAUGE, 20))
    assert (found.verdict, found.reason) == ("inconclusive", "there are no samples of db.waiting: no answer")
    (no_probe,) = judge_objective(objective(GAUGE, 20), Recorded(), 0, 10 * S)
    assert (no_probe.verdict, no_probe.reason) == ("inconclusive", "the probe was not read")


@pytest.mark.parametrize("statistic", ["every", "mean", "maximum"])
def test_too_long_a_gap_is_never_a_pass(statistic: str) -> None:
    short = steady(3) | {4.0: None}
    assert judged(GAUGE, short, objective(GAUGE, 20, statistic)).verdict == "passed"
    found = judged(GAUGE, short | {5.0: None}, objective(GAUGE, 20, statistic))
    assert (found.verdict, found.reason) == (
        "inconclusive",
        "20.0 % of the time has no samples, and at most 10.0 % may have none",
    )


def test_a_sample_beyond_the_limit_is_a_fact_whatever_is_missing() -> None:
    values: dict[float, float | None] = dict.fromkeys(map(float, range(10)))
    assert judged(GAUGE, values | {3.0: 50.0}, objective(GAUGE, 20)).verdict == "failed"
    assert judged(GAUGE, values | {3.0: 50.0}, objective(GAUGE, 20, "maximum", ">")).verdict == "passed"
    assert judged(GAUGE, values | {3.0: 50.0}, objective(GAUGE, 20, "mean")).verdict == "inconclusive"


def test_a_mean_is_weighted_by_time() -> None:
    values: dict[float, float | None] = {0.0: 0.0, 1.0: 0.0, 2.0: 0.0, 3.0: 10.0, 3.5: 10.0}
    found = judged(GAUGE, values, objective(GAUGE, 5, "mean"), end_s=4)
    assert found.observed == pytest.approx(10 * 1.5 / 4.5, rel=1e-5)


def test_after_a_gap_the_mean_rate_is_exact_and_its_highest_value_unknown() -> None:
    values: dict[float, float | None] = {float(at): at * 10.0 for at in (0, 1, 2, 6, 7, 8, 9, 10)}
    assert judged(COUNTER, values, objective(COUNTER, "20/s", "mean")).verdict == "passed"
    assert judged(COUNTER, values, objective(COUNTER, "20/s", "mean")).observed == 10
    assert judged(COUNTER, values, objective(COUNTER, "20/s")).verdict == "inconclusive"


def test_a_limit_in_the_unit_of_another_row_is_not_judged() -> None:
    assert judged(GAUGE, steady(3), objective(GAUGE, "80%")).verdict == "inconclusive"
    assert judged(GAUGE, steady(3), objective(GAUGE, 20, "percentile", q=95)).verdict == "inconclusive"


def test_each_instance_is_judged_by_itself_and_named() -> None:
    row = Row(key="cpu[of=a\x1b]", title="cpu", kind="gauge", names=("cpu",))
    of = objective(Row(key="cpu", title="cpu", kind="gauge", names=("cpu",)), 20)
    (found,) = judge_objective(of, Recorded(records(row, steady(3))), 0, 10 * S)
    assert found.objective == "probe(...), row cpu[of=a\ufffd]" or "\x1b" not in found.objective
    assert found.verdict == "passed"


def buckets(fast: int, slow: int) -> dict[float, float]:
    return {0.25: float(fast), 0.5: float(fast + slow), inf: float(fast + slow)}


@pytest.mark.parametrize(
    ("limit", "operator", "verdict"),
    [
        ("500ms", "<", "passed"),
        ("600ms", "<", "passed"),
        ("250ms", "<", "failed"),
        ("300ms", "<", "inconclusive"),
        ("250ms", ">", "passed"),
        ("300ms", ">", "inconclusive"),
        ("500ms", ">", "failed"),
    ],
)
def test_a_percentile_of_a_histogram_passes_only_if_its_bound_holds(limit: str, operator: str, verdict: str) -> None:
    # 90 of 100 requests take up to 0.25 s, so p95 of all is above 0.25 and at most 0.5 s.
    of = objective(HISTOGRAM, limit, "percentile", operator, q=95.0)
    recorded = Recorded(histogram_records(buckets(90 * n, 10 * n) for n in range(11)), keeps_of([of]))
    (found,) = judge_objective(of, recorded, 0, 10 * S)
    assert found.verdict == verdict
    assert found.detail == "p95 0.25 to 0.5 s of 1,000 values"


def test_the_percentile_is_of_all_values_and_not_a_mean_of_percentiles() -> None:
    # In one second all 4 requests are slow, in the others all 100 are fast.
    counts = [buckets(100 * min(n, 5) + 100 * max(0, n - 6), 4 * (n > 5)) for n in range(11)]
    of = objective(HISTOGRAM, "250ms", "percentile", q=95.0)
    (found,) = judge_objective(of, Recorded(histogram_records(counts), keeps_of([of])), 0, 10 * S)
    assert (found.verdict, found.observed) == ("passed", "at most 0.25")


def test_the_worst_window_breaks_an_objective_over_windows() -> None:
    values = steady(3, 60) | {float(at): 30.0 for at in range(20, 26)}
    of = objective(GAUGE, 20, "mean", window_ns=5 * S)
    found = judged(GAUGE, values, of, end_s=60)
    assert (found.verdict, found.observed, found.worst_window_s, found.window_s) == ("failed", 30, 20, 5)
    assert found.windows_failed == 4  # those with at least four of their five samples at 30
    assert judged(GAUGE, values, objective(GAUGE, 31, "mean", window_ns=5 * S), end_s=60).verdict == "passed"


def test_windows_without_samples_are_not_judged_and_too_many_of_them_are_never_a_pass() -> None:
    of = objective(GAUGE, 20, "mean", window_ns=5 * S)
    values = steady(3, 60) | dict.fromkeys(map(float, range(20, 40)))
    found = judged(GAUGE, values, of, end_s=60)
    assert found.verdict == "inconclusive"
    assert "windows have too few samples" in found.reason
    assert (
        judged(GAUGE, steady(3, 60) | {30.0: None}, objective(GAUGE, 20, "mean", window_ns=30 * S), end_s=60).verdict
        == "passed"
    )
    assert judged(GAUGE, steady(3, 3), of, end_s=3).reason == "no window is full"
