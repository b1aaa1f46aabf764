"""`loadgen capacity find`: the highest rate at an objective, from several searches and a confirmation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from loadgen.dsl.executors.capacity import Limit
from loadgen.dsl.loading.loader import Scenario, split_plan
from loadgen.dsl.plans.spec import SteeredLoad
from loadgen.dsl.steered.objective_text import read_objective
from loadgen.dsl.steered.replaced_load import OBJECTIVE_OPTION
from loadgen.errors import ExitCode, LoadgenError, ScenarioError
from loadgen.outside_text import one_line
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_S, format_duration, format_rate, parse_duration, parse_rate, parse_ratio, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.capacity_parts.study_output import (
    CsvOption,
    HtmlOption,
    JsonOption,
    StudyOutput,
    StudyStoreOption,
    end_study,
    study_output_of,
)
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.run import ErrorFuseOption
from loadgen_controller.commands.shared_options import FileArgument, RunOptions, takes_run_options_but
from loadgen_controller.commands.user_command import read_command
from loadgen_controller.launch.run_location import placement_of
from loadgen_controller.launch.run_maker import RunMaker

if TYPE_CHECKING:
    from loadgen.capacity.find.finished_runs import SearchRun
    from loadgen_controller.commands.capacity_parts.find_runs import FindRuns

__all__ = ["FIND", "Autoscaler", "find"]

FIND = """[bold]Examples[/bold]

loadgen capacity find shop.py:peak --of 'p(99)<300ms' --between 50/s 400/s

loadgen capacity find shop.py:peak --of 'p(99)<300ms' --restart 'docker compose restart shop' --html capacity.html

loadgen capacity find shop.py:search --label release=1.4 --instance-type m6i.large --instances 4 --store history

loadgen capacity find shop.py:peak --of 'error_ratio()<1%' --repeat 1 --confirm 0

loadgen capacity find shop.py:peak --of 'p(99)<300ms' --from runs/20261124-170312-shop-a1b2

[bold]Exit codes[/bold]

0 found, 1 the objective is never met, 3 not decided or not reached, 4 the generator was the limit; 2 usage error"""

_TARGET: Final = "Target"
_SEARCHES: Final = "Searches"
_ANY_OBJECTIVE: Final = "p(99)<1s"
_LONGEST_S: Final = 24 * 3600.0
_USUAL_WINDOWS: Final = (12, 80)
"""The numbers of windows of most searches, with even and with exponential service times (docs/how-often-wrong.md)."""


class Autoscaler(Enum):
    """The state of the target's autoscaler during the searches."""

    HELD = "held"
    FREE = "free"
    NONE = "none"


