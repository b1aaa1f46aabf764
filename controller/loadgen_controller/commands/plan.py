"""`loadgen plan`: shows what a run would do and need, before it runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from loadgen.dsl.data.feed import open_feed
from loadgen.dsl.graphs.graph import Graph
from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.plans.plan import rows_needed
from loadgen.dsl.plans.plan_loads import rows_used
from loadgen.engine.health.interpreter import advice_of, this_build
from loadgen.errors import ExitCode, UsageError
from loadgen.units import NS_PER_S, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import (
    AllowHostOption,
    DurationOption,
    EnvOption,
    FileArgument,
    LoadsOption,
    ParamOption,
    RateOption,
    RegionsOption,
    ResolveOption,
    TargetOption,
    UsersOption,
)
from loadgen_controller.console_output import echo, echo_json
from loadgen_controller.planning.core_rate.rate import (
    CoreRate,
    core_facts,
    core_lines,
    is_too_much,
    measure_core,
    usable_cores,
    workers_for,
)
from loadgen_controller.planning.core_rate.rate_of_run import rate_of_last_run
from loadgen_controller.planning.forecast import RowsOf, Tried, forecast, line, lines, on_average
from loadgen_controller.planning.rehearsal import Stepped, rehearse
from loadgen_controller.planning.scenario import load_scenario
from loadgen_controller.planning.token_forecast import tokens_of

NAME = "plan"
EXAMPLES = """[bold]Examples[/bold]

loadgen plan scenarios/checkout.py

loadgen plan scenarios/checkout.py --rate 300/s --duration 30m --no-trial > checkout.plan

loadgen plan scenarios/checkout.py --rate 20000/s --measure-core

loadgen plan scenarios/search_mix.py:spike --json"""
_MEASURE_S = 2.0


def main(
    file: FileArgument,
    target: TargetOption = None,
    rate: RateOption = None,
    users: UsersOption = None,
    duration: DurationOption = None,
    loads: LoadsOption = None,
    regions: RegionsOption = None,
    param: ParamOption = None,
    env: EnvOption = None,
    resolve: ResolveOption = None,
    i_may_load: AllowHostOption = None,
    trial: Annotated[
        bool,
        typer.Option(
            "--trial/--no-trial", help="Run each journey once against the target, to estimate requests and users."
        ),
    ] = True,
    is_measured: Annotated[
        bool,
        typer.Option(
            "--measure-core",
            help="Measure for 2 s what rate a core of this machine drives, and refuse a plan that needs more cores"
            " than this machine has.",
        ),
    ] = False,
    runs_dir: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of the run folders; the last run shows what a core drives."),
    ] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> int:
    """Show what a run would do and need: iterations, requests, users, rows, agents, and which change it could detect.

    In a trial, each journey runs once against the target (for a graph, as many sessions as are needed to visit every
    node). It gives estimates of requests, and of users by Little's law. Without the trial, everything follows from the
    plan alone, one fact per line, so that the text can be stored and compared in a review.

    "core" is the rate that one core of this machine drives, and "workers" is how many cores the peak of the plan needs.
    Both come from the last run of the scenario on this machine. With --measure-core, they come from plain GETs to a
    server on 127.0.0.1. These are the cheapest requests, so the plan may need more. --no-trial leaves both out, unless
    --measure-core is given.

    A warning on stderr names a Python that was built without PGO: agents that use it need more CPU for the same load.

    The exit code is 1 if a journey fails in the trial, and 2 if the scenario is invalid or rows are missing. With
    --measure-core it is also 2 if the plan needs more cores than this machine has; if other programs disturbed the
    measurement, more than twice as many. Without this option, such a plan is not refused, because the agents may be on
    other machines.
    """
    errors = CollectedErrors()
    scenario = load_scenario(
        errors,
        file,
        target=target,
        rate=rate,
        users=users,
        duration=duration,
        loads=loads,
        regions=regions,
        params=param or (),
        env=env,
        resolve=resolve or (),
        allowed=i_may_load or (),
        is_sending=trial,
    )
    tried, failed = asyncio.run(_try(scenario)) if trial else ((), ())
    spec = scenario.plan.spec()
    found = forecast(spec, () if failed else tried)
    core, cores = _core(is_measured, trial, runs_dir, spec.scenario), usable_cores()
    workers = None if core is None else workers_for(found, core)
    if as_json:
        facts = msgspec.to_builtins(found) | {"rows": [_facts_of(one) for one in _rows(scenario)]}
        facts |= core_facts(core, workers, cores)
        echo_json(json.dumps(facts, indent=2))
    else:
        for text in lines(spec, found, tuple(_rows(scenario)), () if failed else tried):
            echo(text)
        if core is not None:
            for word, text in core_lines(core, workers, cores):
                echo(line(word, text))
        elif trial:
            echo(line("core", "unknown: no past run of this scenario shows it; add --measure-core, which takes 2 s"))
    if advice := advice_of(this_build()):
        echo(f"warning: {advice}", err=True)
    for text in failed:
        echo(f"trial      {text}: no estimate; find out why with: loadgen check {file}", err=as_json)
    if is_measured and core is not None and workers is not None and is_too_much(core, workers, cores) and not failed:
        raise UsageError(
            f"this plan needs {quantity(workers.needed, 'core')}, and this machine has {cores}",
            hint="use agents on more machines (docs/distributed.md), or a lower rate",
        )
    return ExitCode.FAILED if failed else ExitCode.PASSED


def _core(is_measured: bool, trial: bool, runs_dir: Path, scenario: str) -> CoreRate | None:
    """Return what a core of this machine drives: measured now, or from the last run of the scenario; None if unknown.

    Without a trial and a measurement, it is None: then the output follows from the plan alone.
    """
    if is_measured:
        echo(f"measuring for {_MEASURE_S:g} s what a core of this machine drives", err=True)
        return measure_core(_MEASURE_S)
    return rate_of_last_run(runs_dir, scenario) if trial else None


async def _try(scenario: Scenario) -> tuple[tuple[Tried, ...], tuple[str, ...]]:
    """Run the trial. Return the figures of each journey (for a graph: of an average session), and the failures."""
    graphs = {one.name: one for one in scenario.plan.journeys if isinstance(one, Graph)}
    tried: list[Tried] = []
    failed: list[str] = []
    steps: dict[str, list[Stepped]] = {}
    async for done in rehearse(scenario):
        if not done.has_passed:
            failed.append(f"{done.title} failed: {done.outcome}")
        if done.path:
            steps.setdefault(done.journey, []).extend(done.steps)
        elif not done.journey.startswith("("):
            tried.append(Tried(done.journey, len(done.requests), done.response_ns / NS_PER_S, done.thought_s))
    if not failed:
        tried += (on_average(name, graphs[name].visits, graphs[name].think_s, seen) for name, seen in steps.items())
    return tuple(tried), tuple(failed)


def _facts_of(rows: RowsOf) -> dict[str, object]:
    """Return the figures of a feed for JSON; rows without tokens have no keys for them."""
    return {name: value for name, value in msgspec.to_builtins(rows).items() if value is not None}


def _rows(scenario: Scenario) -> list[RowsOf]:
    found = []
    for journey, needed in rows_needed(scenario.plan):
        assert journey.feed is not None
        name = journey.feed.path.name if journey.feed.path is not None else "rows"
        uses = [rows_used(lane, journey.feed) for lane in scenario.plan.lanes]
        tokens = None if None in uses else tokens_of(journey.feed, sum(filter(None, uses)))
        found.append(RowsOf(journey.name, name, needed, len(open_feed(journey.feed)), *(tokens or ())))
    return found
