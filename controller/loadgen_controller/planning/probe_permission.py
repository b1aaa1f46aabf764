"""Prepares probes before a run: adds those of `loadgen.toml`, checks their hosts, and reads each page once.

A probe needs the same permission as a target, because it is a connection of the controller to a host that a plan
names: loopback and private hosts are permitted, public ones must be named, and with an allow-list, the list decides.
Metadata services and link-local addresses are never permitted.

A page that cannot be read is a warning and never an error: the load can be measured without it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from loadgen.allowlist import AllowList, as_address, is_own, never
from loadgen.dsl.find_settings import FILE_NAME, find_settings
from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.dsl.plans.probe import resolve_probe_objectives
from loadgen.dsl.secret import missing_secrets, secret_value
from loadgen.dsl.source_location import Origin
from loadgen.errors import ScenarioError, UsageError
from loadgen.probes.kinds import place_text, places_of, secrets_of
from loadgen.probes.settings import names_wrong
from loadgen.probes.spec import ProbeSpec
from loadgen_controller.console_output import echo_warning
from loadgen_controller.planning.target_permission import Resolve, resolve

__all__ = [
    "add_probes",
    "check_probe",
    "check_probe_secrets",
    "probes_of",
    "resolve_objectives",
    "warn_of_probes",
]


def add_probes(scenario: Scenario) -> None:
    """Add the probes of the `loadgen.toml` that applies to a scenario to those of its plan.

    Raises:
        ScenarioError: the file has errors.
        UsageError: a probe of the file has the name of a probe of the plan, or there are too many probes.
    """
    path = find_settings(scenario.path)
    probes = (*scenario.plan.probes, *read_settings(path).probes)
    for message, hint in names_wrong(one.name for one in probes):
        raise UsageError(f"{path or FILE_NAME}, together with the plan: {message}", hint=hint)
    scenario.plan.probes = probes


def resolve_objectives(scenario: Scenario, probes: Sequence[ProbeSpec]) -> None:
    """Find the rows that the plan's objectives on probes mean. probes: all probes of the run.

    Raises:
        ScenarioError: with an error at the line of each objective whose probe, row or unit is wrong.
    """
    slos, faults = resolve_probe_objectives(scenario.plan.slos, probes)
    if faults:
        raise ScenarioError(faults)
    scenario.plan.slos = slos


def probes_of(scenario: Scenario) -> tuple[ProbeSpec, ...]:
    """Return the probes of the plan and of the `loadgen.toml` that applies to it, without changing the plan.

    Raises:
        ScenarioError: the file has errors.
    """
    return (*scenario.plan.probes, *read_settings(find_settings(scenario.path)).probes)


def check_probe(
    probe: ProbeSpec, named: Collection[str] = (), allow: AllowList | None = None, *, resolve: Resolve = resolve
) -> None:
    """Check that the controller may connect to the host of a probe.

    named: public hosts that the user names as allowed. allow: the allow-list, which decides instead of `named`.

    Raises:
        UsageError: the connection is not allowed.
    """
    for host, port in places_of(probe):
        _check_place(f"probe {probe.name}: {host}:{port}", host, port, named, allow, resolve)


def _check_place(
    what: str, host: str, port: int, named: Collection[str], allow: AllowList | None, resolve: Resolve
) -> None:
    now = datetime.now(UTC)
    addresses = [as_address(text) for text in resolve(host)]
    for address in addresses:
        if kind := never(address):
            raise UsageError(f"{what} has a {kind} address, which is never allowed", hint="read another page")
        if allow is not None and allow.entry(host, address, port, now) is None:
            raise UsageError(
                f"{what} at {address} is not allowed: {allow.why_not(host, address, port, now)}",
                hint="ask the owner of the list for an entry, see docs/guard.md; or remove the probe",
            )
    public = sorted(str(address) for address in addresses if not is_own(address))
    if allow is None and public and host.lower() not in {name.lower() for name in named}:
        raise UsageError(
            f"{what} is public ({', '.join(public[:3])})",
            hint=f"if you may read it during the whole run, add --i-may-load {host}",
        )


def check_probe_secrets(probes: Sequence[ProbeSpec]) -> None:
    """Check that the secrets of the probes are set on this machine.

    Raises:
        ScenarioError: with an error for each missing secret.
    """
    here = [one for one in probes if one.at == "controller"]
    places = {name: Origin(f"probe {one.name}", 0) for one in here for name in secrets_of(one)}
    if missing := missing_secrets(places, places):
        raise ScenarioError(missing)


def warn_of_probes(probes: Sequence[ProbeSpec]) -> None:
    """Read the server of each probe once. Warn of those that cannot be read or have no metric of the probe."""
    here = [one for one in probes if one.at == "controller"]
    if not here:
        return
    from loadgen.probes.running.look import look_at  # imported here, as most runs have no probes

    for one in look_at(here, secret_value):
        name, url = one.spec.name, place_text(one.spec)
        hint = f"the run goes on without its figures; see: loadgen probe check {one.spec.url or name}"
        if one.spec.preset and one.spec.kind == "metrics":
            hint += f" --preset {one.spec.preset}"
        if one.why:
            echo_warning(f"probe {name}: {url} cannot be read: {one.why}", hint)
        elif one.found is not None and not one.found.rows:
            echo_warning(f"probe {name}: none of its metrics is on {url}", hint)