@takes_run_options_but("rate", "users")
def find(
    file: FileArgument,
    of: Annotated[
        list[str] | None,
        typer.Option(
            "--of",
            metavar="OBJECTIVE",
            rich_help_panel=_SEARCHES,
            help="The objective to meet, such as 'p(99)<300ms' or 'error_ratio()<1%'. Repeatable: all must be met."
            " Default: the objective of the plan's own search.",
        ),
    ] = None,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--between",
            metavar="RATE RATE",
            rich_help_panel=_SEARCHES,
            help="A rate that is certainly fine, and the highest allowed rate. Default: those of the plan's own search,"
            " or up to four times the highest rate of the plan.",
        ),
    ] = None,
    repeat: Annotated[
        int,
        typer.Option("--repeat", min=1, max=50, metavar="N", rich_help_panel=_SEARCHES, help="Number of searches."),
    ] = 3,
    restart: Annotated[
        str | None,
        typer.Option(
            "--restart",
            metavar="COMMAND",
            rich_help_panel=_SEARCHES,
            help="Run this command on this machine between the runs. It must end when the target is ready. No shell"
            " runs it; use sh -c '...' for one.",
        ),
    ] = None,
    cool_down: Annotated[
        str,
        typer.Option(
            "--cool-down", metavar="TIME", rich_help_panel=_SEARCHES, help="Time without load between the runs."
        ),
    ] = "30s",
    confirm: Annotated[
        str,
        typer.Option(
            "--confirm",
            metavar="TIME",
            rich_help_panel=_SEARCHES,
            help="Send a constant load at the lower end of the interval after the searches for this time. 0: none.",
        ),
    ] = "10m",
    duration: Annotated[
        str | None,
        typer.Option(
            "--duration",
            metavar="TIME",
            rich_help_panel=_SEARCHES,
            help="Longest time of one search. Default: that of the plan's own search, or 1h.",
        ),
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(
            "--tolerance",
            metavar="SHARE",
            rich_help_panel=_SEARCHES,
            help="A search ends when its interval is this narrow on either side. Default: 5%.",
        ),
    ] = None,
    from_runs: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="RUN",
            rich_help_panel=_SEARCHES,
            help="Use this finished search as one of the repeats. Repeatable.",
        ),
    ] = None,
    instance_type: Annotated[
        str | None,
        typer.Option("--instance-type", metavar="NAME", rich_help_panel=_TARGET, help="Type of the target's machines."),
    ] = None,
    instances: Annotated[
        int | None,
        typer.Option(
            "--instances", min=1, max=1_000_000, metavar="N", rich_help_panel=_TARGET, help="Number of the machines."
        ),
    ] = None,
    target_region: Annotated[
        str | None,
        typer.Option("--target-region", metavar="NAME", rich_help_panel=_TARGET, help="Where the target runs."),
    ] = None,
    autoscaler: Annotated[
        Autoscaler | None,
        typer.Option(
            "--autoscaler",
            rich_help_panel=_TARGET,
            help="Whether the target's autoscaler is held at a fixed number, free to act, or does not exist.",
        ),
    ] = None,
    error_fuse: ErrorFuseOption = True,
    html: HtmlOption = None,
    json_path: JsonOption = None,
    csv: CsvOption = None,
    store: StudyStoreOption = None,
    *,
    options: RunOptions,
) -> int:
    """Find the highest rate at which the target meets an objective, with its interval.

    The load of the plan is replaced by a search, which is repeated. The interval contains the differences between the
    searches. Then the lower end of the interval is held for 10 minutes: plan with this rate.
    """
    errors = CollectedErrors()
    with needing_analysis("loadgen capacity find"):
        from loadgen.capacity.find.find_study import Condition
        from loadgen_controller.commands.capacity_parts.find_runs import RESTART_S, FindRuns
    scenario_path = split_plan(file)[0]
    output = study_output_of(
        errors, html=html, json=json_path, csv=csv, store=store, env=options.env, scenario=scenario_path
    )
    placement = placement_of(errors, options.launch_request())
    placement.has_fuse = error_fuse
    confirm_s = _seconds(errors, "--confirm", confirm, may_be_0=True)
    scenario_options = options.scenario_options() | {"duration": None, "needs_secrets": placement.needs_secrets}
    runs = FindRuns(
        maker=RunMaker(file, scenario_options, placement, output.console, options.quiet),
        search=_steered(errors, of or (), between, duration, tolerance),
        wanted=repeat,
        confirm_s=confirm_s,
        cool_down_s=_seconds(errors, "--cool-down", cool_down, may_be_0=True),
        restart=read_command(errors, "--restart", restart, RESTART_S),
    )
    _read_given(errors, runs, from_runs or (), options.runs_dir)
    scenario = runs.check(errors)
    spec = scenario.plan.spec()
    if confirm_s and confirm_s * NS_PER_S <= spec.warmup_ns:
        errors.add(
            f"--confirm {confirm} is not longer than the plan's warm-up of {format_duration(spec.warmup_ns)}",
            "write a longer time, or 0",
        )
    _check_given(errors, runs.searches, scenario)
    errors.check()
    release = spec.labels.get("release") or None
    condition = Condition(
        release=None if release is None else one_line(release),
        instance_type=instance_type,
        instances=instances,
        region=target_region,
        autoscaler=None if autoscaler is None else autoscaler.value,
        restart=restart,
        warmup_s=spec.warmup_ns / NS_PER_S,
        cool_down_s=runs.cool_down_s,
    )
    for line in _announcement(runs, scenario):
        runs.maker.console.print(one_line(line), soft_wrap=True, markup=False, highlight=False)
    try:
        runs.make(spec)
    except LoadgenError:
        for line in runs.resume_hint(_command(file, of or ())):
            runs.maker.console.print(line, soft_wrap=True, markup=False, highlight=False)
        raise
    return _end(output, runs, condition, file, of or ())


