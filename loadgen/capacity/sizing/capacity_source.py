"""Takes the capacity of one instance from a study: a search (`capacity find`) or a curve (`capacity fit`).

A study has it in `facts["capacity"]`: `low`, `point`, `high` in 1/s, and `is_extrapolated`. A figure that is
extrapolated is rejected: nobody has seen the target serve it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from loadgen.capacity.sizing.ranges import Range
from loadgen.errors import UsageError
from loadgen.outside_text import one_line

__all__ = ["capacity_of"]


def capacity_of(kind: str, result: str, facts: Mapping[str, Any], name: str) -> Range:
    """Return the capacity in the facts of a study, 1/s.

    name: how errors name the study.

    Raises:
        UsageError: the study has no capacity, or an extrapolated one.
    """
    kind = one_line(kind, 40)
    if kind not in ("capacity find", "capacity fit"):
        raise UsageError(
            f"{name} is a study of kind {kind}, which has no capacity", hint="name a study of `loadgen capacity find`"
        )
    found = facts.get("capacity")
    if not isinstance(found, Mapping):
        why = f": its result is {one_line(result, 40)}" if result != "decided" else ""
        raise UsageError(f"{name} has no capacity{why}", hint="repeat it with more loads, or give --capacity 230/s")
    if found.get("is_extrapolated") is not False:
        raise UsageError(
            f"the capacity in {name} is extrapolated: the target was never loaded so high",
            hint="measure it: loadgen capacity find FILE:PLAN",
        )
    ends = [found.get(key) for key in ("low", "point", "high")]
    numbers = [float(one) for one in ends if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) < 3 or not all(isfinite(one) and one > 0 for one in numbers) or numbers != sorted(numbers):
        raise UsageError(
            f"the capacity in {name} has no interval above 0, so there is no low end to plan with",
            hint="repeat it with more runs, or give --capacity LOW..HIGH",
        )
    return Range(numbers[0], numbers[1], numbers[2])
