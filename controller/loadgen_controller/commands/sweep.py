"""`loadgen sweep`: runs a plan at chosen levels of several factors, and says which matter, alone and together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from loadgen.dsl.loading.loader import split_plan
from loadgen.errors import UsageError
from loadgen.units import NS_PER_S, parse_duration
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.capacity_parts.study_output import (
    CsvOption,
    HtmlOption,
    JsonOption,
    StudyStoreOption,
    study_output_of,
)
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import RunOptions, takes_run_options_but
from loadgen_controller.launch.run_location import placement_of

NAME = "sweep"
EXAMPLES = """[bold]Examples[/bold]

loadgen sweep shop.py -P settle=0,8 -P payout=0,8 --between ./restart.sh

loadgen sweep shop.py:peak -P pool=8,16,32 --plan-value rate=100/s,200/s --repeat 4 --of p99,error_ratio

loadgen sweep shop.py -P a=off,on -P b=off,on -P c=off,on -P d=off,on -P e=off,on --design fraction --budget 4h

loadgen sweep shop.py -P pool=1..64 -P batch=10..500 --design lhs --cells 30

loadgen sweep --resume sweeps/20261129-143000-shop-a1b2

[bold]Exit codes[/bold]

0 decided: an effect was found; 3 not decided: nothing was found, it was stopped, or --between failed;
4 no valid run; 2 usage error, 5 fleet error and 130 Ctrl-C, as for every command"""

_DESIGN = "Design"
"""Heading of `--help` for the options that decide which runs are made, and in which order."""


@takes_run_options_but("runs_dir")
def main(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE[:PLAN]", help="The scenario file, and which of its plans to run."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-P",
            metavar="NAME=V1,V2",
            rich_help_panel=_DESIGN,
            help="A factor: a param() of the scenario, with at least two levels; for --design lhs a range: pool=1..64."
            " Repeatable.",
        ),
    ] = None,
    plan_value: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=V1,V2",
            rich_help_panel=_DESIGN,
            help="A factor that is an option of the run: rate, users, duration, target or load. Repeatable.",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", rich_help_panel=_DESIGN, help="Set a param() in all runs. Repeatable."
        ),
    ] = None,
    design: Annotated[
        str | None,
        typer.Option(
            metavar="DESIGN",
            rich_help_panel=_DESIGN,
            help="full: every combination. fraction: some of them, for many factors of two levels. lhs: a Latin"
            " hypercube, for ranges. one: one factor at a time, which cannot see interactions. Default: full.",
        ),
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            min=3, max=12, metavar="N", rich_help_panel=_DESIGN, help="Least resolution of a fraction. Default: 5."
        ),
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option(
            min=2, max=1024, metavar="N", rich_help_panel=_DESIGN, help="Cells of --design lhs. Default: 10 a factor."
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A=1,B=1", rich_help_panel=_DESIGN, help="Make no runs with these levels together. Repeatable."
        ),
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, metavar="N", rich_help_panel=_DESIGN, help="Runs of each cell. Default: 3; with lhs 1."
        ),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            rich_help_panel=_DESIGN,
            help="Responses; the first one decides. Default: p99,error_ratio,throughput; p95:checkout is that of one"
            " name.",
        ),
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(
            metavar="BLOCK",
            rich_help_panel=_DESIGN,
            help="repeat: each repeat of all cells is a block. day: the same, with one block a day; --resume makes the"
            " next block. Default: repeat.",
        ),
    ] = None,
    control_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            metavar="N",
            rich_help_panel=_DESIGN,
            help="Repeat the first cell every N runs, to see a drift. Default: no such runs.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**31 - 1,
            metavar="N",
            rich_help_panel=_DESIGN,
            help="Seed of the order, of --design lhs and of the runs. Default: a random one, which is printed.",
        ),
    ] = None,
    between: Annotated[
        str | None,
        typer.Option(
            metavar="CMD",
            help="Command before each run, which brings the target into a fresh state. Levels are in its environment as"
            " LOADGEN_SWEEP_NAME. If it fails, the sweep stops. For shell syntax, use sh -c '...'.",
        ),
    ] = None,
    between_timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Longest time of --between. Default: 5m.")
    ] = None,
    early: Annotated[
        bool,
        typer.Option(
            "--early",
            help="Look at the results once, after half of the repeats, and stop if the answer is clear by then"
            " (O'Brien and Fleming's bounds) or out of reach.",
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Refuse a sweep with a longer forecast, and stop before exceeding this time."
        ),
    ] = None,
    effect: Annotated[
        str, typer.Option(metavar="SHARE", help="The effect that matters, for the forecast of what can be found.")
    ] = "20%",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, even if the sweep will probably not find that effect.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Continue the sweep in this folder, with its own options and its own order."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of the sweep. Default: a new one in `sweeps`."),
    ] = None,
    html: HtmlOption = None,
    json: JsonOption = None,
    csv: CsvOption = None,
    store: StudyStoreOption = None,
    *,
    options: RunOptions,
) -> int:
    """Run a plan at chosen levels of several factors, and find out which of them matter, alone and together.

    Before the first run, the command prints the number of runs, their time, cost and order, and the effects that the
    sweep can find. Runs are made in a random order, in blocks; --between brings the target into a fresh state before
    each. Everything is fixed at the start, and each finished run is stored at once: after Ctrl-C, a crash or a kill,
    --resume continues the same sweep. Invalid runs are repeated once, at the end.
    """
    errors = CollectedErrors()
    with needing_analysis("loadgen sweep"):
        from loadgen_controller.commands.sweep_parts import plan_sweep, resume_sweep, run_sweep, sweep_options
        from loadgen_controller.commands.sweep_parts.between_command import read_between
        from loadgen_controller.launch.run_maker import RunMaker
    given = sweep_options.SweepOptions(
        param=param,
        plan_value=plan_value,
        setting=setting,
        skip=skip,
        design=design,
        resolution=resolution,
        cells=cells,
        repeat=repeat,
        of=of,
        block=block,
        control_every=control_every,
        between=between,
        between_timeout=between_timeout,
        early=early or None,
        seed=seed,
    )
    budget_ns = errors.parse("--budget", budget, parse_duration)
    budget_s = None if budget_ns is None else budget_ns / NS_PER_S
    typed = sweep_options.typed_run_options(options)
    plan = None
    if resume is not None:
        plan = resume_sweep.read_sweep(resume)
        resume_sweep.check_same(errors, plan, file, given.typed(), typed)
        if output is not None:
            errors.add("-o cannot be used with --resume", "leave it out: the sweep has its folder")
        stored = plan.options.get("run")
        options = sweep_options.restored_run_options(stored if isinstance(stored, dict) else {}, quiet=options.quiet)
        file = f"{plan.file}:{plan.plan}"
    elif file is None:
        raise UsageError("name a scenario, or --resume DIR", hint="loadgen sweep FILE[:PLAN] -P NAME=VALUE,VALUE")
    outputs = sweep_options.OutputOptions(html, json, csv, store)
    if plan is not None:
        outputs = outputs.or_those_of(plan)
    study_output = study_output_of(
        errors,
        html=outputs.html,
        json=outputs.json,
        csv=outputs.csv,
        store=outputs.store,
        env=options.env,
        scenario=split_plan(file)[0],
    )
    placement = placement_of(errors, options.launch_request())
    load = options.scenario_options() | {"needs_secrets": placement.needs_secrets, "shows_warnings": False}
    is_watched = sys.stdout.isatty() and not options.quiet  # a live view would fill a log with lines
    maker = RunMaker(file, load, placement, study_output.console, is_quiet=not is_watched)
    if plan is None:
        planning = plan_sweep.planned_sweep(
            errors, maker, given, typed, store=study_output.store, budget_s=budget_s, effect=effect
        )
        if not options.quiet:
            plan_sweep.announce(planning, study_output.console)
        plan_sweep.ask_if_weak(planning, is_sure=yes)
        plan, found = outputs.stored_in(planning.plan), planning.cells
        folder = plan_sweep.make_folder(errors, output, plan)
        study_output.console.print(f"folder     {folder}", soft_wrap=True)
    else:
        assert resume is not None
        folder, found = resume, resume_sweep.check_bundle(errors, maker, plan)
    command = read_between(errors, plan.between or None, plan.between_timeout_s, [f.name for f in plan.design.factors])
    errors.check()
    placement.runs_dir = folder / "runs"
    return run_sweep.run_sweep(
        errors,
        maker,
        plan,
        folder,
        study_output,
        specs=found.specs,
        between=command,
        budget_s=budget_s,
        is_quiet=options.quiet,
    )
