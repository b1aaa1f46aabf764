"""`loadgen run`: runs a scenario or one URL, and shows the figures on screen while the run goes on."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.dsl.loading.loader import Scenario, split_plan
from loadgen.engine.health.interpreter import advice_of, this_build
from loadgen.errors import UsageError
from loadgen.outside_text import in_json
from loadgen.report.executive_summary import story_of, targets_in
from loadgen.report.report_tables import final_report
from loadgen.report.summary_reader import read
from loadgen.report.target_side.database_tables import database_tables
from loadgen.report.target_side.metrics_file import read_databases
from loadgen_controller.agents.printed_output import printed_text
from loadgen_controller.api.remote import order_there
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import (
    ExplainOption,
    JsonOption,
    OutOption,
    RunOptions,
    takes_run_options,
)
from loadgen_controller.console_output import Text, echo
from loadgen_controller.launch.launcher import conduct, order_of
from loadgen_controller.launch.run_location import Placement, placement_of
from loadgen_controller.notifying.open_notifier import channels_for, close_with_notes, notifier_of
from loadgen_controller.planning.option_parsing import needs_sure, outputs_of, parse_endpoint, places_of
from loadgen_controller.planning.scenario import load_scenario
from loadgen_controller.planning.url_scenario import hint_of_url, is_url, write_scenario
from loadgen_controller.screen.output_file import write
from loadgen_controller.screen.result_explanation import print_story, story_in
from loadgen_controller.screen.terminal_report import Output, print_report
from loadgen_controller.ui.access import Access, check_place

NAME = "run"
EXAMPLES = """[bold]Examples[/bold]

loadgen run scenarios/checkout.py --target http://127.0.0.1:8080

loadgen run scenarios/search_mix.py:spike --rate 300/s --duration 1m

loadgen run http://127.0.0.1:8080/ --rate 50/s --duration 30s

loadgen run scenarios/checkout.py --env staging

loadgen run checkout.py --regions us-east-1=2,eu-west-1=1 --agents-per-region 2

loadgen run checkout.py --rate 20000/s --workers 4

loadgen run checkout.py --listen 0.0.0.0:5700 --keys keys --allow allow.toml --wait 6

loadgen run checkout.py --controller controller.internal:5558 --ca server.crt --token-file alice.token

loadgen run checkout.py --out prometheus=127.0.0.1:9464 --out ndjson=figures.ndjson

loadgen run checkout.py --fleet fleet.json --scale eu-west-1=3,us-east-1=6 --ca server.crt --token-file alice.token

loadgen run checkout.py --quiet --json result.json

loadgen run checkout.py --explain

