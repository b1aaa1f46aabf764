"""Checks a scenario against the policy of a team: the rules of `[policy]` in loadgen.toml.

    names = true         a request with a computed URL has a `name=`, so that it is one row and not thousands
    slos = true          every journey of the plan has an objective
    think = true         every journey of a closed load thinks or keeps a pace; otherwise it is a tight loop
    owner = true         the plan names a contact: owner="team@shop.example"
    tags = ["service"]   labels that the plan must have
    max_rate = 500       the most iterations a second, of all loads together

`objectives = "sure"` is a rule for results, which `loadgen run` applies.

All violations are reported at once, each with file and line.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from loadgen.dsl.graphs.graph import Graph
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.loader import Scenario
from loadgen.dsl.loading.source_analysis import read_source
from loadgen.dsl.plans.loadgen_toml import Policy
from loadgen.dsl.plans.plan import Plan
from loadgen.errors import Fault
from loadgen.profiles.profile import OpenProfile, Profile, UserProfile
from loadgen.units import format_rate

__all__ = ["violations"]

_METHODS = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "request", "stream"})


def violations(scenario: Scenario, policy: Policy) -> list[Fault]:
    """Return the rules that the scenario and its chosen plan violate, with file and line; empty if there are none."""
    plan = scenario.plan
    found: list[Fault] = []
    if policy.names:
        found += [fault for path in sorted(scenario.files) if path.suffix == ".py" for fault in _unnamed(path)]
    if policy.slos:
        found += _without_slo(plan)
    if policy.think:
        found += _without_think(plan)
    if policy.owner and not plan.owner:
        found.append(plan.origin.fault("policy: the plan has no owner", 'add owner="team@shop.example" to the Plan'))
    for name in policy.tags:
        if not plan.labels.get(name):
            found.append(
                plan.origin.fault(
                    f'policy: the plan has no label "{name}"', f'add labels={{"{name}": "..."}} to the Plan'
                )
            )
    spec = plan.spec()
    if policy.max_rate is not None and spec.is_open and spec.peak > policy.max_rate:
        message = f"policy: the load's peak of {format_rate(spec.peak)} is above {format_rate(policy.max_rate)}"
        found.append(
            plan.origin.fault(message, f"run with --rate {policy.max_rate:g}/s, or raise max_rate in [policy]")
        )
    return found


def _unnamed(path: Path) -> Iterator[Fault]:
    """Yield an error for each request with a computed URL and no `name=`: `user.http.get(f"/products/{sku}")`."""
    for node in ast.walk(read_source(path).tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in _METHODS or not _is_client(node.func.value):
            continue
        at = 1 if node.func.attr in ("request", "stream") else 0
        url = node.args[at] if len(node.args) > at else next((k.value for k in node.keywords if k.arg == "url"), None)
        is_computed = url is not None and not isinstance(url, ast.Constant)
        if is_computed and not any(keyword.arg in ("name", None) for keyword in node.keywords):
            shown = ast.unparse(url) if url is not None else ""
            message = f"policy: the request to {shown} has no name, so each URL would be a row of its own"
            yield Fault(str(path), node.lineno, message, 'add a name, for example name="/products/{sku}"')


def _is_client(node: ast.expr) -> bool:
    """Return whether an expression is a client: `user.http` or `user.to("login")`."""
    if isinstance(node, ast.Call):
        node = node.func
    return isinstance(node, ast.Attribute) and node.attr in ("http", "to")


def _without_slo(plan: Plan) -> Iterator[Fault]:
    objectives = [slo.objective for slo in plan.slos if slo.objective is not None]
    for journey in plan.journeys:
        if not any(o.journey in (None, journey.name) and not (o.step or o.request) for o in objectives):
            yield plan.origin.fault(
                f"policy: journey {journey.name} has no objective",
                'add to the plan: slos=[p(95) < "300ms", error_ratio() < "1%"]',
            )


def _without_think(plan: Plan) -> Iterator[Fault]:
    closed = {one for lane in plan.lanes if not _sets_the_pace(lane.profile) for one in lane.journeys}
    for journey in plan.journeys:
        if journey in closed and not _thinks(journey):
            yield journey.origin.fault(
                f"policy: {journey.name} runs in a closed load and neither thinks nor keeps a pace",
                'add `await user.think(1, 3)` or `await user.pace("10s")`, or pace the load: users(50).pace("10s")',
            )


def _sets_the_pace(profile: Profile) -> bool:
    return isinstance(profile, OpenProfile) or (isinstance(profile, UserProfile) and profile.pace_ns > 0)


def _thinks(journey: Journey[object]) -> bool:
    """Return whether the journey calls think or pace in its own code, or is a graph with think times.

    Functions that it calls are not searched.
    """
    codes = (getattr(fn, "__code__", None) for _, fn in journey.parts)
    in_code = any(code is not None and not {"think", "pace"}.isdisjoint(code.co_names) for code in codes)
    return in_code or (isinstance(journey, Graph) and journey.think_s > 0)
