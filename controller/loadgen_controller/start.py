"""From a loaded scenario to a conductor that is ready to conduct: embedded here, or on a fleet."""

from __future__ import annotations

import secrets
from pathlib import Path

from loadgen.bundle import pack
from loadgen.dsl.loader import Scenario
from loadgen.dsl.plan import Overrides
from loadgen.wire.keys import load_controller
from loadgen_controller.conductor import Conductor
from loadgen_controller.embedded import EmbeddedAgents
from loadgen_controller.order import Order

__all__ = ["conductor_for_fleet", "embedded_conductor"]


def embedded_conductor(
    scenario: Scenario, overrides: Overrides, *, plan: str = "", runs_dir: Path, agents_per_region: int = 1
) -> Conductor:
    """A run with agent processes of its own on this machine; they start with `conduct` and end with it.

    Raises:
        BundleError: what the scenario needs may not travel.
        StorageError: no folder for the run.
    """
    spec = scenario.plan.spec()
    order = _order(scenario, overrides, plan, agents=len(spec.regions) * agents_per_region, placement="embedded")
    agents = EmbeddedAgents(spec.regions, agents_per_region)
    try:
        return Conductor(order, runs_dir=runs_dir, keys=agents.keys, processes=agents)
    except BaseException:
        agents.discard()
        raise


def conductor_for_fleet(
    scenario: Scenario,
    overrides: Overrides,
    *,
    plan: str = "",
    runs_dir: Path,
    listen: str,
    keys: Path,
    wait: int | None = None,
) -> Conductor:
    """A run on agents that were started elsewhere with `loadgen-agent`.

    Args:
        wait: for how many agents; at least one in each region in any case.

    Raises:
        UsageError: keys that cannot be used, or no such address of this machine.
        PortBusy, BundleError, StorageError
    """
    regions = scenario.plan.spec().regions
    order = _order(scenario, overrides, plan, agents=max(wait or 1, len(regions)), placement="fleet")
    return Conductor(order, runs_dir=runs_dir, keys=load_controller(keys), listen=listen)


def _order(scenario: Scenario, overrides: Overrides, plan: str, *, agents: int, placement: str) -> Order:
    bundle, spec = pack(scenario), scenario.plan.spec()
    return Order(
        spec=spec,
        bundle=bundle.data,
        bundle_sha256=bundle.sha256,
        scenario=bundle.scenario,
        plan=plan,
        seed=spec.seed if spec.seed is not None else secrets.randbits(53),
        agents=agents,
        placement="embedded" if placement == "embedded" else "fleet",
        overrides_json=overrides.to_json(),
    )
