"""Objectives on any metric: what their bins count, and when a verdict is sure."""

from __future__ import annotations

from typing import Any

import pytest

from loadgen.measure.objectives.objective import Objective, evaluate_all
from loadgen.measure.statistics.batch_means import Batches, read_batches, with_intervals
from loadgen.units import NS_PER_MS, NS_PER_US
from tests.measure.test_made_up_runs import WHOLE, WINDOWED, objectives
from tests.support.made_up_runs import L, deltas_of, made_up


def batches_of(seed: int, judged: list[Objective]) -> tuple[Batches, dict[str, Any]]:
    run = made_up(seed)
    end_ns = run.intervals * L
    batches = read_batches(deltas_of(run, judged), run.warmup_ns, end_ns, L, objectives=judged)
    return batches, {
        "from_ns": run.warmup_ns,
        "end_ns": end_ns,
        "journeys": ["shop"],
        "complete": run.lost_from is None,
    }


@pytest.mark.parametrize("part", range(2))
def test_bins_count_what_the_whole_run_is_judged_by(part: int) -> None:
    judged, seen = objectives(WHOLE), 0
    for seed in range(part, 80, 2):
        batches, given = batches_of(seed, judged)
        for index, (one, result) in enumerate(zip(judged, evaluate_all(judged, batches, **given), strict=True)):
            bins = batches._of_objectives
            if one.kind == "ratio":
                found = bins.of_rate(one.of, one.region, hits_are_bad=one.is_upper)
            elif one.of_kind in ("counter", "gauge"):
                continue
            else:
                found = bins.of(index, result.journey)
            if found is None:
                assert not result.count, (seed, one.text)
                continue
            seen += 1
            assert found.whole_count == result.count, (seed, one.text)
            if one.is_share:
                assert found.bad.sum() == result.count - result.good, (seed, one.text)
            if one.kind == "mean" and isinstance(result.observed, float):
                scale = one.resolution / NS_PER_US if one.of_kind else 1 / NS_PER_MS
                assert found.whole_total / found.whole_count * scale == pytest.approx(result.observed, abs=6e-4)
    assert seen > 300


def test_every_result_says_whether_it_is_sure_and_why_not() -> None:
    kinds: dict[str, set[bool | None]] = {}
    for slos in (WHOLE, WINDOWED):
        judged = objectives(slos)
        for seed in range(60):
            batches, given = batches_of(seed, judged)
            for one in with_intervals(evaluate_all(judged, batches, **given), judged, batches):
                kinds.setdefault(judged[[o.text for o in judged].index(one.objective)].kind, set()).add(one.sure)
                assert one.sure is not None, one.objective
                assert bool(one.unsure) == (not one.sure and one.verdict != "inconclusive"), one
    assert all(values >= {False} for values in kinds.values()), kinds
    assert {kind for kind, values in kinds.items() if True in values} >= {"total", "maximum", "minimum", "percentile"}

