"""Answers why requests are slow, from the timed traces of one series: cohorts, causes, intervals and missing traces.

    causes = causes_of(timed, Objective("checkout", threshold_ns=300_000_000), seed=1)
    causes.ranked[0].path            # ("shop: POST /checkout", ..., "stock: SELECT item")

This module puts the parts of `loadgen.traces` together with the statistics of `loadgen.analysis`. The parts are pure
and must not import scipy, so this module is here. It reads no clock and no file; the same traces and seed give the same
answer.

A path is a candidate if its interval of added time is above 0, and if it makes 2 % of the difference or takes 5 % of
the slow requests below the threshold. Candidates are ranked by the share of requests that is still above the threshold
without their excess. Nothing is ranked if

- there are fewer than 30 slow or fast traces, or the slow ones that are missing cannot be corrected for;
- the first one is first in fewer than 80 % of resamples, or takes fewer than 10 % of the slow requests below the
  threshold;
- no objective is breached, and the first one's own time is within its ordinary range in half of the slow traces. The
  slowest requests are always slow somewhere. The range ends at the median plus three times the distance from the
  median to the 95th percentile, of all requests that are not slow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.attribute_tests import fisher
from loadgen.analysis.resample import RESAMPLES, Blocks, blocks_of
from loadgen.analysis.slow_requests.effects import Compared, Without, mean_difference, percentile_of, resampled
from loadgen.analysis.slow_requests.figures import Figures
from loadgen.analysis.slow_requests.lines import candidate, explained, pairs, unexplained
from loadgen.traces.causes import Cause, Causes, FailedCohort, Objective
from loadgen.traces.cohorts import LEAST_SLOW, Cohorts, cohorts_of, repaired_counts, weighted_quantile
from loadgen.traces.compact_trace import CompactTrace, compacted
from loadgen.traces.missing import Missing
from loadgen.traces.missing import compared as compare_found
from loadgen.traces.own_times import own_times
from loadgen.traces.pauses import Moves, pauses_of
from loadgen.traces.shapes import difference
from loadgen.traces.timed import Observed, TimedTrace

__all__ = ["causes_between", "causes_of"]

Floats = npt.NDArray[np.float64]

_STABLE: Final = 0.8
_LEAST_SAVED: Final = 0.1
_LINES: Final = 5
_ORDINARY: Final = 3.0
_LEAST_UNUSUAL: Final = 0.5


def causes_of(
    timed: Sequence[CompactTrace | TimedTrace],
    objective: Objective,
    *,
    seed: int = 0,
    asked: Sequence[Observed] = (),
    found: Collection[str] | None = None,
    resamples: int = RESAMPLES,
) -> Causes:
    """Compare the slow requests of one series with its fast ones.

    Args:
        timed: the requests whose traces were found and repaired; of one series and, if wanted, of one region.
        objective: the limit above which requests are slow.
        seed: of all random draws.
        asked: all requests whose traces were asked for. Empty: missing traces are not counted.
        found: ids of the traces that were found; None: those of `timed`.
        resamples: at least 100.

    Cost: 0.1 to 0.2 s for 400 traces of 13 to 33 spans (`python -m bench causes`).
    """
    traces = compacted(timed)
    usable = {one.observed.trace for one in traces if one.is_complete}
    missing = _missing(asked, found if found is not None else usable, usable, objective)
    factors = missing.factors if missing else None
    cohorts = cohorts_of(traces, objective.threshold_ns, fast_ns=objective.median_ns, factors=factors)
    refusal = _too_few(cohorts.n_slow, cohorts.n_fast)
    if not refusal and missing and missing.beyond_correction:
        refusal = f"too many slow traces are missing: {missing.beyond_correction}"
    causes = replace(
        _without_figures(traces, objective, cohorts, cohorts.fast_ns, refusal, seed, resamples),
        n_slow=cohorts.n_slow,
        n_fast=cohorts.n_fast,
        found=missing.rates if missing else None,
        is_corrected=bool(missing and missing.rates.differ and not missing.beyond_correction),
    )
    if not cohorts.n_fast:
        return causes
    causes = replace(causes, failed=_failed(cohorts, seed, resamples))
    if not cohorts.n_slow:
        return causes
    base = cohorts.weights
    compared = _compared(
        cohorts.traces, base, base * cohorts.is_slow, base * cohorts.is_fast, cohorts.threshold_ns, seed
    )
    if objective.median_ns is None:
        compared = replace(compared, fast_share=0.5)
    answer = Figures.of(compared, blocks_of(cohorts.due_s), seed, resamples)
    is_breached = cohorts.has_objective and answer.share_over(objective)[0] > objective.allowed_share
    return _completed(causes, answer, "" if is_breached else "no objective is breached", is_run_against_run=False)


def causes_between(
    run: Sequence[CompactTrace | TimedTrace],
    other: Sequence[CompactTrace | TimedTrace],
    objective: Objective,
    *,
    against: str,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Causes:
    """Compare all requests of a run with those of another run, by the same decomposition.

    The other run takes the place of the fast requests: own times are lowered to its medians. Without an objective, its
    95th percentile is the threshold. A path is a candidate only if its added time differs from 0 by Student's t on
    blocks of time, with Holm's correction for all paths, at 5 %.

    against: the name of the other run. The other arguments are those of `causes_of`.
    """
    of_run = compacted(run)
    usual = cohorts_of(compacted(other), objective.threshold_ns)
    cohorts = cohorts_of(of_run, objective.threshold_ns if objective.threshold_ns is not None else usual.threshold_ns)
    refusal = _too_few(len(cohorts.traces), len(usual.traces), "this run", "the other run")
    causes = replace(
        _without_figures(of_run, objective, cohorts, usual.fast_ns, refusal, seed, resamples),
        n_slow=len(cohorts.traces),
        n_fast=len(usual.traces),
        against=against,
    )
    if not len(cohorts.traces) or not len(usual.traces):
        return causes
    slow = np.concatenate((cohorts.weights, np.zeros(len(usual.traces))))
    fast = np.concatenate((np.zeros(len(cohorts.traces)), usual.weights))
    traces = cohorts.traces + usual.traces
    compared = _compared(traces, slow, slow, fast, cohorts.threshold_ns, seed)
    ours, theirs = blocks_of(cohorts.due_s), blocks_of(usual.due_s)
    blocks = Blocks(
        np.concatenate((ours.of_trace, theirs.of_trace + ours.count)), ours.count + theirs.count, ours.length_s
    )
    return _completed(causes, Figures.of(compared, blocks, seed, resamples), "", is_run_against_run=True)


def _without_figures(
    timed: Sequence[CompactTrace],
    objective: Objective,
    cohorts: Cohorts[CompactTrace],
    fast_ns: int,
    refusal: str,
    seed: int,
    resamples: int,
) -> Causes:
    """Return the answer without the two cohorts' sizes, their difference and lines. refusal: why there are no lines."""
    return Causes(
        objective=objective,
        threshold_ns=cohorts.threshold_ns,
        fast_ns=fast_ns,
        share_over=objective.share_over or 0.0,
        share_over_interval=(0.0, 1.0),
        percentile_ns=percentile_of(cohorts.responses_ns, cohorts.weights, objective.percentile),
        difference_ns=0.0,
        difference_interval_ns=(-np.inf, np.inf),
        n_slow=0,
        n_fast=0,
        candidates=(),
        unexplained=(),
        not_ranked=refusal,
        is_refused=bool(refusal),
        repair=repaired_counts(timed),
        left_out={str(reason): count for reason, count in cohorts.left_out.items()},
        seed=seed,
        resamples=resamples,
    )


