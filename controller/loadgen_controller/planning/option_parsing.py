"""Parses command-line options into values. Errors are collected, so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, TypeVar

from loadgen.clients.net.host_parsing import parse_resolve
from loadgen.dsl.find_settings import find_settings
from loadgen.dsl.plans.loadgen_toml import (
    Places,
    ReportSettings,
    Settings,
    merged,
    read_environment,
    read_places,
    read_settings,
)
from loadgen.dsl.plans.spec import Overrides, parse_regions
from loadgen.hostport import host_port
from loadgen.sinks.live_outputs import Outputs
from loadgen.sinks.options import open_outputs, read_outputs
from loadgen.units import NS_PER_S, parse_duration, parse_rate
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.past_runs.user_notes import parse_label

__all__ = [
    "CollectedErrors",
    "needs_sure",
    "outputs_of",
    "overrides_of",
    "parse_endpoint",
    "parse_users",
    "places_of",
    "report_settings_of",
    "trace_settings_of",
]

T = TypeVar("T")

_HERE: Final = Path("scenario.py")
"""Used to look up `loadgen.toml` when there is no scenario: as if one were in the current folder."""


def overrides_of(
    errors: CollectedErrors,
    *,
    target: str | None,
    rate: str | None,
    users: str | None,
    duration: str | None,
    loads: str | None = None,
    regions: str | None,
    params: Iterable[str],
    env: str | None = None,
    scenario: Path | None = None,
    resolve: Iterable[str] = (),
    labels: Iterable[str] = (),
) -> Overrides:
    """Return what the options change in the plan. Invalid options are added to `errors` and change nothing.

    env: an environment in the `loadgen.toml` of `scenario` (a file). The other options take precedence over it. The
        hosts that it allows are in `Overrides.allow`.
    """
    if rate is not None and users is not None:
        errors.add(
            "--rate and --users exclude each other",
            "use --rate for an open load (arrivals), --users for a closed load (users)",
        )
    peak_of: Literal["", "rate", "users"] = "rate" if rate is not None else "users" if users is not None else ""
    peak = errors.parse("--rate", rate, _rate) if rate is not None else errors.parse("--users", users, parse_users)
    duration_ns = errors.parse("--duration", duration, _duration)
    environment = None
    if env is not None:
        environment = errors.catch(lambda: read_environment(scenario or _HERE, env))
    options = Overrides(
        target=target,
        peak=peak,
        peak_of=peak_of if peak is not None else "",
        duration_s=None if duration_ns is None else duration_ns / NS_PER_S,
        loads=errors.parse("--load", loads, _loads) or (),
        regions=errors.parse("--regions", regions, parse_regions) or {},
        params=_parse_params(errors, params),
        resolve=_resolve(errors, resolve),
        labels=_labels(errors, labels),
    )
    return merged(environment, options)


def _loads(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise ValueError("a name of a load is empty; write --load day,spike")
    return names


def places_of(errors: CollectedErrors, scenario: Path | None, env: str | None) -> Places:
    """Return the store and the live outputs that `loadgen.toml` names; an invalid file is added to `errors`.

    scenario: a scenario file, whose `loadgen.toml` is read; None: the one of the current folder.
    """
    return errors.catch(lambda: read_places(scenario or _HERE, env)) or Places()


def needs_sure(scenario: Path | None) -> bool:
    """Return whether `[policy]` of `loadgen.toml` demands sure objectives.

    scenario: a scenario file, whose `loadgen.toml` is read; None: the one of the current folder.

    Raises:
        ScenarioError: with all errors in the file.
    """
    policy = read_settings(find_settings(scenario or _HERE)).policy
    return policy is not None and policy.objectives == "sure"


def report_settings_of(errors: CollectedErrors, scenario: Path | None = None) -> ReportSettings:
    """Return the title and owner of reports from `[report]` of `loadgen.toml`. An invalid file is added to `errors`."""
    found = errors.catch(lambda: read_settings(find_settings(scenario or _HERE)).report)
    return found or ReportSettings()


def trace_settings_of(errors: CollectedErrors) -> Settings:
    """Return the `loadgen.toml` of the current folder, for its sources of traces. Its errors are added to `errors`."""
    return errors.catch(lambda: read_settings(find_settings(_HERE))) or Settings()


def outputs_of(errors: CollectedErrors, texts: Iterable[str], places: Places | None = None) -> Outputs:
    """Return the live outputs of `--out`, or without `--out` those of `places`. Invalid ones are added to `errors`."""
    texts = list(texts)
    if texts or places is None or places.path is None:
        return open_outputs(read_outputs(texts, errors.add), errors.add)
    path = places.path

    def add(message: str, hint: str) -> None:
        errors.add(f"{path}: {message.removeprefix('--')}", hint)

    return open_outputs(read_outputs(places.out, add, folder=path.parent), add)


def _resolve(errors: CollectedErrors, texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse texts such as "shop.example:443:10.0.0.1" into addresses by host; a repeated host has all its addresses."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        entry = errors.parse("--resolve", text, parse_resolve)
        if entry is not None:
            place, addresses = entry
            found[place] = tuple(dict.fromkeys((*found.get(place, ()), *addresses)))
    return found


def _labels(errors: CollectedErrors, texts: Iterable[str]) -> dict[str, str]:
    """Parse texts such as "release=1.4". A repeated name is an error, so that no value is silently lost."""
    labels: dict[str, str] = {}
    for text in texts:
        label = errors.parse("--label", text, parse_label)
        if label is None:
            continue
        name, value = label
        if value is None:
            errors.add(f'--label: "{text}" has no value', "write NAME=VALUE: --label release=1.4")
        elif name in labels:
            errors.add(f"--label: {name} was given twice", "give each label once")
        else:
            labels[name] = value
    return labels


def _rate(text: str) -> float:
    rate = parse_rate(text)
    if rate <= 0:
        raise ValueError(f'invalid rate "{text}": must be above 0; write 200/s')
    return rate


def parse_users(text: str, otherwise: str = "; write 50") -> float:
    """Parse a number of users, at least 1. otherwise: a hint appended to the error for numbers below 1.

    Raises:
        ValueError: not a whole number, or below 1.
    """
    try:
        users = int(text)
    except ValueError:
        raise ValueError(f'invalid number of users "{text}"; write a whole number such as 50') from None
    if users < 1:
        raise ValueError(f"the number of users must be at least 1{otherwise}")
    return users


def _duration(text: str) -> int:
    duration_ns = parse_duration(text)
    if not duration_ns:
        raise ValueError("the duration must be longer than 0; write 2m")
    return duration_ns


def _parse_params(errors: CollectedErrors, texts: Iterable[str]) -> dict[str, str]:
    """Parse texts such as "pool=8" into {"pool": "8"}. A repeated name is an error, so that no value is lost."""
    params: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            errors.add(f'-P: invalid parameter "{text}"', "write -P name=value")
        elif name.strip() in params:
            errors.add(f"-P: {name.strip()} was given twice", "give each parameter once")
        else:
            params[name.strip()] = value
    return params


def parse_endpoint(text: str) -> tuple[str, int]:
    """Parse an address such as "0.0.0.0:5700" or "[::]:5700" into host and port; the port is required.

    Raises:
        ValueError: not an address with a port.
    """
    try:
        return host_port(text)
    except ValueError as error:
        raise ValueError(f"{error}; write HOST:PORT, e.g. 0.0.0.0:5700") from None