loadgen run checkout.py --ui"""


_FAILURES: Final = "Failures"
"""Heading of `--help` for options of its own: their long names would leave no room for the help of the others."""


class OnLostAgent(StrEnum):
    """Choices for a run that loses an agent under load."""

    CONTINUE = "continue"
    ABORT = "abort"


class ProbesChoice(StrEnum):
    """Whether the probes of the plan and of `loadgen.toml` are read."""

    ON = "on"
    OFF = "off"


ErrorFuseOption = Annotated[
    bool,
    typer.Option(
        "--error-fuse/--no-error-fuse",
        rich_help_panel=_FAILURES,
        help="Stop the run when more than half of the requests fail for 30 s. Always off when agents and targets"
        " are all on this machine.",
    ),
]
OnLostAgentOption = Annotated[
    OnLostAgent,
    typer.Option(
        rich_help_panel=_FAILURES,
        help="Reaction to a lost agent under load. continue: the other agents take over its share."
        " abort: end the load (exit code 3).",
    ),
]
ProbesOption = Annotated[
    ProbesChoice,
    typer.Option(help="off: read none of the probes of the plan and of loadgen.toml, to see the target without them."),
]
SureOption = Annotated[
    bool,
    typer.Option(
        "--sure",
        help="End with exit code 3 if an objective is not sure: a repeated run may get the other verdict.",
    ),
]
UiOption = Annotated[
    bool, typer.Option("--ui", help="Show the run on a web page of this machine; its address is printed.")
]
UiAtOption = Annotated[
    str | None,
    typer.Option("--ui-at", metavar="HOST:PORT", help="Address of that page. Other hosts can see it with --keys."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """The options of a command that makes one run, besides those of `RunOptions`."""

    json_path: Path | None = None
    error_fuse: bool = True
    on_lost_agent: OnLostAgent = OnLostAgent.CONTINUE
    sure: bool = False
    explain: bool = False
    ui: bool = False
    ui_at: str | None = None
    out: list[str] | None = None
    probes: ProbesChoice = ProbesChoice.ON

    @property
    def takes_stdout(self) -> bool:
        """Return whether stdout gets the summary or the live figures, and so nothing else."""
        return str(self.json_path) == "-" or any(one.partition("=")[2] == "-" for one in self.out or ())


@takes_run_options
def main(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE[:PLAN]|URL", help="The scenario file, and which of its plans to run; or a URL to request."
        ),
    ],
    json_path: JsonOption = None,
    error_fuse: ErrorFuseOption = True,
    on_lost_agent: OnLostAgentOption = OnLostAgent.CONTINUE,
    sure: SureOption = False,
    explain: ExplainOption = False,
    ui: UiOption = False,
    ui_at: UiAtOption = None,
    out: OutOption = None,
    probes: ProbesOption = ProbesChoice.ON,
    *,
    options: RunOptions,
) -> int:
    """Run a scenario, and show exact percentiles of all agents while the run goes on.

    Without --listen, the agents are processes on this machine, one per region, and the regions are marked "simulated".
    Rates are iterations per second; the number of requests follows from the journeys. A URL needs no scenario file: it
    is requested at the rate of --rate, or by the number of users of --users.

    Ctrl-C drains the run and keeps everything; a second Ctrl-C stops it at once. With --controller, the run belongs to
    the controller and continues without this terminal: Ctrl-C only detaches, and `loadgen stop` ends the run.
    """
    errors = CollectedErrors()
    extras = Extras(
        json_path=json_path,
        error_fuse=error_fuse,
        on_lost_agent=on_lost_agent,
        sure=sure,
        explain=explain,
        ui=ui,
        ui_at=ui_at,
        out=out,
        probes=probes,
    )
    if is_url(file):
        return run_written(errors, lambda folder: _scenario_of_url(errors, file, folder, options), options, extras)
    return run_file(errors, lambda: _no_bare_url(file), options, extras, scenario_path=split_plan(file)[0])


def _no_bare_url(file: str) -> str:
    """Return FILE[:PLAN] unchanged.

    Raises:
        UsageError: no such file, and it looks like a URL without http://.
    """
    hint = hint_of_url(file)
    if hint and not split_plan(file)[0].exists():
        raise UsageError(f"{file}: no such file", hint=hint)
    return file


def run_written(errors: CollectedErrors, write_file: Callable[[Path], str], options: RunOptions, extras: Extras) -> int:
    """Run the scenario that `write_file` writes into a temporary folder, and return the exit code.

    write_file: returns the path of the scenario, or raises the errors found so far.
    """
    with tempfile.TemporaryDirectory(prefix="loadgen-url-") as folder:
        return run_file(errors, lambda: write_file(Path(folder)), options, extras, scenario_path=None)


def run_file(
    errors: CollectedErrors,
    file_of: Callable[[], str],
    options: RunOptions,
    extras: Extras,
    *,
    scenario_path: Path | None,
) -> int:
    """Run a scenario with the options of `loadgen run`, and return the exit code.

    Args:
        file_of: returns FILE[:PLAN]; called after all other options were read.
        scenario_path: the scenario's file, beside which `loadgen.toml` is; None: it is in the working folder.

    Raises:
        LoadgenError, ExceptionGroup: all errors found so far, before anything starts.
    """
    json_path, out = extras.json_path, extras.out
    placement = placement_of(errors, options.launch_request())
    place = placement.place
    errors.check_file("--json", json_path)
    placement.ui = extras.ui_at or ("127.0.0.1:0" if extras.ui else None)
    _check_page(errors, placement)
    placement.has_fuse = extras.error_fuse
    placement.aborts_on_loss = extras.on_lost_agent is OnLostAgent.ABORT
    places = places_of(errors, scenario_path, options.env)
    placement.needs_sure = extras.sure or bool(errors.catch(lambda: needs_sure(scenario_path)))
    if place is not None and places.out and not out:
        echo(f"note: [out] of {places.path} is ignored: with --controller, the controller sends the figures", err=True)
    if place is not None and out:
        errors.add(
            "--out cannot be used with --controller: the controller sends the figures",
            "start the controller with it: loadgen controller --out KIND=WHERE",
        )
    channels = errors.catch(lambda: channels_for(scenario_path)) or []
    if place is not None and channels:
        echo("note: [notify] is ignored: with --controller, the controller sends notifications", err=True)
    with ExitStack() as stack:
        if place is None:
            placement.notifier = notifier_of(errors, channels)
            stack.callback(close_with_notes, placement.notifier, lambda text: echo(text, err=True))
        placement.outputs = outputs_of(errors, out or (), places if place is None else None)
        stack.callback(placement.outputs.close)
        if placement.outputs.has_stdout and str(json_path) == "-":
            errors.add("--out ndjson=- and --json - both write to stdout", "name a file for one of them")
        scenario = load_scenario(
            errors,
            file_of(),
            needs_secrets=placement.needs_secrets,
            seed=secrets.randbelow(2**32),
            allow=placement.allow,
            with_probes=extras.probes is ProbesChoice.ON,
            **options.scenario_options(),
        )
        with placement.staffed(errors, scenario.plan.spec(), is_quiet=options.quiet):
            return run_scenario(
                scenario, placement, json_path=json_path, is_quiet=options.quiet, is_explained=extras.explain
            )


def run_scenario(
    scenario: Scenario,
    placement: Placement,
    *,
    json_path: Path | None = None,
    is_quiet: bool = False,
    is_explained: bool = False,
) -> int:
    """Run a loaded scenario, print its report, and return the exit code of `loadgen run`."""
    if placement.is_embedded and not is_quiet and (advice := advice_of(this_build())):
        echo(f"warning: {advice}", err=True)
    order = order_of(scenario, placement)
    to_stdout = str(json_path) == "-" or placement.outputs.has_stdout
    console = Output(stderr=to_stdout)
    if placement.place is not None:
        code, summary_there = order_there(
            placement.place, order, console, is_quiet=is_quiet, stops=placement.stops_when_left
        )
        if is_explained and summary_there is not None:
            targets = targets_in(order.spec.target, order.spec.targets)
            print_story(console, story_of(read(summary_there), targets=targets))
        if json_path is not None and summary_there is not None:
            _write_json(json_path, summary_there)
        return code
    result = conduct(order, placement, None if is_quiet else console)
    summary = read(result.summary)
    databases = database_tables(read_databases(result.run_dir))
    print_report(console, final_report(summary, result.run_dir, databases))
    if printed := printed_text(result.run_dir):
        console.print(Text(printed), soft_wrap=True)
    if is_explained:
        print_story(console, story_in(result.run_dir, summary))
    if json_path is not None:
        _write_json(json_path, result.summary)
    return result.exit_code


def _scenario_of_url(errors: CollectedErrors, url: str, folder: Path, options: RunOptions) -> str:
    """Write a scenario for the URL into `folder`, and return its path; the load comes from the options."""
    if options.rate is None and options.users is None:
        errors.add("a URL needs --rate or --users", f"for example: loadgen run {url} --rate 50/s --duration 30s")
    if options.target is not None:
        errors.add("--target cannot be used with a URL", "leave --target out; the URL is the target")
    written = errors.catch(lambda: write_scenario(url, folder, has_users=options.users is not None))
    errors.check()
    return str(written)


def _check_page(errors: CollectedErrors, placement: Placement) -> None:
    """Add an error if the page of --ui or --ui-at cannot be shown at its address."""
    if placement.ui is None:
        return
    errors.parse("--ui-at", placement.ui, parse_endpoint)
    if placement.place is not None:
        errors.add(
            "--ui cannot be used with --controller: the controller has a page of all its runs",
            "start it with loadgen controller --ui HOST:PORT",
        )
    if not errors.found:
        errors.catch(lambda: check_place(placement.ui or "", Access.of(placement.keys_dir)))


def _write_json(path: Path, summary: dict[str, object]) -> None:
    write(path, (in_json(json.dumps(summary, indent=2)) + "\n").encode())
