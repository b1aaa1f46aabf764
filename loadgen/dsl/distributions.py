"""Distributions: think times and traits of users, drawn from each user's own random numbers.

    await user.think(lognormal(1.4, .8))                       # median e^1.4 = 4 s, with a long tail
    pace = user.trait("speed", lognormal(0, .3))               # drawn once per user; median 1
    await user.think(lognormal(1.4, .8) * pace)                # a slow user is slow everywhere

A distribution is immutable and can be created at the top of a file or within a journey.
As a think time, its numbers are seconds, and values below 0 mean no wait. As a trait, the
journey decides what its numbers mean. Creating one never raises: errors are kept in
`faults`, and drawing from it then raises.

Every draw takes exactly one number from the generator and applies the inverse of the
distribution function, so draws are the same in every version of Python.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import erf, exp, fsum, inf, isfinite, log, sqrt
from random import Random
from statistics import NormalDist
from typing import Any, Final

from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, UsageError

__all__ = ["Distribution", "empirical", "exponential", "fixed", "lognormal", "normal", "uniform"]

_STANDARD: Final = NormalDist()
_BELOW_ONE: Final = 1 - 2**-53


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution(ABC):
    """A distribution of numbers to draw from. `faults` is empty unless the arguments were invalid."""

    origin: Origin = field(compare=False, repr=False)
    problem: str = field(default="", repr=False)
    """The error in the arguments, then " | " and the hint; empty if they are valid."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        if not self.problem:
            return ()
        message, _, hint = self.problem.partition(" | ")
        return (self.origin.fault(message, hint),)

    def draw(self, random: Random) -> float:
        """Return a random number from this distribution. It uses exactly one number of `random`.

        Raises:
            UsageError: the distribution was created with invalid arguments.
        """
        self._refuse()
        # The middle of its step, so never 0. The largest one would round to 1, whose quantile may be infinite.
        return self._at(min((random.getrandbits(53) + 0.5) / 2**53, _BELOW_ONE))

    def quantile(self, u: float) -> float:
        """Return the value below which a draw is with probability `u`, 0 < u < 1: a draw from another source of chance.

        Raises:
            UsageError: the distribution was created with invalid arguments.
        """
        self._refuse()
        return self._at(u)

    @property
    @abstractmethod
    def mean(self) -> float:
        """Return the expected value, which `loadgen plan` uses for estimates.

        Undefined if the distribution has errors.
        """

    @abstractmethod
    def _at(self, u: float) -> float:
        """Return the value below which a draw is with probability `u`, 0 < u < 1."""

    def _refuse(self) -> None:
        """Raise UsageError if the distribution was created with invalid arguments."""
        if self.problem:
            fault = self.faults[0]
            raise UsageError(f"{fault.file}:{fault.line}: {fault.message}", hint=fault.hint)

    def __mul__(self, factor: float) -> Distribution:
        """Return this distribution with every draw multiplied by `factor`, such as a trait of the user."""
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            return NotImplemented
        problem = self.problem or (
            "" if isfinite(factor) else f"cannot multiply a distribution by {factor} | use a finite factor"
        )
        return _Scaled(self, float(factor), origin=here(), problem=problem)

    __rmul__ = __mul__


def fixed(x: float) -> Distribution:
    """Return a distribution that always gives `x`."""
    return _Fixed(x, origin=here(), problem=_not_numbers("fixed", x=x))


def uniform(a: float, b: float) -> Distribution:
    """Return the uniform distribution between `a` and `b`; `a` must not exceed `b`."""
    problem = _not_numbers("uniform", a=a, b=b)
    if not problem and a > b:
        problem = f"uniform({a}, {b}) has its lower bound above its upper bound | write uniform({b}, {a})"
    return _Uniform(a, b, origin=here(), problem=problem)


def exponential(mean: float) -> Distribution:
    """Return the exponential distribution: the waiting time to the next random event, `mean` on average.

    mean: above 0.
    """
    problem = _not_numbers("exponential", mean=mean)
    if not problem and mean <= 0:
        problem = f"exponential({mean}): the mean must be above 0 | write exponential(2)"
    return _Exponential(mean, origin=here(), problem=problem)


