"""Adds 95 % intervals to the results of objectives, and whether each verdict is sure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from loadgen.measure.objectives.terms import Objective, SloResult
from loadgen.measure.objectives.whole_run_values import each_check
from loadgen.measure.statistics.bad_share_interval import ShareInterval
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.share_in_worst_window import share_in_worst_window
from loadgen.measure.statistics.sure_values import is_sure, judged_in_windows

__all__ = ["with_intervals"]


def with_intervals(
    results: Sequence[SloResult], objectives: Sequence[Objective], batches: Batches
) -> tuple[SloResult, ...]:
    """Return the results of objectives with their intervals, and with `sure`: whether the verdict is sure.

    Objectives on response times and on the ratio of all errors have two intervals: of the observed value, and of the
    share of bad events, which decides whether the verdict is sure. `low` and `high`, the ends for the observed value,
    stay None over sliding windows and where no interval is known. `sure_values.py` describes all other objectives.

    batches: made with the same objectives.
    """
    by_text = {
        one.text: (index, one) for index, objective in enumerate(objectives) for one in each_check(objective, batches)
    }
    found = []
    for result in results:
        index, objective = by_text.get(result.objective, (-1, None))
        if objective is not None and objective.is_plain:
            result = _with_plain(result, objective, index, batches)
        elif objective is not None and objective.window_ns:
            result = judged_in_windows(result, objective, batches.due, index, batches.interval_ns)
        elif objective is not None:
            result = batches.of_value(objective, index, result)
        found.append(result)
    return tuple(found)


def _with_plain(result: SloResult, objective: Objective, index: int, batches: Batches) -> SloResult:
    if isinstance(result.observed, float):
        interval = batches.of_objective(objective, result)
        result = msgspec.structs.replace(result, low=interval.low, high=interval.high)
    share = (
        share_in_worst_window(result, objective, batches.due, index, batches.interval_ns)
        if objective.window_ns
        else batches.bad_share(objective, result)
        if result.count
        else None
    )
    return _with_share(result, objective, share)


def _with_share(result: SloResult, objective: Objective, share: ShareInterval | None) -> SloResult:
    """Return the result with the interval of its bad share, and whether its verdict is sure."""
    if share is None:
        return msgspec.structs.replace(result, bad_share_low=None, bad_share_high=None, sure=False)
    low, high = round(share.low, 9), round(share.high, 9)
    sure = is_sure(result, objective, share)
    return msgspec.structs.replace(result, bad_share_low=low, bad_share_high=high, sure=sure)
