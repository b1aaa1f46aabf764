"""What goes together: unrelated series are not named, planted ones are, and bad series are left out with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from loadgen.analysis.goes_with.answer import MOST_SERIES, goes_with
from loadgen.analysis.goes_with.chance import agreement
from loadgen.analysis.goes_with.steps import coarser_judged, on_steps
from loadgen.analysis.goes_with.values import GoesWith, Judged, Load, Named, ProbeSeries
from loadgen.analysis.goes_with.whitened import innovations, load_columns, residuals, softened
from tests.statistics.unrelated_series import KINDS, PLANTED, SHARES, pearson_named, planted, series_of, unrelated

Floats = npt.NDArray[np.float64]
N = 300
ASKED = ("white", "walks", "AR .9", "common ramp")


def chance(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def objective(values: Floats) -> Judged:
    return Judged("share", values, np.full(len(values), 100.0))


def fit(n: int = N) -> npt.NDArray[np.bool_]:
    return np.ones(n, dtype=np.bool_)


def slow_seconds(n: int = N, seed: int = 3) -> Floats:
    """The share above the limit: 2 %, and 30 % in the 1 to 4 s of bursts at random times."""
    draw = chance(seed)
    share = 0.02 + 0.005 * draw.random(n)
    for at in draw.choice(np.arange(10, n - 10), n // 25, replace=False):
        share[at : at + int(draw.integers(1, 5))] = 0.3
    return share


def of_one(values: Floats, share: Floats, **about: float | str) -> GoesWith:
    at_s = np.arange(len(values), dtype=np.float64) + 0.5
    one = replace(ProbeSeries("waits", at_s, values), **about)  # type: ignore[arg-type]
    return goes_with([objective(share)], fit(len(share)), [], [one])


def only(found: GoesWith) -> Named:
    assert len(found.named) == 1, found
    return found.named[0]


# -- false alarms ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*ASKED, "jobs of 60 s", "bursts"])
def test_unrelated_series_are_rarely_named(kind: str) -> None:
    """A small version of the slow test: more than 2 of 8 has a probability of 0.6 % if the rate is 5 %."""
    assert sum(bool(unrelated(kind, seed).named) for seed in range(8)) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, *SHARES])
def test_any_of_30_unrelated_series_is_named_in_at_most_5_percent_of_1_000_runs(kind: str) -> None:
    named = sum(bool(unrelated(kind, seed).named) for seed in range(1_000))
    assert named <= binom.ppf(0.99, 1_000, 0.05), named


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "period", "gaps"), [(120, 1, 0.0), (180, 1, 0.0), (600, 1, 0.2), (600, 5, 0.0), (1_800, 15, 0.0)]
)
@pytest.mark.parametrize("kind", ["walks", "few spikes", "bursts", "shares"])
def test_short_runs_long_periods_and_gaps_keep_the_rate(kind: str, seconds: int, period: int, gaps: float) -> None:
    named = sum(bool(unrelated(kind, seed, seconds, period=period, gaps=gaps).named) for seed in range(400))
    assert named <= binom.ppf(0.99, 400, 0.05), named


@pytest.mark.parametrize(("kind", "expected"), [("walks", 0.86), ("AR .9", 0.43), ("common ramp", 1.0)])
def test_plain_pearson_calls_unrelated_series_related(kind: str, expected: float) -> None:
    """Why load, time and the series' own past are taken out: each pair here has nothing to do with the other."""
    called = sum(pearson_named(kind, seed) for seed in range(60)) / 60
    low, high = binom.ppf((0.001, 0.999), 60, expected) / 60
    assert low <= called <= high


# -- what is there is found --------------------------------------------------------------------------------


def test_bursts_of_lock_waits_are_named_first_with_their_lag() -> None:
    runs = [planted(seed) for seed in range(6)]
    right = [one for one in runs if one.found.named and one.found.named[0].title == PLANTED]
    assert len(right) >= 5
    assert sum(one.found.named[0].lag_s == one.lag_s for one in right) >= 4


@pytest.mark.slow
def test_planted_bursts_are_first_in_95_percent_of_runs_with_the_right_lag_in_95_percent() -> None:
    runs = [planted(seed) for seed in range(300)]
    right = [one for one in runs if one.found.named and one.found.named[0].title == PLANTED]
    assert len(right) >= 0.95 * len(runs)
    assert sum(one.found.named[0].lag_s == one.lag_s for one in right) >= 0.95 * len(right)


