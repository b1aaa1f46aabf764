"""Fits the Universal Scalability Law to measured throughputs, with the uncertainty of all that follows from it.

    fit = fit_usl([1, 18, 36, 72, 108, 144, 216], [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])
    fit.alpha, fit.errors.alpha         # 0.0277, 0.0091
    fit.peak_load, fit.peak_load_interval
    fit.predict(100)

A peak exists in `UslFit` only if the data show it: `peak_load` is otherwise None, and `why_no_peak` has the reason.
With loads below the peak only, the formula's peak is anywhere from 0.69 times the true one to infinity. The rules are
in docs/decisions/125-usl-three-coefficients-and-when-a-peak-is-quoted.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isinf
from typing import Final, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from loadgen.analysis.usl.curve import Coefficients, throughput_at, throughput_slopes
from loadgen.analysis.usl.diagnostics import LackOfFit, SignRuns, lack_of_fit, sign_runs
from loadgen.analysis.usl.least_squares import Scaled
from loadgen.analysis.usl.models import CLOSE, Model, compared_models
from loadgen.analysis.usl.uncertainty import Draws, Interval, Scatter, bootstrap, delta_interval, scatter_of
from loadgen.analysis.values_to_float_array import Array, values_wrong
from loadgen.units import quantity

__all__ = ["BEYOND", "ENOUGH_LOADS", "LEAST_LOADS", "Errors", "ExtrapolationError", "UslDataError", "UslFit", "fit_usl"]

LEAST_LOADS: Final = 4
"""Distinct loads of any fit: three coefficients, and one load that can contradict them."""
ENOUGH_LOADS: Final = 6
"""Distinct loads for a conclusion."""
BEYOND: Final = 1.2
"""Above this multiple of the highest load, a value is an extrapolation."""
_LOADS_PAST_PEAK: Final = 2
_MOST_PAST_THE_END: Final = 0.1
"""Without this limit, loads up to 93 % of the true peak with 5 % noise give a peak in 12 of 100 sets instead of 5."""
_SUSPECT: Final = 0.05
_SMALLEST, _LARGEST = 1e-9, 1e12
"""The squares of products of such values are floats, also with the scale of the covariance."""


class UslDataError(ValueError):
    """The loads and throughputs cannot be fitted. `faults` has a sentence for each reason."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class ExtrapolationError(ValueError):
    """A load is too far above the highest load of the data."""


class _ErrorValues(NamedTuple):
    alpha: float
    beta: float
    gamma: float


class Errors(_ErrorValues):
    """The standard errors of alpha, beta and gamma, by attribute, by place, or by name: errors["alpha"]."""

    __slots__ = ()

    def __getitem__(self, key: object) -> float:  # type: ignore[override]
        """Return the error of a name or a place."""
        return getattr(self, key) if isinstance(key, str) and key in self._fields else super().__getitem__(key)  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True, slots=True)
