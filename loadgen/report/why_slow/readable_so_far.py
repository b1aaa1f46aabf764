"""The number of traces of a broken objective that can be read so far, while a run goes on."""

from __future__ import annotations

from collections.abc import Iterable

from loadgen.measure.deltas.exemplar import ExemplarTable
from loadgen.measure.objectives.terms import Objective, SloResult
from loadgen.report.report_parts import milliseconds
from loadgen.units import NS_PER_MS, quantity

__all__ = ["readable_text"]


def readable_text(result: SloResult, planned: Iterable[Objective], exemplars: ExemplarTable) -> str:
    """Return "12 traces above 300 ms so far"; "" unless an objective on a response time is broken.

    It is also "" for an objective on one region, load or tag, because the table does not have these apart.
    `loadgen trace` needs at least 30 such traces for a ranking.
    """
    if result.verdict != "failed" or result.limit_ms is None or result.detail or result.region is not None:
        return ""
    if any(one.text == result.objective and (one.tags or one.load) for one in planned):
        return ""

    def is_wanted(journey: str, step: str, request: str) -> bool:
        # Without a request the objective is on the step; without a step, on the iterations of the journey.
        return (
            result.journey in (None, journey)
            and (result.request or "") == request
            and (step == (result.step or "") or bool(result.request and not result.step))
        )

    found = exemplars.readable(result.limit_ms * NS_PER_MS, is_wanted)
    return f"{quantity(found, 'trace')} above {milliseconds(result.limit_ms)} ms so far"
