"""Plans a new sweep: reads its options, checks all cells, forecasts its cost and power, and fixes the order."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from loadgen.analysis.factors.design import Design, fraction, full, latin, one_at_a_time
from loadgen.analysis.factors.early import first_look
from loadgen.analysis.factors.factor import Factor, factor_faults, skip_faults
from loadgen.analysis.factors.order import run_order
from loadgen.analysis.factors.power import PowerTable, detectable
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import UsageError
from loadgen.history.store.store import Store
from loadgen.measure.run_folder.rundir import new_run_id, storage_error, utc_text
from loadgen.sweep.lifecycle import Task, remaining
from loadgen.sweep.plan import FILE, RUNS, Noise, SweepPlan, write_plan
from loadgen.sweep.responses import Response, parse_responses, unknown_names
from loadgen.units import NS_PER_S, format_duration, format_share, parse_duration, parse_ratio, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.sweep_parts.between_command import read_between
from loadgen_controller.commands.sweep_parts.check_cells import Cells, check_levels, load_cells, whole_ranges
from loadgen_controller.commands.sweep_parts.conduct_sweep import rules_of
from loadgen_controller.commands.sweep_parts.forecast_sweep import SweepTime, announced, power_of, spec_of_runs, time_of
from loadgen_controller.commands.sweep_parts.read_factors import SweepFactors, read_factors
from loadgen_controller.commands.sweep_parts.store_noise import noise_of
from loadgen_controller.commands.sweep_parts.sweep_options import SweepOptions
from loadgen_controller.console_output import Text, ask_on_stderr, echo_warning
from loadgen_controller.launch.run_location import Placement
from loadgen_controller.launch.run_maker import RunMaker

__all__ = ["OF", "Planning", "announce", "ask_if_weak", "cost_of", "make_folder", "planned_sweep"]

OF: Final = "p99,error_ratio,throughput"
REPEATS: Final = 3
BETWEEN_TIMEOUT: Final = "5m"
MOST_RUNS: Final = 2_000
"""Runs of a sweep without a budget. With one, the budget is the limit."""
LEAST_POWER: Final = 0.5
_CELLS_A_FACTOR: Final = 10
_DESIGNS: Final = ("full", "fraction", "lhs", "one")
_BLOCKS: Final = ("repeat", "day")


@dataclass(frozen=True, slots=True)
class Planning:
    """A planned sweep: its plan, its checked cells, and its forecast."""

    plan: SweepPlan
    cells: Cells
    time: SweepTime
    power: PowerTable | None
    effect: float
    cost: str

    @property
    def lines(self) -> list[str]:
        """Return the announcement."""
        return list(announced(self.plan, self.time, self.cost, self.power, self.effect))

    @property
    def least_power(self) -> float | None:
        """Return the lowest power for the effect that matters; None if unknown."""
        return power_of(self.plan.design, self.power, self.effect)


def planned_sweep(
    errors: CollectedErrors,
    maker: RunMaker,
    options: SweepOptions,
    run_options: dict[str, object],
    *,
    store: Store | None,
    budget_s: float | None,
    effect: str,
) -> Planning:
    """Return the plan of a new sweep. Nothing is written or started.

    Raises:
        LoadgenError, ExceptionGroup: everything that is wrong with options, scenario, cells, or the size of the sweep.
    """
    factors = read_factors(
        errors,
        params=options.param or (),
        plan_values=options.plan_value or (),
        settings=options.setting or (),
        skips=options.skip or (),
    )
    for name in factors.plan_names:
        if maker.options.get({"load": "loads"}.get(name, name)):
            errors.add(f"--{name} cannot be used with --plan-value {name}=...", f"leave --{name} out")
    kind = _chosen(errors, "--design", options.design, _DESIGNS)
    block = _chosen(errors, "--block", options.block, _BLOCKS, "repeat")
    responses = errors.catch(lambda: parse_responses(options.of or OF)) or ()
    timeout_ns = errors.parse("--between-timeout", options.between_timeout or BETWEEN_TIMEOUT, parse_duration)
    if timeout_ns == 0:
        errors.add("--between-timeout: 0s is no time for a command", "write 5m")
    matters = errors.parse("--effect", effect, parse_ratio) or 0.2
    read_between(errors, options.between, 1.0, (one.name for one in factors.all))
    _check_combinations(errors, options, kind)
    if factors.all and not errors.found:
        for fault in (*factor_faults(factors.all, are_ranges=kind == "lhs"), *skip_faults(factors.all, factors.skips)):
            errors.add(fault, "loadgen sweep --help describes the designs")
        errors.check()
    reference = check_levels(errors, maker, factors) if factors.all else None
    if reference is not None:
        for fault in unknown_names(responses, [one.name for one in reference.journeys]):
            errors.add(fault, "write the name of a journey, step or request as in the report")
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    errors.check()
    assert reference is not None
    design = _design(errors, kind, whole_ranges(factors, reference), factors, options, seed)
    repeats = options.repeat or (1 if kind == "lhs" else REPEATS)
    order = run_order(design, repeats, seed, control_every=options.control_every)
    if len(order) > MOST_RUNS and budget_s is None:
        errors.add(
            f"{len(order):,} runs are too many without a limit of time: at most {MOST_RUNS:,}",
            "add --budget TIME, use --design fraction, or leave out levels",
        )
        errors.check()
    maker.check_place(errors)
    cells = load_cells(errors, maker, factors, design)
    look = first_look(repeats) if options.early else None
    if options.early and look is None:
        errors.add("--early needs at least 2 repeats", "add --repeat 2, or leave --early out")
    spec = cells.specs[0]
    noise = noise_of(
        store,
        responses[0],
        cells.specs,
        cells.packed.scenario,
        "embedded" if maker.placement.is_embedded else "fleet",
    )
    made = datetime.now(UTC)
    plan = SweepPlan(
        sweep_id=new_run_id(made, spec.name if spec.name != "plan" else Path(spec.scenario).stem),
        file=str(reference.path.absolute()),
        plan=reference.plan.name,
        target=spec.target,
        bundle_sha256=cells.packed.sha256,
        files=cells.packed.files,
        design=design,
        order=order,
        repeats=repeats,
        seed=seed,
        responses=tuple(one.text for one in responses),
        block="day" if block == "day" else "repeat",
        plan_values=factors.plan_names,
        options={"run": run_options, "sweep": options.typed()},
        settings=factors.settings,
        between=options.between or "",
        between_timeout_s=(timeout_ns or 0) / NS_PER_S,
        is_early=bool(options.early),
        looks=() if look is None else (look,),  # each block is one whole repeat
        noise=noise,
        created_at=utc_text(made),
    )
    now = remaining(rules_of(plan), ())
    _check_budget(errors, time_of(now, cells.specs), budget_s)
    cost = cost_of(errors, maker.placement, plan, now, cells.specs)
    errors.check()
    power = power_table(design, repeats, noise, responses[0], matters)
    time = time_of([Task(one, 1, one.block) for one in order], cells.specs)
    return Planning(plan, cells, time, power, matters, cost)


def make_folder(errors: CollectedErrors, output: Path | None, plan: SweepPlan) -> Path:
    """Make the folder of a new sweep with its plan, and return it.

    Raises:
        UsageError: there is something in it. StorageError: it cannot be written.
    """
    folder = output or Path("sweeps") / plan.sweep_id
    try:
        if folder.is_dir() and (folder / FILE).exists():
            raise UsageError(
                f"there is a sweep in {folder}", hint=f"loadgen sweep --resume {folder}, or name another folder with -o"
            )
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is not empty", hint="name a new folder with -o")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / RUNS).mkdir(mode=0o700)
        write_plan(folder, plan)
    except OSError as error:
        raise storage_error(folder, error, elsewhere="choose another folder with -o") from error
    return folder


def announce(planning: Planning, console: Console) -> None:
    """Print what the sweep takes and can find, and the warnings of the scenario."""
    for warning in planning.cells.warnings:
        echo_warning(f"{warning.where}: {warning.message}", warning.hint)
    for text in planning.lines:
        console.print(Text(text), soft_wrap=True)


def ask_if_weak(planning: Planning, *, is_sure: bool) -> None:
    """Ask whether a sweep that will probably find nothing shall run.

    Raises:
        UsageError: the operator answered no, or stdin is not a terminal.
    """
    least = planning.least_power
    if least is None or least >= LEAST_POWER or is_sure:
        return
    what = f"an effect of +{format_share(planning.effect)} would be found with probability {least:.2f} only"
    if sys.stdin.isatty() and ask_on_stderr(f"{what}. Run it nevertheless?"):
        return
    raise UsageError(
        what,
        hint="add --repeat N, make the runs longer, use --design full, or name the effect that matters with"
        " --effect; --yes runs it nevertheless",
    )


def power_table(design: Design, repeats: int, noise: Noise, response: Response, effect: float) -> PowerTable | None:
    """Return what a design can find at this noise; None for a response that has no log scale, or if it is unknown."""
    if not response.is_log:
        return None
    effects = tuple(sorted({0.1, 0.2, 0.6, effect}))
    try:
        return detectable(design, repeats, noise.sd, effects=effects, pooled_df=float(noise.df) if noise.df else None)
    except ValueError:
        return None


def cost_of(
    errors: CollectedErrors, placement: Placement, plan: SweepPlan, tasks: Sequence[Task], specs: Sequence[PlanSpec]
) -> str:
    """Return what the machines cost that are started for these runs, as text. Faults are added to `errors`."""
    hire = placement.hire
    if hire is None or hire.scale is None:
        where = "the agents are on this machine" if placement.is_embedded else "the agents are running anyway"
        return f"none: {where}"
    spec = spec_of_runs(tasks, specs, has_between=bool(plan.between))
    terms = hire.terms(errors, spec, len(tasks))
    if terms is None:
        return "none: no machines are started"
    regions = hire.file.regions
    per_hour = sum(number * regions[name].dearest for name, number in terms.wish.items() if name in regions)
    as_of = f", prices of {hire.file.prices_as_of}" if hire.file.prices_as_of else ""
    agents = quantity(sum(terms.wish.values()), "agent")
    each = " a block" if plan.block == "day" else ""
    whole = f": at most {per_hour * terms.ttl_s / 3600:.2f} USD{each}" if terms.ttl_s is not None else ""
    return f"{agents}, at most {per_hour:.2f} USD an hour{as_of}{whole}"


# -- details -----------------------------------------------------------------------------------------


def _chosen(errors: CollectedErrors, option: str, text: str | None, known: Sequence[str], default: str = "") -> str:
    text = text or default or known[0]
    if text not in known:
        errors.add(f'{option}: unknown word "{text[:40]}"', f"use one of {', '.join(known)}")
    return text


def _check_combinations(errors: CollectedErrors, options: SweepOptions, kind: str) -> None:
    if options.resolution is not None and kind != "fraction":
        errors.add("--resolution is only for --design fraction", "leave it out")
    if options.cells is not None and kind != "lhs":
        errors.add("--cells is only for --design lhs", "leave it out: the levels give the cells")
    if options.skip and kind not in ("full", "fraction"):
        errors.add(f"--skip cannot be used with --design {kind}", "use --design full or fraction")
    if options.between_timeout is not None and options.between is None:
        errors.add("--between-timeout needs --between", "leave it out, or add --between CMD")


def _design(
    errors: CollectedErrors,
    kind: str,
    factors: Sequence[Factor],
    read: SweepFactors,
    options: SweepOptions,
    seed: int,
) -> Design:
    """Return the design.

    Raises:
        LoadgenError, ExceptionGroup: with all faults that it has.
    """
    try:
        match kind:
            case "fraction":
                return fraction(factors, options.resolution, read.skips)
            case "lhs":
                return latin(factors, options.cells or _CELLS_A_FACTOR * len(factors), seed)
            case "one":
                return one_at_a_time(factors)
            case _:
                return full(factors, read.skips)
    except* ValueError as group:
        for one in _leaves(group):
            errors.add(str(one), "loadgen sweep --help describes the designs")
    errors.check()
    raise AssertionError("a design without a fault was not returned")


def _leaves(group: BaseExceptionGroup[ValueError]) -> list[ValueError]:
    found: list[ValueError] = []
    for one in group.exceptions:
        found += _leaves(one) if isinstance(one, BaseExceptionGroup) else [one]
    return found


def _check_budget(errors: CollectedErrors, time: SweepTime, budget_s: float | None) -> None:
    if budget_s is None:
        return
    if not time.is_known:
        errors.add("--budget: the plan has no fixed duration, so the time is unknown", "leave --budget out")
    elif time.whole_s > budget_s:
        errors.add(
            f"{quantity(time.runs, 'run')} take about {format_duration(time.whole_s * NS_PER_S)},"
            f" more than --budget {format_duration(budget_s * NS_PER_S)}",
            "raise --budget, shorten the runs with --duration, use --design fraction, or lower --repeat",
        )