class UslFit:
    """The law that fits best, with standard errors, intervals of 95 %, and notes on doubts."""

    load: Array
    """As given, shape (n,); throughput, fitted and residuals belong to it place by place."""
    throughput: Array
    coefficients: Coefficients
    """The figures of the formula, without the rules for a peak: `coefficients.peak_load` may be far from the truth."""
    errors: Errors
    covariance: Array
    """Of alpha, beta and gamma, shape (3, 3); inf if the loads do not determine them."""
    residual_sd: float
    """In the unit of the throughput: sqrt(sum of squares / df)."""
    df: int
    """The number of points minus 3."""
    intervals: dict[str, Interval]
    """Of alpha, beta and gamma, by the bootstrap."""
    delta_intervals: dict[str, Interval]
    """Of alpha, beta and gamma: the estimate plus and minus t standard errors."""
    peak_load: float | None
    peak_throughput: float | None
    peak_load_interval: Interval | None
    """By the bootstrap; its upper end is inf if the data do not bound it."""
    peak_throughput_interval: Interval | None
    peak_load_delta_interval: Interval | None
    """By the delta method: symmetric, and too optimistic on the side of high loads."""
    peak_throughput_delta_interval: Interval | None
    why_no_peak: str
    """"" if there is a peak."""
    models: tuple[Model, ...]
    """USL, Amdahl and linear."""
    lack_of_fit: LackOfFit | None
    """None without repeats."""
    sign_runs: SignRuns
    notes: tuple[str, ...]
    """Sentences on what limits the result, the most important first."""
    draws: Draws = field(repr=False, compare=False)

    @property
    def alpha(self) -> float:
        """Return the share of serial work, 0 to 1."""
        return self.coefficients.alpha

    @property
    def beta(self) -> float:
        """Return the cost of keeping parts in step, at least 0."""
        return self.coefficients.beta

    @property
    def gamma(self) -> float:
        """Return the throughput at load 1."""
        return self.coefficients.gamma

    @property
    def amdahl_limit(self) -> float:
        """Return gamma / alpha, the limit of the throughput without beta; inf if alpha is 0."""
        return self.coefficients.amdahl_limit

    @property
    def optimal_load(self) -> float:
        """Return 1 / alpha, above which more load brings little; inf if alpha is 0."""
        return self.coefficients.optimal_load

    @property
    def fitted(self) -> Array:
        """Return the throughput of the law at each load of the data, shape (n,)."""
        return throughput_at(self.load, *self.coefficients)

    @property
    def residuals(self) -> Array:
        """Return measured minus fitted throughputs, shape (n,)."""
        return self.throughput - self.fitted

    @property
    def distinct_loads(self) -> int:
        """Return the number of different loads."""
        return len(np.unique(self.load))

    @property
    def highest_load(self) -> float:
        """Return the highest load of the data."""
        return float(self.load.max())

    @property
    def close_models(self) -> tuple[Model, ...]:
        """Return the models whose AICc is less than 2 above the lowest one, and USL."""
        return tuple(
            model
            for n, model in enumerate(self.models)
            if n == 0 or (model.behind is not None and model.behind < CLOSE)
        )

    @overload
    def predict(self, load: float, *, extrapolate: bool = False) -> float: ...
    @overload
    def predict(self, load: npt.ArrayLike, *, extrapolate: bool = False) -> float | Array: ...
    def predict(self, load: npt.ArrayLike, *, extrapolate: bool = False) -> float | Array:
        """Return the throughput at a load, or at each of several loads.

        Raises:
            ExtrapolationError: a load is above 1.2 times the highest one of the data, and `extrapolate` is False.
            ValueError: a load is not a number above 0.
        """
        at = self._checked(load, extrapolate)
        found = throughput_at(at, *self.coefficients)
        return float(found[0]) if np.ndim(load) == 0 else found

    def predict_interval(self, load: npt.ArrayLike, *, extrapolate: bool = False) -> tuple[Array, Array]:
        """Return the ends of the interval for the mean throughput at each load, by the bootstrap, shape (loads,) each.

        Raises: as `predict`.
        """
        return self.draws.throughput(self._checked(load, extrapolate))

    def _checked(self, load: npt.ArrayLike, extrapolate: bool) -> Array:
        at = np.atleast_1d(np.asarray(load, dtype=np.float64))
        if not (np.isfinite(at).all() and (at > 0).all()):
            raise ValueError("a load must be a finite number above 0")
        if not extrapolate and (at > BEYOND * self.highest_load).any():
            raise ExtrapolationError(
                f"load {at.max():g} is more than {BEYOND:g} times the highest load of the data, {self.highest_load:g}:"
                " measure there, or ask for an extrapolation"
            )
        return at


