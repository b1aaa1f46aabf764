"""`loadgen history control`: is the gate itself healthy? Something in which nothing has changed is judged by it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from loadgen.dsl.loading.loader import split_plan
from loadgen.history.store.baseline_run import STATISTICS
from loadgen.history.store.store import Store
from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.commands.history_store import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.launch.aws_fleet import FleetOption, ScaleOption
from loadgen_controller.launch.placement import LaunchRequest, placement_of
from loadgen_controller.planning.options import store_of
from loadgen_controller.planning.scenario import (
    AllowOption,
    DurationOption,
    EnvOption,
    KeysOption,
    LabelOption,
    ListenOption,
    ListOption,
    ParamOption,
    QuietOption,
    RateOption,
    RegionsOption,
    ResolveOption,
    SignOption,
    TargetOption,
    UsersOption,
)

__all__ = ["EXAMPLES", "control"]

EXAMPLES = """[bold]Examples[/bold]

loadgen history control checkout.py --env staging --store history

loadgen history control --last --store history

[bold]Exit codes[/bold]

0, also of a control that FAILs; 1 where the gate is not healthy; 4 where the runs were not fit to measure"""


def control(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE[:PLAN]", help="The scenario, against what has not changed since.")
    ] = None,
    last: Annotated[
        bool, typer.Option("--last", help="Not FILE, but the newest accepted runs, of a release with 10 before them.")
    ] = False,
    runs: Annotated[int, typer.Option(min=1, max=20, metavar="N", help="So many; with 3 a gate can FAIL.")] = 3,
    percentile: Annotated[str, typer.Option(metavar="P", help="Which decides, as of `loadgen gate`.")] = "p95",
    store: StoreOption = None,
    key: Annotated[str, typer.Option(metavar="HASH", help="Of --last: which runs, as of `loadgen history`.")] = "",
    target: TargetOption = None,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the run folders are made.")] = Path("runs"),
    rate: RateOption = None,
    users: UsersOption = None,
    duration: DurationOption = None,
    regions: RegionsOption = None,
    agents_per_region: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="As of `loadgen run`, and so are the others.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, metavar="N")] = None,
    param: ParamOption = None,
    env: EnvOption = None,
    resolve: ResolveOption = None,
    i_may_load: AllowOption = None,
    listen: ListenOption = None,
    keys: KeysOption = None,
    wait: Annotated[int | None, typer.Option(min=1, metavar="N", help="Agents to wait for.")] = None,
    allow: ListOption = None,
    sign_with: SignOption = None,
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
    fleet: FleetOption = None,
    scale: ScaleOption = None,
    quiet: QuietOption = False,
    label: LabelOption = None,
) -> int:
    """Judge something in which nothing has changed, to see whether the gate itself is healthy. Once a week will do.

    The verdict is noted in the store; `loadgen history` shows how many of the controls failed, and what that means.
    """
    wrongs = CollectedErrors()
    if (file is None) != last:
        wrongs.add("either a scenario, whose runs are made, or --last: the newest accepted runs")
    if key and not last:
        wrongs.add("--key is for --last", "what the runs of a scenario are compared with is found by itself")
    if percentile not in STATISTICS:
        wrongs.add(f'--percentile: there is no "{percentile}"', f"one of {', '.join(STATISTICS)}")
    where = store_of(wrongs, store, env, None if file is None else split_plan(file)[0])
    opened = wrongs.catch(lambda: Store.open(where))
    wish = LaunchRequest(
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
    )
    with needing_analysis("loadgen history control"):
        from loadgen_controller.commands.gating.gate_runs import Maker
        from loadgen_controller.commands.trending import aa_controls
        from loadgen_controller.screen.terminal_report import Output
    if file is None:
        wrongs.check()
        assert opened is not None
        return aa_controls.of_newest(opened, runs, percentile, key, target or "")
    placement = placement_of(wrongs, wish)
    options = {
        "target": target,
        "rate": rate,
        "users": users,
        "duration": duration,
        "regions": regions,
        "params": param or (),
        "env": env,
        "resolve": resolve or (),
        "allowed": wish.i_may_load,
        "labels": label or (),
        "needs_secrets": placement.needs_secrets,
    }
    is_watched = sys.stdout.isatty() and not quiet  # else a line each second would fill the log of a CI
    maker = Maker(file, options, placement, Output(), is_quiet=not is_watched)
    return aa_controls.of_made(wrongs, opened, maker, runs, percentile)