def test_size_is_told_as_it_was_measured() -> None:
    share = slow_seconds()
    found = only(of_one(np.where(share > 0.2, 6.0, 0.0), share, unit="sessions"))
    assert (found.low, found.high, found.unit, found.sign) == (0.0, 6.0, "sessions", 1)
    assert found.judged_high == pytest.approx(0.3)
    assert found.judged_low == pytest.approx(0.0225, abs=0.001)
    assert found.n_low + found.n_high == found.n == N
    assert found.share > 0.5


def test_series_that_falls_has_a_negative_sign() -> None:
    share = slow_seconds()
    found = only(of_one(np.where(share > 0.2, 0.0, 6.0) + 0.1 * chance().random(N), share))
    assert found.sign == -1
    assert found.low < found.high
    assert found.judged_low > found.judged_high


@pytest.mark.parametrize(("lag", "expected"), [(3, True), (-3, False), (1, None), (0, None)])
def test_lag_has_a_direction_only_beyond_the_error_of_the_clocks(lag: int, expected: bool | None) -> None:
    share = slow_seconds()
    found = only(of_one(np.roll(np.where(share > 0.2, 6.0, 0.0), -lag), share))
    assert found.lag_s == lag
    assert found.lag_error_s == 1.0
    assert found.comes_first is expected


def test_error_of_a_clock_takes_the_direction_away() -> None:
    share = slow_seconds()
    found = only(of_one(np.roll(np.where(share > 0.2, 6.0, 0.0), -3), share, error_s=4.0))
    assert found.comes_first is None


def test_probe_with_a_period_of_2_s_is_found_on_steps_of_2_s() -> None:
    share = slow_seconds(2 * N)
    waits = np.where(share > 0.2, 6.0, 0.0) + 0.1 * chance().random(2 * N)
    at_s = np.arange(0, 2 * N, 2, dtype=np.float64)
    found = goes_with(
        [objective(share)],
        fit(2 * N),
        [],
        [ProbeSeries("waits", at_s, waits.reshape(-1, 2).mean(axis=1), period_s=2.0)],
    )
    assert found.points == N
    assert only(found).lag_error_s == 2.0


def test_gaps_stay_gaps() -> None:
    share = slow_seconds()
    waits = np.where(share > 0.2, 6.0, 0.0)
    waits[chance(5).random(N) < 0.2] = np.nan
    found = only(of_one(waits, share))
    assert found.n == int(np.isfinite(waits).sum())
    assert found.lag_s == 0


def test_seconds_in_which_the_generator_was_unfit_do_not_count() -> None:
    share = slow_seconds()
    waits = np.where(share > 0.2, 6.0, 0.0)
    is_fit = fit()
    is_fit[40:80] = False
    at_s = np.arange(N, dtype=np.float64)
    found = goes_with([objective(share)], is_fit, [], [ProbeSeries("waits", at_s, waits)])
    assert found.points == N - 40
    assert only(found).n == N - 40


def test_series_of_one_host_that_move_together_are_one_line() -> None:
    share, draw = slow_seconds(), chance()
    at_s = np.arange(N, dtype=np.float64)
    probes = [
        ProbeSeries(title, at_s, np.where(share > 0.2, 6.0, 0.0) + noise * draw.random(N), host=host)
        for title, noise, host in (("waits", 0.1, "db"), ("waiting", 0.2, "db"), ("sleepers", 0.2, "cache"))
    ]
    found = goes_with([objective(share)], fit(), [], probes)
    assert sorted((one.host, len(one.together)) for one in found.named) == [("cache", 0), ("db", 1)]


# -- what is never named -----------------------------------------------------------------------------------


def test_load_itself_is_not_offered_under_another_name() -> None:
    draw = chance()
    rate = 50 + 10 * np.sin(np.arange(N) / 7) + draw.random(N)
    share = 0.002 * rate + 0.01 * draw.random(N)
    at_s = np.arange(N, dtype=np.float64)
    found = goes_with(
        [objective(share)], fit(), [Load("offered rate", rate)], [ProbeSeries("requests", at_s, 2 * rate)]
    )
    assert not found.named
    assert found.left_out[0].why == "it is the load: 100% of it follows the offered rate"


