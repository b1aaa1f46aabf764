"""Estimates what a change of a response time is worth to the business, with an interval and without claims beyond it.

    elasticity = Elasticity(100, Span(-0.007, -0.011, -0.003), "own A/B test")
    stake = impact_of(12.40, 41_200, Span(86, 71, 102), elasticity, "EUR")
    stake.point, stake.low, stake.high          # 3,075; 1,304; 4,998 EUR a week

Impact = value of one × volume a week × change of the time × elasticity. The interval has 95 %: it is taken from draws
in which the change and the elasticity vary as normal values with the intervals that they were given.

Four claims are impossible: an effect beyond the range in which the elasticity was tested (it is clipped, and a note
says so); a sum over journeys of the same purchase, or over currencies (`total` refuses both); a saving from a speed-up
that is not certain (there is no figure, and a note says why). No sentence names a cause. An elasticity that others
published gives a scenario, and its sentence says so.

The draws have a fixed seed, so the same input gives the same figures. In the example, another seed moves the ends by
some 25 EUR.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "DRAWS",
    "Elasticity",
    "Impact",
    "ImpactError",
    "Span",
    "failures_impact",
    "impact_of",
    "seconds_lost",
    "total",
]

DRAWS: Final = 10_000
_SEED: Final = 12
_NORMAL_95: Final = 1.959963984540054
"""The normal quantile of 97.5 %: an interval of 95 % is twice that many deviations wide."""
_TAILS: Final = (0.025, 0.975)


class ImpactError(ValueError):
    """An impact or a sum would claim more than the data say; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Span:
    """A figure with its 95 % interval: low <= point <= high, all finite."""

    point: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high) and self.low <= self.point <= self.high):
            raise ValueError(f"invalid interval {self.point:g} ({self.low:g} to {self.high:g}): low <= point <= high")


@dataclass(frozen=True, slots=True)
class Elasticity:
    """The relative change of purchases for each `per_ms` of additional response time."""

    per_ms: float
    change: Span
    """-0.007 is 0.7 % fewer purchases."""
    source: str
    kind: Literal["measured", "published"] = "measured"
    """"published": found by others, with other customers."""
    tested_ms: float | None = None
    """The largest change of the time for which it was tested; None: unknown."""

    def __post_init__(self) -> None:
        if not (isfinite(self.per_ms) and self.per_ms > 0):
            raise ValueError(f"invalid elasticity: per {self.per_ms:g} ms, which must be above 0")
        if self.tested_ms is not None and not self.tested_ms > 0:
            raise ValueError(f"invalid elasticity: tested up to {self.tested_ms:g} ms, which must be above 0")
        if not self.source.strip():
            raise ValueError("an elasticity needs its source")


