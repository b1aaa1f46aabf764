"""`loadgen fleet`: starts, lists and ends agents on AWS. Terraform creates everything that they need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.account.fleet_change_log import Audit, audit_beside
from loadgen.aws.account.fleet_context import Site, open_site
from loadgen.aws.account.fleetfile import FleetFile, read
from loadgen.aws.scale.machine_states import Machine, MachineState, join
from loadgen.aws.scale.quotas import Room
from loadgen.aws.scale.reaping import Left, find_left
from loadgen.aws.scale.reaping import reap as reap_left
from loadgen.aws.scale.scale_down import Downward, take_down
from loadgen.aws.scale.scale_up import ScaleUpResult, Terms, bring_up, planned, rooms
from loadgen.aws.scale.scaling_plan import Upward, parse_scale, spread
from loadgen.errors import FleetError
from loadgen.report.report_tables import Table
from loadgen.units import NS_PER_S, format_duration, parse_duration, quantity
from loadgen_controller.api.address import Place
from loadgen_controller.api.remote import CaOption, TokenFileOption, place_of
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo, echo_json
from loadgen_controller.launch.aws_fleet import print_states, registry_reader
from loadgen_controller.screen.terminal_report import Output, print_table

EXAMPLES = """[bold]Examples[/bold]

loadgen fleet plan eu-west-1=3,us-east-1=6

loadgen fleet up eu-west-1=3,us-east-1=6 --ca server.crt --token-file alice.token

loadgen fleet ls

loadgen fleet down

loadgen fleet reap --yes"""

app = typer.Typer(
    help="Start agents on AWS, list them, and end them again.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
)

FleetOption = Annotated[
    Path, typer.Option("--fleet", metavar="FILE", help="Description of the fleet, written by Terraform.")
]
ScaleArgument = Annotated[
    str,
    typer.Argument(
        metavar="SCALE", help="Agents by region: eu-west-1=3,us-east-1=6; or one number, spread over all regions: 9."
    ),
]
AtOption = Annotated[
    str | None,
    typer.Option("--controller", metavar="HOST:PORT", help="The controller's API. Default: the one in fleet.json."),
]
TtlOption = Annotated[
    str | None,
    typer.Option(
        "--ttl", metavar="TIME", help="AWS ends all machines after this time. Default: the policy of the fleet."
    ),
]
MinOption = Annotated[
    int | None,
    typer.Option("--min", min=1, metavar="N", help="Succeed with at least N agents if not all start in time."),
]
WaitOption = Annotated[str, typer.Option("--wait", metavar="TIME", help="Longest time to wait.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force", help="Do it even during a run, without a controller, or while somebody else changes the fleet."
    ),
]
FLEET = Path("fleet.json")


@app.command(epilog="[bold]Example[/bold]\n\nloadgen fleet plan eu-west-1=3,us-east-1=6 --ttl 2h")
def plan(scale: ScaleArgument, fleet: FleetOption = FLEET, ttl: TtlOption = None) -> None:
    """Show what `up` would do, what it would cost at most, and whether the quotas of the account allow it.

    Nothing is changed.
    """
    errors = CollectedErrors()
    file = errors.catch(lambda: read(fleet))
    terms = _terms(errors, file, scale, ttl)
    errors.check()
    assert file is not None
    assert terms is not None
    site = _site(file, fleet)
    made, groups = planned(site, terms)
    _print_plan(made)
    _print_rooms(rooms(site, terms, made, groups))


@app.command(epilog="[bold]Example[/bold]\n\nloadgen fleet up eu-west-1=3,us-east-1=6 --min 8")
def up(
    scale: ScaleArgument,
    fleet: FleetOption = FLEET,
    controller: AtOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
    ttl: TtlOption = None,
    least: MinOption = None,
    wait: WaitOption = "10m",
    keep: Annotated[
        bool, typer.Option("--keep", help="After a failure, keep the machines that started, for debugging.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
) -> None:
    """Start agents, and wait until they are registered at the controller.

    Each named region gets at least this many agents; running ones count. A request beyond the quotas of the account is
    rejected. Before the first machine starts, its end time is set at AWS, so that no machine is forgotten. After a
    failure or Ctrl-C, the machines that started are ended again.
    """
    errors = CollectedErrors()
    file = errors.catch(lambda: read(fleet))
    wait_s = _seconds(errors, "--wait", wait)
    terms = _terms(errors, file, scale, ttl, least=least, wait_s=wait_s, keeps=keep)
    place = _place(errors, file, controller, ca, token_file)
    errors.check()
    assert file is not None
    assert terms is not None
    site = _site(file, fleet)
    made, groups = planned(site, terms)
    _print_plan(made)
    if dry_run:
        _print_rooms(rooms(site, terms, made, groups))
        return
    raised = bring_up(site, terms, registry_reader(place), print_states)
    _print_raised(raised)


@app.command("ls", epilog="[bold]Example[/bold]\n\nloadgen fleet ls --json")
def list_(
    fleet: FleetOption = FLEET,
    controller: AtOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the machines of the fleet with their states: launching, booted, registered, missing or leaving."""
    errors = CollectedErrors()
    file = errors.catch(lambda: read(fleet))
    place = _place(errors, file, controller, ca, token_file)
    errors.check()
    assert file is not None
    site = _site(file, fleet)
    try:
        agents = tuple(registry_reader(place)())
    except FleetError as error:
        site.warn(f"the registered agents are unknown, as the controller does not answer: {error.message}")
        agents = ()
    states = join(site.machines(), agents, site.now())
    if as_json:
        echo_json(json.dumps([_as_json(one) for one in states], indent=2))
        return
    if not states:
        echo(f"fleet {file.fleet} has no machines")
        return
    head = ("machine", "region", "is", "works for", "type", "bought as", "up", "expires")
    rows = tuple(_row(one, site.now()) for one in states)
    print_table(Output(), Table("", head, rows, words=6), ids=(0,))


