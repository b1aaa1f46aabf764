"""How the use of a resource grows with the rate, and at which rate it reaches the most that a policy allows.

    found = fit_utilisation(rates, cpu, policy=70.0)      # one value per sample, in the order of time
    found.ceiling                                         # 420.3: up to this rate, a sample stays below 70 %
    found.predict(300.0)                                  # (49.8, 46.1, 53.5): mean and prediction interval

The model is `use = a + b * rate`, by least squares. Its ceiling is the rate at which the upper end of the 95 %
prediction interval meets the policy, so it is below the rate at which the mean meets it. Samples of neighbouring
seconds resemble each other: the errors of a and b are those of Newey and West (Econometrica 55, 1987), with Bartlett's
kernel and the bandwidth of Andrews (Econometrica 59, 1991) for AR(1). The variance of one sample and the degrees of
freedom also allow for that correlation, because 30 correlated samples show less of it than 30 independent ones.

Where a quadratic term has |t| > 3, the use is not a straight line. Then the ceiling is the lower one of the line's and
the parabola's, and a note names it. A ceiling beyond 1.2 times the largest rate is extrapolated: the target was
never measured there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, inf, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from loadgen.analysis.values_to_float_array import Array, setting_wrong, values_wrong

__all__ = [
    "CURVED_T",
    "LEAST_POINTS",
    "LONGEST_PERIOD_S",
    "REACH",
    "UtilisationFit",
    "fit_utilisation",
    "long_run_covariance",
    "samples_wrong",
    "smallest_ceiling",
]

LEAST_POINTS: Final = 30
"""The minimum number of samples."""
LONGEST_PERIOD_S: Final = 15.0
"""The longest time between two samples of a probe. A mean over a longer time hides peaks of the use."""
CURVED_T: Final = 3.0
"""The use is not a straight line if the t value of a quadratic term is beyond this."""
REACH: Final = 1.2
"""A ceiling beyond this many times the largest rate is extrapolated."""
_LEAST_SPREAD: Final = 0.1
"""The middle 90 % of the rates must span at least this share of the largest, or the slope is that of noise."""
_TAIL: Final = 0.975
_MOST_CORRELATION: Final = 0.97
_FARTHEST: Final = 1e6
"""A resource whose ceiling is beyond this many times the largest rate counts as one without a ceiling."""
_FEW: Final = 5.0
"""The errors of Newey and West are too small for few samples. Their variance is multiplied with 1 + 5 * lags / n. This
factor was simulated: 30 to 1,800 samples with a correlation up to 0.8, prediction up to 1.2 times the largest rate."""
_GRID: Final = 512
_ABOVE: Final = "it is above the policy at the lowest rates already"


@dataclass(frozen=True, slots=True)
class _Polynomial:
    """A least-squares fit of degree 1 or 2. Rates are in units of the largest one."""

    coefficients: Array
    covariance: Array
    """Newey-West, shape (degree + 1, degree + 1)."""
    sd: float
    """The standard deviation of one sample around the curve."""
    freedom: float
    lags: int
    correlation: float

    def mean(self, x: Array) -> Array:
        mean: Array = _basis(x, len(self.coefficients) - 1) @ self.coefficients
        return mean

    def half_width(self, x: Array) -> Array:
        """Return half the width of the 95 % prediction interval of one sample."""
        at = _basis(x, len(self.coefficients) - 1)
        variance = np.maximum(((at @ self.covariance) * at).sum(axis=1), 0.0) + self.sd**2
        half: Array = self.t * np.sqrt(variance)
        return half

    def upper(self, x: Array) -> Array:
        """Return the upper end of the prediction interval."""
        return self.mean(x) + self.half_width(x)

    def edge_of_mean(self, x: Array, side: int) -> Array:
        """Return the upper (1) or lower (-1) end of the 95 % confidence interval of the mean."""
        at = _basis(x, len(self.coefficients) - 1)
        variance = np.maximum(((at @ self.covariance) * at).sum(axis=1), 0.0)
        edge: Array = self.mean(x) + side * self.t * np.sqrt(variance)
        return edge

    @property
    def t(self) -> float:
        return float(special.stdtrit(self.freedom, _TAIL))


@dataclass(frozen=True, slots=True)
class UtilisationFit:
    """The use of one resource by rate. Rates are per second; `policy` and uses are in the unit of the samples."""

    points: int
    smallest_rate: float
    largest_rate: float
    """smallest_rate, largest_rate: of the samples."""
    policy: float
    intercept: float
    """The use without load, by the line."""
    slope: float
    slope_low: float
    slope_high: float
    """slope, slope_low, slope_high: the use of 1/s more, with its 95 % interval."""
    sd: float
    """The standard deviation of one sample around the line."""
    correlation: float
    """The correlation of neighbouring samples around the line."""
    lags: int
    """The number of lags that the errors allow for."""
    curvature_t: float
    """The t value of a quadratic term."""
    ceiling: float | None
    """The rate at which the upper end of the prediction interval meets the policy; None: `why_none`."""
    mean_ceiling: float | None
    """The rate at which the line itself meets the policy: above the ceiling. None if it never does."""
    mean_low: float | None
    mean_high: float | None
    """mean_low, mean_high: the 95 % interval of `mean_ceiling`. mean_high is None if it has no upper end."""
    why_none: str
    """Why there is no ceiling, as the end of a sentence; "" if there is one."""
    line: _Polynomial
    parabola: _Polynomial | None
    """The curve that decides the ceiling where the use is not a straight line."""

    @property
    def is_curved(self) -> bool:
        """Return whether the use is not a straight line."""
        return abs(self.curvature_t) > CURVED_T

    @property
    def is_above(self) -> bool:
        """Return whether the use is above the policy at the lowest rates already."""
        return self.why_none == _ABOVE

    @property
    def is_extrapolated(self) -> bool:
        """Return whether the ceiling is beyond the rates at which the target was seen."""
        return self.ceiling is not None and self.ceiling > REACH * self.largest_rate

    def predict(self, rate: float) -> tuple[float, float, float]:
        """Return the expected use at a rate, and both ends of the 95 % prediction interval of one sample."""
        curve = self.parabola or self.line
        at = np.array([rate / self.largest_rate])
        mean, half = float(curve.mean(at)[0]), float(curve.half_width(at)[0])
        return mean, mean - half, mean + half


def samples_wrong(rates: npt.ArrayLike, uses: npt.ArrayLike, period_s: float | None = None) -> list[tuple[str, str]]:
    """Return what is wrong with samples, each as (message, what to do); empty if they can be fitted.

    Args:
        rates, uses: one value per sample, in the order of time.
        period_s: the usual time between two samples; None if it is unknown.
    """
    found: list[tuple[str, str]] = []
    (rate, rate_error), (use, use_error) = values_wrong(rates), values_wrong(uses)
    found += [(f"rates has {rate_error}", "leave such samples out")] if rate_error else []
    found += [(f"uses has {use_error}", "leave such samples out")] if use_error else []
    if found:
        return found
    if len(rate) != len(use):
        found.append((f"{len(rate):,} rates and {len(use):,} uses", "give each sample one of both"))
    if (rate < 0).any():
        found.append(("a rate is below 0", "leave such samples out"))
    if period_s is not None and period_s > LONGEST_PERIOD_S:
        found.append(
            (
                f"a sample each {period_s:g} s: the mean of more than {LONGEST_PERIOD_S:g} s hides peaks of the use",
                f"read the probe at least each {LONGEST_PERIOD_S:g} s",
            )
        )
    if len(rate) < LEAST_POINTS:
        found.append((f"{len(rate)} samples, but at least {LEAST_POINTS} are needed", "run longer, or read more often"))
    elif _spread(rate) < _LEAST_SPREAD * float(rate.max()) or not rate.max() > 0:
        found.append(
            (
                f"all rates are in one point, about {float(np.median(rate)):g}/s: a slope cannot be seen",
                "use a load with several rates, such as a staircase from a third of the peak to the peak",
            )
        )
    return found


def fit_utilisation(
    rates: npt.ArrayLike, uses: npt.ArrayLike, *, policy: float, period_s: float | None = None
) -> UtilisationFit:
    """Fit `use = a + b * rate`, and return the line, its errors, and the rate at which the policy is met.

    Args:
        rates: arrivals or requests per second in the time of each sample, shape (n,), n >= 30, in the order of time.
        uses: the use in each sample, in any unit, shape (n,).
        policy: the most that is allowed, in the unit of `uses`.
        period_s: the usual time between two samples, at most 15 s; None if it is unknown.

    The cost grows with n times the number of lags, which is about the cube root of n.

    Raises:
        ValueError: an argument is invalid. With all errors.
    """
    wrong = [message for message, _ in samples_wrong(rates, uses, period_s)]
    wrong += filter(None, [setting_wrong("policy", policy, "a finite number", lambda value: -inf < value < inf)])
    if wrong:
        raise ValueError("; ".join(wrong))
    (rate, _), (use, _) = values_wrong(rates), values_wrong(uses)
    largest = float(rate.max())
    line, parabola = _fit(rate / largest, use, 1), _fit(rate / largest, use, 2)
    error = sqrt(max(float(parabola.covariance[2, 2]), 0.0))
    bend = float(parabola.coefficients[2])
    # A perfect line has neither a bend nor an error; rounding must not make a ratio of both.
    # Two rates determine no parabola.
    is_flat = (
        abs(bend) <= 1e-9 * max(float(np.abs(use).max()), 1e-300) or len(np.unique(np.round(rate / largest, 9))) < 3
    )
    curvature = 0.0 if is_flat else bend / error if error else inf if bend > 0 else -inf
    curve = parabola if abs(curvature) > CURVED_T else None
    slope, half = float(line.coefficients[1]), line.t * sqrt(max(float(line.covariance[1, 1]), 0.0))
    ceiling, why = _ceiling(line, curve, policy, rises=slope - half > 0)
    if ceiling is not None and ceiling * largest < float(rate.min()):
        ceiling, why = None, _ABOVE
    crossing = (policy - float(line.coefficients[0])) / slope if slope > 0 else -1.0
    ends = [_meets(partial(line.edge_of_mean, side=side), policy, _FARTHEST) for side in (1, -1)]
    return UtilisationFit(
        points=len(rate),
        smallest_rate=float(rate.min()),
        largest_rate=largest,
        policy=float(policy),
        intercept=float(line.coefficients[0]),
        slope=slope / largest,
        slope_low=(slope - half) / largest,
        slope_high=(slope + half) / largest,
        sd=line.sd,
        correlation=line.correlation,
        lags=line.lags,
        curvature_t=curvature,
        ceiling=None if ceiling is None else ceiling * largest,
        mean_ceiling=crossing * largest if 0 <= crossing < _FARTHEST else None,
        mean_low=None if not ends[0] else ends[0] * largest,
        mean_high=None if not ends[1] else ends[1] * largest,
        why_none=why,
        line=line,
        parabola=curve,
    )


def _ceiling(line: _Polynomial, curve: _Polynomial | None, policy: float, *, rises: bool) -> tuple[float | None, str]:
    """Return the ceiling in units of the largest rate, or None and the reason.

    A parabola decides only up to the reach of the samples, because it turns or explodes beyond it. Within the samples
    it decides alone: the wide interval of a line that does not fit would meet the policy far too early.
    """
    if curve is None:
        if not rises:
            return None, "its use does not rise clearly with the rate"
        found = _meets(line.upper, policy, _FARTHEST)
    else:
        by_curve = _meets(curve.upper, policy, REACH)
        by_line = _meets(line.upper, policy, _FARTHEST) if rises else None
        if by_curve is not None and by_curve <= 1:
            by_line = None
        both = [one for one in (by_curve, by_line) if one is not None]
        found = min(both) if both else None
    if found is None:
        return None, "it does not meet the policy at any rate that can be predicted"
    return (found, "") if found > 0 else (None, _ABOVE)


def _meets(upper: Callable[[Array], Array], policy: float, farthest: float) -> float | None:
    """Return where `upper` crosses `policy` upwards, right of its minimum within the samples.

    0 if it is above the policy at that minimum; None if it stays below up to `farthest`.
    """
    inside = np.linspace(0.0, 1.0, _GRID)
    heights = upper(inside)
    least = int(np.argmin(heights))
    if heights[least] >= policy:
        return 0.0
    grid = np.concatenate([inside[least:], np.geomspace(1.0, farthest, _GRID)[1:]])
    above = np.flatnonzero(upper(grid) >= policy)
    if not len(above):
        return None
    low, high = float(grid[above[0] - 1]), float(grid[above[0]])
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(upper(np.array([middle]))[0]) < policy else (low, middle)
    return low


def _fit(x: Array, y: Array, degree: int) -> _Polynomial:
    """Return the least-squares fit with Newey-West errors. x: rates from 0 to 1; y: uses."""
    basis = _basis(x, degree)
    n, k = basis.shape
    # `pinv` and not `inv`: two rates determine no parabola, and then the smallest bend fits as well as any.
    inverse = np.linalg.pinv(basis.T @ basis, hermitian=True)
    coefficients = inverse @ basis.T @ y
    rest = y - basis @ coefficients
    correlation = _correlation(rest, k)
    lags = _lags(correlation, n)
    # With correlated samples, the residuals lose more than k degrees of freedom: each coefficient takes as much
    # variance as (1 + r) / (1 - r) independent samples have. The sum of the squared correlations of AR(1)
    # is in the degrees of freedom.
    taken = k * (1 + correlation) / (1 - correlation)
    left = max(n - taken, 1.0)
    freedom = max(left**2 / (n * (1 + correlation**2) / (1 - correlation**2)), 1.0)
    return _Polynomial(
        coefficients=coefficients,
        covariance=inverse @ long_run_covariance(basis, rest, lags) @ inverse * (n / left) * (1 + _FEW * lags / n),
        sd=sqrt(float(rest @ rest) / left),
        freedom=min(freedom, n - k),
        lags=lags,
        correlation=correlation,
    )


def long_run_covariance(basis: Array, rest: Array, lags: int) -> Array:
    """Return the sum of the covariances of `basis * rest` up to a lag, with Bartlett's weights (Newey, West, 1987)."""
    scores = basis * rest[:, None]
    total: Array = scores.T @ scores
    for lag in range(1, lags + 1):
        shifted = scores[lag:].T @ scores[:-lag]
        total = total + (1 - lag / (lags + 1)) * (shifted + shifted.T)
    return total


