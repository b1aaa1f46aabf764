"""How often intervals of the Universal Scalability Law hold the truth, and how often a peak is quoted wrongly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from loadgen.analysis.usl import Coefficients, fit_usl
from loadgen.analysis.usl.curve import throughput_at

Seen = Callable[[str, object], None]
TRUTH = Coefficients(0.0277, 1.04e-4, 90.0)
"""Close to specsdm91; its peak is at load 96.7."""
LOADS = np.repeat([1.0, 16, 32, 64, 96, 140, 180, 240], 2)
"""Eight loads, two measurements each; three are beyond the peak."""
FIGURES = ("alpha", "beta", "gamma", "peak_load", "peak_throughput")
LOW, HIGH = 0.92, 0.97


def covered(
    sets: int, *, is_share: bool, noise: float, loads: np.ndarray = LOADS, draws: int = 400
) -> tuple[dict[str, float], int]:
    """Return the share of intervals that hold the truth, by figure, and of how many sets a peak was quoted.

    is_share: noise is a share of the throughput at each load; otherwise of the highest throughput.
    """
    rng = np.random.default_rng(1)
    exact = throughput_at(loads, *TRUTH)
    size = exact if is_share else TRUTH.peak_throughput
    held = dict.fromkeys(FIGURES, 0)
    quoted = 0
    for n in range(sets):
        throughput = np.maximum(exact + noise * size * rng.standard_normal(len(loads)), 1e-3)
        fit = fit_usl(loads, throughput, draws=draws, seed=n)
        if fit.peak_load_interval is None or fit.peak_throughput_interval is None:
            continue
        quoted += 1
        found = {**fit.intervals, "peak_load": fit.peak_load_interval, "peak_throughput": fit.peak_throughput_interval}
        for name, (low, high) in found.items():
            held[name] += low <= getattr(TRUTH, name) <= high
    return {name: count / max(quoted, 1) for name, count in held.items()}, quoted


def test_intervals_of_a_few_sets_hold_the_truth_mostly() -> None:
    shares, quoted = covered(20, is_share=False, noise=0.03, draws=200)

    assert quoted >= 16
    assert min(shares.values()) >= 0.7  # 13 or fewer of 20 have a probability of 0.0001 at 95 %


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("is_share", [False, True])
def test_intervals_of_1000_sets_hold_the_truth_in_92_to_97_of_100(is_share: bool, record_property: Seen) -> None:
    shares, quoted = covered(1_000, is_share=is_share, noise=0.05 if is_share else 0.03)

    record_property("seen", {"quoted": quoted, **{name: round(share, 3) for name, share in shares.items()}})
    for name in ("peak_load", "peak_throughput", "beta"):
        assert LOW <= shares[name] <= HIGH, name
    # With noise that grows with the throughput, alpha and gamma rest on quiet low loads: their intervals are too wide.
    for name in ("alpha", "gamma"):
        assert LOW <= shares[name] <= HIGH + 0.015, name


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("highest", "most"), [(60.0, 2), (77.0, 25), (90.0, 90)])
def test_loads_below_the_peak_seldom_give_a_peak(highest: float, most: int, record_property: Seen) -> None:
    # 62, 80 and 93 % of the true peak, 5 % noise. Close to it, noise can look like a fall.
    loads = np.repeat(np.linspace(1, highest, 8), 2)

    _, quoted = covered(1_000, is_share=True, noise=0.05, loads=loads, draws=200)

    record_property("seen", f"{quoted} of 1000")
    assert quoted <= most
