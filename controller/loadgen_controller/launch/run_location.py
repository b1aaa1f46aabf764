"""Decides where a run takes place and what it may load, from the command-line options.

The agents are processes on this machine, or agents that connect to `--listen`, or those of a controller. All commands
that make runs (`loadgen run`, `gate` and `history control`) read their options here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadgen.allowlist import AllowList
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.notify.notifier import Notifier
from loadgen.signed.signatures import Signer
from loadgen.sinks.live_outputs import Outputs
from loadgen.wire.curve_keys import ControllerKeys, load_controller
from loadgen_controller.api.address import Place
from loadgen_controller.api.remote import place_of
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.launch.aws_fleet import HireRequest, hired_for, read_hire
from loadgen_controller.planning.option_parsing import parse_endpoint
from loadgen_controller.planning.target_permission import read_permits

__all__ = ["LaunchRequest", "Placement", "placement_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """The options that place a run, as they were written on the command line; None: not given."""

    runs_dir: Path
    listen: str | None = None
    keys: Path | None = None
    wait: int | None = None
    agents_per_region: int | None = None
    workers: int | None = None
    controller: str | None = None
    ca: Path | None = None
    token_file: Path | None = None
    fleet: Path | None = None
    scale: str | None = None
    allow: Path | None = None
    sign_with: Path | None = None
    i_may_load: Iterable[str] = ()


@dataclass(slots=True)
class Placement:
    """The place of runs: agents on this machine, agents that connect to `listen`, or a controller; and its settings."""

    runs_dir: Path
    listen: str | None = None
    keys_dir: Path | None = None
    wait: int | None = None
    per_region: int = 1
    workers: int = 1
    """Worker processes of each agent on this machine."""
    keys: ControllerKeys | None = None
    allow: AllowList | None = None
    signer: Signer | None = None
    has_fuse: bool = True
    aborts_on_loss: bool = False
    needs_sure: bool = False
    """Whether an objective whose verdict is not sure gives exit code 3."""
    ui: str | None = None
    """HOST:PORT of the web page of the run; None: no page."""
    place: Place | None = None
    """The controller that conducts the run; None: this command conducts it."""
    hire: HireRequest | None = None
    """The AWS fleet whose agents are started for these runs alone; None: none is started."""
    stops_when_left: bool = False
    """Whether Ctrl-C stops a run at a controller instead of detaching: its agents end with this command."""
    outputs: Outputs = field(default_factory=Outputs)
    notifier: Notifier = field(default_factory=Notifier)

    @property
    def is_embedded(self) -> bool:
        """Return whether the agents are processes on this machine that this command starts."""
        return self.listen is None and self.place is None

    @property
    def needs_secrets(self) -> bool:
        """Return whether secrets must be set on this machine; otherwise they are set where the agents run."""
        return self.is_embedded

    def read_keys(self, errors: CollectedErrors) -> None:
        """Read the controller's key from the folder of --keys into `keys`; an error is added to `errors`."""
        if self.keys_dir is not None and self.listen is not None:
            folder = self.keys_dir
            self.keys = errors.catch(lambda: load_controller(folder))

    @contextmanager
    def staffed(self, errors: CollectedErrors, spec: PlanSpec, *, runs: int = 1, is_quiet: bool) -> Iterator[None]:
        """Keep the agents of --fleet --scale running inside the `with` block, for `runs` runs one after another.

        Raises all errors found so far before it starts an agent. Without --scale it starts nothing.
        """
        with hired_for(errors, self.hire, spec, self.place, runs=runs, is_quiet=is_quiet) as agents:
            if agents is not None:
                self.wait, self.stops_when_left = agents, True
            yield


def placement_of(errors: CollectedErrors, request: LaunchRequest) -> Placement:
    """Return where the run takes place, from the options. Invalid options and combinations are added to `errors`."""
    if request.runs_dir.exists() and not request.runs_dir.is_dir():
        errors.add(f"--runs-dir: {request.runs_dir} is a file", "name a folder; it is created if it does not exist")
    hire = read_hire(errors, request.fleet, request.scale, request.wait)
    controller = request.controller
    if hire is not None and controller is None:
        controller = hire.file.controller.api
    place = place_of(errors, controller, request.ca, request.token_file)
    if place is not None:
        _check_left(errors, request)
    elif request.listen is not None:
        _check_listening(errors, request, request.listen)
    else:
        for option, value in (("--keys", request.keys), ("--wait", request.wait)):
            if value is not None:
                errors.add(
                    f"{option} is only for agents that were started elsewhere",
                    f"add --listen HOST:PORT, or leave {option} out",
                )
    if request.allow is not None and request.i_may_load:
        errors.add("--i-may-load cannot be used with --allow: the allow-list decides", "leave --i-may-load out")
    if request.allow is not None and place is not None and request.sign_with is None:
        errors.add(
            "--allow cannot be used with --controller: the controller has its own allow-list",
            "leave --allow out; to sign the run, add --sign-with FILE",
        )
    placement = Placement(
        request.runs_dir,
        request.listen,
        request.keys,
        request.wait,
        request.agents_per_region or 1,
        request.workers or 1,
        place=place,
        hire=hire,
    )
    placement.allow, placement.signer = read_permits(
        errors, request.listen, request.keys, request.allow, request.sign_with
    )
    if place is None:
        placement.read_keys(errors)
    return placement


def _check_left(errors: CollectedErrors, request: LaunchRequest) -> None:
    """Add errors for options that do not apply to a run at a controller."""
    for option, value in (("--listen", request.listen), ("--keys", request.keys)):
        if value is not None:
            errors.add(
                f"{option} cannot be used with --controller: agents connect to the controller",
                f"leave {option} out",
            )
    for option, number in (("--agents-per-region", request.agents_per_region), ("--workers", request.workers)):
        if number is not None:
            errors.add(f"{option} is only for agents on this machine", "with --controller, use --wait N instead")


def _check_listening(errors: CollectedErrors, request: LaunchRequest, listen: str) -> None:
    """Add errors for options that do not apply to agents that connect to `listen`."""
    errors.parse("--listen", listen, parse_endpoint)
    if request.keys is None:
        errors.add("--listen needs --keys", "create keys with `loadgen keys init DIR`, then add --keys DIR")
    if request.agents_per_region is not None:
        errors.add("--agents-per-region is only for agents on this machine", "with --listen, use --wait N instead")
    if request.workers is not None:
        errors.add("--workers is only for agents on this machine", "start each loadgen-agent with --workers N")
