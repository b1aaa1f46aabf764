"""Loads the scenario of a command with its options, and reports all errors in both at once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec

from loadgen.allowlist import AllowList
from loadgen.clients.net.proxy import network_of
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.dsl.loading.loader import Scenario, load, split_plan
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import Fault
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo_warning
from loadgen_controller.planning import promise_reader  # noqa: F401  # lets scenarios read promises
from loadgen_controller.planning.option_parsing import overrides_of
from loadgen_controller.planning.probe_permission import add_probes, check_probe, probes_of, resolve_objectives
from loadgen_controller.planning.target_permission import check_allowed, check_proofs, check_target, check_ways

__all__ = ["load_scenario"]


def load_scenario(
    errors: CollectedErrors,
    file: str,
    *,
    target: str | None = None,
    rate: str | None = None,
    users: str | None = None,
    duration: str | None = None,
    loads: str | None = None,
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
    with_probes: bool = True,
    shows_warnings: bool = True,
) -> Scenario:
    """Load a scenario with its chosen plan, apply the options to it, and print its warnings on stderr.

    Args:
        file: FILE or FILE:PLAN. The options up to `resolve`, and `labels`, are unparsed, as in `overrides_of`.
        allowed: public hosts that the user names as allowed.
        is_sending: whether requests will be sent, from here or from agents; only then the targets are checked.
        needs_secrets: whether the secrets of the scenario must be set on this machine.
        base: the overrides of an earlier run, which the options change further.
        allow: the allow-list that decides about targets; None: `allowed` decides.
        seed: seed of the run, if the plan has none.
        with_probes: whether the probes of the plan and of `loadgen.toml` are read.
        shows_warnings: whether the warnings are printed. A sweep loads its scenario once for each cell.

    Raises:
        LoadgenError, ExceptionGroup: all errors found so far, in the options, the scenario and the targets.
    """
    path, plan = split_plan(file)
    overrides = overrides_of(
        errors,
        target=target,
        rate=rate,
        users=users,
        duration=duration,
        loads=loads,
        regions=regions,
        params=params,
        env=env,
        scenario=path,
        resolve=resolve,
        labels=labels,
    )
    if base is not None:
        overrides = _merged(overrides, base)
    overrides = msgspec.structs.replace(overrides, seed=seed)
    scenario = errors.catch(lambda: load(path, plan, overrides, check_secrets=is_sending and needs_secrets))
    if scenario is not None and allow is not None:
        checked, plan_ = allow, scenario.plan
        errors.catch(lambda: check_allowed(plan_.spec(), plan_.http, checked))
        errors.catch(lambda: check_proofs(plan_.spec(), plan_.http, checked))
    elif scenario is not None and is_sending:
        _check_targets(errors, scenario, (*allowed, *overrides.allow))
    if scenario is not None and is_sending and needs_secrets:
        _check_ways_here(errors, scenario)
    left_out: tuple[Fault, ...] = ()
    if scenario is not None and not with_probes:
        left_out = scenario.plan.leave_out_probes()
    elif scenario is not None and is_sending:
        _check_probes(errors, scenario, (*allowed, *overrides.allow), allow)
    elif scenario is not None and any(slo.probe is not None for slo in scenario.plan.slos):
        chosen = scenario
        errors.catch(lambda: resolve_objectives(chosen, probes_of(chosen)))
    errors.check()
    assert scenario is not None
    for warning in (*scenario.warnings, *left_out) if shows_warnings else ():
        echo_warning(f"{warning.where}: {warning.message}", warning.hint)
    return scenario


def _check_probes(errors: CollectedErrors, scenario: Scenario, named: Iterable[str], allow: AllowList | None) -> None:
    """Add the probes of `loadgen.toml` to the plan, and check the hosts of all. Failures are added to `errors`."""

    def prepare() -> None:
        add_probes(scenario)
        resolve_objectives(scenario, scenario.plan.probes)

    errors.catch(prepare)
    hosts = tuple(named)
    for probe in scenario.plan.probes:
        errors.catch(partial(check_probe, probe, hosts, allow))


def _merged(overrides: Overrides, base: Overrides) -> Overrides:
    """Return `base`, changed by the fields that `overrides` sets. Settings (`-P`) are changed one by one."""
    unset = Overrides()
    given = {name: getattr(overrides, name) for name in overrides.__struct_fields__}
    changed = {name: value for name, value in given.items() if value != getattr(unset, name)}
    if overrides.params:
        changed["params"] = {**base.params, **overrides.params}
    return msgspec.structs.replace(base, **changed)


def _check_ways_here(errors: CollectedErrors, scenario: Scenario) -> None:
    """Check that certificates, source addresses and the proxy's login in the plan's `Http` exist on this machine.

    Failures are added to `errors`.
    """
    plan = scenario.plan
    if plan.http != Http():
        errors.catch(lambda: network_of(plan.http))
        errors.catch(lambda: tls_context(plan.ca, plan.http))


def _check_targets(errors: CollectedErrors, scenario: Scenario, allowed: Iterable[str]) -> None:
    """Check that all targets of the plan, its proxy and its `resolve` addresses may be put under load.

    allowed: public hosts that the user names as allowed. Failures are added to `errors`.
    """
    named, http = tuple(allowed), scenario.plan.http
    errors.catch(lambda: check_ways(http, named))
    for url in dict.fromkeys((scenario.plan.target, *scenario.plan.targets.values())):
        errors.catch(partial(check_target, url, named, http=http))