def fit_usl(load: npt.ArrayLike, throughput: npt.ArrayLike, *, draws: int = 1_000, seed: int = 0) -> UslFit:
    """Fit the Universal Scalability Law by least squares, with 0 <= alpha <= 1 and beta >= 0.

    Args:
        load: users, instances, or a rate; shape (n,), in any order, with repeats. Above 0.
        throughput: what was achieved at each load, in any unit; shape (n,), above 0.
        draws: of the bootstrap, at least 100.
        seed: the same seed gives the same intervals.

    Raises:
        UslDataError: the data cannot be fitted; it lists all reasons. UslDataError is a ValueError.

    Cost: some 50 ms for 20 points, 0.5 s for 500, and 0.2 s for 10,000, whose intervals come from the covariance alone.
    Source: R's package usl gives the same coefficients, standard errors and peak.
    """
    if not 100 <= draws <= 100_000:
        raise ValueError(f"draws is {draws}, but must be 100 to 100,000")
    loads, throughputs = _checked_data(load, throughput)
    scaled = Scaled(loads, throughputs)
    best = scaled.fit()
    scatter = scatter_of(loads, throughputs, best)
    errors = Errors(*(float(one) ** 0.5 for one in np.diag(scatter.covariance)))
    fitted = throughput_at(loads, *best)
    resampled = bootstrap(scaled, fitted, best, scatter, draws=draws, seed=seed)
    unit = np.eye(3)
    by_delta = {name: delta_interval(best[n], unit[n], scatter) for n, name in enumerate(Coefficients._fields)}
    why = _why_no_peak(loads, best, by_delta["beta"], resampled)
    models = compared_models(scaled, loads, throughputs, best)
    tested = lack_of_fit(loads, throughputs, fitted, 3)
    runs = sign_runs(loads, scatter.residuals)
    peak = None if why else _Peak.of(best, scatter, resampled)
    return UslFit(
        load=loads,
        throughput=throughputs,
        coefficients=best,
        errors=errors,
        covariance=scatter.covariance,
        residual_sd=scatter.sd,
        df=scatter.df,
        intervals={name: resampled.of(name) for name in Coefficients._fields},
        delta_intervals=by_delta,
        peak_load=None if peak is None else best.peak_load,
        peak_throughput=None if peak is None else best.peak_throughput,
        peak_load_interval=None if peak is None else peak.load,
        peak_throughput_interval=None if peak is None else peak.throughput,
        peak_load_delta_interval=None if peak is None else peak.load_by_delta,
        peak_throughput_delta_interval=None if peak is None else peak.throughput_by_delta,
        why_no_peak=why,
        models=models,
        lack_of_fit=tested,
        sign_runs=runs,
        notes=tuple(_notes(loads, throughputs, best, scatter, models, tested, runs, why)),
        draws=resampled,
    )


@dataclass(frozen=True, slots=True)
class _Peak:
    load: Interval
    throughput: Interval
    load_by_delta: Interval
    throughput_by_delta: Interval

    @classmethod
    def of(cls, fit: Coefficients, scatter: Scatter, draws: Draws) -> _Peak:
        at, top = fit.peak_load, fit.peak_throughput
        # The slope of the throughput by the load is 0 at the peak, so only the coefficients count there.
        by_load = np.array([-at / 2 / (1 - fit.alpha), -at / 2 / fit.beta, 0.0])
        by_throughput = throughput_slopes(np.array([at]), *fit)[0]
        return cls(
            draws.peak_load(),
            draws.peak_throughput(),
            delta_interval(at, by_load, scatter),
            delta_interval(top, by_throughput, scatter),
        )


def _why_no_peak(load: Array, fit: Coefficients, beta: Interval, draws: Draws) -> str:
    """Return why the data show no peak; "" if they do."""
    distinct = np.unique(load)
    lowest, highest = float(distinct[0]), float(distinct[-1])
    at = fit.peak_load
    beyond = 0 if isinf(at) else int((distinct > at).sum())
    if beyond == 0:
        return f"no peak seen up to {highest:g}: the curve does not fall up to the highest load"
    if at < lowest:
        return f"no peak seen: the throughput falls from the lowest load, {lowest:g}, on, so the peak is below it"
    if at < 1:
        return (
            "no peak is quoted below load 1, where the law has no meaning: count users, instances or requests as load"
        )
    if len(distinct) < ENOUGH_LOADS:
        have = quantity(len(distinct), "distinct load")
        return f"no peak is quoted from {have}: {ENOUGH_LOADS} are needed"
    if beyond < _LOADS_PAST_PEAK:
        return (
            f"no peak seen up to {highest:g}: only {quantity(beyond, 'tested load')} lies beyond the highest throughput"
            f" of the curve, and {_LOADS_PAST_PEAK} are needed"
        )
    if beta[0] <= 0 or isinf(beta[1]):
        return (
            f"no peak seen up to {highest:g}: the 95 % interval of beta contains 0, so the throughput may not fall"
            " at all"
        )
    if (share := draws.share_with_peak_above(highest)) > _MOST_PAST_THE_END:
        return (
            f"no peak seen up to {highest:g}: in {share:.0%} of resampled fits the peak is beyond this load, and at"
            f" most {_MOST_PAST_THE_END:.0%} may be: measure higher loads"
        )
    return ""


