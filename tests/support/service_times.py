"""Distributions of service times, and the exact share of slow responses of an M/G/1 queue that has them.

Each law has the mean 1; a queue multiplies it by its own service time. The share of slow responses comes from the
Pollaczek-Khinchine formula, not from a simulation: the waiting time is a geometric number of residual service times,
and the response time adds one service time. The transforms are calculated on a lattice by FFT.

Source: Cohen, "The Single Server Queue", II.4.5, for the formula; Grübel and Hermesmeier, "Computation of compound
distributions I: aliasing errors and exponential tilting", 1999, for the damping of the error that wraps around.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = [
    "ServiceTimes",
    "exponential",
    "gamma",
    "hyperexponential",
    "lognormal",
    "mg1_knee",
    "mg1_slow_share",
    "pareto",
    "two_point",
]

Floats = npt.NDArray[np.float64]

_STEPS = 2000
"""Lattice steps within the limit. The knee of M/M/1 is then right to 3e-5 (tests/statistics/test_service_times.py)."""
_DAMPING = 20.0
"""Exponent of the tilting over the whole lattice: a wrapped share counts with exp(-20)."""


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """A distribution with mean 1.

    draw: returns n values, given a generator and n.
    longer: P(value > x) for an array x >= 0.
    """

    name: str
    draw: Callable[[np.random.Generator, int], Floats]
    longer: Callable[[Floats], Floats]


def exponential() -> ServiceTimes:
    return ServiceTimes("exponential", lambda random, n: random.exponential(1.0, n), lambda x: np.exp(-x))


def lognormal(cv: float) -> ServiceTimes:
    """cv: standard deviation divided by the mean, above 0."""
    sigma = sqrt(log(1 + cv**2))
    return ServiceTimes(
        f"lognormal {cv:g}",
        lambda random, n: random.lognormal(-(sigma**2) / 2, sigma, n),
        lambda x: special.ndtr(-(np.log(np.maximum(x, 1e-300)) + sigma**2 / 2) / sigma),
    )


def hyperexponential(cv: float) -> ServiceTimes:
    """Two exponential branches of which each has half of the work ("balanced means"). cv: above 1."""
    share = (1 + sqrt((cv**2 - 1) / (cv**2 + 1))) / 2
    means = np.array([1 / (2 * share), 1 / (2 * (1 - share))])

    def draw(random: np.random.Generator, n: int) -> Floats:
        values: Floats = random.exponential(1.0, n) * np.where(random.random(n) < share, means[0], means[1])
        return values

    return ServiceTimes(
        f"hyperexponential {cv:g}",
        draw,
        lambda x: share * np.exp(-x / means[0]) + (1 - share) * np.exp(-x / means[1]),
    )


def gamma(cv: float) -> ServiceTimes:
    shape = 1 / cv**2
    return ServiceTimes(
        f"gamma {cv:g}",
        lambda random, n: random.gamma(shape, 1 / shape, n),
        lambda x: special.gammaincc(shape, x * shape),
    )


def pareto(exponent: float) -> ServiceTimes:
    """P(value > x) = (least / x)^exponent from `least` on. exponent: above 1; the variance is infinite up to 2."""
    least = (exponent - 1) / exponent
    return ServiceTimes(
        f"Pareto {exponent:g}",
        lambda random, n: least * (1 + random.pareto(exponent, n)),
        lambda x: np.minimum(1.0, (np.maximum(x, least) / least) ** -exponent),
    )


def two_point(share: float, times: float) -> ServiceTimes:
    """A `share` of the services takes `times` times as long as the others."""
    short = 1 / (1 - share + share * times)
    long = short * times

    def draw(random: np.random.Generator, n: int) -> Floats:
        values: Floats = np.where(random.random(n) < share, long, short)
        return values

    return ServiceTimes(
        f"two-point {share:g} x {times:g}",
        draw,
        lambda x: np.where(x < short, 1.0, np.where(x < long, share, 0.0)),
    )


def mg1_slow_share(law: ServiceTimes, service_s: float, rate_per_s: float, limit_s: float) -> float:
    """Return P(response time > `limit_s`) of an M/G/1 queue in its steady state, first come first served.

    service_s: mean service time, in seconds. The load, rate * service_s, must be below 1; then the result is right to
    some 1e-6. Cost: 50 ms.
    """
    load = rate_per_s * service_s
    step = limit_s / _STEPS
    # The lattice is long enough for the waiting times of a queue with a 100 times longer relaxation than the limit.
    size = 1 << ceil(np.log2(_STEPS * 64))
    edges = np.arange(size + 1) * (step / service_s)
    damped = np.exp(-_DAMPING / size * np.arange(size))
    service = _on_lattice(-np.diff(law.longer(edges)))
    # From the masses and not from `law`: the masses of the residual time must add up to 1, or the error is multiplied
    # by 1 / (1 - load).
    longer = 1 - np.cumsum(service)
    residual = _on_lattice(longer / longer.sum())
    served = np.fft.rfft(service * damped)
    waited = (1 - load) / (1 - load * np.fft.rfft(residual * damped))
    response = np.fft.irfft(served * waited, size) / damped
    within = response[:_STEPS].sum() + response[_STEPS] / 2
    return float(1 - within)


def _on_lattice(masses: Floats) -> Floats:
    """Return the masses of the cells between lattice points as masses at the points: half of each at either end."""
    at = masses / 2
    at[1:] += masses[:-1] / 2
    return at


def mg1_knee(law: ServiceTimes, service_s: float, limit_s: float, allowed: float) -> float:
    """Return the highest rate, arrivals/s, at which a share of `allowed` of the responses takes longer than `limit_s`.

    Raises:
        ValueError: the share is larger even without load.
    """
    low, high = 0.0, 1 / service_s
    if mg1_slow_share(law, service_s, 1e-9, limit_s) > allowed:
        raise ValueError(f"{law.name}: more than {allowed:g} of the service times are above the limit")
    while high - low > 1e-5 * high:
        middle = (low + high) / 2
        is_good = mg1_slow_share(law, service_s, middle, limit_s) <= allowed
        low, high = (middle, high) if is_good else (low, middle)
    return low
