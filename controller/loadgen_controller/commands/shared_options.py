"""Command-line options that several commands have, each spelt once.

`RunOptions` collects the options of the commands that make runs (`loadgen run`, `gate` and `history control`), and
`takes_run_options` gives a command one option for each of its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from copy import copy
from dataclasses import dataclass, fields
from functools import partial, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_type_hints

import typer

from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption

if TYPE_CHECKING:
    from loadgen_controller.launch.run_location import LaunchRequest

__all__ = [
    "AllowHostOption",
    "AllowListOption",
    "AsOfOption",
    "ByOption",
    "DurationOption",
    "EnvOption",
    "ExplainOption",
    "FileArgument",
    "JsonOption",
    "KeysOption",
    "ListenOption",
    "OutOption",
    "ParamOption",
    "QuietOption",
    "RateOption",
    "RegionsOption",
    "ResolveOption",
    "RunOptions",
    "SignOption",
    "StoreOption",
    "TargetOption",
    "UsersOption",
    "takes_run_options",
    "takes_run_options_but",
]

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE[:PLAN]", help="The scenario file, and which of its plans to use.")
]
ExplainOption = Annotated[
    bool,
    typer.Option(
        "--explain", help="Also explain the result in sentences: what it means, what it leaves out, what to do next."
    ),
]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="PATH", help="Also write the summary as JSON to this file; - is stdout."),
]
KeysOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of keys for --listen, made by `loadgen keys init`.")
]
ListenOption = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Listen at this address for agents that were started elsewhere."),
]
OutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--out",
        metavar="KIND=WHERE",
        help="Send live figures each second: prometheus=HOST:PORT, remote-write=URL, otlp=URL, influx=URL,"
        " statsd=HOST:PORT, dogstatsd=HOST:PORT or ndjson=FILE. Repeatable.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show only the final result.")]
TargetOption = Annotated[
    str | None, typer.Option(metavar="URL", help="Send the load here instead of the plan's target.")
]
RateOption = Annotated[
    str | None, typer.Option(metavar="RATE", help="Scale the arrivals so that their peak rate is this: 200/s.")
]
UsersOption = Annotated[
    str | None, typer.Option(metavar="N", help="Scale the users so that their highest number is this.")
]
DurationOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="Stretch or shrink the load to this duration: 2m.")
]
LoadsOption = Annotated[
    str | None,
    typer.Option(
        "--load", metavar="A,B", help="Run only these loads of the plan, by name, without others' objectives."
    ),
]
RegionsOption = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Use only these regions of the plan; A=1,B=2 replaces its regions and weights."),
]
ParamOption = Annotated[
    list[str] | None, typer.Option("-P", metavar="NAME=VALUE", help="Set a param() of the scenario. Repeatable.")
]
EnvOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Use this environment of loadgen.toml: its targets, regions and store."),
]
AllowListOption = Annotated[
    Path | None,
    typer.Option(
        "--allow", metavar="FILE", help="Allow-list of targets. Required when agents can connect from other hosts."
    ),
]
SignOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Sign the run with this key. Default: signing.key in --keys, if it exists."),
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST", help="A public host that you are allowed to put under load. Repeatable."),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Label the run, for example release=1.4. Repeatable."),
]
ResolveOption = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST[:PORT]:ADDRESS", help="Use this address for a host instead of asking DNS. Repeatable."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of a command that makes runs, as they were written; None: not given."""

    target: TargetOption = None
    rate: RateOption = None
    users: UsersOption = None
    duration: DurationOption = None
    loads: LoadsOption = None
    regions: RegionsOption = None
    param: ParamOption = None
    env: EnvOption = None
    resolve: ResolveOption = None
    agents_per_region: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="Agents per region, on this machine. Default: 1.")
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, metavar="N", help="Worker processes of each agent on this machine; they share its load."
        ),
    ] = None
    listen: ListenOption = None
    keys: KeysOption = None
    wait: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Number of agents to wait for before the load starts. Default: one per region."
        ),
    ] = None
    controller: ControllerOption = None
    ca: CaOption = None
    token_file: TokenFileOption = None
    fleet: Annotated[
        Path | None,
        typer.Option("--fleet", metavar="FILE", help="Run on this AWS fleet (fleet.json), at its controller."),
    ] = None
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale", metavar="SCALE", help="Start this many agents of --fleet for the run, and end them afterwards."
        ),
    ] = None
    i_may_load: AllowHostOption = None
    allow: AllowListOption = None
    sign_with: SignOption = None
    label: LabelOption = None
    runs_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the run folders; new runs are stored there.")
    ] = Path("runs")
    quiet: QuietOption = False

    def launch_request(self) -> LaunchRequest:
        """Return the options that decide where the run takes place and what it may load."""
        from loadgen_controller.launch.run_location import LaunchRequest  # imports all that a run needs

        return LaunchRequest(
            runs_dir=self.runs_dir,
            listen=self.listen,
            keys=self.keys,
            wait=self.wait,
            agents_per_region=self.agents_per_region,
            workers=self.workers,
            controller=self.controller,
            ca=self.ca,
            token_file=self.token_file,
            fleet=self.fleet,
            scale=self.scale,
            allow=self.allow,
            sign_with=self.sign_with,
            i_may_load=self.i_may_load or (),
        )

    def scenario_options(self) -> dict[str, Any]:
        """Return the options that change the plan, as keyword arguments of `load_scenario`."""
        return {
            "target": self.target,
            "rate": self.rate,
            "users": self.users,
            "duration": self.duration,
            "loads": self.loads,
            "regions": self.regions,
            "params": self.param or (),
            "env": self.env,
            "resolve": self.resolve or (),
            "allowed": self.i_may_load or (),
            "labels": self.label or (),
        }

    def given(self) -> list[str]:
        """Return the given options that apply only to new runs, as they are written on the command line.

        `--env` is left out because it also names the store, `--runs-dir` because past runs are found there, and
        `--quiet` because it is harmless.
        """
        names = [one.name for one in fields(self) if one.name not in ("env", "runs_dir", "quiet")]
        return [_SPELT.get(name, f"--{name.replace('_', '-')}") for name in names if getattr(self, name)]


