"""`loadgen run`: a scenario, or one URL, from all its regions, with its figures on screen while it is going on."""

from __future__ import annotations

import json
import secrets
import tempfile
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from loadgen.dsl.loading.loader import Scenario, split_plan
from loadgen.outside_text import in_json
from loadgen.report.report_tables import final_report
from loadgen.report.story import story_of, targets_in
from loadgen.report.summary_reader import read
from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption, order_there
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.launch.aws_fleet import FleetOption, ScaleOption
from loadgen_controller.launch.launcher import conduct, order_of
from loadgen_controller.launch.placement import LaunchRequest, Placement, placement_of
from loadgen_controller.planning.options import outputs_of, parse_endpoint, places_of
from loadgen_controller.planning.scenario import (
    AllowOption,
    DurationOption,
    EnvOption,
    JsonOption,
    KeysOption,
    LabelOption,
    ListenOption,
    ListOption,
    OutOption,
    ParamOption,
    QuietOption,
    RateOption,
    RegionsOption,
    ResolveOption,
    SignOption,
    TargetOption,
    UsersOption,
    load_scenario,
)
from loadgen_controller.planning.url_scenario import is_url, write_scenario
from loadgen_controller.screen.output_file import write
from loadgen_controller.screen.story_output import print_story, story_in
from loadgen_controller.screen.terminal_report import Output, print_report
from loadgen_controller.terminal import echo
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

FuseOption = Annotated[
    bool,
    typer.Option(
        "--error-fuse/--no-error-fuse",
        help="Stop a run that mostly fails: more than half for 30 s. Off where all is on this machine.",
    ),
]


UiOption = Annotated[bool, typer.Option("--ui", help="Show the run on a page of this machine; its address is printed.")]
UiAtOption = Annotated[
    str | None, typer.Option("--ui-at", metavar="HOST:PORT", help="Show it there; beyond loopback that needs --keys.")
]


class OnLostAgent(StrEnum):
    CONTINUE = "continue"
    ABORT = "abort"


ExplainOption = Annotated[
    bool,
    typer.Option("--explain", help="Then say in sentences what it means, what it leaves out, and what to do next."),
]
LostOption = Annotated[
    OnLostAgent,
    typer.Option(help="When an agent is lost under load: the others take its share, or the load ends (exit code 3)."),
]


