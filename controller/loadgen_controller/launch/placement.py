"""Where a run takes place: agents on this machine, agents that come to it, or a controller's; and what may be loaded.

One reading of the options for all commands that make runs: `loadgen run`, `gate` and `history control`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadgen.allowlist import AllowList
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.signed.signatures import Signer
from loadgen.sinks import Outputs
from loadgen.wire.keys import ControllerKeys, load_controller
from loadgen_controller.api.address import Place
from loadgen_controller.api.remote import place_of
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.launch.aws_fleet import Hire, hired_for, read_hire
from loadgen_controller.planning.options import parse_endpoint
from loadgen_controller.planning.target_guard import read_permits

__all__ = ["LaunchRequest", "Placement", "placement_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """The options, as they stand on the command line; None: not given."""

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

    def given(self) -> list[str]:
        """Those that were, as they are written; `runs_dir` has always a value."""
        names = [name for name in self.__slots__ if name != "runs_dir" and getattr(self, name)]
        return [f"--{name.replace('_', '-')}" for name in names]


@dataclass(slots=True)
class Placement:
    """Where runs take place: agents on this machine, or those that come to `listen`, or those of a controller."""

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
    hire: Hire | None = None
    """Of a fleet whose agents are up for these runs alone."""
    stops_when_left: bool = False
    """Its agents go with this terminal: a run that would be left is stopped."""
    outputs: Outputs = field(default_factory=Outputs)

    @property
    def is_embedded(self) -> bool:
        return self.listen is None and self.place is None

    @property
    def needs_secrets(self) -> bool:
        """On this machine: else they are where the agents are."""
        return self.is_embedded

    def read_keys(self, wrongs: CollectedErrors) -> None:
        if self.keys_dir is not None and self.listen is not None:
            folder = self.keys_dir
            self.keys = wrongs.catch(lambda: load_controller(folder))

    @contextmanager
    def staffed(self, wrongs: CollectedErrors, spec: PlanSpec, *, runs: int = 1, is_quiet: bool) -> Iterator[None]:
        """Hired agents are up within, for so many runs one after another; all that is wrong is raised before."""
        with hired_for(wrongs, self.hire, spec, self.place, runs=runs, is_quiet=is_quiet) as agents:
            if agents is not None:
                self.wait, self.stops_when_left = agents, True
            yield


def placement_of(wrongs: CollectedErrors, wish: LaunchRequest) -> Placement:
    """What the options say; what is wrong with them, or does not go together, is among `wrongs`."""
    if wish.runs_dir.exists() and not wish.runs_dir.is_dir():
        wrongs.add(f"--runs-dir: {wish.runs_dir} is a file", "name a folder; it is made if it is not there")
    hire = read_hire(wrongs, wish.fleet, wish.scale, wish.wait)
    controller = wish.controller
    if hire is not None and controller is None:
        controller = hire.file.controller.api
    place = place_of(wrongs, controller, wish.ca, wish.token_file)
    if place is not None:
        _check_left(wrongs, wish)
    elif wish.listen is not None:
        _check_listening(wrongs, wish, wish.listen)
    else:
        for option, value in (("--keys", wish.keys), ("--wait", wish.wait)):
            if value is not None:
                wrongs.add(f"{option} is for agents that were started elsewhere", "add --listen HOST:PORT")
    if wish.allow is not None and wish.i_may_load:
        wrongs.add("--i-may-load beside --allow: the list decides", "leave it out")
    if wish.allow is not None and place is not None and wish.sign_with is None:
        wrongs.add(
            "--allow beside --controller: the controller has its own list", "leave it out; to sign it: --sign-with"
        )
    placement = Placement(
        wish.runs_dir,
        wish.listen,
        wish.keys,
        wish.wait,
        wish.agents_per_region or 1,
        wish.workers or 1,
        place=place,
        hire=hire,
    )
    placement.allow, placement.signer = read_permits(wrongs, wish.listen, wish.keys, wish.allow, wish.sign_with)
    if place is None:
        placement.read_keys(wrongs)
    return placement


def _check_left(wrongs: CollectedErrors, wish: LaunchRequest) -> None:
    """Of a run at a controller."""
    for option, value in (("--listen", wish.listen), ("--keys", wish.keys)):
        if value is not None:
            wrongs.add(f"{option} beside --controller: agents come to the controller")
    for option, number in (("--agents-per-region", wish.agents_per_region), ("--workers", wish.workers)):
        if number is not None:
            wrongs.add(f"{option} is for agents on this machine", "with --controller say --wait N")


def _check_listening(wrongs: CollectedErrors, wish: LaunchRequest, listen: str) -> None:
    wrongs.parse("--listen", listen, parse_endpoint)
    if wish.keys is None:
        wrongs.add("--listen needs --keys", "make them with `loadgen keys init DIR`, then --keys DIR")
    if wish.agents_per_region is not None:
        wrongs.add("--agents-per-region is for agents on this machine", "with --listen say --wait N")
    if wish.workers is not None:
        wrongs.add("--workers is for agents on this machine", "say --workers N to each loadgen-agent")
