"""What stands on a command line, into values. Everything that is wrong is collected, and raised at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

from loadgen.clients import parse_resolve
from loadgen.dsl.environment import Places, merged, read_environment, read_places
from loadgen.dsl.spec import Overrides, parse_regions
from loadgen.errors import LoadgenError, ScenarioError, UsageError
from loadgen.hostport import host_port
from loadgen.sinks import Outputs, open_outputs, read_outputs
from loadgen.units import NS_PER_S, parse_duration, parse_rate
from loadgen_controller.shelf.notes import parse_label

__all__ = [
    "Wrongs",
    "outputs_of",
    "overrides_of",
    "parse_endpoint",
    "parse_params",
    "parse_users",
    "places_of",
    "store_of",
]

T = TypeVar("T")

STORE: Final = "history"
"""Where accepted runs are, where nobody says it."""
_HERE: Final = Path("scenario.py")
"""Stands for a scenario in the folder that we are in."""


@dataclass(slots=True)
class Wrongs:
    """Collects errors of ours, so that a person sees them all and not one a try."""

    found: list[LoadgenError] = field(default_factory=list)

    def add(self, message: str, hint: str = "") -> None:
        self.found.append(UsageError(message, hint=hint))

    def parse(self, option: str, text: str | None, parser: Callable[[str], T]) -> T | None:
        """What `parser` makes of an option's text; its ValueError is noted."""
        if text is None:
            return None
        try:
            return parser(text)
        except ValueError as wrong:
            self.add(f"{option}: {wrong}")
            return None

    def catch(self, action: Callable[[], T]) -> T | None:
        """The action's value, or None where it raised an error of ours, which is noted.

        A scenario or `loadgen.toml` that is read for several ends has its faults told once.
        """
        try:
            return action()
        except LoadgenError as error:
            if not isinstance(error, ScenarioError) or str(error) not in map(str, self.found):
                self.found.append(error)
            return None

    def check_file(self, option: str, path: Path | None) -> None:
        """That a file can be written at `path`, which is known before the work and not after it; "-" is stdout."""
        if path is None or str(path) == "-":
            return
        if path.is_dir():
            self.add(f"{option}: {path} is a folder", "name a file in it")
        elif not path.parent.is_dir():
            self.add(f"{option}: there is no folder {path.parent}", "make it first")
        elif not os.access(path if path.exists() else path.parent, os.W_OK):
            self.add(f"{option}: {path} cannot be written: no permission", "name a file in a folder of yours")

    def check(self) -> None:
        """Raise what was found: itself if it is one, a group if there are several."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ExceptionGroup("several things are wrong", self.found)


def overrides_of(
    wrongs: Wrongs,
    *,
    target: str | None,
    rate: str | None,
    users: str | None,
    duration: str | None,
    regions: str | None,
    params: Iterable[str],
    env: str | None = None,
    scenario: Path | None = None,
    resolve: Iterable[str] = (),
    labels: Iterable[str] = (),
) -> Overrides:
    """What the options change of the plan; what does not parse is among `wrongs` and left as the plan has it.

    env: of the `loadgen.toml` that belongs to `scenario` (its file); the other options beat it. The hosts that it
        allows are in `Overrides.allow`.
    """
    if rate is not None and users is not None:
        wrongs.add("--rate and --users: a load has either a rate or users", "--rate is for arrivals, --users for users")
    peak_of: Literal["", "rate", "users"] = "rate" if rate is not None else "users" if users is not None else ""
    peak = wrongs.parse("--rate", rate, _rate) if rate is not None else wrongs.parse("--users", users, parse_users)
    duration_ns = wrongs.parse("--duration", duration, _duration)
    environment = None
    if env is not None:
        environment = wrongs.catch(lambda: read_environment(scenario or _HERE, env))
    options = Overrides(
        target=target,
        peak=peak,
        peak_of=peak_of if peak is not None else "",
        duration_s=None if duration_ns is None else duration_ns / NS_PER_S,
        regions=wrongs.parse("--regions", regions, parse_regions) or {},
        params=parse_params(wrongs, params),
        resolve=_resolve(wrongs, resolve),
        labels=_labels(wrongs, labels),
    )
    return merged(environment, options)


def places_of(wrongs: Wrongs, scenario: Path | None, env: str | None) -> Places:
    """What `loadgen.toml` says of places; of a file that is wrong nothing, and it is among `wrongs`.

    scenario: whose file it is; None: that of the folder we are in.
    """
    return wrongs.catch(lambda: read_places(scenario or _HERE, env)) or Places()


def store_of(wrongs: Wrongs, given: str | None, env: str | None, scenario: Path | None = None) -> str:
    """Where accepted runs are: as `given` says, or else `loadgen.toml`, or else in the folder `history`.

    env: one that is not there is wrong also where a store is given.
    """
    if given and env is None:
        return given
    said = places_of(wrongs, scenario, env).store
    return given or said or STORE


def outputs_of(wrongs: Wrongs, texts: Iterable[str], places: Places | None = None) -> Outputs:
    """The live outputs of `--out`, opened, or without one those of `places`; none of those that are wrong."""
    texts = list(texts)
    if texts or places is None or places.path is None:
        return open_outputs(read_outputs(texts, wrongs.add), wrongs.add)
    path = places.path

    def add(message: str, hint: str) -> None:
        wrongs.add(f"{path}: {message.removeprefix('--')}", hint)

    return open_outputs(read_outputs(places.out, add, folder=path.parent), add)


def _resolve(wrongs: Wrongs, texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """ "shop.example:443:10.0.0.1"; of a place that is there several times all addresses."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        entry = wrongs.parse("--resolve", text, parse_resolve)
        if entry is not None:
            place, addresses = entry
            found[place] = tuple(dict.fromkeys((*found.get(place, ()), *addresses)))
    return found