def main(
    file: Annotated[
        str, typer.Argument(metavar="FILE[:PLAN]|URL", help="The scenario, and which of its plans; or a URL to get.")
    ],
    target: TargetOption = None,
    rate: RateOption = None,
    users: UsersOption = None,
    duration: DurationOption = None,
    regions: RegionsOption = None,
    agents_per_region: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="Agent processes of each region, on this machine.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, metavar="N", help="Processes of each agent that share its load, on this machine."),
    ] = None,
    param: ParamOption = None,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the run's folder is made.")] = Path("runs"),
    json_path: JsonOption = None,
    quiet: QuietOption = False,
    listen: ListenOption = None,
    keys: KeysOption = None,
    wait: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Agents to wait for, where they come from elsewhere; else one a region."),
    ] = None,
    env: EnvOption = None,
    resolve: ResolveOption = None,
    i_may_load: AllowOption = None,
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
    allow: ListOption = None,
    sign_with: SignOption = None,
    error_fuse: FuseOption = True,
    on_lost_agent: LostOption = OnLostAgent.CONTINUE,
    explain: ExplainOption = False,
    ui: UiOption = False,
    ui_at: UiAtOption = None,
    out: OutOption = None,
    fleet: FleetOption = None,
    scale: ScaleOption = None,
    label: LabelOption = None,
) -> int:
    """Run a scenario, and show the true global percentiles while it is going on.

    Without --listen the agents are processes on this machine, one for each region, and regions are marked "simulated".
    Rates are iterations per second; the requests that follow are a result. A URL needs no scenario: it is got at
    --rate, or by --users. Ctrl-C drains and keeps everything; a second one stops at once. With --controller the run
    belongs to the controller and goes on without this terminal: Ctrl-C leaves it, and `loadgen stop` ends it.
    """
    wrongs = CollectedErrors()
    placement = placement_of(
        wrongs,
        LaunchRequest(
            runs_dir=runs_dir,
            listen=listen,
            keys=keys,
            wait=wait,
            agents_per_region=agents_per_region,
            workers=workers,
            controller=controller,
            ca=ca,
            token_file=token_file,
            fleet=fleet,
            scale=scale,
            allow=allow,
            sign_with=sign_with,
            i_may_load=i_may_load or (),
        ),
    )
    place = placement.place
    wrongs.check_file("--json", json_path)
    placement.ui = ui_at or ("127.0.0.1:0" if ui else None)
    _check_page(wrongs, placement)
    placement.has_fuse, placement.aborts_on_loss = error_fuse, on_lost_agent is OnLostAgent.ABORT
    places = places_of(wrongs, None if is_url(file) else split_plan(file)[0], env)
    if place is not None and places.out and not out:
        echo(f"note: [out] of {places.path} is for runs of this machine; the controller has its own", err=True)
    if place is not None and out:
        wrongs.add("--out beside --controller: the controller tells its figures", "loadgen controller --out KIND=WHERE")
    with ExitStack() as stack:
        placement.outputs = outputs_of(wrongs, out or (), places if place is None else None)
        stack.callback(placement.outputs.close)
        if placement.outputs.has_stdout and str(json_path) == "-":
            wrongs.add("--out ndjson=- beside --json -: which of the two is stdout?", "name a file for one of them")
        if is_url(file):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadgen-url-")))
            file = _of_url(wrongs, file, folder, rate, users, target)
        scenario = load_scenario(
            wrongs,
            file,
            target=target,
            rate=rate,
            users=users,
            duration=duration,
            regions=regions,
            params=param or (),
            env=env,
            resolve=resolve or (),
            allowed=i_may_load or (),
            needs_secrets=placement.needs_secrets,
            seed=secrets.randbelow(2**32),
            allow=placement.allow,
            labels=label or (),
        )
        with placement.staffed(wrongs, scenario.plan.spec(), is_quiet=quiet):
            return run_scenario(scenario, placement, json_path=json_path, is_quiet=quiet, is_explained=explain)


def run_scenario(
    scenario: Scenario,
    placement: Placement,
    *,
    json_path: Path | None = None,
    is_quiet: bool = False,
    is_explained: bool = False,
) -> int:
    """The whole of `loadgen run`, from a scenario that was checked to the exit code."""
    order = order_of(scenario, placement)
    to_stdout = str(json_path) == "-" or placement.outputs.has_stdout
    console = Output(stderr=to_stdout)
    if placement.place is not None:
        code, told = order_there(placement.place, order, console, is_quiet=is_quiet, stops=placement.stops_when_left)
        if is_explained and told is not None:
            print_story(console, story_of(read(told), targets=targets_in(order.spec.target, order.spec.targets)))
        if json_path is not None and told is not None:
            _write_json(json_path, told)
        return code
    result = conduct(order, placement, None if is_quiet else console)
    summary = read(result.summary)
    print_report(console, final_report(summary, result.run_dir))
    if is_explained:
        print_story(console, story_in(result.run_dir, summary))
    if json_path is not None:
        _write_json(json_path, result.summary)
    return result.exit_code


def _of_url(
    wrongs: CollectedErrors, url: str, folder: Path, rate: str | None, users: str | None, target: str | None
) -> str:
    """A scenario for the URL; its load is what the options say."""
    if rate is None and users is None:
        wrongs.add("how many requests a second?", f"loadgen run {url} --rate 50/s --duration 30s")
    if target is not None:
        wrongs.add("--target beside a URL: which of the two is it?", "the URL alone")
    written = wrongs.catch(lambda: write_scenario(url, folder, has_users=users is not None))
    wrongs.check()
    return str(written)


def _check_page(wrongs: CollectedErrors, placement: Placement) -> None:
    if placement.ui is None:
        return
    wrongs.parse("--ui-at", placement.ui, parse_endpoint)
    if placement.place is not None:
        wrongs.add("--ui beside --controller: the controller has a page of all its runs", "start that with --ui")
    if not wrongs.found:
        wrongs.catch(lambda: check_place(placement.ui or "", Access.of(placement.keys_dir)))


def _write_json(path: Path, summary: dict[str, object]) -> None:
    write(path, (in_json(json.dumps(summary, indent=2)) + "\n").encode())
