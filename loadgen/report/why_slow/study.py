"""Explains the slowness of a run's requests from their traces: joins, compares, and makes `cause.json`.

It fetches nothing: the traces are those in the run folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from loadgen.analysis.slow_requests.answer import causes_between, causes_of
from loadgen.analysis.slow_requests.tracing_cost import DecidedSums, TracingCost, tracing_cost
from loadgen.report.why_slow.cause_file import CauseFile, RunPart, causes_of_document
from loadgen.report.why_slow.cause_file import Chosen as ChosenPart
from loadgen.report.why_slow.choice import Chosen
from loadgen.report.why_slow.decided import DecidedSeries, DecidedTable
from loadgen.report.why_slow.joined import Joined, examples_of
from loadgen.traces.causes import Causes, Objective, cause_document
from loadgen.traces.compact_trace import CompactTrace
from loadgen.traces.timed import Observed

__all__ = ["Facts", "Told", "cost_of", "objective_of", "told"]


_SHORT_ID: Final = 16
"""Hex digits of a trace id in a command: the first 8 are the second in which it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The other contents of cause.json.

    called: the run in commands. source: where the traces came from. seed: of all random draws. refused: reasons for
    which the source did not return traces, with counts. cost: of tracing, for the target; see `cost_of`.
    """

    run: str
    made_at: str
    source: str
    seed: int
    called: str = ""
    refused: Mapping[str, int] = field(default_factory=dict)
    cost: TracingCost | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """The causes as values, the same as the contents of cause.json, and the compared traces."""

    causes: CauseFile
    document: Mapping[str, object]
    slow: Sequence[CompactTrace] = ()
    fast: Sequence[CompactTrace] = ()

    @property
    def is_refused(self) -> bool:
        """Whether there are too few traces, or too many are missing."""
        return self.causes.not_ranked is not None and self.causes.not_ranked.is_refused


def objective_of(chosen: Chosen) -> Objective:
    """Return the objective as the statistics need it."""
    return Objective(
        name=chosen.name,
        percentile=1 - chosen.allowed,
        threshold_ns=chosen.limit_ns if chosen.is_broken else None,
        share_over=chosen.above,
        requests=chosen.count or None,
    )


def cost_of(decided: DecidedTable, chosen: Chosen) -> TracingCost | None:
    """Return what tracing costs the target in the chosen requests; None if too few were sampled."""
    rows = decided.rows(lambda series: _is_of(series, chosen))
    numbers: dict[DecidedSeries, int] = {}
    series = [numbers.setdefault(row.series, len(numbers)) for row in rows]
    seconds, *sums = np.array([row[1:] for row in rows], dtype=np.int64).reshape(-1, 5).T
    return tracing_cost(DecidedSums(np.array(series, dtype=np.int64), seconds.astype(np.float64), *sums))


def _is_of(series: DecidedSeries, chosen: Chosen) -> bool:
    """Return whether a request is one of the chosen requests, or one of the chosen step or journey.

    The load is not known here, so an objective of one load has the requests of all loads.
    """
    pairs = (
        (chosen.region, series.region),
        (chosen.journey, series.journey),
        (chosen.step, series.step),
        (chosen.request, series.request),
    )
    return all(not wanted or wanted == own for wanted, own in pairs) and all(
        selector.matches(series.tags) for selector in chosen.tags
    )


def told(
    chosen: Chosen,
    found: Joined[CompactTrace],
    asked: Sequence[Observed],
    facts: Facts,
    *,
    against: tuple[str, Joined[CompactTrace]] | None = None,
) -> Told:
    """Return why the chosen requests were slow.

    against: name and requests of another run. All requests of this run are then compared with all of that one.
    """
    objective = objective_of(chosen)
    if against is None:
        causes = causes_of(found.timed, objective, seed=facts.seed, asked=asked, found=found.found)
        slow, fast = _cohorts(found.timed, causes)
        fast_from = found
    else:
        name, fast_from = against
        causes = causes_between(found.timed, fast_from.timed, objective, against=name, seed=facts.seed)
        slow, fast = ([one for one in some if _is_usable(one)] for some in (found.timed, fast_from.timed))
    slow_example, fast_example = examples_of(slow, fast, found.whole, fast_from.whole)
    part = RunPart(
        run=facts.run,
        made_at=facts.made_at,
        source=facts.source,
        chosen=_chosen_part(chosen),
        fast_mean_ns=_mean(fast),
        refused=dict(Counter(facts.refused) + found.refused),
        notes=facts.notes,
        **_cost_part(facts.cost),
        rerun=f"loadgen runs rerun {facts.called}",
        look="" if slow_example is None else f"loadgen trace show {facts.called} {slow_example.trace[:_SHORT_ID]}",
        slow_example=slow_example,
        fast_example=fast_example,
    )
    return Told(*causes_of_document(cause_document(causes), part), slow, fast)


def _cost_part(cost: TracingCost | None) -> dict[str, Any]:
    if cost is None:
        return {}
    return {
        "cost_ns": cost.ns,
        "cost_interval_ns": (cost.low_ns, cost.high_ns),
        "cost_sampled": cost.sampled,
        "cost_others": cost.others,
    }


def _chosen_part(chosen: Chosen) -> ChosenPart:
    return ChosenPart(
        journey=chosen.journey,
        step=chosen.step,
        request=chosen.request,
        region=chosen.region,
        text=chosen.text,
        why=chosen.why,
        percentile=chosen.percentile,
        observed_ms=chosen.observed_ms,
        above=chosen.above,
        above_interval=(chosen.above_low, chosen.above_high),
    )


def _cohorts(timed: Sequence[CompactTrace], causes: Causes) -> tuple[list[CompactTrace], list[CompactTrace]]:
    usable = [one for one in timed if _is_usable(one)]
    slow = [one for one in usable if one.observed.response_ns > causes.threshold_ns]
    fast = [one for one in usable if one.observed.response_ns <= min(causes.fast_ns, causes.threshold_ns)]
    return slow, fast


def _is_usable(one: CompactTrace) -> bool:
    seen = one.observed
    return seen.outcome == "ok" and seen.is_fit and not seen.is_pool_limited and one.is_complete


def _mean(traces: Sequence[CompactTrace]) -> float:
    """Return the weighted mean response time, in ns. Corrections of weights do not change it."""
    if not traces:
        return 0.0
    weights = [one.observed.weight for one in traces]
    return float(np.average([one.observed.response_ns for one in traces], weights=weights))