def _labels(wrongs: Wrongs, texts: Iterable[str]) -> dict[str, str]:
    """ "release=1.4"; a name that is there twice is an error, not a surprise."""
    labels: dict[str, str] = {}
    for text in texts:
        label = wrongs.parse("--label", text, parse_label)
        if label is None:
            continue
        name, value = label
        if value is None:
            wrongs.add(f'--label: "{text}" has no value', "write --label release=1.4")
        elif name in labels:
            wrongs.add(f"--label: {name} is there twice")
        else:
            labels[name] = value
    return labels


def _rate(text: str) -> float:
    rate = parse_rate(text)
    if rate <= 0:
        raise ValueError(f'"{text}" is no rate to drive; it must be above 0')
    return rate


def parse_users(text: str, otherwise: str = "") -> float:
    """A number of users, at least 1; `otherwise` says what else to do.

    Raises:
        ValueError: it is none.
    """
    try:
        users = int(text)
    except ValueError:
        raise ValueError(f'"{text}" is no number of users; write 50') from None
    if users < 1:
        raise ValueError(f"at least one user is needed{otherwise}")
    return users


def _duration(text: str) -> int:
    duration_ns = parse_duration(text)
    if not duration_ns:
        raise ValueError("a run takes some time")
    return duration_ns


def parse_params(wrongs: Wrongs, texts: Iterable[str]) -> dict[str, str]:
    """ "pool=8" -> {"pool": "8"}; a name that is there twice is an error, not a surprise."""
    params: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            wrongs.add(f'-P: "{text}" is no parameter', "write -P name=value")
        elif name.strip() in params:
            wrongs.add(f"-P: {name.strip()} is there twice")
        else:
            params[name.strip()] = value
    return params


def parse_endpoint(text: str) -> tuple[str, int]:
    """ "0.0.0.0:5700" or "[::]:5700"; the host alone is not enough.

    Raises:
        ValueError: not an address with a port.
    """
    try:
        return host_port(text)
    except ValueError as error:
        raise ValueError(f"{error}; write HOST:PORT, e.g. 0.0.0.0:5700") from None