def _end(output: StudyOutput, runs: FindRuns, condition: object, file: str, of: Sequence[str]) -> int:
    """Judge and print what was made; return the exit code."""
    from loadgen.capacity.find.find_study import Condition, study_of_find
    from loadgen.capacity.find.found_capacity import judge_searches

    assert isinstance(condition, Condition)
    found = judge_searches(
        runs.searches,
        runs.wanted,
        is_confirmation_wanted=runs.confirm_s > 0,
        held=runs.held,
        is_restarted=runs.restart is not None,
        trouble=runs.trouble,
    )
    foot = () if found.result == "decided" else runs.resume_hint(_command(file, of))
    target = runs.searches[0].target if runs.searches else ""
    title = f"{file} at {target}" if target else file
    code = end_study(output, study_of_find(found, runs.searches, runs.held, condition, title, foot))
    return ExitCode.INTERRUPTED if runs.was_interrupted else code


def _command(file: str, of: Sequence[str]) -> str:
    given = "".join(f" --of {shlex.quote(one)}" for one in of)
    return f"loadgen capacity find {shlex.quote(file)}{given}"


# -- options --------------------------------------------------------------------------------------


def _steered(
    errors: CollectedErrors,
    of: Sequence[str],
    between: tuple[str, str] | None,
    duration: str | None,
    tolerance: str | None,
) -> SteeredLoad:
    """Return the search that the options describe. Invalid options are added to `errors`.

    The search has some value in place of an invalid one, so that the check of the scenario reports only other errors.
    """
    low, high = (errors.parse("--between", text, _rate) for text in between or (None, None))
    if low is not None and high is not None and low >= high:
        errors.add(
            f"--between {format_rate(low)} {format_rate(high)}: the first rate must be below the second",
            "write --between 50/s 400/s",
        )
        low = high = None
    is_broken = between is not None and (low is None or high is None)
    wrong = [fault for text in of for fault in read_objective(text, OBJECTIVE_OPTION).faults]
    if wrong:
        errors.found.append(ScenarioError(wrong))
    return SteeredLoad(
        word="search",
        objectives=(_ANY_OBJECTIVE,) if wrong else tuple(of),
        start_per_s=None if is_broken else low,
        upto_per_s=1.0 if is_broken else high,
        duration_s=None if duration is None else _seconds(errors, "--duration", duration) or None,
        tolerance=errors.parse("--tolerance", tolerance, _tolerance),
    )


def _rate(text: str) -> float:
    rate = parse_rate(text)
    if rate <= 0:
        raise ValueError(f'invalid rate "{text}": must be above 0; write 50/s')
    return rate


def _tolerance(text: str) -> float:
    share = parse_ratio(text)
    if not 0.01 <= share <= 0.5:
        raise ValueError(f"{text} is out of range; write 1% to 50%")
    return share


def _seconds(errors: CollectedErrors, option: str, text: str, *, may_be_0: bool = False) -> float:
    """Return a duration in seconds; 0 if it is invalid, which is added to `errors`."""

    def read(given: str) -> float:
        try:
            seconds = parse_duration("0s" if given.strip() == "0" else given) / NS_PER_S
        except OverflowError:
            raise ValueError(f"{given} is too long; write 10m") from None
        if seconds > _LONGEST_S or (not seconds and not may_be_0):
            raise ValueError(f"{given} is out of range: at most 24h{'' if may_be_0 else ', and above 0'}; write 10m")
        return seconds

    return errors.parse(option, text, read) or 0.0


# -- searches that were made before ---------------------------------------------------------------


