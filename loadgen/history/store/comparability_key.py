"""Computes the key of a run from its manifest. Only runs with equal keys are compared.

The key does not contain

- the hash of the scenario file: a comment or a renamed variable changes no load;
- the names of the requests: rare requests occur by chance, and the gate reports missing and new names;
- settings that change no load: objectives, owner, labels, seeds and the drain;
- the build of Python: it changes the cost of the load, not the load. It is stored beside the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from loadgen.dsl.plans.spec import LaneSpec, PlanSpec, TraceSpec
from loadgen.history.store.stored_run import Key
from loadgen.profiles.profile import OpenProfile
from loadgen.target_url import place_of_url
from loadgen.units import format_duration

__all__ = ["key_of", "pythons_of"]


def key_of(manifest: Mapping[str, Any], spec: PlanSpec, clock: str = "") -> Key:
    """Return the key of a run: the conditions that must be equal for a comparison.

    spec: the plan in the manifest. clock: the clock that timed the answers, if the run has a summary; otherwise the
    plan's.
    """
    asked = str(spec.http.get("clock", "loop"))
    lines = [*_plan_lines(manifest, spec), ("clock in force", clock if clock not in ("", asked) else "")]
    return Key(
        plan="\n".join(f"{name}: {value}" for name, value in lines if value),
        target=spec.environment or ", ".join(sorted({_place(url) for url in (spec.target, *spec.targets.values())})),
        placement=str(manifest.get("placement", "fleet")),
        regions=",".join(f"{name}={weight:.6g}" for name, weight in _shares(spec.regions)),
        instances=", ".join(sorted(set(_machines(manifest)))),
        rate=f"{spec.peak:.12g}/s" if _is_rate(spec) else f"{spec.peak:.12g} users",
    )


def pythons_of(manifest: Mapping[str, Any]) -> str:
    """Return the builds of Python that the agents of a run reported, sorted; "" if not all of them are known.

    It is no part of the key: a newer Python must not start all histories again. `loadgen compare` shows a difference.
    """
    found = [agent.get("python") for agent in manifest.get("agents") or ()]
    return "; ".join(sorted({str(one) for one in found})) if all(found) else ""


def _plan_lines(manifest: Mapping[str, Any], spec: PlanSpec) -> Iterator[tuple[str, str]]:
    yield "scenario", str(manifest.get("scenario") or spec.scenario)
    yield "plan", spec.name
    if not spec.lanes:  # written by a version in which a plan had one load
        yield "load", spec.load
        yield "journeys", _mix(spec)
    for n, lane in enumerate(spec.lanes, 1):
        of = f" {lane.name or n}" if len(spec.lanes) > 1 else ""
        yield f"load{of}", _load(lane)
        yield f"journeys{of}", _mix(lane)
    yield "settings", ", ".join(f"{name}={value}" for name, value in sorted(spec.params.items()))
    yield "connections", spec.connections if spec.connections != "kept" else ""
    yield "client", spec.client if spec.client != "loadgen" else ""
    yield "busy_wait", "" if spec.busy_wait else "off"
    yield "http", _json(spec.http)
    yield "trace", _traced(spec.trace) if spec.trace else ""
    yield "warm-up", "found" if spec.warmup_is_found else format_duration(spec.warmup_ns) if spec.warmup_ns else ""
    yield (
        "time-outs",
        f"{format_duration(spec.connect_timeout_ns)} to connect, {format_duration(spec.timeout_ns)} in all",
    )
    yield "max_users", "" if spec.max_users is None else str(spec.max_users)
    yield "max_lateness", "" if spec.max_lateness_ns is None else format_duration(spec.max_lateness_ns)


def _traced(trace: TraceSpec) -> str:
    """Return what the tracing of a plan costs the target: how much is sampled, and the headers."""
    parts = [f"{trace.sample:g}" if trace.per_s is None else f"{trace.per_s:g}/s", *trace.formats]
    if trace.boost is not None:
        parts.append(f"boost {trace.boost:g}")
    return " ".join(parts)


def _load(lane: LaneSpec) -> str:
    parts = [lane.load]
    if lane.after_ns:
        parts.append(f"after {format_duration(lane.after_ns)}")
    if lane.max_users is not None:
        parts.append(f"at most {lane.max_users} users")
    return ", ".join(parts)


def _mix(of: PlanSpec | LaneSpec) -> str:
    """Return the mix of journeys of a load as text, such as "browse=0.75 (data/people.csv), search=0.25, drawn".

    "drawn" stands for journeys that are chosen at random.
    """
    named = (f"{one.name}={one.weight:.6g}" + (f" ({one.data})" if one.data else "") for one in of.journeys)
    return ", ".join([*named, *(("drawn",) if of.random else ())])


def _is_rate(spec: PlanSpec) -> bool:
    """Return whether the plan's peak is a rate (True) or a number of users; the first load decides."""
    return isinstance(spec.profile, OpenProfile)


def _place(url: str) -> str:
    """Return host and port of a URL: "shop.example:443" for "https://shop.example/app"."""
    try:
        host, port = place_of_url(url)
    except ValueError:
        return url
    return f"{host}:{port}"


def _shares(weights: Mapping[str, float]) -> list[tuple[str, float]]:
    total = sum(weights.values()) or 1.0
    return sorted((name, weight / total) for name, weight in weights.items())


def _machines(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield, for each agent of the run, a text that describes its machine, such as "c7g.large" or "x86_64, 2 cpus"."""
    is_here = manifest.get("placement") == "embedded"
    arch = str((manifest.get("machine") or {}).get("arch", "")) if is_here else ""
    for agent in manifest.get("agents") or ():
        cpus = f"{agent.get('cpus')} cpus" if agent.get("cpus") else ""
        yield str(agent.get("instance_type") or ", ".join(filter(None, (arch, cpus))) or "unknown")


def _json(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value, order="deterministic").decode() if value else ""
