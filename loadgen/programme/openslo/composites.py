"""Composites of OpenSLO: an SLO whose objectives have indicators of their own, with weights.

Its parts must be of one kind: one budgeting method, one kind of indicator, and slices of one length. A sum of a share
of requests and a share of slices is a share of nothing. OpenSLO/OpenSLO#142 asks for one method, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from loadgen.programme.composites.composite import Composite, Part
from loadgen.programme.promises.objectives import Objective, RatioIndicator, RawRatioIndicator, RollingWindow
from loadgen.programme.slo_files.fields import Fields, quoted

__all__ = ["ReadPart", "check_own_method", "read_composite", "read_weight"]

_WEIGHT: Final = "compositeWeight"
_METHOD: Final = "budgetingMethod"


@dataclass(frozen=True, slots=True)
class ReadPart:
    """One objective of an SLO, with its fields in the file. weight: None if it has none."""

    objective: Objective
    fields: Fields
    weight: Decimal | None


def read_weight(fields: Fields, *, several: bool) -> Decimal | None:
    """Take the weight of an objective; None if it is missing, invalid, or has no effect."""
    weight = fields.number(_WEIGHT, hint="write a number above 0, such as 2" if fields.has(_WEIGHT) else "")
    if weight is None:
        return None
    if weight <= 0:
        fields.fault(
            _WEIGHT, f"{fields.name_of(_WEIGHT)} {weight:f} must be above 0", "leave the objective out instead"
        )
        return None
    if not several:
        fields.note(_WEIGHT, f"{fields.name_of(_WEIGHT)} has no effect on a single objective", "leave it out")
        return None
    return weight.normalize()


def check_own_method(fields: Fields, method: str) -> None:
    """Add a fault for an objective with a budgeting method of its own that is not that of its SLO."""
    if fields.has(_METHOD) and (own := fields.text(_METHOD)) != method and method:
        name = fields.name_of(_METHOD)
        fields.fault(
            _METHOD, f"{name} {quoted(own)}, but the SLO has {method}", "all objectives of an SLO have one method"
        )


def read_composite(name: str, parts: Sequence[ReadPart]) -> Composite | None:
    """Return the composite of an SLO; None if it is none, or with a fault or a note if its parts are of several kinds.

    Objectives with weights are a composite, and so are objectives that all have an indicator of their own.
    """
    has_weights = any(one.weight is not None for one in parts)
    has_own = all(one.fields.has("indicator") or one.fields.has("indicatorRef") for one in parts)
    if len(parts) < 2 or not (has_weights or has_own):
        return None
    mixed = list(_mixed(parts))
    for part, key, text in mixed:
        fields = part.fields
        if has_weights:
            fields.findings.fault(
                fields.line_of(key), f"composite {quoted(name)}: {text}", "write one SLO for each kind"
            )
        else:
            message = f"{quoted(name)} is not judged as a composite: {text}"
            fields.findings.note(
                fields.line_of(key),
                message,
                "write one kind of indicator for all, or leave it: each objective is judged by itself",
            )
    if mixed:
        return None
    return Composite(name, tuple(Part(one.objective.name, one.weight or Decimal(1)) for one in parts))


def _mixed(parts: Sequence[ReadPart]) -> Iterator[tuple[ReadPart, str, str]]:
    """Yield each part that is of another kind than the first one, with the field that shows it, and a text."""
    first = parts[0]
    for one in parts[1:]:
        kinds = [_kind(part.objective) for part in (one, first)]
        if kinds[0] != kinds[1]:
            yield one, "indicator", f"{one.fields.path} has a {kinds[0]}, and {first.fields.path} has a {kinds[1]}"
        elif one.objective.slice_s != first.objective.slice_s:
            slices = [RollingWindow(part.objective.slice_s).text for part in (one, first)]
            text = f"{one.fields.path} has slices of {slices[0]}, and {first.fields.path} has slices of {slices[1]}"
            yield one, "timeSliceWindow", text


def _kind(objective: Objective) -> str:
    if isinstance(objective.indicator, RatioIndicator):
        return "ratioMetric"
    return "raw ratio" if isinstance(objective.indicator, RawRatioIndicator) else "thresholdMetric"
