"""Makes the study of the ceilings of resources: at which rate each of them meets its policy, and which one first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from loadgen.analysis.utilisation import REACH, UtilisationFit, fit_utilisation, samples_wrong
from loadgen.capacity.ceilings.samples import Samples
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.studies.study import Drawing, Study
from loadgen.studies.xy_chart import Axis, Band, Line, Mark, Points, Rule, xy_chart
from loadgen.units import format_rate, quantity

__all__ = ["Resource", "ceilings_study"]

_POINTS_MOST: Final = 400
_CHARTS_MOST: Final = 8
_STEPS: Final = 60


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource with the most that a policy allows, in the unit of its samples."""

    samples: Samples
    policy: float


@dataclass(frozen=True, slots=True)
class _Judged:
    resource: Resource
    fit: UtilisationFit | None
    refused: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return self.resource.samples.name


def ceilings_study(
    title: str, resources: Sequence[Resource], *, run_ids: Sequence[str] = (), extrapolate: bool = False
) -> Study:
    """Return the study of resources.

    extrapolate: whether a ceiling beyond 1.2 times the largest rate is shown as a number; it is marked then.
    """
    judged = [_judge(one) for one in resources]
    seen = [one for one in judged if one.fit is not None and one.fit.ceiling is not None]
    ordered = sorted(seen, key=lambda one: one.fit.ceiling or 0.0 if one.fit else 0.0)
    known = [one for one in ordered if one.fit and (extrapolate or not one.fit.is_extrapolated)]
    others = [one for one in judged if one not in ordered]
    above = [one for one in others if one.fit is not None and one.fit.is_above]
    everything = [*above, *ordered, *(one for one in others if one not in above)]
    fitted = [one for one in judged if one.fit is not None]
    return Study(
        kind="capacity ceilings",
        title=title,
        headline=_headline(known, above, fitted, extrapolate=extrapolate),
        result="invalid" if not fitted else "decided" if known or above else "not decided",
        lines=tuple(_lines(everything, known)),
        tables=(_table(everything, extrapolate=extrapolate, is_of_runs=bool(run_ids)),),
        drawings=tuple(_drawing(one) for one in everything[:_CHARTS_MOST] if one.fit is not None),
        foot=(
            "the ceiling is the rate at which the upper end of the 95 % prediction interval of one sample meets the"
            " policy; errors allow for samples that resemble their neighbours (Newey and West)",
            "plan with a measured capacity: loadgen capacity find FILE:PLAN",
        ),
        facts={
            "first": known[0].name if known and not above else above[0].name if above else None,
            "ceiling": known[0].fit.ceiling if known and known[0].fit and not above else 0.0 if above else None,
            "is_extrapolated": bool(known and known[0].fit and known[0].fit.is_extrapolated),
            "resources": [_facts(one, extrapolate=extrapolate) for one in everything],
        },
        rows=tuple(_facts(one, extrapolate=extrapolate) for one in everything),
        run_ids=tuple(run_ids),
    )


def _judge(resource: Resource) -> _Judged:
    samples = resource.samples
    wrong = samples_wrong(samples.rates, samples.uses, samples.period_s)
    if wrong:
        return _Judged(resource, None, tuple(wrong))
    return _Judged(resource, fit_utilisation(samples.rates, samples.uses, policy=resource.policy), ())


def _headline(
    known: Sequence[_Judged], above: Sequence[_Judged], fitted: Sequence[_Judged], *, extrapolate: bool
) -> str:
    if not fitted:
        return "no resource has samples that can be used"
    if above:
        return f"above the policy at the lowest rates already: {', '.join(one.name for one in above)}"
    if known:
        first, *rest = ((one.name, one.fit) for one in known if one.fit is not None)
        more = f", then {', '.join(f'{name} at {_ceiling_text(fit)}' for name, fit in rest)}" if rest else ""
        return f"first at its limit: {first[0]} at {_ceiling_text(first[1])}{more}"
    largest = min(one.fit.largest_rate for one in fitted if one.fit is not None)
    return (
        f"no resource reaches its limit up to {format_rate(REACH * largest)}, 1.2 times the largest rate of the samples"
    )


def _ceiling_text(fit: UtilisationFit) -> str:
    assert fit.ceiling is not None
    return f"{format_rate(fit.ceiling)}{' (extrapolated)' if fit.is_extrapolated else ''}"


def _lines(judged: Sequence[_Judged], known: Sequence[_Judged]) -> Iterator[str]:
    if known and known[0].fit is not None and known[0].fit.mean_ceiling is not None and not known[0].fit.is_curved:
        fit = known[0].fit
        yield (
            f"{known[0].name} meets {_amount(fit.policy, known[0])} in the mean at {_mean_text(fit)}; up to"
            f" {format_rate(fit.ceiling or 0.0)}, 97.5 % of the samples stay below it"
        )
    for one in judged:
        if one.fit is None:
            for message, hint in one.refused:
                yield f"refused: {one.name}: {message}; {hint}"
        elif one.fit.is_curved:
            yield (
                f"{one.name} is not a straight line (t of a quadratic term {one.fit.curvature_t:.1f}): its ceiling is"
                " that of a curve; beyond the tested rates, the lower one of the line's and the curve's"
            )
    for one in judged:
        if one.fit is not None and one.fit.why_none and not one.fit.is_above:
            yield f"{one.name} has no ceiling: {one.fit.why_none}"
        if one.resource.samples.missing:
            yield f"{one.name}: {quantity(one.resource.samples.missing, 'sample')} without a value left out"


