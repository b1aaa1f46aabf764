"""Compares how many slow and how many fast traces were found, and corrects the weights of those that were.

Traces are lost for reasons: a tail sampler or a full collector loses more of them under load, when requests are slow.
Then the found traces are no fair sample of the slow ones. The requests themselves are all known, because our agents
measured them. So each usable trace also stands for the requests of its own class whose traces are missing. Classes are
fast, between, and three classes of the slow ones by their response time. Within a class the found traces must be like
the lost ones; nothing can show that. If a class with 10 requests or more has fewer than 3 usable traces, or fewer
than 10 %, there is no correction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.traces.cohorts import limits_of, standing_of
from loadgen.traces.timed import Observed

__all__ = ["DIFFERENT", "FoundRates", "Missing", "compared"]

DIFFERENT: Final = 0.01
"""Found rates differ if chance makes such a difference in at most 1 % of runs."""
_SLOW_CLASSES: Final = 3
_LEAST_SLOW_FOR_CLASSES: Final = 30
_LEAST_ASKED: Final = 10
_LEAST_USABLE: Final = 3
_LEAST_RATE: Final = 0.1


@dataclass(frozen=True, slots=True)
class FoundRates:
    """The numbers of traces that were asked for and found.

    p: of the hypothesis that slow and fast ones are found equally often.
    """

    asked: int
    found: int
    slow_asked: int
    slow_found: int
    fast_asked: int
    fast_found: int
    p: float

    @property
    def differ(self) -> bool:
        """Return whether slow and fast traces were found in different proportions."""
        return self.p <= DIFFERENT

    @property
    def slow(self) -> float | None:
        """Return the share of the slow traces that was found; None if none was asked for."""
        return self.slow_found / self.slow_asked if self.slow_asked else None

    @property
    def fast(self) -> float | None:
        """Return the share of the fast traces that was found; None if none was asked for."""
        return self.fast_found / self.fast_asked if self.fast_asked else None


@dataclass(frozen=True, slots=True)
class Missing:
    """The comparison, the factors for the weights of usable traces, and why there is no correction ("" if there is)."""

    rates: FoundRates
    factors: Mapping[str, float]
    beyond_correction: str = ""


def compared(
    asked: Sequence[Observed],
    found: Collection[str],
    usable: Collection[str],
    test: Callable[[int, int, int, int], float],
    threshold_ns: int | None = None,
    fast_ns: int | None = None,
) -> Missing:
    """Compare found rates and return the corrections of weights.

    Args:
        asked: all requests whose traces were asked for.
        found: ids of the traces that the backend returned.
        usable: ids of those that are whole and could be repaired.
        test: returns the two-sided p of a table: slow found, slow lost, fast found, fast lost
            (`loadgen.analysis.attribute_tests.fisher`).
        threshold_ns, fast_ns: as for `cohorts_of`.
    """
    comparable = [one for one in asked if standing_of(one, 0, 0)]
    responses = np.array([one.response_ns for one in comparable], dtype=np.float64)
    weights = np.array([one.weight for one in comparable], dtype=np.float64)
    limit, fast = limits_of(responses, weights, threshold_ns, fast_ns)
    slow = sorted((one for one in comparable if one.response_ns > limit), key=lambda one: one.response_ns)
    quick = [one for one in comparable if standing_of(one, limit, fast) == "fast"]
    between = [one for one in comparable if standing_of(one, limit, fast) == "between"]
    slow_found, fast_found = (sum(one.trace in found for one in some) for some in (slow, quick))
    p = test(slow_found, len(slow) - slow_found, fast_found, len(quick) - fast_found) if slow and quick else 1.0
    rates = FoundRates(
        len(asked), sum(one.trace in found for one in asked), len(slow), slow_found, len(quick), fast_found, p
    )
    count = _SLOW_CLASSES if len(slow) >= _LEAST_SLOW_FOR_CLASSES else 1
    edges = [len(slow) * n // count for n in range(count + 1)]
    classes = [quick, between, *(slow[edges[n] : edges[n + 1]] for n in range(count))]
    factors: dict[str, float] = {}
    wrong = ""
    for some in classes:
        have = [one for one in some if one.trace in usable]
        if len(some) >= _LEAST_ASKED and (len(have) < _LEAST_USABLE or len(have) < _LEAST_RATE * len(some)):
            wrong = wrong or _beyond(some, len(have))
        elif have:
            factor = sum(one.weight for one in some) / sum(one.weight for one in have)
            factors |= {one.trace: factor for one in have}
    return Missing(rates, factors, wrong)


def _beyond(some: Sequence[Observed], have: int) -> str:
    times = [one.response_ns / 1e6 for one in some]
    return f"only {have} of {len(some)} traces of {min(times):,.0f} to {max(times):,.0f} ms can be read"