def _correlation(rest: Array, k: int) -> float:
    """Return the correlation of neighbouring residuals, 0 to 0.97, freed from the bias of the fit (Kendall, 1954)."""
    n, total = len(rest), float(rest @ rest)
    if total <= 0:
        return 0.0
    seen = float(rest[1:] @ rest[:-1]) / total
    return min(max(seen + (k + (k + 2) * seen) / n, 0.0), _MOST_CORRELATION)


def _lags(correlation: float, n: int) -> int:
    """Return the bandwidth of Andrews for AR(1) and Bartlett's kernel, at least that of Newey and West."""
    alpha = 4 * correlation**2 / ((1 - correlation) ** 2 * (1 + correlation) ** 2)
    wanted = max(1.1447 * (alpha * n) ** (1 / 3), 4 * (n / 100) ** (2 / 9))
    return int(min(ceil(wanted), n // 3))


def _basis(x: Array, degree: int) -> Array:
    return np.vander(x, degree + 1, increasing=True)


def _spread(rates: Array) -> float:
    low, high = np.quantile(rates, [0.05, 0.95])
    return float(high - low)


def smallest_ceiling(fits: Sequence[UtilisationFit]) -> UtilisationFit | None:
    """Return the fit with the smallest ceiling; None if none of them has one."""
    return min((one for one in fits if one.ceiling is not None), key=lambda one: one.ceiling or 0.0, default=None)
