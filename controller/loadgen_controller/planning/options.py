"""What stands on a command line, into values. Everything that is wrong is collected, and raised at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, TypeVar

from loadgen.clients import parse_resolve
from loadgen.dsl.plans.config_file import Places, merged, read_environment, read_places
from loadgen.dsl.plans.spec import Overrides, parse_regions
from loadgen.hostport import host_port
from loadgen.sinks import Outputs, open_outputs, read_outputs
from loadgen.units import NS_PER_S, parse_duration, parse_rate
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.past_runs.notes import parse_label

__all__ = [
    "CollectedErrors",
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


def overrides_of(
    wrongs: CollectedErrors,
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


def places_of(wrongs: CollectedErrors, scenario: Path | None, env: str | None) -> Places:
    """What `loadgen.toml` says of places; of a file that is wrong nothing, and it is among `wrongs`.

    scenario: whose file it is; None: that of the folder we are in.
    """
    return wrongs.catch(lambda: read_places(scenario or _HERE, env)) or Places()


def store_of(wrongs: CollectedErrors, given: str | None, env: str | None, scenario: Path | None = None) -> str:
    """Where accepted runs are: as `given` says, or else `loadgen.toml`, or else in the folder `history`.

    env: one that is not there is wrong also where a store is given.
    """
    if given and env is None:
        return given
    said = places_of(wrongs, scenario, env).store
    return given or said or STORE


def outputs_of(wrongs: CollectedErrors, texts: Iterable[str], places: Places | None = None) -> Outputs:
    """The live outputs of `--out`, opened, or without one those of `places`; none of those that are wrong."""
    texts = list(texts)
    if texts or places is None or places.path is None:
        return open_outputs(read_outputs(texts, wrongs.add), wrongs.add)
    path = places.path

    def add(message: str, hint: str) -> None:
        wrongs.add(f"{path}: {message.removeprefix('--')}", hint)

    return open_outputs(read_outputs(places.out, add, folder=path.parent), add)


def _resolve(wrongs: CollectedErrors, texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """ "shop.example:443:10.0.0.1"; of a place that is there several times all addresses."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        entry = wrongs.parse("--resolve", text, parse_resolve)
        if entry is not None:
            place, addresses = entry
            found[place] = tuple(dict.fromkeys((*found.get(place, ()), *addresses)))
    return found


def _labels(wrongs: CollectedErrors, texts: Iterable[str]) -> dict[str, str]:
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


def parse_params(wrongs: CollectedErrors, texts: Iterable[str]) -> dict[str, str]:
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
