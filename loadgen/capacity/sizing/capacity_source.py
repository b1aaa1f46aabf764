"""Takes the capacity of one instance from a study: a search (`capacity find`) or a curve (`capacity fit`).

A search has it in `facts["capacity"]`: `low`, `point`, `high` in 1/s, `level` of this interval, and `is_extrapolated`.
The capacity of a curve is its highest throughput, with the interval. An extrapolated figure is rejected: the target
was never measured at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from loadgen.capacity.sizing.ranges import Range
from loadgen.errors import UsageError
from loadgen.outside_text import one_line

__all__ = ["InstanceCapacity", "capacity_of"]

_KINDS: Final = ("capacity find", "capacity fit")


@dataclass(frozen=True, slots=True)
class InstanceCapacity:
    """The capacity of one instance, and what a plan that is based on it must say."""

    range: Range
    warnings: tuple[str, ...] = ()


def capacity_of(kind: str, result: str, facts: Mapping[str, Any], name: str) -> InstanceCapacity:
    """Return the capacity in the facts of a study, 1/s.

    name: how errors name the study.

    Raises:
        UsageError: the study has no capacity, or an extrapolated one.
    """
    if kind not in _KINDS:
        raise UsageError(
            f"{name} is a study of kind {one_line(kind, 40)}, which has no capacity",
            hint="name a study of `loadgen capacity find`",
        )
    found = facts.get("capacity")
    if kind == "capacity fit" and found is None:
        found = _of_curve(facts, name)
    if not isinstance(found, Mapping):
        why = f": its result is {one_line(result, 40)}" if result != "decided" else ""
        raise UsageError(f"{name} has no capacity{why}", hint="repeat it with more loads, or give --capacity 230/s")
    if found.get("is_extrapolated") is not False:
        raise UsageError(
            f"the capacity in {name} is extrapolated: the target was never loaded so high",
            hint="measure it: loadgen capacity find FILE:PLAN",
        )
    numbers = [one for key in ("low", "point", "high") if (one := _positive(found.get(key))) is not None]
    if len(numbers) < 3 or numbers != sorted(numbers):
        raise UsageError(
            f"the capacity in {name} has no interval above 0, so there is no low end to plan with",
            hint="repeat it with more runs, or give --capacity LOW..HIGH",
        )
    level = _positive(found.get("level"))
    low, point, high = numbers
    between = Range(low, point, high, level if level is not None and 0.5 <= level < 1 else 0.95)
    return InstanceCapacity(between, tuple(_warnings(kind, facts, name)))


def _of_curve(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the peak of a curve in the form of a search's capacity."""
    peak, ends = facts.get("peak_throughput"), facts.get("peak_throughput_interval")
    if peak is None:
        why = one_line(str(facts.get("why_no_peak") or "it has no peak"), 200)
        raise UsageError(
            f"{name} has no capacity: {why}", hint="measure further beyond the peak, or use `loadgen capacity find`"
        )
    if facts.get("axis") == "instances":
        raise UsageError(
            f"{name} is a curve by instances: the rate of one instance depends on their number",
            hint="use a curve by concurrency of one instance, or `loadgen capacity find`",
        )
    low, high = ends if isinstance(ends, list) and len(ends) == 2 else (None, None)
    return {"low": low, "point": peak, "high": high, "is_extrapolated": False}


def _warnings(kind: str, facts: Mapping[str, Any], name: str) -> Iterator[str]:
    if kind == "capacity fit":
        yield (
            f"{name} has the highest throughput of all tested instances together, which may miss an objective: measure"
            " it with `loadgen capacity find`"
        )
    if facts.get("is_enough_for_a_purchase") is False:
        yield f"{name} has fewer than 3 searches after a restart each, so it is one condition: repeat it before you buy"
    if facts.get("is_confirmed") is False:
        yield f"{name} was not confirmed: the target did not hold the low end"


def _positive(value: object) -> float | None:
    """Return a finite number above 0 from a file; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if isfinite(value) and value > 0 else None