@app.command(epilog="[bold]Examples[/bold]\n\nloadgen fleet down\n\nloadgen fleet down us-east-1=2")
def down(
    stays: Annotated[
        str | None,
        typer.Argument(
            metavar="[REGION=N,...]",
            help="Keep this many agents in a region; other regions keep all. Without this option, all agents end.",
        ),
    ] = None,
    fleet: FleetOption = FLEET,
    controller: AtOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
    force: ForceOption = False,
    wait: WaitOption = "5m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which machines would be ended.")] = False,
) -> None:
    """End all agents, or those above N in the named regions, and wait until they are gone.

    Regions that are not named keep their agents. Each agent delivers its measurements before it leaves.

    Idle agents are ended first. If an agent works for a run, the command is rejected, unless --force is given.
    """
    errors = CollectedErrors()
    file = errors.catch(lambda: read(fleet))
    left = _parse_stays(errors, file, stays)
    wait_s = _seconds(errors, "--wait", wait)
    place = _place(errors, file, controller, ca, token_file)
    errors.check()
    assert file is not None
    site = _site(file, fleet)
    done = take_down(
        site, left, registry_reader(place), _print_leaving, by_force=force, wait_s=wait_s or 0.0, is_dry=dry_run
    )
    _print_down(done, is_dry=dry_run)


@app.command(epilog="[bold]Examples[/bold]\n\nloadgen fleet reap\n\nloadgen fleet reap --all --yes")
def reap(
    fleet: FleetOption = FLEET,
    is_all: Annotated[
        bool, typer.Option("--all", help="End all machines of this fleet, not only expired ones.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Really end them. Without it, only show what would be ended.")
    ] = False,
) -> None:
    """Find expired agents in all regions of the account, and end them.

    Such machines remain if a laptop died, or if a region was removed from the plan. Only machines with the tags of this
    fleet and its owner are touched.
    """
    file = read(fleet)
    site = _site(file, fleet)
    left = find_left(site, is_all=is_all)
    _print_left(left, site.now())
    if left.is_nothing:
        return
    if not yes:
        echo("nothing was ended; add --yes to end them")
        return
    reap_left(site, left)
    echo(f"ended {len(left.machines)} machines, and set {len(left.groups)} groups to 0 machines")


