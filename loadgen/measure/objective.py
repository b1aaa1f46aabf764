"""Objectives over a whole run, and whether they were kept.

`p(q) < T`: at least q % of what was due ended `ok` within T. What failed, timed
out, was missed or cut off is bad, however fast it failed. `error_ratio() < r`:
the bad are less than the share r. Each journey is judged by itself, never a
pool of unlike things. Faults of the script (`script ...`) are in neither: they
say nothing of the target, and stop the run when there are more than 0.1 %.

T is compared by the histogram's slot that holds it, so within 0.1 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final, Literal

import msgspec
import numpy as np

from loadgen.measure.histogram import Histogram
from loadgen.measure.measured import ALL, Measured
from loadgen.measure.series import OK, Kind
from loadgen.units import NS_PER_MS, NS_PER_US

__all__ = ["SCRIPT", "Objective", "SloResult", "SloVerdict", "evaluate", "number_text"]

SloVerdict = Literal["passed", "failed", "inconclusive"]

SCRIPT: Final = "script "
"""Outcomes that begin so are faults of the scenario."""


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `slos=[...]`, as a value; `dsl/slo.py` builds it, the manifest holds it as JSON."""

    kind: Literal["percentile", "error_ratio"]
    text: str
    """As a person wrote it: "p(95) < 300ms"."""
    limit: float
    """ns, or a ratio from 0 to 1."""
    q: float = 0.0
    """Percent; 0 for a ratio."""
    journey: str | None = None
    step: str | None = None
    request: str | None = None
    region: str | None = None
    """None: over all regions together."""
    window_ns: int = 0
    """How long its sliding windows are; 0: it is over the whole run."""
    abort: bool = False
    """The first window that breaks it stops the run."""


class SloResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one objective stands for one journey."""

    objective: str
    journey: str | None
    observed: float | str | None
    """The percentile in ms over all that was due, or the ratio; "> 300.0" where it falls among the bad."""
    unit: Literal["ms", "ratio"]
    count: int
    """All that was due: good and bad."""
    good: int
    verdict: SloVerdict
    low: float | None = None
    """The ends of the interval, where one is known."""
    high: float | None = None
    step: str | None = None
    request: str | None = None
    region: str | None = None
    margin: float | None = None
    """(limit - observed) / limit: negative when it is broken; None where observed is no number."""


def evaluate(
    objective: Objective,
    merge: Measured,
    complete: bool = True,
    missing_share: float = 0.0,
    journeys: Sequence[str] = (),
) -> tuple[SloResult, ...]:
    """One result for each journey that the objective speaks of.

    Without data the verdict is inconclusive, never passed. When the run is
    incomplete, it is failed only if the missing share, counted as good, could not
    have saved it; otherwise inconclusive.

    Args:
        merge: the whole run, or one window of it.
        missing_share: of the planned load, 0 to 1.
        journeys: those of the plan, so that one without any data is not passed over.
    """
    kind: Kind = "request" if objective.request else "step" if objective.step else "journey"
    wanted: list[str | None]
    if objective.journey is not None:
        wanted = [objective.journey]
    else:
        region = objective.region or ALL
        found = [
            row.journey
            for row in merge.rows(kind, region)
            if objective.step in (None, row.step) and objective.request in (None, row.request)
        ]
        wanted = list(dict.fromkeys((*(journeys if kind == "journey" else ()), *found))) or [None]
    return tuple(_evaluate(objective, kind, journey, merge, complete, missing_share) for journey in wanted)


def _evaluate(
    objective: Objective,
    kind: Kind,
    journey: str | None,
    merge: Measured,
    complete: bool,
    missing_share: float,
) -> SloResult:
    region = objective.region or ALL
    outcomes = merge.outcomes(kind, journey, objective.step, objective.request, region)
    count = sum(n for outcome, n in outcomes.items() if not outcome.startswith(SCRIPT))
    observed: float | str | None
    margin: float | None = None
    if objective.kind == "error_ratio":
        good = outcomes.get(OK, 0)
        observed = (count - good) / count if count else None
    else:
        # What is ok and longer than 1 h is censored there, so it is not among these: later than any T.
        ok, _ = merge.select(kind, journey, objective.step, objective.request, outcome=OK, region=region)
        good = ok.count_at_most_us(_limit_us(objective))
        observed = _observed_ms(objective, ok, count)
    if isinstance(observed, float) and objective.limit > 0:
        limit = objective.limit / NS_PER_MS if objective.kind == "percentile" else objective.limit
        margin = round((limit - observed) / limit, 4)
    return SloResult(
        objective=objective.text,
        journey=journey,
        observed=observed,
        unit="ratio" if objective.kind == "error_ratio" else "ms",
        count=count,
        good=good,
        verdict=_verdict(objective, good, count, complete, missing_share),
        step=objective.step,
        request=objective.request,
        region=objective.region,
        margin=margin,
    )


def _verdict(objective: Objective, good: int, count: int, complete: bool, missing_share: float) -> SloVerdict:
    if not count:
        return "inconclusive"
    if complete:
        return "passed" if _is_kept(objective, good, count) else "failed"
    if not 0 <= missing_share < 1:
        return "inconclusive"
    share = Fraction(missing_share)
    missing = count * share / (1 - share)
    return "inconclusive" if _is_kept(objective, good + missing, count + missing) else "failed"


def _is_kept(objective: Objective, good: int | Fraction, count: int | Fraction) -> bool:
    """Exact: 99.9 % of 1,000 are 999, which binary floating point does not know."""
    if objective.kind == "percentile":
        return good * 100 >= count * _exact(objective.q)
    bad = count - good
    return bad == 0 or bad < count * _exact(objective.limit)


def _observed_ms(objective: Objective, ok: Histogram, count: int) -> float | str | None:
    """The least time within which q % of all that was due ended ok."""
    if not count:
        return None
    limit_us = _limit_us(objective)
    exact_rank = _exact(objective.q) * count / 100
    rank = max(1, -(-exact_rank.numerator // exact_rank.denominator))
    if rank > ok.total:
        worst_us = ok.percentile_us(100) if ok.total else 0
        return f"> {number_text(max(worst_us, limit_us) / 1_000)}"
    us = ok.value_at_rank_us(rank)
    if us > limit_us and ok.count_at_most_us(limit_us) >= rank:
        us = limit_us  # both are in one slot: the histogram cannot tell them apart, and the verdict is kept
    return us / 1_000


def _limit_us(objective: Objective) -> int:
    return int(objective.limit // NS_PER_US)


def _exact(number: float) -> Fraction:
    return Fraction(repr(float(number)))


def number_text(ms: float) -> str:
    """Without exponent and trailing zeros, at most three decimals, at least one: "1234.5", "60000.0"."""
    return np.format_float_positional(round(ms, 3), trim="0")
