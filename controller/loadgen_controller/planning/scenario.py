"""What several commands share: their options, and loading a scenario with all that is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec

from loadgen.allowlist import AllowList
from loadgen.clients import Http, network_of, tls_context
from loadgen.dsl.loading.loader import Scenario, load, split_plan
from loadgen.dsl.plans.spec import Overrides
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.planning.options import overrides_of
from loadgen_controller.planning.target_guard import check_allowed, check_proofs, check_target, check_ways
from loadgen_controller.terminal import echo

__all__ = ["check_targets", "check_ways_here", "load_scenario"]


def load_scenario(
    wrongs: CollectedErrors,
    file: str,
    *,
    target: str | None = None,
    rate: str | None = None,
    users: str | None = None,
    duration: str | None = None,
    regions: str | None = None,
    params: Iterable[str] = (),
    env: str | None = None,
    resolve: Iterable[str] = (),
    allowed: Iterable[str] = (),
    is_sending: bool = True,
    needs_secrets: bool = True,
    base: Overrides | None = None,
    seed: int | None = None,
    allow: AllowList | None = None,
    labels: Iterable[str] = (),
) -> Scenario:
    """The scenario and its chosen plan, with its warnings on stderr.

    Args:
        is_sending: requests will be sent from here or from agents: the targets are checked.
        needs_secrets: they have to be there, on this machine.
        base: of an earlier run, which the options change further.
        allow: the list that decides what may be loaded; None: the person does, by `allowed`.
        seed: of the run that it is loaded for, where the plan gives none.
        labels: "release=1.4", over the plan's.

    Raises:
        everything that is wrong with options, scenario and targets, at once.
    """
    path, plan = split_plan(file)
    overrides = overrides_of(
        wrongs,
        target=target,
        rate=rate,
        users=users,
        duration=duration,
        regions=regions,
        params=params,
        env=env,
        scenario=path,
        resolve=resolve,
        labels=labels,
    )
    if base is not None:
        overrides = _on_top(overrides, base)
    overrides = msgspec.structs.replace(overrides, seed=seed)
    scenario = wrongs.catch(lambda: load(path, plan, overrides, check_secrets=is_sending and needs_secrets))
    if scenario is not None and allow is not None:
        checked, plan_ = allow, scenario.plan
        wrongs.catch(lambda: check_allowed(plan_.spec(), plan_.http, checked))
        wrongs.catch(lambda: check_proofs(plan_.spec(), plan_.http, checked))
    elif scenario is not None and is_sending:
        check_targets(wrongs, scenario, (*allowed, *overrides.allow))
    if scenario is not None and is_sending and needs_secrets:
        check_ways_here(wrongs, scenario)
    wrongs.check()
    assert scenario is not None
    for warning in scenario.warnings:
        echo(f"warning: {warning}", err=True)
    return scenario


def _on_top(overrides: Overrides, base: Overrides) -> Overrides:
    """What `overrides` leaves as the plan has it is as in `base`."""
    usual = Overrides()
    given = {name: getattr(overrides, name) for name in overrides.__struct_fields__}
    changed = {name: value for name, value in given.items() if value != getattr(usual, name)}
    return msgspec.structs.replace(base, **changed)


def check_ways_here(wrongs: CollectedErrors, scenario: Scenario) -> None:
    """Is what the plan's `Http` names (certificates, source addresses, the proxy's login) on this machine?"""
    plan = scenario.plan
    if plan.http != Http():
        wrongs.catch(lambda: network_of(plan.http))
        wrongs.catch(lambda: tls_context(plan.ca, plan.http))


def check_targets(wrongs: CollectedErrors, scenario: Scenario, allowed: Iterable[str]) -> None:
    """May all of the plan's targets be loaded, on the ways that it takes to them?"""
    named, http = tuple(allowed), scenario.plan.http
    wrongs.catch(lambda: check_ways(http, named))
    for url in dict.fromkeys((scenario.plan.target, *scenario.plan.targets.values())):
        wrongs.catch(partial(check_target, url, named, http=http))