def _completed(causes: Causes, answer: Figures, not_breached: str, *, is_run_against_run: bool) -> Causes:
    """Return the answer with its lines, and with the reason if nothing is ranked."""
    share, share_interval = answer.share_over(causes.objective)
    whole, whole_interval = answer.difference()
    traces = answer.compared.traces
    slow, fast = (
        [traces[n] for n in np.flatnonzero(weights).tolist()]
        for weights in (answer.compared.slow, answer.compared.fast)
    )
    by_shape = difference(slow, fast)
    clear = answer.clear(is_run_against_run)
    lines = [candidate(causes, answer, index, clear, share, whole) for index in clear[:_LINES]]
    refusal = causes.not_ranked
    reason = refusal or _reason(answer, lines, clear, not_breached, is_run_against_run)
    if not reason:
        lines, unique = explained(answer, lines, [answer.lowered.columns[index] for index in clear])
        causes = replace(causes, unique_keys=unique)
    return replace(
        causes,
        share_over=share,
        share_over_interval=share_interval,
        difference_ns=whole,
        difference_interval_ns=whole_interval,
        same_shape_ns=by_shape.same_shape_ns,
        more_of_shape_ns=by_shape.more_of_shape_ns,
        candidates=tuple(lines),
        unexplained=unexplained(answer, [answer.lowered.columns[index] for index in clear[:_LINES]]),
        not_ranked=reason,
        pairs=pairs(causes, answer, clear, share),
        block_s=answer.blocks.length_s,
    )


