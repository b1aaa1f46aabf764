"""Alert rules at low traffic: how often they fire wrongly, and what it costs to prevent that.

At 10 requests an hour and a target of 99.9 %, a single bad request is a burn of
100 in its hour. So rules need a number of bad events, too: 5 for a page, 10 for
a ticket. The price is time: a full outage is found only after that number of
requests. `detection_minutes` gives that price, and `wrong_alerts_a_month`
simulates the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, factorial, inf
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.attainment.exact_share import exact_share
from loadgen.analysis.burn.rules import MINUTE_S, BurnRule
from loadgen.analysis.values_to_float_array import Array

__all__ = ["Detection", "detection_minutes", "slowest_warning", "wrong_alerts_a_month"]

_MINUTES_A_MONTH: Final = 30 * 24 * 60
_CHUNK_MONTHS: Final = 24
_SLOW: Final = 2.0


@dataclass(frozen=True, slots=True)
class Detection:
    """How long a full outage goes unnoticed, minutes, with Poisson arrivals."""

    mean: float
    """inf: the long window has too few requests for it to fire reliably."""
    median: float
    bad_events: int
    """The number of bad events that it takes."""


def detection_minutes(rule: BurnRule, target: object, rate_per_h: float, *, least_bad: int | None = None) -> Detection:
    """Return after which time a rule finds a full outage at a rate.

    It takes the events that reach the factor in the long window, and at least `least_bad` of them.

    Args:
        rate_per_h: requests/h, above 0; the same before and during the outage.
        least_bad: bad events that the rule needs; by default the rule's own. 1 is without the condition.

    Raises:
        ValueError: an invalid target or rate.
    """
    if not rate_per_h > 0:
        raise ValueError(f"rate_per_h is {rate_per_h:g}, but must be above 0")
    in_long = rate_per_h * rule.long_s / 3600
    share = float(rule.factor * (1 - exact_share(target)))
    events = max(ceil(share * in_long - 1e-9), 1, rule.least_bad if least_bad is None else least_bad)
    if share > 1 or events > in_long:
        return Detection(inf, inf, events)
    return Detection(events / rate_per_h * 60, _median_of_gamma(events) / rate_per_h * 60, events)


def slowest_warning(rules: Sequence[BurnRule], target: object, rate_per_h: float) -> str:
    """Return a sentence if pages come late because they wait for bad events; "" if they do not.

    The fastest page rule counts. It warns if the condition at least doubles the time.
    """
    pages = [rule for rule in rules if rule.severity == "page"]
    if not pages:
        return ""
    guarded = min(detection_minutes(rule, target, rate_per_h).mean for rule in pages)
    plain = min(detection_minutes(rule, target, rate_per_h, least_bad=1).mean for rule in pages)
    if plain == inf:
        return ""
    if guarded == inf:
        return (
            f"at {rate_per_h:g} requests/h no page can fire: its windows have fewer requests than the bad events that "
            "it needs"
        )
    if guarded < _SLOW * plain or guarded < _SLOW:
        return ""
    return (
        f"at {rate_per_h:g} requests/h a full outage pages after some {guarded:.0f} minutes instead of {plain:.0f}, "
        f"because a page needs {pages[0].least_bad} bad events"
    )


def wrong_alerts_a_month(
    rules: Sequence[BurnRule],
    target: object,
    rate_per_h: float,
    *,
    least_bad: int | None = None,
    budget_part: float = 0.5,
    months: int = 24,
    seed: int = 1,
) -> float:
    """Return how often rules fire in 30 d although the promise is kept, by simulation with Poisson arrivals.

    Each beginning of a time in which any of the rules fires counts once. Rules are evaluated each minute.

    Args:
        rules: the rules together, such as the two of pages.
        rate_per_h: requests/h, above 0.
        least_bad: bad events that each rule needs; by default the rule's own. 1 is without the condition.
        budget_part: the bad ratio as a part of the allowed one, above 0 and below 1.
        months: of simulated time; costs some 0.1 s for 24 months and two rules.

    Raises:
        ValueError: an invalid target, rate or part.
    """
    if not (rate_per_h > 0 and 0 < budget_part < 1 and months > 0):
        raise ValueError("rate_per_h and months must be above 0, and budget_part above 0 and below 1")
    allowed = float(1 - exact_share(target))
    generator = np.random.default_rng(seed)
    starts = 0
    for first in range(0, months, _CHUNK_MONTHS):
        minutes = min(_CHUNK_MONTHS, months - first) * _MINUTES_A_MONTH
        lead = max(rule.long_s for rule in rules) // MINUTE_S
        total = generator.poisson(rate_per_h / 60, minutes + lead)
        bad = generator.binomial(total, allowed * budget_part)
        sums = [np.concatenate(([0.0], np.cumsum(one))) for one in (bad, total)]
        firing = np.zeros(minutes, dtype=np.bool_)
        for rule in rules:
            firing |= _firing(sums, rule, allowed, rule.least_bad if least_bad is None else least_bad, lead)
        starts += int((firing[1:] & ~firing[:-1]).sum()) + int(firing[0])
    return starts / months


def _firing(sums: list[Array], rule: BurnRule, allowed: float, least_bad: int, lead: int) -> npt.NDArray[np.bool_]:
    ends = np.arange(lead + 1, len(sums[0]))
    firing = np.ones(len(ends), dtype=np.bool_)
    for length_s in (rule.long_s, rule.short_s):
        bad, total = (one[ends] - one[ends - length_s // MINUTE_S] for one in sums)
        firing &= (bad > 0) & (bad >= float(rule.factor) * allowed * total * (1 - 1e-9))
        if length_s == rule.long_s:
            firing &= bad >= least_bad
    return firing


def _median_of_gamma(events: int) -> float:
    """Return the median of the time to the n-th Poisson arrival at rate 1, by bisection to 1e-9."""
    low, high = 0.0, 2.0 * events + 2
    if events > 100:  # Wilson and Hilferty: exact to 1e-4 there, and the sum below would overflow
        return float(events * (1 - 1 / (9 * events)) ** 3)
    while high - low > 1e-9:
        middle = (low + high) / 2
        late = exp(-middle) * sum(middle**k / factorial(k) for k in range(events))
        low, high = (middle, high) if late > 0.5 else (low, middle)
    return (low + high) / 2