_SPELT: Final = {"param": "-P", "loads": "--load"}
_PANELS: Final = {
    "Load": "target rate users duration loads regions param env resolve",
    "Agents": "agents_per_region workers listen keys wait controller ca token_file fleet scale",
    "Permission": "i_may_load allow sign_with",
}
"""Headings of `--help` by option; `gate` has more than 40 options, too many for one list."""


def takes_run_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command one option for each field of `RunOptions`, in place of its parameter `options`.

    Typer reads a command's options from its signature, so the returned function has a signature of its own. A command
    that has a parameter of the name of a field keeps it, and the field has its default.
    """
    return _with_run_options(command)


def takes_run_options_but(*left_out: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return a decorator as `takes_run_options`, without an option for these fields of `RunOptions`."""
    return partial(_with_run_options, left_out=left_out)


def _with_run_options(command: Callable[..., int], left_out: Container[str] = ()) -> Callable[..., int]:
    own = signature(command, eval_str=True)
    hints = get_type_hints(RunOptions, include_extras=True)
    panels = {name: panel for panel, names in _PANELS.items() for name in names.split()}
    shared = [
        Parameter(
            one.name,
            Parameter.KEYWORD_ONLY,
            default=one.default,
            annotation=_in_panel(hints[one.name], panels.get(one.name)),
        )
        for one in fields(RunOptions)
        if one.name not in left_out and one.name not in own.parameters
    ]

    @wraps(command)
    def with_options(**given: Any) -> int:
        options = RunOptions(**{one.name: given.pop(one.name) for one in shared})
        return command(options=options, **given)

    merged: list[Parameter] = []
    for one in own.parameters.values():
        merged += shared if one.name == "options" else [one.replace(kind=Parameter.KEYWORD_ONLY)]
    with_options.__signature__ = own.replace(parameters=merged)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in merged}
    return with_options


def _in_panel(annotation: Any, panel: str | None) -> Any:
    """Return the annotation of an option with the heading under which `--help` lists it."""
    kind, option = get_args(annotation)
    shown = copy(option)
    shown.rich_help_panel = panel
    return Annotated[kind, shown]


AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="As it was known then, such as 2026-07-27T06:00Z: ignore what was recorded later. Default: now.",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="LOADGEN_STORE",
        metavar="DIR|s3://...",
        help="Store of the accepted runs. Default: the store in loadgen.toml, or the folder `history`.",
    ),
]
ByOption = Annotated[
    str,
    typer.Option(
        "--by", metavar="NAME", help="Name of the person who decides this. Default: the user of this machine."
    ),
]
