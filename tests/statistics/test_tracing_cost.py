"""What tracing costs the target is estimated without bias, and its interval contains the truth as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.analysis.slow_requests.tracing_cost import LEAST_SAMPLED, DecidedSums, tracing_cost
from loadgen.units import NS_PER_MS

Random = np.random.Generator


def sums_of(rows: list[tuple[int, float, int, int, int, int]]) -> DecidedSums:
    """rows: (series, second, sampled n and sum, others n and sum)."""
    series, at_s, *more = (list(column) for column in zip(*rows, strict=True))
    return DecidedSums(np.array(series), np.array(at_s, dtype=float), *(np.array(column) for column in more))


def test_the_estimate_is_the_coefficient_of_a_regression_with_a_constant_for_each_stratum() -> None:
    random = np.random.default_rng(4)
    rows, responses, columns = [], [], []
    strata = 2 * 20
    for second in range(20):
        for series in (0, 1):
            is_sampled = random.random(40) < 0.3
            response = 1_000 + 500 * series + 37 * second + random.integers(0, 300, 40) + 50 * is_sampled
            n, total = int(is_sampled.sum()), int(response[is_sampled].sum())
            rows.append((series, 30.0 * second, n, total, 40 - n, int(response.sum()) - total))
            responses += response.tolist()
            for sampled in is_sampled:
                column = np.zeros(strata + 1)
                column[0], column[1 + 2 * second + series] = sampled, 1
                columns.append(column)
    found = tracing_cost(sums_of(rows))
    assert found is not None
    coefficients, *_ = np.linalg.lstsq(np.array(columns), np.array(responses, dtype=float), rcond=None)
    assert found.ns == pytest.approx(coefficients[0], rel=1e-9)
    assert found.low_ns < found.ns < found.high_ns


def test_a_load_that_becomes_slower_while_fewer_requests_are_sampled_costs_nothing() -> None:
    # Without strata, the mean of all sampled requests would be 450 ns below that of the others.
    rows = [(0, float(s), 90 - s, (90 - s) * (1_000 + 30 * s), 10 + s, (10 + s) * (1_000 + 30 * s)) for s in range(60)]
    found = tracing_cost(sums_of(rows))  # in each second, as with a boost
    assert found is not None
    assert (found.ns, found.low_ns, found.high_ns) == pytest.approx((0, 0, 0), abs=1e-6)
    assert (found.sampled, found.others) == (sum(90 - s for s in range(60)), sum(10 + s for s in range(60)))


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 1.0, LEAST_SAMPLED - 1, 1_000, 5_000, 9_000)],
        [(0, float(s), 10, 1_000, 0, 0) for s in range(100)],  # all were sampled
        [(0, 1.0, 50, 1_000, 50, 1_000)],  # one block
        [(s % 2, float(s), *((50, 1_000, 0, 0) if s % 2 else (0, 0, 50, 1_000))) for s in range(40)],  # never both
    ],
)
def test_nothing_is_estimated_where_nothing_can_be_compared(rows: list[tuple[int, float, int, int, int, int]]) -> None:
    assert tracing_cost(sums_of(rows)) is None


def test_a_run_without_rows_has_no_estimate() -> None:
    assert tracing_cost(DecidedSums(*(np.zeros(0, dtype=np.int64) for _ in range(6)))) is None  # type: ignore[arg-type]


def run_of(random: Random, *, seconds: int, share: float, cost_ms: float, per_s: int = 40) -> DecidedSums:
    """A run of 40 iterations/s with 1 to 7 requests each, which share a decision, a factor of their user, and noise.

    Iterations with more requests are slower, the load is slow for a third of the time, and the responses have a tail.
    """
    n = random.poisson(per_s * seconds)
    starts = random.random(n) * seconds
    requests = random.integers(1, 8, n)
    is_sampled = random.random(n) < share
    of = np.repeat(np.arange(n), requests)
    at = starts[of] + random.random(len(of)) * 5  # an iteration takes 5 s
    user = np.exp(random.normal(0, 0.4, n))[of]
    slow = 1 + 0.8 * (at > 2 * seconds / 3)
    response_ms = 20 * slow * user * (1 + 0.1 * requests[of]) * np.exp(random.normal(0, 0.5, len(of)))
    response_ns = np.rint((response_ms + cost_ms * is_sampled[of]) * NS_PER_MS).astype(np.int64)
    second, series = at.astype(np.int64), of % 2
    place, rows = np.unique(second * 2 + series, return_inverse=True)

    def summed(of_them: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.rint(np.bincount(rows, weights=values * of_them, minlength=len(place))).astype(np.int64)

    ones, theirs = np.ones(len(of)), is_sampled[of]
    return DecidedSums(
        place % 2,
        (place // 2).astype(float),
        summed(theirs, ones),
        summed(theirs, response_ns),
        summed(~theirs, ones),
        summed(~theirs, response_ns),
    )


def coverage(seed: int, times: int, **of: float) -> tuple[float, float, float]:
    """Return (share of intervals with the truth, mean error in ms, share of intervals above 0)."""
    random = np.random.default_rng(seed)
    cost_ms = of["cost_ms"]
    found = [
        tracing_cost(run_of(random, **of))  # type: ignore[arg-type]
        for _ in range(times)
    ]
    usable = [one for one in found if one is not None]
    assert len(usable) == times
    holds = [one.low_ns <= cost_ms * NS_PER_MS <= one.high_ns for one in usable]
    errors = [one.ns / NS_PER_MS - cost_ms for one in usable]
    return float(np.mean(holds)), float(np.mean(errors)), float(np.mean([one.low_ns > 0 for one in usable]))


def test_a_cost_that_is_there_is_found() -> None:
    holds, error_ms, is_clear = coverage(1, 20, seconds=300, share=0.05, cost_ms=5.0)
    assert is_clear >= 0.9
    assert abs(error_ms) < 1
    assert holds >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "share", "per_s"), [(60, 0.1, 40), (300, 0.05, 40), (900, 0.02, 15), (900, 0.2, 15)]
)
def test_intervals_contain_the_truth_in_93_to_97_percent(seconds: int, share: float, per_s: int) -> None:
    """1,000 runs each: standard error 0.7 points. The width does not depend on the cost, which is the same for all."""
    holds, error_ms, _ = coverage(seconds, 1_000, seconds=seconds, share=share, per_s=per_s, cost_ms=0.4)
    print(f"{seconds} s, {share:.0%}: {holds:.1%} hold, mean error {error_ms:+.3f} ms")
    assert 0.93 <= holds <= 0.97