def lognormal(mu: float, sigma: float) -> Distribution:
    """Return the lognormal distribution, the usual shape of think times.

    The median is exp(mu) and the mean is exp(mu + sigma²/2); mu and sigma are of the logarithm.
    """
    problem = _not_numbers("lognormal", mu=mu, sigma=sigma)
    if not problem and sigma < 0:
        problem = f"lognormal({mu}, {sigma}): sigma cannot be negative | write lognormal({mu}, {-sigma})"
    # exp overflows above 709. A draw is at most 8.3 sigma above mu (the normal quantile of 1 - 2^-53), and the
    # logarithm of the mean is sigma² / 2 above mu.
    if not problem and mu + sigma * max(9.0, sigma / 2) > 700:
        problem = (
            f"lognormal({mu}, {sigma}) draws numbers too large for a float | mu is the logarithm of the median: "
            "for a median of 4 s write lognormal(1.4, 0.8)"
        )
    return _Lognormal(mu, sigma, origin=here(), problem=problem)


def normal(mean: float, sd: float, low: float | None = 0) -> Distribution:
    """Return the normal distribution, truncated at `low`; None sets no lower bound.

    Values below `low` are excluded, not clipped, so they do not pile up at `low`.
    """
    problem = _not_numbers("normal", mean=mean, sd=sd, **({} if low is None else {"low": low}))
    if not problem and sd < 0:
        problem = f"normal({mean}, {sd}): sd cannot be negative | write normal({mean}, {-sd})"
    if not problem and low is not None and low > mean + 6 * sd:
        problem = (
            f"normal({mean}, {sd}) has almost no values above low={low} | write a smaller `low`, or None for no bound"
        )
    return _Normal(mean, sd, low, origin=here(), problem=problem)


def empirical(values: Iterable[float]) -> Distribution:
    """Return the distribution of given values, such as logged think times; each is drawn with equal probability.

    The values are copied.
    """
    problem = ""
    kept: tuple[float, ...] = ()
    try:
        kept = tuple(values)
    except TypeError:
        problem = f"empirical needs a list of numbers, got {values!r} | write empirical([1.2, 3.4, 5.6])"
    if not problem and not kept:
        problem = "empirical([]) has no values to draw from | pass at least one value"
    bad = next((v for v in kept if not _is_number(v)), None) if not problem else None
    if bad is not None:
        problem = f"empirical: {bad!r} is not a finite number | remove it from the list"
    return _Empirical(kept, origin=here(), problem=problem)


@dataclass(frozen=True, slots=True)
class _Fixed(Distribution):
    x: float

    @property
    def mean(self) -> float:
        return self.x

    def _at(self, u: float) -> float:
        return self.x


@dataclass(frozen=True, slots=True)
class _Uniform(Distribution):
    a: float
    b: float

    @property
    def mean(self) -> float:
        return (self.a + self.b) / 2

    def _at(self, u: float) -> float:
        return self.a + (self.b - self.a) * u


@dataclass(frozen=True, slots=True)
class _Exponential(Distribution):
    scale: float

    @property
    def mean(self) -> float:
        return self.scale

    def _at(self, u: float) -> float:
        return -self.scale * log(1 - u)


@dataclass(frozen=True, slots=True)
class _Lognormal(Distribution):
    mu: float
    sigma: float

    @property
    def mean(self) -> float:
        return exp(self.mu + self.sigma**2 / 2)

    def _at(self, u: float) -> float:
        return exp(self.mu + self.sigma * _STANDARD.inv_cdf(u))


@dataclass(frozen=True, slots=True)
class _Normal(Distribution):
    mu: float
    sd: float
    low: float | None

    @property
    def mean(self) -> float:
        if self.low is None or self.sd == 0:
            return self.mu
        z = (self.low - self.mu) / self.sd
        # The mean of a truncated normal distribution: mu + sd * phi(z) / (1 - Phi(z)).
        return self.mu + self.sd * _STANDARD.pdf(z) / (1 - _cdf(z))

    def _at(self, u: float) -> float:
        below = 0.0 if self.low is None or self.sd == 0 else _cdf((self.low - self.mu) / self.sd)
        value = self.mu + self.sd * _STANDARD.inv_cdf(min(below + (1 - below) * u, _BELOW_ONE))
        return max(value, -inf if self.low is None else self.low)


@dataclass(frozen=True, slots=True)
class _Empirical(Distribution):
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fsum(self.values) / len(self.values)

    def _at(self, u: float) -> float:
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def __repr__(self) -> str:
        return f"empirical({len(self.values):,} values)"


@dataclass(frozen=True, slots=True)
class _Scaled(Distribution):
    of: Distribution
    factor: float

    @property
    def mean(self) -> float:
        return self.of.mean * self.factor

    def _at(self, u: float) -> float:
        return self.of._at(u) * self.factor


def _cdf(z: float) -> float:
    return (1 + erf(z / sqrt(2))) / 2


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _not_numbers(name: str, **arguments: Any) -> str:
    for argument, value in arguments.items():
        if not _is_number(value):
            return f"{name}: {argument}={value!r} is not a finite number | write a number; think times are in seconds"
    return ""