@dataclass(frozen=True, slots=True)
class Impact:
    """What is at stake a week: positive if purchases are fewer. nan: no figure, and `notes` say why."""

    point: float
    low: float
    high: float
    currency: str
    purchase: str = ""
    """Journeys with the same text are parts of one purchase."""
    scenario: str = ""
    """The source of a published elasticity; empty: it was measured here."""
    notes: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Return whether there is a figure."""
        return isfinite(self.point)

    def said(self) -> str:
        """Return a sentence without a full stop. It names no cause."""
        if not self.is_known:
            return f"no figure of what is at stake: {'; '.join(self.notes)}"
        side = "at stake" if self.point >= 0 else "to be gained"
        ends = sorted((abs(self.low), abs(self.high))) if self.low * self.high > 0 else (self.low, self.high)
        figure = f"{abs(self.point):,.0f} {self.currency} a week {side} (95 %: {ends[0]:,.0f} to {ends[1]:,.0f})"
        if self.scenario:
            figure = f"if our customers behaved as in that study ({self.scenario}): {figure}"
        return "; ".join((figure, *self.notes))


def impact_of(
    value: float,
    volume: float,
    change_ms: Span,
    elasticity: Elasticity,
    currency: str,
    *,
    purchase: str = "",
    draws: int = DRAWS,
    seed: int = _SEED,
) -> Impact:
    """Return what a change of the response time puts at stake a week.

    Args:
        value: of one purchase, in `currency`, above 0.
        volume: purchases a week, 0 or more.
        change_ms: positive is slower.
        currency: such as "EUR"; nothing is ever converted.
        purchase: what journeys of the same purchase share; see `total`.
        draws: at least 1,000.

    Raises:
        ValueError: an argument is out of range.

    Cost: 1 ms.
    """
    if not (isfinite(value) and value > 0):
        raise ValueError(f"invalid value {value:g} {currency}: must be above 0")
    if not (isfinite(volume) and volume >= 0):
        raise ValueError(f"invalid volume {volume:g} a week: must be 0 or more")
    if draws < 1_000:
        raise ValueError(f"{draws} draws are too few: at least 1,000")
    if not currency.strip():
        raise ValueError("a value needs its currency")
    scenario = elasticity.source if elasticity.kind == "published" else ""
    if change_ms.point < 0 <= change_ms.high:
        why = f"the speed-up of {-change_ms.point:.3g} ms is smaller than its interval, so it may not exist"
        nan = float("nan")
        return Impact(nan, nan, nan, currency, purchase, scenario, (why,))
    most = elasticity.tested_ms
    scale = -value * volume / elasticity.per_ms
    random = np.random.default_rng(seed)
    times = _drawn(random, change_ms, draws)
    if most is not None:
        times = np.clip(times, -most, most)
    stakes = scale * times * _drawn(random, elasticity.change, draws)
    low, high = np.quantile(stakes, _TAILS).tolist()
    moved = change_ms.point if most is None else min(max(change_ms.point, -most), most)
    # `+ 0.0` makes 0 of -0.
    point = scale * moved * elasticity.change.point + 0.0
    return Impact(point, low + 0.0, high + 0.0, currency, purchase, scenario, tuple(_notes(change_ms, elasticity)))


def failures_impact(bad: float, value: float, abandoned: Span, currency: str, *, purchase: str = "") -> Impact:
    """Return what failed requests put at stake: failures a week × value × share of users who give up.

    abandoned: the share, 0 to 1, with its range.

    Raises:
        ValueError: an argument is out of range.
    """
    if not (isfinite(bad) and bad >= 0 and isfinite(value) and value > 0):
        raise ValueError(f"{bad:g} failures of {value:g} {currency}: failures are 0 or more, and a value is above 0")
    if not 0 <= abandoned.low <= abandoned.high <= 1:
        raise ValueError(f"invalid share of users who give up: {abandoned.low:g} to {abandoned.high:g}, must be 0 to 1")
    point, low, high = (bad * value * share for share in (abandoned.point, abandoned.low, abandoned.high))
    return Impact(point, low, high, currency, purchase)


def total(impacts: Sequence[Impact]) -> Impact:
    """Return the sum of impacts. Its ends are the sums of their ends, since elasticities can be wrong together.

    Raises:
        ImpactError: there is none, two are of the same purchase or in different currencies, one is a scenario beside
            measured ones, or one has no figure.
    """
    if not impacts:
        raise ImpactError("there is nothing to add")
    if len(currencies := sorted({one.currency for one in impacts})) > 1:
        raise ImpactError(f"{' and '.join(currencies)} cannot be added: currencies are not converted")
    named = [one.purchase for one in impacts if one.purchase]
    if twice := sorted({one for one in named if named.count(one) > 1}):
        raise ImpactError(f"journeys of the same purchase cannot be added: {', '.join(twice)} would be counted twice")
    if len(named) < len(impacts) > 1:
        raise ImpactError("impacts can be added only if each names its purchase")
    if not all(one.is_known for one in impacts):
        raise ImpactError("one of the impacts has no figure")
    if len({one.scenario for one in impacts}) > 1:
        raise ImpactError("measured impacts and scenarios, or scenarios of several studies, cannot be added")
    point, low, high = (sum(getattr(one, end) for one in impacts) for end in ("point", "low", "high"))
    notes = tuple(dict.fromkeys(note for one in impacts for note in one.notes))
    return replace(impacts[0], point=point, low=low, high=high, purchase="", notes=notes)


def seconds_lost(volume: float, change_ms: Span) -> Span:
    """Return the additional waiting time of all users a week, in s: what is shown where no value is given."""
    return Span(*(volume * one / 1_000 for one in (change_ms.point, change_ms.low, change_ms.high)))


def _drawn(random: np.random.Generator, of: Span, draws: int) -> npt.NDArray[np.float64]:
    deviation = (of.high - of.low) / (2 * _NORMAL_95)
    return of.point + deviation * random.standard_normal(draws)


def _notes(change_ms: Span, elasticity: Elasticity) -> Iterator[str]:
    most = elasticity.tested_ms
    if most is None:
        yield "the range in which the elasticity was tested is unknown"
    elif max(abs(change_ms.low), abs(change_ms.high)) > most:
        yield f"clipped: the elasticity was tested up to {most:g} ms only"
    if change_ms.low <= 0 <= change_ms.high:
        yield "the change of the time is not certain"