def _reason(
    answer: Figures, lines: Sequence[Cause], clear: Sequence[int], not_breached: str, is_run_against_run: bool
) -> str:
    """Return why nothing is ranked, "" if the first line can be named."""
    if not lines:
        return "no path differs clearly" if is_run_against_run else "no path is clearly slower in the slow requests"
    first = clear[0]
    if not_breached and _is_ordinary(answer.compared, answer.lowered.columns[first]):
        return f"{not_breached}, and the slow requests are within the ordinary range of each path"
    if is_run_against_run and not answer.compared.is_over.any():
        return ""
    if lines[0].stays_first < _STABLE or answer.still_over[first] > 1 - _LEAST_SAVED:
        return f"no single path: the first one is first in {lines[0].stays_first:.0%} of resamples"
    return ""


def _is_ordinary(compared: Compared, column: int) -> bool:
    """Return whether a path's own time is within its ordinary range in half of the slow traces."""
    own, usual = compared.times.own_ns[:, column], (compared.base > 0) & ~compared.is_over
    median, high = (weighted_quantile(own[usual], compared.base[usual], share) for share in (0.5, 0.95))
    is_unusual = own > median + _ORDINARY * (high - median)
    slow = compared.slow
    return bool(slow[is_unusual].sum() < _LEAST_UNUSUAL * slow.sum())


def _failed(cohorts: Cohorts[CompactTrace], seed: int, resamples: int) -> FailedCohort:
    """Compare failed requests with fast ones."""
    if not cohorts.failed:
        return FailedCohort(0)
    fast = [one for one, is_fast in zip(cohorts.traces, cohorts.is_fast, strict=True) if is_fast]
    traces = [*cohorts.failed, *fast]
    failed_weights = [one.observed.weight for one in cohorts.failed]
    slow = np.array([*failed_weights, *np.zeros(len(fast))])
    quick = np.concatenate((np.zeros(len(cohorts.failed)), cohorts.weights[cohorts.is_fast]))
    compared = Compared(
        traces=traces,
        times=own_times(traces),
        pauses=(),
        responses_ns=np.array([one.observed.response_ns for one in traces], dtype=np.float64),
        base=slow,
        slow=slow,
        fast=quick,
        threshold_ns=cohorts.threshold_ns,
    )
    nothing = Without((), np.zeros(0), np.zeros((0, len(traces))))
    blocks = blocks_of([one.observed.at_s for one in traces])
    draws = resampled(compared, nothing, blocks, seed, resamples)
    answer = Figures(compared, compared.added(), nothing, draws, blocks, np.zeros(0), np.zeros(0))
    return FailedCohort(
        traces=len(cohorts.failed),
        outcomes=dict(Counter(one.observed.outcome for one in cohorts.failed)),
        added_ns=mean_difference(compared),
        paths=unexplained(answer, ()),
    )


def _compared(
    traces: Sequence[CompactTrace],
    base: Floats,
    slow: Floats,
    fast: Floats,
    threshold_ns: int,
    seed: int,
) -> Compared:
    pauses = pauses_of(traces, seed)
    moved = _together([one.moved for one in pauses], len(traces))
    return Compared(
        traces=traces,
        times=own_times(traces, moved),
        pauses=pauses,
        responses_ns=np.array([one.observed.response_ns for one in traces], dtype=np.float64),
        base=base,
        slow=slow,
        fast=fast,
        threshold_ns=threshold_ns,
    )


def _together(moved: Sequence[Sequence[Moves]], traces: int) -> list[Moves]:
    """Return what the pauses of all instances move, for each trace."""
    joined: list[Moves] = [{} for _ in range(traces)]
    for one in moved:
        for n, moves in enumerate(one):
            for source, targets in moves.items():
                joined[n].setdefault(source, {}).update(targets)
    return joined


def _missing(
    asked: Sequence[Observed], found: Collection[str], usable: Collection[str], objective: Objective
) -> Missing | None:
    if not asked:
        return None
    return compare_found(asked, found, usable, fisher, objective.threshold_ns, objective.median_ns)


def _too_few(slow: int, fast: int, slow_name: str = "slow", fast_name: str = "fast") -> str:
    """Return the reason if there are too few traces for a ranking, otherwise ""."""
    for count, name in ((slow, slow_name), (fast, fast_name)):
        if count < LEAST_SLOW:
            what = f"{count} {name} traces" if name in ("slow", "fast") else f"{count} traces of {name}"
            return f"only {what}; a ranking needs {LEAST_SLOW}"
    return ""
