"""`loadgen gate`: is this release slower than what was accepted before? For CI: the exit code is the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loadgen.dsl.loading.loader import split_plan
from loadgen.history.store.baseline_run import STATISTICS
from loadgen.units import parse_ratio
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

0 PASS, 1 FAIL, 3 INCONCLUSIVE, 4 INVALID; 2 and 5 as everywhere"""

ACCEPT = "accept"
LEAST_PAIRS = 5


def main(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...|FILE[:PLAN]|accept RUN...",
            help="Runs that are there, together; or a scenario, to be run; or runs to take into the history all the"
            " same.",
        ),
    ],
    store: StoreOption = None,
    against: Annotated[
        str, typer.Option(metavar="NAME", help="Only this pinned reference, and it has to tell; else all of them.")
    ] = "",
    delta: Annotated[str, typer.Option(metavar="SHARE", help="What is smaller is no regression.")] = "3%",
    tolerate: Annotated[
        str, typer.Option(metavar="SHARE", help="A PASS is INCONCLUSIVE where only more than this would be seen.")
    ] = "10%",
    alpha: Annotated[
        str, typer.Option(metavar="SHARE", help="How often a gate may fail though nothing has changed.")
    ] = "5%",
    percentile: Annotated[str, typer.Option(metavar="P", help="Which decides: p50, p95, p99 or mean.")] = "p95",
    runs: Annotated[int, typer.Option(min=1, max=200, metavar="N", help="Runs of FILE to begin with.")] = 1,
    confirm: Annotated[
        int, typer.Option(min=0, max=50, metavar="N", help="So many more where it is suspect: 2 decide. Without: none.")
    ] = 0,
    ab: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="URL URL", help="Run FILE against both in turns, and judge the second by the first."),
    ] = None,
    pairs: Annotated[
        int | None, typer.Option(min=2, max=200, metavar="N", help=f"Of --ab; {LEAST_PAIRS} if not given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of --ab: who begins, and the seeds of the runs.")] = None,
    add: Annotated[bool, typer.Option("--add", help="After a PASS, take the runs into the history.")] = False,
    because: Annotated[str, typer.Option(metavar="TEXT", help="Of accept: why. It is kept.")] = "",
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Everything, for programs; - is stdout.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="For the test page of a CI.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For a comment on a pull request; - is stdout.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Each step in words, with its figures.")] = False,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where run folders are, and are made.")] = Path("runs"),
    target: TargetOption = None,
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
    """Judge a release: PASS, FAIL, INCONCLUSIVE or INVALID, with the smallest slow-down that would have been found.

    Runs are compared with accepted runs of the same plan, target and placement, and with pinned references. One run can
    be suspect, three decide. `gate accept` takes a release into the history although it is slower, with a reason.
    """
    wrongs = CollectedErrors()
    is_accept, names = what[0] == ACCEPT, what[1:] if what[0] == ACCEPT else what
    file = _file_in(wrongs, names, is_accept)
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
    load: dict[str, Any] = {
        "target": target,
        "rate": rate,
        "users": users,
        "duration": duration,
        "regions": regions,
        "params": param or (),
        "env": env,
        "resolve": resolve or (),
        "labels": label or (),
    }
    if file is None:
        others: dict[str, Any] = {"confirm": confirm, "ab": ab, "runs": runs > 1, "seed": seed is not None}
        # --env is no load alone: it says where the history is.
        _check_there(wrongs, load | others | {"env": None}, wish)
    placement = None if file is None else placement_of(wrongs, wish)
    if ab is not None and (target is not None or runs > 1 or confirm or against or add):
        wrongs.add("--ab goes without --target, --runs, --confirm, --against and --add: it compares two targets")
    if ab is None and (pairs is not None or (seed is not None and file is not None)):
        wrongs.add("--pairs and --seed are for two targets in turns", "--ab URL URL")
    _check_because(wrongs, is_accept, because)
    _check_outputs(wrongs, {"--json": json_path, "--junit": junit, "--markdown": markdown})
    values = _settings(wrongs, {"delta": delta, "tolerate": tolerate, "alpha": alpha}, percentile)
    with needing_analysis("loadgen gate"):
        from loadgen.history.gate.decision import Settings
        from loadgen_controller.commands.gating import gate_command
    asked = gate_command.Asked(
        store=store_of(wrongs, store, env, None if file is None else split_plan(file)[0]),
        settings=Settings(values["delta"], values["tolerate"], values["alpha"], percentile),
        against=against,
        is_added=add,
        because=because.strip(),
        json_path=json_path,
        junit=junit,
        markdown=markdown,
        is_explained=explain,
        is_quiet=quiet,
    )
    if is_accept:
        return gate_command.accept_runs(wrongs, asked, names, runs_dir)
    if file is None or placement is None:
        return gate_command.judge_runs(wrongs, asked, names, runs_dir)
    load |= {"allowed": wish.i_may_load, "needs_secrets": placement.needs_secrets}
    maker = gate_command.maker_of(asked, file, load, placement)
    if ab is not None:
        return gate_command.judge_sides(wrongs, asked, maker, ab, pairs or LEAST_PAIRS, seed)
    return gate_command.judge_made(wrongs, asked, maker, runs, confirm)


def _file_in(wrongs: CollectedErrors, names: list[str], is_accept: bool) -> str | None:
    """The scenario among them, if it is one."""
    files = [name for name in names if split_plan(name)[0].suffix == ".py"]
    if is_accept and not names:
        wrongs.add("which run is accepted?", 'loadgen gate accept RUN --because "..."')
    if files and (len(names) > 1 or is_accept):
        wrongs.add(f"{files[0]} is a scenario, beside others", "either runs that are there, or one scenario")
        return None
    return files[0] if files else None


def _check_there(wrongs: CollectedErrors, options: dict[str, Any], wish: LaunchRequest) -> None:
    """Of runs that are there nothing is made."""
    shown = {"params": "-P", "labels": "--label"}
    if given := [shown.get(name, f"--{name}") for name, value in options.items() if value] + wish.given():
        wrongs.add(f"{', '.join(given)}: for runs that are to be made", "name a scenario: FILE.py")


def _check_because(wrongs: CollectedErrors, is_accept: bool, because: str) -> None:
    if is_accept and not because.strip():
        wrongs.add("why is it accepted?", "--because TEXT; it is kept")
    if because and not is_accept:
        wrongs.add("--because is for accept", 'loadgen gate accept RUN --because "..."')


def _check_outputs(wrongs: CollectedErrors, outputs: dict[str, Path | None]) -> None:
    for option, path in outputs.items():
        wrongs.check_file(option, path)
    if sum(str(path) == "-" for path in outputs.values()) > 1:
        wrongs.add("several outputs are -: which of them is stdout?", "name files for the others")


def _settings(wrongs: CollectedErrors, given: dict[str, str], percentile: str) -> dict[str, float]:
    """By option; what is wrong with one is among `wrongs`."""
    found: dict[str, float] = {}
    for option, text in given.items():
        value = wrongs.parse(f"--{option}", text, parse_ratio)
        if (value == 0 and option != "delta") or (option == "alpha" and value == 1):
            wrongs.add(f"--{option}: {text} leaves nothing to decide")
        found[option] = value or 0.0
    if percentile not in STATISTICS:
        wrongs.add(f'--percentile: there is no "{percentile}"', f"one of {', '.join(STATISTICS)}")
    return found
