"""Goodput by the definition of another tool: which limits are judged by its figures, and recorded for its result file.

`vllm bench` and AIPerf have one set of limits for all requests of a run. So the limits are those of the plan's first
goodput objective that covers all requests to models, and a tool that does not have one of these limits has no goodput.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from loadgen.measure.convention_metrics import RecordedConvention, has_limits
from loadgen.measure.objectives.terms import Objective

__all__ = ["exported_limits"]


def exported_limits(
    objectives: Iterable[Objective], conventions: Iterable[RecordedConvention]
) -> dict[RecordedConvention, Mapping[str, int]]:
    """Return the limits in ns, by name, for each recorded convention whose tool has a goodput by these limits."""
    first = next((one for one in objectives if one.kind == "goodput" and _covers_all(one)), None)
    if first is None:
        return {}
    limits = dict(first.limits)
    return {name: limits for name in conventions if has_limits(name, limits)}


def _covers_all(one: Objective) -> bool:
    return not (one.journey or one.step or one.request or one.region or one.load or one.tags)
