"""`loadgen gate`: judges whether a release is slower than the accepted runs. The exit code is the verdict, for CI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.dsl.loading.loader import split_plan
from loadgen.history.store.stored_run import STATISTICS
from loadgen.notify.notifier import Notifier
from loadgen.units import parse_ratio
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.history_baselines import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import RunOptions, takes_run_options
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.console_output import echo
from loadgen_controller.launch.run_location import placement_of
from loadgen_controller.notifying.open_notifier import channels_for, close_with_notes, notifier_of

NAME = "gate"
EXAMPLES = """[bold]Examples[/bold]

loadgen gate last --store history

loadgen gate 20261124-170312 20261124-171012 20261124-171745 --store s3://perf/history

loadgen gate checkout.py --env staging --confirm 2 --junit gate.xml --markdown gate.md --add

loadgen gate checkout.py --ab http://old.test:8080 http://new.test:8080 --pairs 10

loadgen gate checkout.py --ab http://old.test:8080 http://new.test:8080 --fleet fleet.json --scale eu-west-1=3

loadgen gate last --against 1.4 --explain

loadgen gate accept last --because "the new tax rules cost 20 ms"

[bold]Exit codes[/bold]

0 PASS, 1 FAIL, 3 INCONCLUSIVE, 4 INVALID; 2 usage error and 5 fleet error, as for every command"""

ACCEPT = "accept"
LEAST_PAIRS = 5


@takes_run_options
def main(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...|FILE[:PLAN]|accept RUN...",
            help="Past runs to judge together; or a scenario to run and judge; or `accept` and the runs to add to the"
            " history in spite of the verdict.",
        ),
    ],
    store: StoreOption = None,
    against: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Compare only with this pinned reference; the verdict is INCONCLUSIVE if that is impossible. Default:"
            " the accepted runs and all references.",
        ),
    ] = "",
    delta: Annotated[str, typer.Option(metavar="SHARE", help="Smallest slow-down that counts as a regression.")] = "3%",
    tolerate: Annotated[
        str,
        typer.Option(
            metavar="SHARE", help="Largest slow-down that a PASS may overlook; otherwise the verdict is INCONCLUSIVE."
        ),
    ] = "10%",
    alpha: Annotated[
        str, typer.Option(metavar="SHARE", help="Highest probability that the gate fails although nothing has changed.")
    ] = "5%",
    percentile: Annotated[
        str, typer.Option(metavar="P", help="Statistic that decides: p50, p95, p99 or mean.")
    ] = "p95",
    runs: Annotated[int, typer.Option(min=1, max=200, metavar="N", help="Number of runs of FILE to make.")] = 1,
    confirm: Annotated[
        int,
        typer.Option(
            min=0,
            max=50,
            metavar="N",
            help="Extra runs to make now when the result is suspect; 2 are enough to decide. Runs made together share"
            " their day: runs on other days say more.",
        ),
    ] = 0,
    ab: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="URL URL", help="Run FILE against two targets in turns, and judge the second against the first."
        ),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(min=2, max=200, metavar="N", help=f"Number of pairs of runs for --ab. Default: {LEAST_PAIRS}."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed for --ab: it decides which target starts, and the seeds of the runs."),
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="After a PASS, add the runs to the history.")] = False,
    because: Annotated[
        str, typer.Option(metavar="TEXT", help="The reason for `accept`; it is stored in the history.")
    ] = "",
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the whole result as JSON; - is stdout.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML, for the test page of a CI.")
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write Markdown, for a comment on a pull request; - is stdout."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain each step of the decision in sentences, with its figures.")
    ] = False,
    *,
    options: RunOptions,
) -> int:
    """Judge a release: PASS, FAIL, INCONCLUSIVE or INVALID, with the smallest slow-down that would have been found.

    The runs are compared with accepted runs of the same plan, target and placement, and with pinned references. A
    single run can only be suspect; three runs can fail. `gate accept` adds a release to the history although it is
    slower, with a reason.

    Options that change the load or choose agents apply only to a scenario, because past runs are not run again.
    """
    errors = CollectedErrors()
    is_accept, names = what[0] == ACCEPT, what[1:] if what[0] == ACCEPT else what
    file = _scenario_in(errors, names, is_accept)
    if file is None:
        of_made_runs = {"--confirm": confirm, "--ab": ab, "--runs": runs > 1, "--seed": seed is not None}
        _check_makes_none(errors, [*options.given(), *(name for name, value in of_made_runs.items() if value)])
    placement = None if file is None else placement_of(errors, options.launch_request())
    if ab is not None and (options.target is not None or runs > 1 or confirm or against or add):
        errors.add(
            "--ab cannot be used with --target, --runs, --confirm, --against or --add: it compares two targets",
            "leave them out; --pairs N makes more runs",
        )
    if ab is None and (pairs is not None or (seed is not None and file is not None)):
        errors.add("--pairs and --seed need --ab", "add --ab URL URL, or leave them out")
    _check_because(errors, is_accept, because)
    _check_outputs(errors, {"--json": json_path, "--junit": junit, "--markdown": markdown})
    values = _settings(errors, {"delta": delta, "tolerate": tolerate, "alpha": alpha}, percentile)
    with needing_analysis("loadgen gate"):
        from loadgen.history.gate.gate_result import Settings
        from loadgen_controller.commands.gating import gate_command
    channels = errors.catch(lambda: channels_for(None if file is None else split_plan(file)[0])) or []
    notifier = Notifier() if is_accept else notifier_of(errors, channels)
    gate_options = gate_command.GateOptions(
        store=store_of(errors, store, options.env, None if file is None else split_plan(file)[0]),
        settings=Settings(values["delta"], values["tolerate"], values["alpha"], percentile),
        against=against,
        is_added=add,
        because=because.strip(),
        json_path=json_path,
        junit=junit,
        markdown=markdown,
        is_explained=explain,
        is_quiet=options.quiet,
        notifier=notifier,
    )
    if is_accept:
        return gate_command.accept_runs(errors, gate_options, names, options.runs_dir)
    try:
        if file is None or placement is None:
            return gate_command.judge_runs(errors, gate_options, names, options.runs_dir)
        load = options.scenario_options() | {"needs_secrets": placement.needs_secrets}
        maker = gate_command.maker_of(gate_options, file, load, placement)
        if ab is not None:
            return gate_command.judge_sides(errors, gate_options, maker, ab, pairs or LEAST_PAIRS, seed)
        return gate_command.judge_made(errors, gate_options, maker, runs, confirm)
    finally:
        close_with_notes(notifier, lambda text: echo(text, err=True))


def _scenario_in(errors: CollectedErrors, names: list[str], is_accept: bool) -> str | None:
    """Return the scenario file among the arguments; None if they are past runs.

    If they mix both, an error is added and None is returned.
    """
    files = [name for name in names if split_plan(name)[0].suffix == ".py"]
    if is_accept and not names:
        errors.add("accept needs at least one run", 'loadgen gate accept RUN --because "..."')
    if files and is_accept:
        errors.add(f"{files[0]}: accept takes runs, not a scenario", "run it first, then accept the run by its id")
        return None
    if files and len(names) > 1:
        errors.add(
            f"{files[0]}: a scenario cannot be judged together with other arguments",
            "name either past runs or one scenario",
        )
        return None
    return files[0] if files else None


def _check_makes_none(errors: CollectedErrors, given: list[str]) -> None:
    """Add an error if options that apply only to new runs were given with past runs."""
    if given:
        errors.add(
            f"{', '.join(given)}: only for runs that the gate makes itself, and past runs were named",
            "leave them out, or name a scenario: FILE.py",
        )


def _check_because(errors: CollectedErrors, is_accept: bool, because: str) -> None:
    if is_accept and not because.strip():
        errors.add("accept needs a reason", "add --because TEXT; it is stored in the history")
    if because and not is_accept:
        errors.add("--because needs accept", 'loadgen gate accept RUN --because "..."')


def _check_outputs(errors: CollectedErrors, outputs: dict[str, Path | None]) -> None:
    for option, path in outputs.items():
        errors.check_file(option, path)
    if len(given := [option for option, path in outputs.items() if str(path) == "-"]) > 1:
        errors.add(f"{' and '.join(given)} both write to stdout", "keep one -, and name files for the others")


def _settings(errors: CollectedErrors, given: dict[str, str], percentile: str) -> dict[str, float]:
    """Return the options as numbers (0.05 for 5%), by option name. Invalid ones are added to `errors` and read as 0."""
    found: dict[str, float] = {}
    for option, text in given.items():
        value = errors.parse(f"--{option}", text, parse_ratio)
        if (value == 0 and option != "delta") or (option == "alpha" and value == 1):
            allowed = "above 0 % and below 100 %" if option == "alpha" else "above 0 %"
            errors.add(f"invalid --{option} {text}: must be {allowed}", "for example 5%")
        found[option] = value or 0.0
    if percentile not in STATISTICS:
        errors.add(f'--percentile: unknown statistic "{percentile}"', f"use one of {', '.join(STATISTICS)}")
    return found