@app.command(epilog="[bold]Example[/bold]\n\nloadgen fleet cost")
def cost(fleet: FleetOption = FLEET, as_json: JsonFlag = False) -> None:
    """Show the highest possible cost of the running machines: so far, and per hour."""
    file = read(fleet)
    site = _site(file, fleet)
    machines = [one for one in site.machines() if not one.is_going]
    rows = [_cost_of(file, one, site.now()) for one in machines]
    per_hour = sum(price or 0.0 for _, price, _ in rows)
    so_far = sum((price or 0.0) * hours for _, price, hours in rows)
    unknown = sorted({one.kind for one, price, _ in rows if price is None})
    if as_json:
        document = {
            "format": 1,
            "machines": len(machines),
            "usd_per_hour": round(per_hour, 4),
            "usd_so_far": round(so_far, 4),
            "types_without_price": unknown,
            "prices_as_of": file.prices_as_of,
        }
        echo_json(json.dumps(document, indent=2))
        return
    echo(f"{len(machines)} machines: at most {per_hour:.2f} USD an hour, {so_far:.2f} USD since they started")
    if unknown:
        echo(f"no price is known for: {', '.join(unknown)}")
    as_of = f"on-demand prices of {file.prices_as_of}" if file.prices_as_of else "on-demand prices"
    echo(f"{as_of}; disks, addresses, traffic and the controller are not included")


# -- parsing options --------------------------------------------------------------------------


def _terms(
    errors: CollectedErrors,
    file: FleetFile | None,
    scale: str,
    ttl: str | None,
    *,
    least: int | None = None,
    wait_s: float | None = None,
    keeps: bool = False,
) -> Terms | None:
    ttl_s = None if ttl is None else _seconds(errors, "--ttl", ttl)
    wish = wish_of(errors, file, scale)
    if file is None or wish is None:
        return None
    return Terms(wish, ttl_s=ttl_s, least=least, wait_s=600.0 if wait_s is None else wait_s, keeps=keeps)


def wish_of(
    errors: CollectedErrors, file: FleetFile | None, scale: str, weights: Mapping[str, float] | None = None
) -> dict[str, int] | None:
    """Parse SCALE into the number of agents for each region.

    Return None if it is invalid (an error is added to `errors`), or if `file` is None.

    weights: of the regions, to spread a single number; None: all equal.
    """
    parsed = errors.parse("SCALE", scale, parse_scale)
    if parsed is None or file is None:
        return None
    if isinstance(parsed, int):
        return spread(parsed, weights or dict.fromkeys(file.regions, 1.0))
    return parsed


def _parse_stays(errors: CollectedErrors, file: FleetFile | None, text: str | None) -> dict[str, int]:
    if file is None:
        return {}
    if text is None:
        return dict.fromkeys(file.regions, 0)
    parsed = errors.parse("REGION=N", text, parse_scale)
    if isinstance(parsed, int):
        errors.add(f'"{text}": the region is missing', "write REGION=N, for example us-east-1=2")
        return {}
    for region in parsed or {}:
        if region not in file.regions:
            errors.add(f"unknown region {region} in fleet {file.fleet}", f"use one of {', '.join(file.regions)}")
    return parsed or {}


def _place(
    errors: CollectedErrors, file: FleetFile | None, controller: str | None, ca: Path | None, token_file: Path | None
) -> Place:
    at = controller or ("127.0.0.1:1" if file is None else file.controller.api)
    return place_of(errors, at, ca, token_file) or Place(at)


