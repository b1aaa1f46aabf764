"""A percentile without a path's excess is the same, whether all traces are timed again or only those that matter."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.analysis.slow_requests import effects
from loadgen.analysis.slow_requests.answer import _compared
from loadgen.traces.cohorts import cohorts_of
from loadgen.traces.compact_trace import compact_of, compacted
from tests.support.made_traces import made


@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.99])
def test_only_traces_that_matter_are_timed_again_for_a_percentile(percentile: float) -> None:
    run = made("slow version", 3, seconds=60)
    cohorts = cohorts_of(compacted(run.timed), run.objective.threshold_ns)
    weights = cohorts.weights
    compared = _compared(
        cohorts.traces, weights, weights * cohorts.is_slow, weights * cohorts.is_fast, cohorts.threshold_ns, 1
    )
    everything = np.ones(len(weights), dtype=np.bool_)
    for column in range(min(8, len(compared.times.paths))):
        targets = {column: effects._usual(compared, column)}
        whole = effects.percentile_of(effects._lowered(compared, targets, everything), weights, percentile)
        assert effects.percentile_without(compared, (column,), percentile) == whole


def test_compact_traces_have_the_times_of_whole_ones() -> None:
    for one in made("more calls", 2, seconds=20).timed:
        compact = compact_of(one.observed, one.tree)
        assert compact.paths == one.paths
        assert sum(end - begin for begin, end in zip(compact.waits.begins, compact.waits.ends, strict=True)) == (
            one.observed.service_ns
        )
        events = sorted((start, end) for _, start, end in compact.events())
        assert events == sorted((span.start_ns, span.end_ns) for span in one.tree.spans.values())