def _notes(
    load: Array,
    throughput: Array,
    fit: Coefficients,
    scatter: Scatter,
    models: Sequence[Model],
    tested: LackOfFit | None,
    runs: SignRuns,
    why: str,
) -> list[str]:
    """Return what limits the result, in sentences without a stop."""
    found = []
    distinct, count = np.unique(load, return_counts=True)
    if len(distinct) < ENOUGH_LOADS:
        found.append(
            f"only {quantity(len(distinct), 'distinct load')}: the fit is a sketch, and no conclusion follows from"
            f" fewer than {ENOUGH_LOADS}"
        )
    if tested is not None and tested.p < _SUSPECT:
        found.append(
            "the law misses the means of the repeats by more than their scatter explains (lack of fit"
            f" F = {tested.f:.3g}, p = {tested.p:.2g}): its peak and intervals may be wrong"
        )
    if runs.p is not None and runs.p < _SUSPECT:
        found.append(
            f"the residuals keep their sign for long ({quantity(runs.runs, 'run')} of signs, {runs.expected:.1f}"
            f" expected, p = {runs.p:.2g}): the law has another shape than the data"
        )
    once = int((count < 2).sum())
    if once == len(distinct):
        found.append("no load was measured twice, so lack of fit cannot be tested: measure each load at least twice")
    elif once:
        found.append(f"{once} of {len(distinct)} loads were measured once: measure each load at least twice")
    best = min(models, key=lambda model: inf if model.aicc is None else model.aicc)
    if best.name != "USL" and best.aicc is not None:
        full = next(model.aicc for model in models if model.name == "USL")
        found.append(
            f"{_LONG[best.name]} has a lower AICc than the USL"
            + (f", {best.aicc:.1f} against {full:.1f}" if full is not None else "")
            + ": it explains the data with fewer coefficients"
            + ("" if why else ", although the interval of beta excludes 0; a peak needs more measurements beyond it")
        )
    if isinf(float(scatter.covariance[0, 0])):
        found.append("the loads do not determine all three coefficients: spread them further apart")
    for name, value in (("alpha", fit.alpha), ("beta", fit.beta)):
        if value == 0:
            found.append(f"{name} is at its limit 0, so its standard error is only a rough one")
    if fit.alpha >= 1:
        found.append("alpha is at its limit 1: the throughput does not grow with the load")
    if (load < 1).any():
        found.append("some loads are below 1, where the law is an interpolation to 0 and gamma is not measured")
    per_load = throughput / load
    lowest = per_load[load == distinct[0]].mean()
    if len(distinct) > 1 and per_load[load == distinct[1]].mean() > 1.05 * lowest and fit.alpha == 0:
        found.append("the throughput per load grows at first, which the law cannot show: is the lowest load warmed up?")
    return found


_LONG: Final = {"Amdahl": "Amdahl's law (beta 0)", "linear": "a straight line"}


def _checked_data(load: npt.ArrayLike, throughput: npt.ArrayLike) -> tuple[Array, Array]:
    """Return both as arrays.

    Raises:
        UslDataError: with all that is wrong.
    """
    faults: list[str] = []
    found: dict[str, Array] = {}
    for name, given in (("load", load), ("throughput", throughput)):
        array, wrong = values_wrong(given)
        if wrong == "values that are not finite":
            at = int(np.flatnonzero(~np.isfinite(np.asarray(given, dtype=np.float64)))[0])
            faults.append(f"{name} has a value that is not a finite number, at place {at + 1}")
        elif wrong:
            faults.append(f"{name} has {wrong.replace('one value per run', 'one value per point')}")
        elif len(array) and not (array > 0).all():
            at = int(np.flatnonzero(array <= 0)[0])
            faults.append(f"{name} must be above 0, but is {array[at]:g} at place {at + 1}")
        elif len(array) and ((array < _SMALLEST) | (array > _LARGEST)).any():
            at = int(np.flatnonzero((array < _SMALLEST) | (array > _LARGEST))[0])
            faults.append(
                f"{name} must be {_SMALLEST:g} to {_LARGEST:g}, but is {array[at]:g} at place {at + 1}:"
                " use another unit"
            )
        found[name] = array
        if not wrong:
            continue
        found.pop(name)
    if len(found) == 2 and len(found["load"]) != len(found["throughput"]):
        faults.append(
            f"{len(found['load'])} loads and {len(found['throughput'])} throughputs: each load needs its throughput"
        )
    if "load" in found:
        distinct = np.unique(found["load"])
        if len(distinct) == 1 and len(found["load"]) > 1:
            faults.append(f"all loads are {distinct[0]:g}: how throughput grows is visible only with different loads")
        elif len(distinct) < LEAST_LOADS:
            faults.append(
                f"only {quantity(len(distinct), 'distinct load')}: a fit needs at least {LEAST_LOADS}, because the law"
                f" has three coefficients and passes through any three points; {ENOUGH_LOADS} are needed for a peak"
            )
    if faults:
        raise UslDataError(faults)
    return found["load"], found["throughput"]