def _seconds(errors: CollectedErrors, option: str, text: str) -> float | None:
    parsed = errors.parse(option, text, parse_duration)
    return None if parsed is None else parsed / NS_PER_S


def _site(file: FleetFile, path: Path) -> Site:
    return open_site(file, Clients(), Audit(audit_beside(path)), lambda text: echo(f"note: {text}", err=True))


# -- printing ----------------------------------------------------------------------------


def _print_plan(plan: Upward) -> None:
    rows = tuple(
        (step.region, str(step.there), str(step.wanted), f"{step.usd_per_hour:.2f}")
        for step in (*plan.steps, *plan.others)
    )
    print_table(Output(), Table("", ("region", "agents now", "agents then", "USD an hour, at most"), rows))
    when = plan.expires.strftime("%Y-%m-%d %H:%M UTC")
    echo(
        f"{plan.agents} agents, at most {plan.usd_per_hour:.2f} USD an hour; AWS ends them at {when}:"
        f" at most {plan.usd_at_most:.2f} USD"
    )


def _print_rooms(rooms: Sequence[Room]) -> None:
    for room in rooms:
        echo(str(room))


def _print_raised(raised: ScaleUpResult) -> None:
    for region, why in raised.missing.items():
        echo(f"note: {region}: {why}", err=True)
    echo(f"up: {sum(raised.registered.values())} agents are registered, {len(raised.new)} of them new")


def _print_leaving(left: Sequence[Machine]) -> None:
    if left:
        echo(f"ending {quantity(len(left), 'machine')}; each agent delivers its measurements first")


def _print_down(done: Downward, *, is_dry: bool) -> None:
    if done.is_nothing:
        echo("nothing to take down")
    elif is_dry:
        for one in done.leaving:
            works = f", works for {one.run_id}" if one.run_id else ""
            echo(f"{one.machine.id} in {one.region} would be ended: {one.standing}{works}")
    else:
        echo(f"down: {len(done.leaving)} machines are gone")


def _print_left(left: Left, now: datetime) -> None:
    for machine in left.machines:
        whose = machine.group or "no group"
        echo(f"{machine.id} in {machine.region}, of {whose}: {_age(machine, now)} old, expires {_expiry(machine)}")
    for group in left.groups:
        echo(f"group {group.name} in {group.region} wants {group.desired} machines")
    if left.is_nothing:
        echo(f"nothing to reap in {left.regions} regions; {left.others} machines have not expired")


def _row(one: MachineState, now: datetime) -> tuple[str, ...]:
    machine = one.machine
    standing = f"{one.standing}: {one.why}" if one.why and one.why != one.standing else str(one.standing)
    bought = "spot" if machine.is_spot else "on demand"
    return (
        machine.id,
        machine.region,
        standing,
        one.run_id or "idle",
        machine.kind,
        bought,
        _age(machine, now),
        _expiry(machine),
    )


def _as_json(one: MachineState) -> dict[str, object]:
    machine = one.machine
    return {
        "id": machine.id,
        "region": machine.region,
        "zone": machine.zone,
        "type": machine.kind,
        "is_spot": machine.is_spot,
        "standing": one.standing.value,
        "why": one.why,
        "run_id": one.run_id,
        "launched_at": machine.launched_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "expires_at": machine.expires_at or None,
    }


def _age(machine: Machine, now: datetime) -> str:
    return format_duration(max(0, round((now - machine.launched_at).total_seconds())) * NS_PER_S)


def _expiry(machine: Machine) -> str:
    return machine.expires_at or "not set"


def _cost_of(file: FleetFile, machine: Machine, now: datetime) -> tuple[Machine, float | None, float]:
    """Return the machine, its price in USD per hour (None if unknown), and the hours since its launch."""
    hours = max(0.0, (now - machine.launched_at).total_seconds() / 3600)
    return machine, file.regions[machine.region].usd_per_hour.get(machine.kind), hours