def _mean_text(fit: UtilisationFit) -> str:
    """Return the rate at which the mean meets the policy, with its interval."""
    low, high = fit.mean_low, fit.mean_high
    interval = (
        f"{PLACEHOLDER if low is None else format_rate(low)} to {'no end' if high is None else format_rate(high)}"
    )
    return f"{format_rate(fit.mean_ceiling or 0.0)} ({interval})"


def _table(judged: Sequence[_Judged], *, extrapolate: bool, is_of_runs: bool) -> Table:
    rows = []
    for one in judged:
        if (fit := one.fit) is None:
            rows.append((one.name, "refused", *[PLACEHOLDER] * 5, f"{len(one.resource.samples.rates):,}"))
            continue
        rows.append(
            (
                one.name,
                _shown(fit, extrapolate=extrapolate),
                _amount(fit.policy, one),
                f"{fit.intercept:.3g}",
                f"{fit.slope * 100:.3g} ({fit.slope_low * 100:.3g} to {fit.slope_high * 100:.3g})",
                f"{fit.sd:.2g}",
                f"{fit.smallest_rate:,.0f} to {fit.largest_rate:,.0f}/s",
                f"{fit.points:,}",
            )
        )
    return Table(
        "Resources",
        ("resource", "ceiling", "policy", "at rest", "by 100/s more", "sd", "rates", "samples"),
        tuple(rows),
        words=2,
        note="By 100/s more: the increase of the use, with its 95 % interval."
        + (" Rates are iterations that finished." if is_of_runs else ""),
    )


def _shown(fit: UtilisationFit, *, extrapolate: bool) -> str:
    if fit.is_above:
        return "already above"
    if fit.ceiling is None:
        return "none"
    if fit.is_extrapolated and not extrapolate:
        return f"> {format_rate(REACH * fit.largest_rate)}"
    return _ceiling_text(fit)


def _amount(value: float, one: _Judged) -> str:
    unit = one.resource.samples.unit
    return f"{value:.4g} {unit}" if unit else f"{value:.4g}"


def _facts(one: _Judged, *, extrapolate: bool) -> dict[str, Any]:
    fit, samples = one.fit, one.resource.samples
    shown = fit is not None and (extrapolate or not fit.is_extrapolated)
    found: Mapping[str, Any] = {
        "ceiling": fit.ceiling if fit is not None and shown else None,
        "above": REACH * fit.largest_rate if fit is not None and fit.is_extrapolated else None,
        "is_extrapolated": fit.is_extrapolated if fit is not None else None,
        "mean_ceiling": fit.mean_ceiling if fit is not None and shown else None,
        "mean_low": fit.mean_low if fit is not None and shown else None,
        "mean_high": fit.mean_high if fit is not None and shown else None,
        "intercept": fit.intercept if fit else None,
        "slope": fit.slope if fit else None,
        "slope_low": fit.slope_low if fit else None,
        "slope_high": fit.slope_high if fit else None,
        "sd": fit.sd if fit else None,
        "correlation": fit.correlation if fit else None,
        "lags": fit.lags if fit else None,
        "curvature_t": fit.curvature_t if fit and abs(fit.curvature_t) < 1e300 else None,
        "is_curved": fit.is_curved if fit else None,
        "smallest_rate": fit.smallest_rate if fit else None,
        "largest_rate": fit.largest_rate if fit else None,
    }
    why = "; ".join(message for message, _ in one.refused) if fit is None else fit.why_none
    return {
        "resource": one.name,
        "unit": samples.unit,
        "policy": one.resource.policy,
        "samples": len(samples.rates),
        "period_s": samples.period_s,
        **found,
        "why": why,
    }


def _drawing(one: _Judged) -> Drawing:
    fit, samples = one.fit, one.resource.samples
    assert fit is not None
    step = max(1, -(-len(samples.rates) // _POINTS_MOST))
    inside = sorted({*np.linspace(0.0, REACH * fit.largest_rate, _STEPS).tolist(), fit.largest_rate})
    predicted = [(rate, *fit.predict(rate)) for rate in inside]
    beyond = fit.largest_rate
    marks: list[Mark] = [
        Band("95 % of the samples", [(rate, low, high) for rate, _, low, high in predicted], style=1),
        Points(
            "samples", list(zip(samples.rates[::step].tolist(), samples.uses[::step].tolist(), strict=True)), style=2
        ),
        Line("fit", [(rate, mean) for rate, mean, _, _ in predicted if rate <= beyond], style=1),
        Line("not measured", [(rate, mean) for rate, mean, _, _ in predicted if rate >= beyond], True, style=1),
        Rule(f"policy, {_amount(fit.policy, one)}", fit.policy, is_horizontal=True, style=4),
    ]
    text = f"{one.name} by rate, {fit.points:,} samples. "
    if fit.ceiling is not None and not fit.is_extrapolated:
        marks.append(Rule(f"ceiling, {format_rate(fit.ceiling)}", fit.ceiling, style=3))
        text += f"The upper end of the band meets the policy at {format_rate(fit.ceiling)}."
    elif fit.ceiling is not None:
        text += f"The band stays below the policy up to {format_rate(REACH * fit.largest_rate)}."
    else:
        text += f"There is no ceiling: {fit.why_none}."
    unit = samples.unit or "use"
    html = xy_chart(one.name, marks, x=Axis("rate, 1/s", low=0.0), y=Axis(unit))
    return Drawing(f"use of {one.name} by rate", html, text)
