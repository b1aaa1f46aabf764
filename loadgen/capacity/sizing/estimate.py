"""Calculates a sizing: the planned number of instances, its range over all inputs, what moves it most, and the cost.

The plan takes the low end of the capacity, and the point of all other inputs. The range comes from draws of all inputs,
independent of each other, each from its own range. The same seed gives the same draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.capacity.sizing.need import all_whole_up, instances_needed, left_after_zone_loss, whole_up, with_zone_loss
from loadgen.capacity.sizing.ranges import Range

__all__ = ["HOURS_A_MONTH", "Cost", "Inputs", "Limit", "Moves", "Sizing", "estimate"]

Array = npt.NDArray[np.float64]

HOURS_A_MONTH: Final = 730.0
"""365.25 * 24 / 12 is 730.5; AWS and its price lists use 730."""
_LEVELS: Final = (0.025, 0.5, 0.975)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a sizing. Rates are in 1/s."""

    peak: Range
    capacity: Range
    """The rate that one instance serves while it keeps its objective."""
    growth: Range = field(default_factory=lambda: Range.exact(0.0))
    headroom: Range = field(default_factory=lambda: Range.exact(1.0))
    zones: int | None = None
    """None: a loss of a zone is not planned for."""
    price: Range | None = None
    """The price of one instance an hour."""
    limits: Mapping[str, Range] = field(default_factory=dict)
    """The rates that the dependencies of the target serve, by name."""
    mean_rate: float | None = None
    """The mean rate of a month, for the cost of 1,000 requests. None: the cost at the peak."""


@dataclass(frozen=True, slots=True)
class Moves:
    """The effect of one input alone: the instances at its low and at its high, with all others at their points."""

    name: str
    at_low: float
    at_high: float
    """at_low, at_high: before rounding and without the loss of a zone."""
    low: int
    high: int
    """low, high: the instances at these places, rounded, with the loss of a zone."""

    @property
    def width(self) -> float:
        """Return how much the input moves the answer."""
        return abs(self.at_high - self.at_low)


@dataclass(frozen=True, slots=True)
class Limit:
    """The dependency that ends first."""

    name: str
    rate: float
    """The low end of its limit, 1/s."""
    instances: int
    """More instances than this serve no more requests: they carry the limit, without headroom."""
    is_below_peak: bool
    """Whether the dependency serves less than the planned peak, so that no number of instances is enough."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of the instances, in the currency of the price."""

    month: Range
    per_1000: Range
    rate: float
    """The rate to which `per_1000` applies, 1/s."""
    is_at_peak: bool


@dataclass(frozen=True, slots=True)
class Sizing:
    """The answer, and how it depends on the inputs."""

    inputs: Inputs
    demand: float
    """The planned peak with growth, without headroom, 1/s."""
    need: int
    """The instances that carry the planned peak with headroom."""
    total: int
    """The instances to run: `need`, or enough to leave `need` after the loss of a zone."""
    range: tuple[int, int, int]
    """2.5 %, 50 % and 97.5 % of the draws of `total`."""
    carries: float
    """The share of the draws in which the planned instances carry the peak, without headroom; after a lost zone."""
    draws: int
    moves: tuple[Moves, ...]
    """Inputs with a range, what moves the answer most first."""
    limit: Limit | None
    cost: Cost | None

    @property
    def left(self) -> int:
        """Return the instances that are left after the loss of a zone; all of them if none is planned for."""
        zones = self.inputs.zones
        return left_after_zone_loss(self.total, zones) if zones is not None and zones > 1 else self.total


def estimate(inputs: Inputs, *, draws: int = 10_000, seed: int = 1) -> Sizing:
    """Return the sizing of checked inputs. Cost: some 2 ms for 10,000 draws."""
    demand = inputs.peak.point * (1 + inputs.growth.point)
    need = instances_needed(inputs.peak.point, inputs.growth.point, inputs.headroom.point, inputs.capacity.low)
    total = _total(need, inputs.zones)
    rng = np.random.default_rng(seed)
    # One column for each input, so that a range of one input leaves the draws of the others as they are.
    normal = rng.standard_normal((draws, 5))
    peak = inputs.peak.draws(normal[:, 0]) * inputs.growth.map(lambda share: 1 + share).draws(normal[:, 1])
    capacity = inputs.capacity.draws(normal[:, 3])
    needed = np.maximum(all_whole_up(peak * inputs.headroom.draws(normal[:, 2]) / capacity), 1)
    totals = _totals(needed, inputs.zones)
    low, middle, high = (int(one) for one in np.quantile(totals, _LEVELS, method="inverted_cdf"))
    zones = inputs.zones if inputs.zones is not None and inputs.zones > 1 else None
    left = left_after_zone_loss(total, zones) if zones else total
    most = min((limit.low for limit in inputs.limits.values()), default=inf)
    return Sizing(
        inputs=inputs,
        demand=demand,
        need=need,
        total=total,
        range=(low, middle, high),
        carries=float(np.mean(np.minimum(left * capacity, most) >= peak)),
        draws=draws,
        moves=_moves(inputs),
        limit=_limit(inputs, demand),
        cost=_cost(inputs, demand, total, normal[:, 4], peak),
    )


def _total(need: int, zones: int | None) -> int:
    return need if zones is None or zones < 2 else with_zone_loss(need, zones)


def _totals(needed: Array, zones: int | None) -> Array:
    return needed if zones is None or zones < 2 else np.ceil(needed / (zones - 1)) * zones


def _moves(inputs: Inputs) -> tuple[Moves, ...]:
    named = {
        "peak": inputs.peak,
        "growth": inputs.growth,
        "headroom": inputs.headroom,
        "capacity": inputs.capacity,
    }

    def raw(name: str, value: float) -> float:
        used = {one: value if one == name else of.point for one, of in named.items()}
        return used["peak"] * (1 + used["growth"]) * used["headroom"] / used["capacity"]

    found = [
        Moves(
            name,
            raw(name, of.low),
            raw(name, of.high),
            _total(max(whole_up(raw(name, of.low)), 1), inputs.zones),
            _total(max(whole_up(raw(name, of.high)), 1), inputs.zones),
        )
        for name, of in named.items()
        if not of.is_exact
    ]
    return tuple(sorted(found, key=lambda one: -one.width))


def _limit(inputs: Inputs, demand: float) -> Limit | None:
    if not inputs.limits:
        return None
    name, limit = min(inputs.limits.items(), key=lambda item: item[1].low)
    return Limit(name, limit.low, max(whole_up(limit.low / inputs.capacity.low), 1), limit.low < demand)


def _cost(inputs: Inputs, demand: float, total: int, normal: Array, peak: Array) -> Cost | None:
    """Return what the planned instances cost. Draws are those of the price and of the peak."""
    if inputs.price is None:
        return None
    served = min([demand, *(limit.low for limit in inputs.limits.values())])
    rate = served if inputs.mean_rate is None else inputs.mean_rate
    rates = peak * (served / demand) if inputs.mean_rate is None else np.full(len(peak), inputs.mean_rate)
    hourly = total * inputs.price.draws(normal)
    low, high = np.quantile(hourly / rates / 3.6, (_LEVELS[0], _LEVELS[2]))
    point = total * inputs.price.point / rate / 3.6
    return Cost(
        month=inputs.price.map(lambda price: price * total * HOURS_A_MONTH),
        # Quantiles of draws of exact inputs differ from the point in the last digits.
        per_1000=Range(min(float(low), point), point, max(float(high), point)),
        rate=rate,
        is_at_peak=inputs.mean_rate is None,
    )
