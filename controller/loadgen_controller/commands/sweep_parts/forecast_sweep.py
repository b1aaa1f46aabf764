"""The forecast that a sweep prints first: runs, time, cost, seed, order, aliases, and what it can find. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from loadgen.analysis.factors.cells import Design
from loadgen.analysis.factors.power import PowerTable
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.sweep.lifecycle import Task
from loadgen.sweep.plan import SweepPlan, levels_text
from loadgen.sweep.responses import parse_responses
from loadgen.units import NS_PER_S, format_duration, format_share, quantity
from loadgen_controller.planning.forecast import line

__all__ = ["OVERHEAD_S", "SweepTime", "announced", "power_of", "spec_of_runs", "time_of"]

OVERHEAD_S: Final = 3.0
"""Assumed time of a run beside its load: agents start, connect, drain and deliver. Measured from the first run on."""
BETWEEN_S: Final = 60.0
"""Assumed time of the command between two runs, for which the agents of a fleet are kept as well."""
_MOST_RUNS: Final = 40
_MOST_ALIASES: Final = 20


@dataclass(frozen=True, slots=True)
class SweepTime:
    """How long the runs take."""

    runs: int
    load_s: float
    """The load of all runs together, with warm-ups."""
    warmup_s: float
    overhead_s: float = OVERHEAD_S
    is_known: bool = True
    """False if a cell has no fixed duration."""

    @property
    def whole_s(self) -> float:
        """Return the time of all runs, without the command between them."""
        return self.load_s + self.runs * self.overhead_s


def time_of(tasks: Sequence[Task], specs: Sequence[PlanSpec]) -> SweepTime:
    """Return the time of these runs. specs: of each cell."""
    chosen = [specs[one.planned.cell] for one in tasks]
    return SweepTime(
        len(tasks),
        sum(one.duration_ns or 0 for one in chosen) / NS_PER_S,
        sum(one.warmup_ns for one in chosen) / NS_PER_S,
        is_known=all(one.duration_ns for one in chosen),
    )


def spec_of_runs(tasks: Sequence[Task], specs: Sequence[PlanSpec], *, has_between: bool) -> PlanSpec:
    """Return the spec of a mean run: as many of these need agents for the same time as the runs of the sweep.

    The duration is None if a cell has no known duration. specs: one for each cell.
    """
    chosen = [specs[one.planned.cell] for one in tasks]
    known = [one.duration_ns for one in chosen if one.duration_ns]
    each_ns = round(sum(known) / len(known) + has_between * BETWEEN_S * NS_PER_S) if len(known) == len(chosen) else None
    return msgspec.structs.replace(chosen[0], duration_ns=each_ns)


def power_of(design: Design, power: PowerTable | None, effect: float) -> float | None:
    """Return the lowest power of the interactions of a design for an effect; without interactions, of main effects.

    None if no power was computed. A design that cannot decide interactions has power 0 for them, by construction.
    """
    if design.kind == "one" or (design.kind == "fraction" and (design.resolution or 0) < 5):
        return 0.0
    if power is None:
        return None
    found = power.least(effect, 2)
    return power.least(effect, 1) if found is None else found


def announced(plan: SweepPlan, time: SweepTime, cost: str, power: PowerTable | None, effect: float) -> Iterator[str]:
    """Yield the lines of the announcement."""
    design = plan.design
    controls = sum(one.is_control for one in plan.order)
    extra = f", and {quantity(controls, 'control run')} against drift" if controls else ""
    yield line(
        "sweep",
        f"{quantity(len(plan.order), 'run')}: {quantity(len(design.cells), 'cell')} × {plan.repeats}{extra};"
        f" {plan.plan} at {plan.target}",
    )
    for one in design.factors:
        how = f"{one.low:g} to {one.high:g}{one.unit}" if one.low is not None else ", ".join(one.levels)
        yield line("factor", f"{one.name}: {how}")
    yield from _design(design)
    yield line("time", _time(time, has_between=bool(plan.between)))
    yield line("cost", cost)
    yield line("seed", str(plan.seed))
    yield from _order(plan)
    yield from _power(plan, power, effect)


def _design(design: Design) -> Iterator[str]:
    kinds = {"full": "full", "fraction": "fraction", "lhs": "Latin hypercube", "one": "one factor at a time"}
    resolution = f", resolution {_roman(design.resolution)}" if design.resolution else ""
    yield line("design", f"{kinds[design.kind]}{resolution}")
    for word in design.defining:
        yield line("", f"defining word {word}")
    for group in design.aliases[:_MOST_ALIASES]:
        yield line("aliased", f"{' = '.join(group)}: the cells cannot tell these apart")
    if len(design.aliases) > _MOST_ALIASES:
        yield line("aliased", f"{len(design.aliases) - _MOST_ALIASES} more groups, in sweep.json")
    for note in design.notes:
        yield line("note", note)


def _time(time: SweepTime, *, has_between: bool) -> str:
    if not time.is_known:
        return f"unknown: the target decides how long {quantity(time.runs, 'run')} take"
    warmup = f", warm-ups of {_duration(time.warmup_s)} included" if time.warmup_s else ""
    between = ", and the time of --between" if has_between else ""
    return (
        f"about {_duration(time.whole_s)}: {_duration(time.load_s)} of load{warmup},"
        f" and {time.overhead_s:g} s a run to start and to end{between}; measured from the first run on"
    )


def _order(plan: SweepPlan) -> Iterator[str]:
    """Yield the runs in their order, one line a block."""
    shown = plan.order[:_MOST_RUNS]
    for block in dict.fromkeys(one.block for one in shown):
        runs = [
            levels_text(plan.levels(one.cell)) + (" (control)" if one.is_control else "")
            for one in shown
            if one.block == block
        ]
        yield line("order" if block == shown[0].block else "", f"block {block}: {' | '.join(runs)}")
    if len(plan.order) > len(shown):
        yield line("", f"{len(plan.order) - len(shown)} more runs, in sweep.json")


def _power(plan: SweepPlan, power: PowerTable | None, effect: float) -> Iterator[str]:
    response = parse_responses(plan.responses[:1])[0]
    if power is None:
        why = "it is not a response on a log scale" if not response.is_log else "it cannot be computed for this design"
        yield line("can find", f"unknown for {response.text}: {why}")
        return
    noise = plan.noise
    known = "assumed, as the history has no runs of this plan" if not noise.df else f"from {noise.source}"
    yield line(
        "noise", f"runs of the same cell differ by {format_share(noise.sd)} (sd of log {response.text}; {known})"
    )
    for order, what in ((1, "main effects"), (2, "interactions")):
        rows = [one for one in power.rows if one.order == order]
        effects = dict.fromkeys(one.effect for one in rows)
        texts = [
            f"+{format_share(one)} with {min(row.power for row in rows if row.effect == one):.2f}" for one in effects
        ]
        if texts:
            yield line("can find", f"{what}: {', '.join(texts)} (probability; Holm over {power.terms} terms)")
        elif order == 2 and len(plan.design.factors) > 1:
            yield line("can find", f"{what}: none, by construction")
    for note in power.notes:
        if note not in plan.design.notes:
            yield line("note", note)
    least = power_of(plan.design, power, effect)
    if least is not None and least < 0.5:
        yield line(
            "WARNING",
            f"this sweep would find an effect of +{format_share(effect)} with probability {least:.2f} only",
        )


def _duration(seconds: float) -> str:
    return format_duration(seconds * NS_PER_S) if seconds else "0 s"


def _roman(resolution: int) -> str:
    return {3: "III", 4: "IV", 5: "V", 6: "VI", 7: "VII", 8: "VIII"}.get(resolution, str(resolution))