def test_requests_in_flight_are_not_offered_and_not_taken_out() -> None:
    share = slow_seconds()
    in_flight = 10 + 100 * share
    at_s = np.arange(N, dtype=np.float64)
    probes = [ProbeSeries("busy", at_s, in_flight), ProbeSeries("waits", at_s, np.where(share > 0.2, 6.0, 0.0))]
    found = goes_with([objective(share)], fit(), [Load("in flight", in_flight, follows=True)], probes)
    assert "busy" not in {one.title for one in found.named}
    assert "waits" in {one.title for one in found.named} | {one.title for one in found.left_out}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.full(N, 3.0), "constant"),
        (np.where(np.arange(N) > 100, 4.0, 3.0), "too few changes: 1 of the 8 that are needed"),
        (np.full(N, np.nan), "no values"),
        (np.where(np.arange(N) < 100, np.arange(N) % 7.0, np.nan), "too few points: 100 steps of 1 s"),
        (np.full(N, np.inf), "no values"),
    ],
)
def test_series_that_cannot_be_tested_has_a_reason(values: Floats, why: str) -> None:
    found = of_one(values, slow_seconds())
    assert not found.named
    assert found.left_out[0].why.startswith(why)
    assert found.not_tested


def test_run_of_119_s_is_too_short_and_passes_nothing() -> None:
    found = of_one(slow_seconds(119), slow_seconds(119))
    assert found.not_tested == "too few points: 119 steps of 1 s with a value, 120 are needed"
    assert not found.named
    assert not found.tested


def test_probe_with_a_period_of_15_s_needs_1_800_s() -> None:
    share = slow_seconds(600)
    at_s = np.arange(0, 600, 15, dtype=np.float64)
    found = goes_with([objective(share)], fit(600), [], [ProbeSeries("waits", at_s, at_s % 7, period_s=15.0)])
    assert found.not_tested.startswith("too few points: 40 steps of 15 s")


@pytest.mark.parametrize("share", [np.zeros(N), np.full(N, np.nan), np.zeros(0)])
def test_objective_that_hardly_changes_is_not_tested(share: Floats) -> None:
    values: Floats = np.mod(np.arange(len(share), dtype=np.float64), 7.0)
    found = of_one(values, share)
    assert found.not_tested


def test_run_without_series_says_so() -> None:
    found = goes_with([objective(slow_seconds())], fit(), [], [])
    assert found.not_tested == "the run has no series of the target"


def test_series_beyond_the_limit_are_left_out() -> None:
    share = slow_seconds()
    one = ProbeSeries("constant", np.arange(N, dtype=np.float64), np.ones(N))
    found = goes_with([objective(share)], fit(), [], [one] * (MOST_SERIES + 1))
    assert [each.why for each in found.left_out].count(f"more than {MOST_SERIES} series") == 1


def test_two_jobs_of_the_same_rhythm_are_left_out_with_the_shift() -> None:
    minute = np.where(np.arange(600) % 60 < 3, 1.0, 0.0)
    draw = chance()
    found = of_one(6 * minute + 0.1 * draw.random(600), 0.02 + 0.2 * minute + 0.005 * draw.random(600))
    assert not found.named
    assert "both have a rhythm" in found.left_out[0].why


def test_same_input_gives_the_same_result() -> None:
    assert unrelated("AR .9", 7) == unrelated("AR .9", 7)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_probe_sends_gives_finite_figures(seed: int) -> None:
    draw = chance(seed)
    n = int(draw.integers(1, 400))
    odd = np.array([np.nan, np.inf, -np.inf, 1e300, -1e99, 0.0, 1e-320, 5.0])
    probes = []
    for number in range(8):
        count = int(draw.integers(0, 2 * n))
        at_s: Floats = np.sort(draw.uniform(-10, n + 10, count))
        values = np.where(draw.random(count) < 0.3, draw.choice(odd, count), draw.standard_normal(count))
        probes.append(ProbeSeries(f"s{number}", at_s, values, period_s=float(draw.choice([0.1, 1.0, 1.5, 5.0, 1e9]))))
    share = np.where(draw.random(n) < 0.1, np.nan, draw.random(n))
    found = goes_with([objective(share)], draw.random(n) < 0.95, [Load("rate", np.full(n, np.nan))], probes)
    for one in found.named:
        assert np.isfinite([one.low, one.high, one.share, one.strength, one.p]).all()


