"""`loadgen run`: a scenario, or one URL, from all its regions, with its figures on screen while it is going on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Console

from loadgen.allow import AllowList, as_address
from loadgen.bundle import pack
from loadgen.dsl.allowed import Limits
from loadgen.dsl.reading.loader import Scenario, split_plan
from loadgen.errors import BundleError, Fault, ScenarioError
from loadgen.measure.rundir import replace_file
from loadgen.report.reading import read
from loadgen.report.story import story_of, targets_in
from loadgen.report.tables import final_report
from loadgen.signing import Signer
from loadgen.sinks import Outputs
from loadgen.wire.keys import ControllerKeys, load_controller
from loadgen_controller.answering import answer, asked
from loadgen_controller.api.place import Place
from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption, order_there, place_of
from loadgen_controller.conductor import Conductor, Processes, Result
from loadgen_controller.control import Ask, Told
from loadgen_controller.embedded import EmbeddedAgents
from loadgen_controller.hired import FleetOption, ScaleOption, hired_for, read_hire
from loadgen_controller.loops import new_loop
from loadgen_controller.order import Order
from loadgen_controller.planning.commit import commit_of
from loadgen_controller.planning.guard import check_allowed, read_permits, resolve
from loadgen_controller.planning.options import Wrongs, outputs_of, parse_endpoint, places_of
from loadgen_controller.planning.quick import is_url, write_scenario
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
from loadgen_controller.screen.explained import print_story, story_in
from loadgen_controller.screen.live import show
from loadgen_controller.screen.printed import Output, print_report
from loadgen_controller.screen.watch import Watch
from loadgen_controller.station import Station
from loadgen_controller.stopping import Stopping
from loadgen_controller.ui.doors import Access, check_place

if TYPE_CHECKING:
    from loadgen_controller.ui.server import UiServer

log = logging.getLogger(__name__)

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
    wrongs = Wrongs()
    hire = read_hire(wrongs, fleet, scale, wait)
    if hire is not None and controller is None:
        controller = hire.file.controller.api
    place = place_of(wrongs, controller, ca, token_file)
    check_placement(wrongs, place, listen, keys, wait, agents_per_region, workers)
    if json_path is not None and not json_path.parent.is_dir():
        wrongs.add(f"--json: there is no folder {json_path.parent}")
    placement = Placement(runs_dir, listen, keys, wait, agents_per_region or 1, workers or 1, place=place)
    placement.ui = ui_at or ("127.0.0.1:0" if ui else None)
    _check_page(wrongs, placement)
    placement.has_fuse, placement.aborts_on_loss = error_fuse, on_lost_agent is OnLostAgent.ABORT
    permit(wrongs, placement, allow, sign_with, i_may_load or ())
    places = places_of(wrongs, None if is_url(file) else split_plan(file)[0], env)
    if place is not None and places.out and not out:
        typer.echo(f"note: [out] of {places.path} is for runs of this machine; the controller has its own", err=True)
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
        placement.read_keys(wrongs)
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
            needs_secrets=listen is None and place is None,
            seed=secrets.randbelow(2**32),
            allow=placement.allow,
            labels=label or (),
        )
        with hired_for(wrongs, hire, scenario.plan.spec(), place, is_quiet=quiet) as agents:
            if agents is not None:
                placement.wait, placement.stops_when_left = agents, True
            return run_scenario(scenario, placement, json_path=json_path, is_quiet=quiet, is_explained=explain)


@dataclass(slots=True)
class Placement:
    """Where a run takes place: agents on this machine, or those that come to `listen`."""

    runs_dir: Path
    listen: str | None = None
    keys_dir: Path | None = None
    wait: int | None = None
    per_region: int = 1
    workers: int = 1
    """Of each agent on this machine."""
    keys: ControllerKeys | None = None
    allow: AllowList | None = None
    signer: Signer | None = None
    has_fuse: bool = True
    aborts_on_loss: bool = False
    ui: str | None = None
    """Where its page is."""
    place: Place | None = None
    """Of the controller that the run is left to."""
    stops_when_left: bool = False
    """Its agents go with this terminal: a run that would be left is stopped."""
    outputs: Outputs = field(default_factory=Outputs)

    @property
    def is_embedded(self) -> bool:
        return self.listen is None and self.place is None

    def read_keys(self, wrongs: Wrongs) -> None:
        if self.keys_dir is not None and self.listen is not None:
            folder = self.keys_dir
            self.keys = wrongs.catch(lambda: load_controller(folder))


def run_scenario(
    scenario: Scenario,
    placement: Placement,
    *,
    json_path: Path | None = None,
    is_quiet: bool = False,
    is_explained: bool = False,
) -> int:
    """The whole of `loadgen run`, from a scenario that was checked to the exit code."""
    order = _order(scenario, placement)
    to_stdout = str(json_path) == "-" or placement.outputs.has_stdout
    console = Output(stderr=to_stdout)
    if placement.place is not None:
        code, told = order_there(placement.place, order, console, is_quiet=is_quiet, stops=placement.stops_when_left)
        if is_explained and told is not None:
            print_story(console, story_of(read(told), targets=targets_in(order.spec.target, order.spec.targets)))
        if json_path is not None and told is not None:
            _write_json(json_path, told)
        return code
    result = _run(order, placement, None if is_quiet else console)
    summary = read(result.summary)
    print_report(console, final_report(summary, result.run_dir))
    if is_explained:
        print_story(console, story_in(result.run_dir, summary))
    if json_path is not None:
        _write_json(json_path, result.summary)
    return result.exit_code


def make_run(scenario: Scenario, placement: Placement, console: Console | None = None) -> Result:
    """One run of this terminal, and nothing said of it but the live view where there is a console."""
    return _run(_order(scenario, placement), placement, console)


def _of_url(wrongs: Wrongs, url: str, folder: Path, rate: str | None, users: str | None, target: str | None) -> str:
    """A scenario for the URL; its load is what the options say."""
    if rate is None and users is None:
        wrongs.add("how many requests a second?", f"loadgen run {url} --rate 50/s --duration 30s")
    if target is not None:
        wrongs.add("--target beside a URL: which of the two is it?", "the URL alone")
    written = wrongs.catch(lambda: write_scenario(url, folder, has_users=users is not None))
    wrongs.check()
    return str(written)


def check_placement(
    wrongs: Wrongs,
    place: Place | None,
    listen: str | None,
    keys: Path | None,
    wait: int | None,
    agents_per_region: int | None,
    workers: int | None,
) -> None:
    """Options of a fleet and of this machine do not mix."""
    if place is not None:
        for option in (name for name, value in (("--listen", listen), ("--keys", keys)) if value is not None):
            wrongs.add(f"{option} beside --controller: agents come to the controller")
        for option, number in (("--agents-per-region", agents_per_region), ("--workers", workers)):
            if number is not None:
                wrongs.add(f"{option} is for agents on this machine", "with --controller say --wait N")
        return
    if listen is not None:
        wrongs.parse("--listen", listen, parse_endpoint)
        if keys is None:
            wrongs.add("--listen needs --keys", "make them with `loadgen keys init DIR`, then --keys DIR")
        if agents_per_region is not None:
            wrongs.add("--agents-per-region is for agents on this machine", "with --listen say --wait N")
        if workers is not None:
            wrongs.add("--workers is for agents on this machine", "say --workers N to each loadgen-agent")
        return
    for option, value in (("--keys", keys), ("--wait", wait)):
        if value is not None:
            wrongs.add(f"{option} is for agents that were started elsewhere", "add --listen HOST:PORT")


def _check_page(wrongs: Wrongs, placement: Placement) -> None:
    if placement.ui is None:
        return
    wrongs.parse("--ui-at", placement.ui, parse_endpoint)
    if placement.place is not None:
        wrongs.add("--ui beside --controller: the controller has a page of all its runs", "start that with --ui")
    if not wrongs.found:
        wrongs.catch(lambda: check_place(placement.ui or "", Access.of(placement.keys_dir)))


def permit(
    wrongs: Wrongs, placement: Placement, allow: Path | None, sign_with: Path | None, named: Iterable[str]
) -> None:
    if allow is not None and named:
        wrongs.add("--i-may-load beside --allow: the list decides", "leave it out")
    if allow is not None and placement.place is not None:
        wrongs.add("--allow beside --controller: the controller has its own list", "leave it out")
    listen = placement.listen
    placement.allow, placement.signer = read_permits(wrongs, listen, placement.keys_dir, allow, sign_with)


def _order(scenario: Scenario, placement: Placement) -> Order:
    spec = msgspec.structs.replace(scenario.plan.spec(), commit=commit_of(scenario.path.parent))
    try:
        bundle = pack(scenario)
    except BundleError as error:
        # At the agent this is the fleet's fault; here it is a file beside the scenario.
        raise ScenarioError([Fault(str(scenario.path), 0, error.message, error.hint)]) from error
    return Order(
        spec=spec,
        bundle=bundle.data,
        bundle_sha256=bundle.sha256,
        scenario=bundle.scenario,
        plan=scenario.plan.name,
        seed=secrets.randbelow(2**32) if spec.seed is None else spec.seed,
        agents=placement.wait or len(spec.regions) * (placement.per_region if placement.is_embedded else 1),
        placement="embedded" if placement.is_embedded else "fleet",
        overrides_json=scenario.plan.overrides.to_json(),
        allow=placement.allow,
        limits=Limits() if placement.allow is None else check_allowed(spec, scenario.plan.http, placement.allow),
        signature=b"" if placement.signer is None else placement.signer.sign(bundle.sha256),
        has_fuse=placement.has_fuse and not (placement.is_embedded and _is_here(scenario)),
        aborts_on_loss=placement.aborts_on_loss,
    )


def _is_here(scenario: Scenario) -> bool:
    """All targets are on this machine: nobody else is hurt, and breaking points are looked for."""
    hosts = [urlsplit(url).hostname or "" for url in (scenario.plan.target, *scenario.plan.targets.values())]
    return all((found := resolve(host)) and all(as_address(one).is_loopback for one in found) for host in hosts)


def _run(order: Order, placement: Placement, console: Console | None) -> Result:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_conduct(order, placement, console))


async def _conduct(order: Order, placement: Placement, console: Console | None) -> Result:
    keys, listen = placement.keys, placement.listen
    processes: Processes | None = None
    if keys is None:
        agents = EmbeddedAgents(order.spec.regions, placement.per_region, placement.workers)
        processes, keys = agents, agents.keys
    page = _Page(placement, lambda ask, by: answer(conductor, ask, by))
    try:
        station = Station(keys, listen or "127.0.0.1:0")
        async with station:
            outputs = placement.outputs
            conductor = Conductor(order, station, runs_dir=placement.runs_dir, processes=processes, outputs=outputs)
            if console is not None and listen is not None:
                console.print(f"listening on {station.address} for {order.agents} agents", soft_wrap=True)
            stop = Stopping(conductor.request_stop)
            with stop.on_signals(asyncio.get_running_loop()):
                async with asked(conductor), page.of(conductor, console), _shown(conductor, stop, console):
                    result = await conductor.conduct()
                    await page.end(conductor, result)
            await _linger(outputs, conductor.run_id, console)
            return result
    finally:
        if processes is not None:
            await processes.end(0)


async def _linger(outputs: Outputs, run_id: str, console: Console | None) -> None:
    """Until the last figures are scraped by who scraped before, or Ctrl-C."""
    is_over = asyncio.Event()
    with Stopping(lambda _reason, _now: is_over.set()).on_signals(asyncio.get_running_loop()):
        await outputs.linger(run_id, is_over, console.print if console is not None else lambda _: None)


class _Page:
    """The page of one run; nothing where none is wanted. Make it before the run: where it cannot listen, there is none.

    Raises:
        UsageError, PortBusy: it cannot listen there.
    """

    def __init__(self, placement: Placement, told: Callable[[Ask, str], Told]) -> None:
        self._server: UiServer | None = None
        if placement.ui is not None:
            from loadgen_controller.ui.server import UiServer  # other runs do without
            from loadgen_controller.ui.shown import Shown

            self._shown = Shown(placement.runs_dir, told)
            self._server = UiServer(self._shown, placement.ui, Access.of(placement.keys_dir))

    @contextlib.asynccontextmanager
    async def of(self, conductor: Conductor, console: Console | None) -> AsyncIterator[None]:
        """Beside the run."""
        if self._server is None:
            yield
            return
        self._shown.begin(conductor)
        self._server.start()
        (console or Console(stderr=True)).print(f"page: {self._server.page_of(conductor.run_id)}", soft_wrap=True)
        try:
            yield
        finally:
            await self._server.close()

    async def end(self, conductor: Conductor, result: Result) -> None:
        """Its failure is a bug to report, and never the end of the run."""
        if self._server is None:
            return
        try:
            await self._shown.end(conductor.run_id, result.summary)
        except Exception:  # the last border
            log.exception("the page failed")


@contextlib.asynccontextmanager
async def _shown(conductor: Conductor, stop: Stopping, console: Console | None) -> AsyncIterator[None]:
    """The live view beside the run. Its failure is a bug to report, and never the end of the run."""
    if console is None:
        yield
        return
    showing = asyncio.create_task(show(Watch(conductor.view, lambda: stop.notices), console), name="live view")
    try:
        yield
    finally:
        showing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await showing


def _write_json(path: Path, summary: dict[str, object]) -> None:
    data = json.dumps(summary, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(data)
        return
    replace_file(path, data.encode())
