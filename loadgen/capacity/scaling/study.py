"""Turns a replay into a study: the answer in one sentence, the tables, and the facts for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from loadgen.analysis.scaling.outcome import Outcome
from loadgen.capacity.scaling.charts import drawings, series_of
from loadgen.capacity.scaling.plan import Scaled, ScalePlan
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.studies.study import Study
from loadgen.units import NS_PER_S, format_duration, format_rate

__all__ = ["policy_comments", "scale_study"]


def scale_study(scaled: Scaled, *, policy_file: str, run_ids: tuple[str, ...] = ()) -> Study:
    """Return the study of a replay. policy_file: the name of the file, for its title."""
    plan = scaled.plan
    is_kept = scaled.own_keeps or scaled.best is not None
    return Study(
        kind="capacity scale",
        title=f"{policy_file} with {plan.curve.name}",
        headline=_headline(scaled),
        result="decided" if is_kept else "failed",
        lines=tuple(_lines(scaled)),
        tables=tuple(_tables(scaled)),
        drawings=tuple(drawings(scaled)),
        foot=("a replay has no noise of its own: try the target with a load test before you rely on it",),
        facts=_facts(scaled),
        rows=tuple(_rows(scaled)),
        run_ids=run_ids,
    )


def policy_comments(scaled: Scaled) -> list[str]:
    """Return the figures of the best target, one sentence a line, for the file that the policy is written to."""
    plan, best = scaled.plan, scaled.best
    assert best is not None
    lines = [
        f"loadgen capacity scale: {plan.curve.name}, {_capacity(plan)}",
        f"target {_percent(best.target)}: the cheapest of {len(scaled.rows)} targets that keeps the promise",
    ]
    for case, one in zip(scaled.cases, best.outcomes, strict=True):
        lines.append(f"{case.name}: {_said(one)}")
    lines.append(f"assumed: {_assumed(plan)}")
    if plan.policy.only:
        lines.append(plan.policy.only)
    if "target tracking" in plan.policy.kind:
        lines.append("AWS publishes no formula of target tracking: the replay models observed behaviour")
    return lines


def _headline(scaled: Scaled) -> str:
    plan, best = scaled.plan, scaled.best
    own = "the policy keeps the promise" if scaled.own_keeps else "the policy breaks the promise"
    own += f" ({plan.policy.shown_target}: {_worst(scaled)})"
    if not scaled.rows:
        return own
    if best is None:
        return f"{own}; none of {len(scaled.rows)} targets keeps it in all cases"
    if plan.policy.target is not None and abs(best.target - plan.policy.target) < 1e-6:
        return f"{own}, and is the cheapest of {len(scaled.rows)} targets that do"
    hours = f"{best.instance_hours:,.1f} instance hours"
    return f"{own}; the cheapest target that keeps it in all cases is {_target(plan, best.target)}, with {hours}"


def _worst(scaled: Scaled) -> str:
    """Return the overload of the policy in its worst case."""
    case, one = max(zip(scaled.cases, scaled.own, strict=True), key=lambda pair: pair[1].overload_s)
    return f"at most {one.overload_s:,} s of overload, {case.name}"


def _lines(scaled: Scaled) -> Iterator[str]:
    plan = scaled.plan
    lag, policy = plan.lag, plan.policy
    points = f" x {policy.points} data points" if policy.points > 1 else ""
    yield (
        f"The promise is kept if at most {plan.allowed_s} s of a case are overload: seconds in which the ready "
        f"instances got more than their capacity ({_capacity(plan)}), or requests waited."
    )
    growth = scaled.growth
    whole = (
        f"{lag.delay_s} s metric delay + {lag.average_s} s averaging{points} + {policy.period_s} s between decisions + "
        f"{plan.instances.start_s} s start = {plan.total_lag_s} s"
    )
    if scaled.start is not None:
        yield (
            f"Starting value by the formula: {scaled.start:.3f} = {plan.instances.at:g} / ({growth.ratio:.3f} x "
            f"{1 + policy.tolerance:g}). The load grows at most {growth.ratio:.3f} times within {whole}, from "
            f"{plan.moment(growth.at_s)} on."
        )
        if len(plan.curve.rate) <= plan.total_lag_s:
            yield (
                f"The curve has {len(plan.curve.rate)} s, not more than the lag, so the growth is that of its whole "
                "length, and no new instance is ready before its end."
            )
    if scaled.best is not None and (lower := [row for row in scaled.rows if row.target < scaled.best.target]):
        broken = [row.target for row in lower if not row.keeps]
        if broken:
            safe = max((row.target for row in lower if row.target < min(broken)), default=None)
            yield (
                f"Lower targets break the promise ({', '.join(map(_percent, broken))}): the number of whole instances "
                "at the worst moment decides such cases, so the cheapest target may keep it by luck. "
                + ("" if safe is None else f"Up to {_percent(safe)}, all of them keep it.")
            )
    yield f"Assumed: {_assumed(plan)}."
    yield from plan.warnings
    for note in policy.notes:
        yield f"{note[:1].upper()}{note[1:]}."
    if plan.curve.step_s > 1:
        yield (
            f"The rows of the curve are {plan.curve.step_s:g} s apart: peaks between two rows are not in it, so a "
            "shorter distance may find more overload."
        )
    for case, one in zip(scaled.cases, scaled.own, strict=True):
        if one.most_instances >= policy.limits.most:
            yield f"{case.name}: the policy reached its limit of {policy.limits.most} instances."
        if one.backlog_end > 0:
            yield f"{case.name}: {one.backlog_end:,.0f} requests still waited when the curve ended."


def _assumed(plan: ScalePlan) -> str:
    at = f"{_percent(plan.instances.at)} utilisation at that capacity"
    if plan.is_at_assumed:
        at += " (a default, not measured: give --utilization)"
    return (
        f"{_capacity(plan)}, {at}, a start of {plan.instances.start_s} s, load spread evenly, and a fleet that begins "
        "settled at the first rate"
    )


def _capacity(plan: ScalePlan) -> str:
    return f"{format_rate(plan.instances.per_s)} an instance"


def _tables(scaled: Scaled) -> Iterator[Table]:
    head = ("case", "overload s", "utilisation", "load", "backlog", "hours", "instances", "actions", "flaps")
    rows = tuple((case.name, *_cells(one)) for case, one in zip(scaled.cases, scaled.own, strict=True))
    note = (
        "Utilisation, backlog and instances are the largest of a second. Load: arrivals as a share of what the ready "
        "instances serve within the promise. Instance hours count starting instances, too. A flap is an action that "
        "takes back the one before it within 10 minutes. A zone is lost within 15 minutes of the peak, at the second "
        "that leaves the least room."
    )
    yield Table(f"The policy as it is: {scaled.plan.policy.shown_target}", head, rows, note=note)
    if scaled.rows:
        yield _grid(scaled)


def _grid(scaled: Scaled) -> Table:
    plan = scaled.plan
    rows = []
    for row in scaled.rows:
        marks = [
            word
            for word, is_so in (
                ("cheapest", row is scaled.best),
                ("the policy's", plan.policy.target is not None and abs(row.target - plan.policy.target) < 1e-6),
                ("the formula's", scaled.start is not None and row.target == int(scaled.start * 100) / 100),
            )
            if is_so
        ]
        overload = tuple(f"{one.overload_s:,}" for one in row.outcomes)
        kept = "yes" if row.keeps else "no"
        cells = (f"{row.instance_hours:,.1f}", str(row.outcomes[0].actions), str(row.outcomes[0].flaps))
        rows.append((_target(plan, row.target), ", ".join(marks) or PLACEHOLDER, kept, *overload, *cells))
    head = ("target", "which", "kept", *(case.short for case in scaled.cases), "hours", "actions", "flaps")
    note = "Instance hours, actions and flaps are those of the recorded curve."
    return Table("Targets: seconds of overload in each case", head, tuple(rows), words=3, note=note)


def _target(plan: ScalePlan, target: float) -> str:
    if plan.policy.unit == "percent":
        return _percent(target)
    unit = "/s" if plan.policy.unit == "requests/s" else "/min"
    return f"{target * plan.policy.scale:,.4g}{unit} ({_percent(target)})"


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def _cells(one: Outcome) -> tuple[str, ...]:
    demand = "no instance ready" if one.worst_demand is None else _percent(one.worst_demand)
    return (
        f"{one.overload_s:,}",
        _percent(one.worst_utilisation),
        demand,
        f"{one.worst_backlog:,.0f}",
        f"{one.instance_hours:,.1f}",
        f"{one.most_instances:,}",
        str(one.actions),
        str(one.flaps),
    )


def _said(one: Outcome) -> str:
    return (
        f"{one.overload_s:,} s of overload in {format_duration(one.seconds * NS_PER_S)}, worst utilisation "
        f"{_percent(one.worst_utilisation)}, worst backlog {one.worst_backlog:,.0f} requests, "
        f"{one.instance_hours:,.1f} instance hours, {one.actions} actions, {one.flaps} flaps"
    )


def _facts(scaled: Scaled) -> dict[str, Any]:
    plan = scaled.plan
    policy = plan.policy
    return {
        "policy": {
            "kind": policy.kind,
            "name": policy.name,
            "target": policy.target,
            "shown_target": policy.shown_target,
            "tolerance": policy.tolerance,
            "period_s": policy.period_s,
            "least": policy.limits.least,
            "most": policy.limits.most,
            "keeps": scaled.own_keeps,
            "is_observed_model": "target tracking" in policy.kind,
        },
        "curve": {
            "name": plan.curve.name,
            "seconds": len(plan.curve.rate),
            "step_s": plan.curve.step_s,
            "start": None if plan.curve.start is None else plan.curve.start.isoformat(),
            "peak_per_s": float(plan.curve.rate.max()),
            "peak_at_s": int(plan.curve.rate.argmax()),
        },
        "instance": {
            "per_s": plan.instances.per_s,
            "utilisation": plan.instances.at,
            "is_utilisation_assumed": plan.is_at_assumed,
            "start_s": plan.instances.start_s,
        },
        "lag": {"delay_s": plan.lag.delay_s, "average_s": plan.lag.average_s, "total_s": plan.total_lag_s},
        "allowed_overload_s": plan.allowed_s,
        "growth": {"ratio": _finite(scaled.growth.ratio), "at_s": scaled.growth.at_s},
        "starting_target": None if scaled.start is None else _finite(scaled.start),
        "cheapest_target": None if scaled.best is None else scaled.best.target,
        "cases": [{"name": case.name, **_outcome(one)} for case, one in zip(scaled.cases, scaled.own, strict=True)],
        "actions": [[one.at_s, one.before, one.after] for one in scaled.drawn.actions[:10_000]],
        "series": series_of(scaled),
    }


def _finite(value: float) -> float | None:
    return value if value not in (float("inf"), float("-inf")) and value == value else None


def _outcome(one: Outcome) -> dict[str, Any]:
    return {
        "overload_s": one.overload_s,
        "worst_utilisation": one.worst_utilisation,
        "worst_load_of_capacity": one.worst_demand,
        "worst_at_s": one.worst_at_s,
        "worst_backlog": one.worst_backlog,
        "backlog_at_end": one.backlog_end,
        "instance_hours": one.instance_hours,
        "most_instances": one.most_instances,
        "actions": one.actions,
        "flaps": one.flaps,
    }


def _rows(scaled: Scaled) -> Iterator[dict[str, str | float | int | bool | None]]:
    own = scaled.plan.policy.target
    for case, one in zip(scaled.cases, scaled.own, strict=True):
        yield {"which": "policy", "target": own, "case": case.name, "keeps": scaled.own_keeps, **_outcome(one)}
    for row in scaled.rows:
        for case, one in zip(scaled.cases, row.outcomes, strict=True):
            yield {"which": "grid", "target": row.target, "case": case.name, "keeps": row.keeps, **_outcome(one)}