def test_run_of_three_hours_is_put_on_longer_steps() -> None:
    share = slow_seconds(10_800)
    waits = np.where(share > 0.2, 6.0, 0.0) + 0.1 * chance().random(10_800)
    found = goes_with([objective(share)], fit(10_800), [], series_of(waits[None]))
    assert found.points == 3_600
    assert only(found).lag_s == 0


# -- parts -------------------------------------------------------------------------------------------------


def test_soft_values_keep_the_order_and_tame_the_largest() -> None:
    values = np.array([[3.0, 1.0, np.nan, 1.0, 2.0, 99.0], [0.0, 0.0, 0.0, 0.0, 0.0, 5.0]])
    soft = softened(values)
    assert np.isnan(soft[0, 2])
    assert soft[0, 1] == soft[0, 3] < soft[0, 4] < soft[0, 0] < soft[0, 5]
    assert soft[1, 5] > soft[1, 0]
    assert np.nanmean(soft, axis=1) == pytest.approx([0.0, 0.0], abs=1e-12)
    assert np.nanvar(soft, axis=1) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("gaps", [0.0, 0.2])
def test_innovations_of_an_autoregression_are_white(gaps: float) -> None:
    """Known answer: the shocks with which the series was made."""
    draw = chance(2)
    shocks = draw.standard_normal(2_000)
    values = np.zeros(2_000)
    for at in range(2, 2_000):
        values[at] = 1.2 * values[at - 1] - 0.5 * values[at - 2] + shocks[at]
    values[draw.random(2_000) < gaps] = np.nan
    found = innovations(softened(values[None]), load_columns([], 2_000))[0]
    known = np.isfinite(found)
    assert np.corrcoef(found[known], shocks[known])[0, 1] > (0.95 if not gaps else 0.8)
    assert known.sum() >= np.isfinite(values).sum() - 10
    assert not known[~np.isfinite(values)].any()


def test_residuals_take_a_bent_answer_to_the_load_out() -> None:
    rate = np.linspace(10, 100, N)
    bent = np.maximum(0.0, rate - 60) ** 2
    left = residuals(softened(bent[None]), load_columns([rate], N))
    assert float(np.nanvar(left)) < 0.05


def test_jitter_of_reads_leaves_no_step_empty() -> None:
    jitter = 0.2 * (chance().random(N) - 0.5)
    at_s: Floats = np.asarray(np.arange(N) + 0.98 + jitter, dtype=np.float64)
    steps = on_steps(ProbeSeries("s", at_s, np.arange(N, dtype=np.float64)), 1.0, N + 1)
    assert np.isfinite(steps).sum() == N


@pytest.mark.parametrize("phase", [0.0, -1e-9, -0.02, 0.4, 0.9])
def test_value_belongs_to_the_step_of_its_time(phase: float) -> None:
    steps = on_steps(ProbeSeries("s", np.arange(N, dtype=np.float64) + phase, np.arange(N, dtype=np.float64)), 1.0, N)
    assert steps.tolist() == list(range(N))


def test_long_steps_are_means_by_requests() -> None:
    one = Judged("share", np.array([0.0, 0.5, np.nan, 0.2, 0.4, 0.4]), np.array([10.0, 30, 0, 5, 1, 1]))
    values, counts = coarser_judged(one, fit(6), 2)
    assert values.tolist() == pytest.approx([0.375, 0.2, 0.4])
    assert counts.tolist() == [40.0, 5.0, 2.0]


def test_z_of_white_noise_has_variance_1() -> None:
    draw = chance(4)
    found = agreement(draw.standard_normal((2, N)), draw.standard_normal((20, N)), 10, 1.0, 1)
    assert float(found.z.var()) == pytest.approx(1.0, abs=0.15)
    assert found.p.min() > 0.01


def test_family_wise_p_grows_with_the_number_of_series() -> None:
    share, draw = slow_seconds(), chance()
    weak = np.where(share > 0.2, 2.0, 0.0) + draw.standard_normal(N)

    def p_among(others: int) -> float:
        rows: Sequence[ProbeSeries] = series_of(np.concatenate((weak[None], draw.standard_normal((others, N)))))
        found = goes_with([objective(share)], fit(), [], rows)
        return next((one.p for one in found.named if one.title == "series 0"), 1.0)

    assert p_among(0) <= p_among(100)
