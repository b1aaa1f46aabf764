"""Makes the study of a curve: the fit, its peak with interval, the other models, and the chart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf, isfinite, isinf, nan
from typing import Any, Final

import numpy as np

from loadgen.analysis.usl.curve import throughput_at
from loadgen.analysis.usl.fit import BEYOND, ENOUGH_LOADS, UslDataError, UslFit, fit_usl
from loadgen.analysis.usl.models import Model
from loadgen.capacity.curves.points import AXIS_TEXTS, MeasuredCurve
from loadgen.errors import LoadgenError, UsageError
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.studies.study import Drawing, Study
from loadgen.studies.xy_chart import Axis, Band, Line, Mark, Points, Rule, xy_chart
from loadgen.units import quantity

__all__ = ["study_of_curve"]

_DRAWN: Final = 160
"""Points of a drawn line."""
_LINES_PAST: Final = 1.5
"""The curve is drawn up to this multiple of the highest load, dashed beyond 1.2 of it."""
_TABLE_ROWS: Final = 40


def study_of_curve(measured: MeasuredCurve, *, extrapolate: Sequence[float] = ()) -> Study:
    """Return the study of measured points.

    extrapolate: loads whose throughput is printed, too.

    Raises:
        UsageError: the points cannot be fitted; an ExceptionGroup of several reasons.
    """
    try:
        fit = fit_usl([one.load for one in measured.points], [one.throughput for one in measured.points])
    except UslDataError as exc:
        faults: list[LoadgenError] = [
            UsageError(f"{measured.title}: {fault}", hint="measure more loads, from few users to beyond the peak")
            for fault in exc.faults
        ]
        if len(faults) == 1:
            raise faults[0] from None
        raise ExceptionGroup(f"{measured.title} cannot be fitted", faults) from None
    asked = tuple(_asked(fit, load) for load in extrapolate)
    return Study(
        kind="capacity fit",
        title=measured.title,
        headline=_headline(measured, fit),
        result="decided" if fit.peak_load is not None else "not decided",
        lines=tuple(_lines(measured, fit)),
        tables=tuple(_tables(measured, fit, asked)),
        drawings=(_drawing(measured, fit),),
        foot=tuple(_foot(measured, fit)),
        facts=_facts(measured, fit, asked),
        rows=tuple(_rows(measured, fit)),
        run_ids=measured.run_ids,
    )


# -- sentences ------------------------------------------------------------------------------------------------------


def _headline(measured: MeasuredCurve, fit: UslFit) -> str:
    if fit.peak_load is None or fit.peak_throughput is None:
        return fit.why_no_peak
    return (
        f"throughput peaks at {_loads(measured, _number(fit.peak_load))} (95 % interval"
        f" {_interval(fit.peak_load_interval)}), with {_throughput(measured, _number(fit.peak_throughput))}"
        f" (95 % interval {_interval(fit.peak_throughput_interval)})"
    )


def _loads(measured: MeasuredCurve, text: str) -> str:
    """Return a number of loads with its name: "96.5 users", or "load 96.5" where the name is no unit."""
    is_unit = measured.load_name.lower() not in ("load", "n", "rate")
    return f"{text} {measured.load_name}" if is_unit else f"{measured.load_name} {text}"


def _throughput(measured: MeasuredCurve, text: str) -> str:
    """Return a throughput with its name: "1,884 tps", or "throughput 1,884" where the name is no unit."""
    return f"{text}{_unit(measured)}" if _unit(measured) else f"throughput {text}"


def _unit(measured: MeasuredCurve) -> str:
    """Return the name of the throughput after a number; "" where the name is no unit."""
    return "" if measured.throughput_name.lower() in ("throughput", "x") else f" {measured.throughput_name}"


def _lines(measured: MeasuredCurve, fit: UslFit) -> Iterator[str]:
    points, loads = quantity(len(fit.load), "measurement"), quantity(fit.distinct_loads, "distinct load")
    yield (
        f"{points} at {loads}, {_loads(measured, f'{_number(float(fit.load.min()))} to {_number(fit.highest_load)}')};"
        f" the curve shows {AXIS_TEXTS[measured.axis]}"
    )
    if fit.peak_load_interval is not None and isinf(fit.peak_load_interval[1]):
        yield "the data do not bound the load of the peak from above: measure further beyond it"
    yield from fit.notes
    yield from measured.notes
    if measured.axis == "rate" and (fit.throughput > 1.05 * fit.load).any():
        yield (
            "some throughputs are above the offered rate: the two columns may have different units, such as iterations"
            " and requests"
        )


def _foot(measured: MeasuredCurve, fit: UslFit) -> Iterator[str]:
    yield (
        f"intervals: 95 %, from {len(fit.draws.coefficients):,} fits of resampled residuals; standard errors: t with"
        f" {fit.df} degrees of freedom"
    )
    if fit.peak_load is None and measured.axis != "instances":
        yield (
            f"measure at least 2 loads beyond the peak, above {_number(fit.highest_load)}, and at least {ENOUGH_LOADS}"
            " in all, twice each"
        )
        yield "how much the target serves at an objective: loadgen capacity find FILE:PLAN"


# -- tables ---------------------------------------------------------------------------------------------------------


def _tables(measured: MeasuredCurve, fit: UslFit, asked: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    yield Table(
        "Coefficients of X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1))",
        ("coefficient", "meaning", "estimate", "standard error", "95 % interval"),
        tuple(
            (name, meaning, _number(value), _number(error), _interval(fit.intervals[name]))
            for name, value, error, meaning in zip(
                ("alpha", "beta", "gamma"),
                fit.coefficients,
                fit.errors,
                ("share of serial work", "cost of keeping parts in step", "throughput at load 1"),
                strict=True,
            )
        ),
        words=2,
        note=f"residual sd {_number(fit.residual_sd)}{_unit(measured)}, {fit.df} degrees of freedom",
    )
    yield Table(
        "What follows",
        ("figure", "meaning", "estimate", "95 % interval"),
        (
            ("peak load", "beyond it, throughput falls", *_or_not_seen(fit.peak_load, fit.peak_load_interval)),
            ("peak throughput", "", *_or_not_seen(fit.peak_throughput, fit.peak_throughput_interval)),
            (
                "gamma / alpha",
                "limit of the throughput if beta were 0",
                _number(fit.amdahl_limit),
                _interval(fit.draws.amdahl_limit()),
            ),
            (
                "1 / alpha",
                "load above which more load brings little",
                _number(fit.optimal_load),
                _interval(fit.draws.optimal_load()),
            ),
        ),
        words=2,
    )
    yield Table(
        "Models",
        ("model", "AICc", "behind the best", "limit of throughput"),
        tuple(
            (
                model.name,
                PLACEHOLDER if model.aicc is None else f"{model.aicc:.1f}",
                PLACEHOLDER if model.behind is None else f"{model.behind:.1f}",
                _number(model.coefficients.amdahl_limit) if model.name == "Amdahl" else _top(fit, model),
            )
            for model in fit.models
        ),
        note="lower AICc is better; models less than 2 apart explain the data equally well, and are all drawn. "
        + _tests(fit),
    )
    if asked:
        yield Table(
            "Asked loads",
            (measured.load_name, measured.throughput_name, "95 % interval", ""),
            tuple(
                (
                    _number(one["load"]),
                    _number(nan if one["throughput"] is None else one["throughput"]),
                    _interval((nan if one["low"] is None else one["low"], inf if one["high"] is None else one["high"])),
                    "extrapolated: not for decisions" if one["extrapolated"] else "",
                )
                for one in asked
            ),
            note=f"extrapolated: above {BEYOND:g} times the highest tested load; the interval holds only if the law"
            " does",
        )
    by_load = list(_by_load(fit))
    yield Table(
        "Tested loads",
        (measured.load_name, "measurements", measured.throughput_name, "curve", "measured - curve"),
        tuple(
            (_number(load), str(count), _number(mean), _number(curve), f"{(mean / curve - 1) * 100:+.1f} %")
            for load, count, mean, curve in by_load[:_TABLE_ROWS]
        ),
        note=f"{len(by_load) - _TABLE_ROWS} further loads are in the CSV and JSON files"
        if len(by_load) > _TABLE_ROWS
        else "",
    )


def _or_not_seen(value: float | None, interval: tuple[float, float] | None) -> tuple[str, str]:
    return ("not seen", PLACEHOLDER) if value is None else (_number(value), _interval(interval))


def _top(fit: UslFit, model: Model) -> str:
    """Return the highest throughput of a model, if it may be printed."""
    if model.name == "USL" and fit.peak_throughput is not None:
        return _number(fit.peak_throughput)
    return PLACEHOLDER


def _tests(fit: UslFit) -> str:
    runs = fit.sign_runs
    signs = f"Residuals: {quantity(runs.runs, 'run')} of signs over the loads, {runs.expected:.1f} expected by chance"
    signs += f" (p = {runs.p:.2g})." if runs.p is not None else "."
    if fit.lack_of_fit is None:
        return signs + " Lack of fit: not tested, without repeats."
    tested = fit.lack_of_fit
    return (
        signs + f" Lack of fit against repeats: F({tested.df[0]}, {tested.df[1]}) = {tested.f:.3g}, p = {tested.p:.2g}."
    )


def _by_load(fit: UslFit) -> Iterator[tuple[float, int, float, float]]:
    """Yield each load with the number of its measurements, their mean, and the curve there."""
    loads, place, counts = np.unique(fit.load, return_inverse=True, return_counts=True)
    means = np.bincount(place, fit.throughput) / counts
    curve = throughput_at(loads, *fit.coefficients)
    yield from zip(loads.tolist(), counts.tolist(), means.tolist(), curve.tolist(), strict=True)


# -- chart ----------------------------------------------------------------------------------------------------------


def _drawing(measured: MeasuredCurve, fit: UslFit) -> Drawing:
    lowest, highest = float(fit.load.min()), fit.highest_load
    is_log = highest / lowest > 1_000
    end, edge = _LINES_PAST * highest, BEYOND * highest
    inside, past = _places(lowest, edge, is_log), _places(edge, end, is_log)
    low, high = fit.predict_interval(inside)
    marks: list[Mark] = [
        Band("95 % interval of the curve", _triples(inside, low, high), style=1),
        Line("USL", _pairs(inside, fit.predict(inside)), style=1),
        Line("extrapolated", _pairs(past, fit.predict(past, extrapolate=True)), is_dashed=True, style=1),
    ]
    for n, model in enumerate(fit.close_models[1:], 3):
        marks.append(Line(model.name, _pairs(inside, throughput_at(inside, *model.coefficients)), style=n))
    marks.append(
        Points("measured", [(one.load, one.throughput) for one in measured.points], style=2,
               tooltips=[f"{one.source}: {_number(one.throughput)} at {_number(one.load)}" for one in measured.points])
    )  # fmt: skip
    if fit.peak_load is not None and fit.peak_load_interval is not None:
        left, right = fit.peak_load_interval
        marks.append(Rule("peak", fit.peak_load, low=left, high=None if isinf(right) else min(right, end), style=5))
    title = f"{measured.throughput_name} against {measured.load_name}"
    axis = Axis(measured.load_name, is_log=is_log, low=lowest if is_log else None, high=end if is_log else None)
    return Drawing(title, xy_chart(title, marks, x=axis, y=Axis(measured.throughput_name)), _caption(measured, fit))


def _caption(measured: MeasuredCurve, fit: UslFit) -> str:
    others = " and ".join(model.name for model in fit.close_models[1:])
    text = f"{_headline(measured, fit)}. The curve is dashed above {_number(BEYOND * fit.highest_load)}, which is"
    text += f" {BEYOND:g} times the highest tested load."
    return text + (f" {others} explains the data as well or better, and is drawn too." if others else "")


def _places(low: float, high: float, is_log: bool) -> np.ndarray:
    return np.geomspace(low, high, _DRAWN) if is_log else np.linspace(low, high, _DRAWN)


def _pairs(x: Any, y: Any) -> list[tuple[float, float]]:
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _triples(x: Any, low: Any, high: Any) -> list[tuple[float, float, float]]:
    return list(zip(x.tolist(), low.tolist(), high.tolist(), strict=True))


# -- for programs ---------------------------------------------------------------------------------------------------


def _asked(fit: UslFit, load: float) -> dict[str, Any]:
    low, high = fit.predict_interval(load, extrapolate=True)
    return {
        "load": load,
        "throughput": _finite(float(fit.predict(load, extrapolate=True))),
        "low": _finite(float(low[0])),
        "high": _finite(float(high[0])),
        "extrapolated": load > BEYOND * fit.highest_load,
    }


def _facts(measured: MeasuredCurve, fit: UslFit, asked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "axis": measured.axis,
        "load": measured.load_name,
        "throughput": measured.throughput_name,
        "measurements": len(fit.load),
        "distinct_loads": fit.distinct_loads,
        "highest_load": fit.highest_load,
        "alpha": fit.alpha,
        "beta": fit.beta,
        "gamma": fit.gamma,
        "errors": {name: _finite(getattr(fit.errors, name)) for name in ("alpha", "beta", "gamma")},
        "intervals": {name: _ends(ends) for name, ends in fit.intervals.items()},
        "covariance": [[_finite(value) for value in row] for row in fit.covariance.tolist()],
        "residual_sd": fit.residual_sd,
        "df": fit.df,
        "peak_load": fit.peak_load,
        "peak_load_interval": _ends(fit.peak_load_interval),
        "peak_load_delta_interval": _ends(fit.peak_load_delta_interval),
        "peak_throughput": fit.peak_throughput,
        "peak_throughput_interval": _ends(fit.peak_throughput_interval),
        "peak_throughput_delta_interval": _ends(fit.peak_throughput_delta_interval),
        "why_no_peak": fit.why_no_peak or None,
        "amdahl_limit": _finite(fit.amdahl_limit),
        "amdahl_limit_interval": _ends(fit.draws.amdahl_limit()),
        "optimal_load": _finite(fit.optimal_load),
        "optimal_load_interval": _ends(fit.draws.optimal_load()),
        "models": [
            {
                "name": model.name,
                "alpha": model.coefficients.alpha,
                "beta": model.coefficients.beta,
                "gamma": model.coefficients.gamma,
                "aicc": model.aicc,
                "behind": model.behind,
                "is_drawn": model in fit.close_models,
            }
            for model in fit.models
        ],
        "lack_of_fit": None
        if fit.lack_of_fit is None
        else {"f": fit.lack_of_fit.f, "df": list(fit.lack_of_fit.df), "p": fit.lack_of_fit.p},
        "sign_runs": {"runs": fit.sign_runs.runs, "expected": fit.sign_runs.expected, "p": fit.sign_runs.p},
        "asked": [dict(one) for one in asked],
        "notes": [*fit.notes, *measured.notes],
        "draws": len(fit.draws.coefficients),
    }


def _rows(measured: MeasuredCurve, fit: UslFit) -> Iterator[dict[str, str | float | int | bool | None]]:
    low, high = fit.predict_interval(fit.load)
    fitted = fit.fitted
    for n, one in enumerate(measured.points):
        yield {
            "load": one.load,
            "throughput": one.throughput,
            "fitted": float(fitted[n]),
            "fitted_low": _finite(float(low[n])),
            "fitted_high": _finite(float(high[n])),
            "residual": one.throughput - float(fitted[n]),
            "source": one.source,
            "run": one.run_id,
        }


def _ends(interval: tuple[float, float] | None) -> list[float | None] | None:
    """Return both ends; None for an end without bound."""
    return None if interval is None else [_finite(interval[0]), _finite(interval[1])]


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _number(value: float) -> str:
    """Return a number with four digits."""
    if not isfinite(value):
        return "without bound" if value > 0 else PLACEHOLDER
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e15 else f"{value:.4g}"


def _interval(ends: tuple[float, float] | None) -> str:
    if ends is None or not isfinite(ends[0]):
        return PLACEHOLDER
    return (
        f"from {_number(ends[0])}, without upper bound"
        if isinf(ends[1])
        else f"{_number(ends[0])} to {_number(ends[1])}"
    )
