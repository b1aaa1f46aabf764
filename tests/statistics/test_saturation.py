"""How often a steady level is marked as saturated, and how often one with too many requests is."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import accumulate

import numpy as np
import pytest

from loadgen.measure.statistics.saturation import is_saturated, means_of_parts, slope_of
from tests.support.simulated import ar1

Seen = Callable[[str, object], None]
SETTLE_S = 20


def share_up(length_s: int, phi: float, runs: int, seed: int) -> float:
    """The share of steady signals whose slope is up; their means of 5 s are an AR(1), and spread by 30 %."""
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(runs):
        slope = slope_of((1 + ar1(rng, length_s // 5, phi, 0.3)).tolist())
        assert slope is not None
        found += slope.is_up
    return found / runs


@pytest.mark.parametrize("length_s", [30, 50, 100])
def test_a_steady_signal_is_seldom_up(length_s: int) -> None:
    assert share_up(length_s, 0.5, 300, 1) <= 0.06


@pytest.mark.slow
@pytest.mark.parametrize(("phi", "at_most"), [(0.0, 0.03), (0.5, 0.06), (0.8, 0.09), (0.9, 0.10)])
@pytest.mark.parametrize("length_s", [30, 50, 100, 200])
def test_a_steady_signal_is_seldom_up_in_many_runs(
    length_s: int, phi: float, at_most: float, record_property: Seen
) -> None:
    share = share_up(length_s, phi, 2_000, length_s)
    record_property("seen", f"{length_s} s, correlation {phi}: {share:.3f}")
    print(length_s, phi, share)
    assert share <= at_most


def queue(rng: np.random.Generator, use: float, length_s: int, servers: int = 8) -> tuple[list[float], list[float]]:
    """Means of 5 s of in flight and ttft of an M/M/8 queue after 20 s of settling, which begins empty.

    Each server needs 1 s for a request, and the first token comes with the first tenth of it.
    """
    end_s = SETTLE_S + length_s
    free = [0.0] * servers
    at = np.cumsum(rng.exponential(1 / (use * servers), int(2 * use * servers * end_s) + 50))
    started, ended, ttft_sum, ttft_n = (np.zeros(end_s) for _ in range(4))
    for due, work in zip(at.tolist(), rng.exponential(1.0, len(at)).tolist(), strict=True):
        if due >= end_s:
            break
        begins = max(due, heappop(free))
        heappush(free, begins + work)
        started[int(due)] += 1
        if begins + work < end_s:  # seen when the request ends
            ended[int(begins + work)] += 1
            ttft_sum[int(begins + work)] += begins - due + 0.1 * work
            ttft_n[int(begins + work)] += 1
    in_flight = list(accumulate((started - ended).tolist()))[SETTLE_S:]
    return (
        means_of_parts(in_flight, [1.0] * length_s, 1.0),
        means_of_parts(ttft_sum[SETTLE_S:].tolist(), ttft_n[SETTLE_S:].tolist(), 1.0),
    )


def marked(use: float, length_s: int, runs: int) -> float:
    rng = np.random.default_rng(7)
    pairs = [queue(rng, use, length_s) for _ in range(runs)]
    return sum(bool(is_saturated(slope_of(a), slope_of(b))) for a, b in pairs) / runs


def test_a_queue_with_too_many_requests_is_saturated_and_one_with_room_is_not() -> None:
    assert marked(0.7, 100, 50) <= 0.06
    assert marked(1.5, 100, 50) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("use", "length_s", "least", "most"),
    [(0.5, 100, 0, 0.03), (0.8, 100, 0, 0.05), (0.9, 100, 0, 0.10), (1.2, 100, 0.5, 1), (1.5, 100, 0.95, 1)],
)
def test_queues_are_marked_by_their_use(
    use: float, length_s: int, least: float, most: float, record_property: Seen
) -> None:
    share = marked(use, length_s, 500)
    record_property("seen", f"use {use}, {length_s} s: {share:.3f}")
    print(use, length_s, share)
    assert least <= share <= most