def _read_given(errors: CollectedErrors, runs: FindRuns, names: Sequence[str], runs_dir: Path) -> None:
    """Read the searches of --from into `runs`. A run that is no finished search with a rate is added to `errors`."""
    from loadgen.capacity.find.finished_runs import read_search

    for name in dict.fromkeys(names):
        search = errors.catch(lambda name=name: read_search(open_run(name, runs_dir)))  # type: ignore[misc]
        if search is None:
            continue
        if not search.is_found:
            errors.add(
                f"--from {name}: this search has no rate: {search.why}", "leave it out; a new search takes its place"
            )
        elif search.run_id in [one.run_id for one in runs.searches]:
            errors.add(f"--from {name}: run {search.run_id} was named already", "name each search once")
        else:
            runs.searches.append(search)
    if len(runs.searches) > runs.wanted:
        errors.add(
            f"--from names {len(runs.searches)} searches, and --repeat {runs.wanted} wants fewer",
            f"write --repeat {len(runs.searches)}",
        )


def _check_given(errors: CollectedErrors, given: Sequence[SearchRun], scenario: Scenario) -> None:
    """Add an error for each search of --from that searched something else."""
    spec = scenario.plan.spec()
    steering = spec.lanes[0].steering
    wanted = {
        "objective": " and ".join(() if steering is None else (one.text for one in steering.objectives)),
        "plan": f"{spec.scenario}:{spec.name}",
        "target": spec.target,
        "release": spec.labels.get("release", ""),
    }
    for one in given:
        has = {
            "objective": " and ".join(one.objectives),
            "plan": f"{one.scenario}:{one.plan}",
            "target": one.target,
            "release": one.labels.get("release", ""),
        }
        for what, text in wanted.items():
            if has[what] != text:
                errors.add(
                    f'--from {one.run_id}: its {what} is "{has[what]}", and not "{text}"',
                    "only searches for the same rate can be combined",
                )


# -- before it starts -----------------------------------------------------------------------------


def _announcement(runs: FindRuns, scenario: Scenario) -> list[str]:
    """Return what will happen, as lines, with the longest and the usual time."""
    executor = scenario.plan.executors[0]
    assert isinstance(executor, Limit)
    missing = runs.wanted - len(runs.searches)
    longest_s = parse_duration(executor.duration) / NS_PER_S
    lines = [f"{executor.describe()}"]
    given = f", and {len(runs.searches)} of --from" if runs.searches else ""
    usual = tuple(min(longest_s, seconds) for seconds in _usual_s(executor))
    pauses = max(0, missing - (0 if runs.confirm_s else 1))
    whole = tuple(missing * one + pauses * runs.cool_down_s + runs.confirm_s for one in (*usual, longest_s))
    searches = f"{missing} new {'search' if missing == 1 else 'searches'}{given}"
    lines.append(
        f"{searches}: each usually {_time(usual[0])} to {_time(usual[1])}, longer if response times vary much, at most"
        f" {_time(longest_s)}"
    )
    if pauses:
        restart = "" if runs.restart is None else f"{shlex.join(runs.restart.words)}, then "
        lines.append(f"between the runs: {restart}{_time(runs.cool_down_s)} without load")
    lines.append(
        f"then the lower end of the interval is held for {_time(runs.confirm_s)}"
        if runs.confirm_s
        else "the result is not held afterwards (--confirm 0)"
    )
    lines.append(f"in all usually {_time(whole[0])} to {_time(whole[1])}, at most {_time(whole[2])}")
    guards = [slo.text for slo in scenario.plan.slos if slo.text]
    others = len(scenario.plans[scenario.plan.name].slos) - len(guards)
    if guards:
        lines.append(f"objectives of the plan that stop a search: {', '.join(guards)}")
    if others > 0:
        lines.append(
            f"{quantity(others, 'objective')} of the plan: not judged, because a search goes beyond its limits"
        )
    return lines


def _usual_s(executor: Limit) -> tuple[float, float]:
    """Return the time of a search for most targets, least and most, in seconds.

    The knee is unknown, so it is taken to be in the middle between the lowest and the highest rate (geometric).
    """
    start, upto = parse_rate(executor.start), parse_rate(executor.upto)
    middle = (start * upto) ** 0.5
    rate, climb = start, 0.0
    while rate < middle:
        climb += max(5.0, 60 / rate)
        rate *= 1.5
    window = executor.window_s(middle)
    least, most = _USUAL_WINDOWS
    return climb + least * window, climb + most * window


def _time(seconds: float) -> str:
    rounded = round(seconds) if seconds < 120 else round(seconds / 60) * 60
    return format_duration(rounded * NS_PER_S)
