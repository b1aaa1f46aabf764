"""Reads and checks the arguments of a `Plan`, as functions over values.

The `read_...` functions run while a plan is created: they return the valid values and
append an error to `wrong` for each invalid one. The `..._wrong` functions check values
together, when the loader asks for a plan's faults. None of these raises, so that all
errors of a plan are reported at once; `Plan` adds the lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from loadgen.dsl.executors.base import Executor
from loadgen.dsl.journey import Journey
from loadgen.dsl.metric import Metric
from loadgen.dsl.plans.argument_validation import Wrong, url_wrong
from loadgen.dsl.plans.objectives.slo_expression import Expression, Slo
from loadgen.dsl.plans.plan_loads import (
    MAX_LOADS,
    DrivenLoad,
    Load,
    is_executor,
    names_wrong,
    read_mix,
    rows_used,
    scaled,
    stretched,
)
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import Fault, ProfileError, ScenarioError
from loadgen.measure.deltas.custom import CHECK, MetricSpec
from loadgen.measure.deltas.series_key import OTHER, UNTAGGED
from loadgen.similar_names import did_you_mean, listed
from loadgen.target_url import is_http
from loadgen.units import format_duration, parse_duration

__all__ = [
    "ReadLoads",
    "ReadTargets",
    "executors_wrong",
    "limits_never_reached",
    "loads_and_tags_wrong",
    "loads_chosen",
    "metrics_wrong",
    "override_ns",
    "overrides_wrong",
    "read_ca",
    "read_load_slos",
    "read_loads",
    "read_slos",
    "read_targets",
    "regions_chosen",
    "rows_wrong",
    "scopes_wrong",
    "seed_wrong",
    "warmup_wrong",
    "windows_too_long",
    "windows_wrong",
]


# -- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadLoads:
    """The loads of a plan, with the journeys of all of them.

    is_list: the plan has `loads`, so its `load` and `mix` are not used.
    weights: of the journeys in the first load.
    """

    is_list: bool
    loads: tuple[Load, ...]
    journeys: tuple[Journey[Any], ...]
    weights: tuple[float, ...]


def read_loads(load: object, mix: object, loads: object, wrong: list[Wrong]) -> ReadLoads:
    """Return the loads of a plan with their journeys, from either `load` with `mix`, or a list `loads`.

    Each invalid argument adds an error to `wrong`.
    """
    given = list(loads) if isinstance(loads, Iterable) and not isinstance(loads, str | Mapping) else [loads]
    for i, one in enumerate(given):
        if not isinstance(one, Load):
            hint = 'write loads=[Load(browse, arrivals("50/s").hold("1m"))]'
            wrong.append(Wrong(f"loads[{i}]", f"loads: {one!r} is not a Load", hint))
    if not given:
        journeys, weights = read_mix(mix, wrong)
        if load is None or not is_executor(load):
            message = "load: the plan has no load" if load is None else f"load: {load!r} is not a load"
            wrong.append(Wrong("load", message, 'write load=arrivals("50/s").hold("1m")'))
        return ReadLoads(False, (), journeys, weights)
    if load is not None or mix is not None:
        message = "loads: a plan has either load and mix, or loads"
        wrong.append(Wrong("loads", message, "move load and mix into loads, as one more Load(mix, load)"))
    found = tuple(one for one in given if isinstance(one, Load))
    journeys = tuple(dict.fromkeys(journey for one in found for journey in one.journeys))
    first = dict(zip(found[0].journeys, found[0].weights, strict=True)) if found else {}
    wrong += _loads_wrong(found, journeys)
    weights = tuple(first.get(journey, 0.0) for journey in journeys) if found else ()
    return ReadLoads(True, found, journeys, weights)


def _loads_wrong(loads: Sequence[Load], journeys: Sequence[Journey[Any]]) -> Iterator[Wrong]:
    # Each load reports names that occur twice in its own mix, so report only those of different loads here.
    own = {one.message for load in loads for one in names_wrong("loads", load.journeys)}
    yield from (one for one in names_wrong("loads", journeys) if one.message not in own)
    names = [one.name for one in loads if one.name]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        message = f'loads: two loads are named "{twice}"'
        yield Wrong("loads", message, "rename one of them, because they would share their rows")
    if len(loads) > MAX_LOADS:
        message = f"loads: {len(loads):,} loads are more than {MAX_LOADS}"
        yield Wrong("loads", message, "combine levels into one load with .steps() or .ramp()")


@dataclass(frozen=True, slots=True)
class ReadTargets:
    """The targets of a plan.

    target: base URL of paths without another target; anything, if it is among the errors.
    name: its name in `targets`; "" for a single target.
    targets: URL by name.
    """

    target: Any
    name: str
    targets: dict[str, str]


def read_targets(target: object, targets: object, wrong: list[Wrong]) -> ReadTargets:
    """Return the targets of a plan. `target` is a name in `targets`, a URL in addition to them, or the only URL.

    Each invalid argument adds an error to `wrong`.
    """
    named: dict[str, str] = {}
    if targets is not None and (not isinstance(targets, Mapping) or not targets):
        message = f"targets: {targets!r} is not a mapping of names to URLs"
        wrong.append(Wrong("targets", message, 'write {"api": "https://api.example"}'))
    for name, url in targets.items() if isinstance(targets, Mapping) else ():
        message, hint = url_wrong(url)
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
            hint = "use letters, digits, _, - and ."
            wrong.append(Wrong("targets", f"targets: {name!r} is not a valid name of a target", hint))
        elif message:
            wrong.append(Wrong("targets", f'targets: "{name}": {message.removeprefix("target: ")}', hint))
        else:
            named[name] = url
    if isinstance(target, str) and target in named:
        return ReadTargets(named[target], target, named)
    if target is None and isinstance(targets, Mapping) and targets:
        first = next((name for name, url in named.items() if is_http(url)), next(iter(named), ""))
        return ReadTargets(named.get(first), first, named)
    if named and isinstance(target, str) and "://" not in target:
        wrong.append(Wrong("target", f'target: "{target}" not found in targets', did_you_mean(target, named)))
        return ReadTargets(next(iter(named.values())), "", named)
    return ReadTargets(target, "", {"": target if isinstance(target, str) else ""} | named)


def read_slos(slos: object, wrong: list[Wrong]) -> tuple[Slo, ...]:
    """Return the objectives in a plan's `slos`; anything else in the list adds an error to `wrong`."""
    given = list(slos) if isinstance(slos, Iterable) and not isinstance(slos, str) else [slos]
    for i, one in enumerate(given):
        if not isinstance(one, Slo):
            wrong.append(Wrong(f"slos[{i}]", *_no_objective(one)))
    return tuple(one for one in given if isinstance(one, Slo))


def _no_objective(one: object) -> tuple[str, str]:
    """Return (message, hint) for a value in `slos` that is not an objective."""
    if isinstance(one, Expression):
        return f"slos: {one!r} has no limit", one.faults[0].hint if one.faults else one.hint
    if isinstance(one, Metric):
        words = {"counter": "total() > 1_000", "gauge": "last() < 100", "rate": 'ratio() > "90%"', "trend": "p(95) < 3"}
        message = f'slos: {one.kind} "{one.name}" is a metric without a limit'
        return message, f'write {one.kind}("{one.name}").{words[one.kind]}'
    hint = 'write p(95) < "300ms" or error_ratio() < "0.1%"'
    if isinstance(one, str) and re.search("[<>=]", one):
        operator = ', and "<=" instead of "=<"' if "=<" in one else ""
        return f"slos: {one!r} is a text, not an objective", f"{hint}, without quotes around the comparison{operator}"
    return f"slos: {one!r} is not an objective", hint


def read_load_slos(loads: Iterable[Load], wrong: list[Wrong]) -> tuple[Slo, ...]:
    """Return the objectives of all loads, each limited to its load; errors are added to `wrong`."""
    found: list[Slo] = []
    for load in loads:
        own: list[Wrong] = []
        slos = read_slos(load.slos, own)
        wrong += [replace(one, argument="loads", origin=load.origin) for one in own]
        if slos and not load.name:
            message = "slos of a load without a name: its rows are not separated from those of other loads"
            wrong.append(Wrong("loads", message, 'give it a name: Load(..., name="spike", slos=[...])', load.origin))
        found += [_for_load(one, load.name) for one in slos]
    return tuple(found)


def _for_load(slo: Slo, name: str) -> Slo:
    """Return the same objective, limited to the load of this name."""
    if slo.probe is not None:
        message = f"{slo.text}: probes see all loads together"
        return Slo(slo.origin, faults=(slo.origin.fault(message, "move it to the slos of the plan"),))
    if slo.objective is None or not name:
        return slo
    if slo.objective.of_kind is not None:
        message = f"{slo.objective.text}: checks and custom metrics are not kept for each load"
        return Slo(slo.origin, faults=(slo.origin.fault(message, "move it to the slos of the plan"),))
    if slo.objective.load not in (None, name):
        message = f'{slo.objective.text}: an objective of the load "{name}" names another load'
        return Slo(
            slo.origin, faults=(slo.origin.fault(message, "leave out load=, or move it to the slos of the plan"),)
        )
    text = f'{slo.objective.text}, load "{name}"'
    return replace(slo, objective=msgspec.structs.replace(slo.objective, load=name, text=text))


def read_ca(ca: object, folder: Path, wrong: list[Wrong]) -> Path | None:
    """Return the path of the file of CA certificates; None if `ca` is None or not a path.

    A relative path starts at `folder`, the scenario's. A missing file adds an error to `wrong`.
    """
    if ca is None:
        return None
    if not isinstance(ca, str | Path):
        wrong.append(Wrong("ca", f"ca: {ca!r} is not a path of a file", 'write ca="ca.pem"'))
        return None
    path = folder / ca
    if not path.is_file():
        wrong.append(Wrong("ca", f"ca: no file {ca}", f"put the file into {path.parent}, or correct the path"))
    return path


# -- checking -------------------------------------------------------------------------------------


def seed_wrong(seed: object) -> Iterator[Wrong]:
    """Yield an error unless `seed` is None or a whole number."""
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        yield Wrong("seed", f"seed: {seed!r} is not a whole number", "write seed=7, or leave it out for a random one")


def warmup_wrong(warmup_ns: int, duration_ns: int | None) -> Iterator[Wrong]:
    """Yield an error if the warm-up is not shorter than the load. duration_ns: the load's; None if it is unknown."""
    if duration_ns is not None and warmup_ns >= duration_ns:
        yield Wrong(
            "warmup",
            f"warmup: {format_duration(warmup_ns)} is not shorter than the load, {format_duration(duration_ns)}, "
            "so nothing would be measured",
            "write a shorter warm-up, or a longer load",
        )


def executors_wrong(executors: Iterable[Executor], seed: int) -> Iterator[Fault]:
    """Yield the errors that appear only when an executor computes its curve: in user code or in a file."""
    for one in executors:
        if not one.faults:
            try:
                one.lower(seed)
            except ScenarioError as error:
                yield from error.faults


Spans = Mapping[str, tuple[int, int | None]]
"""Begin and end by the name of a load, ns from T0; under "" those of the whole plan. An end of None is unknown."""


def windows_too_long(slos: Iterable[Slo], warmup_ns: int, spans: Spans) -> tuple[tuple[Slo, int], ...]:
    """Return the objectives whose window is longer than the measured part of the plan, or of their own load.

    Each has the length of this part, in ns. If it is unknown, no window is too long.
    """
    found = []
    for slo in slos:
        load = None if slo.objective is None else slo.objective.load
        begin_ns, end_ns = spans.get(load or "", (0, None))
        if end_ns is not None and warmup_ns < end_ns:
            measured_ns = end_ns - max(begin_ns, warmup_ns)
            if slo.window_ns > measured_ns:
                found.append((slo, measured_ns))
    return tuple(found)


def windows_wrong(slos: Iterable[Slo], warmup_ns: int, spans: Spans) -> Iterator[Fault]:
    """Yield an error for each objective whose window is longer than the time over which it is judged."""
    for slo, measured_ns in windows_too_long(slos, warmup_ns, spans):
        after = " after the warm-up" if warmup_ns else ""
        yield slo.origin.fault(
            f"{slo.text}: the window is longer than the load{after}, {format_duration(measured_ns)}",
            "write a shorter window, or a longer load",
        )


def rows_wrong(lanes: Sequence[DrivenLoad]) -> Iterator[Fault]:
    """Yield an error for each unique feed shared by a load with an unknown number of rows and a later load.

    The later load could not know which rows the earlier one has used.
    """
    for later, lane in enumerate(lanes):
        for journey in lane.journeys:
            feed = journey.feed
            if feed is None or not feed.is_unique:
                continue
            if any(rows_used(before, feed) is None for before in lanes[:later]):
                message = f"{journey.name}: its unique feed is shared with a closed load that takes a row per iteration"
                yield journey.origin.fault(message, "give one of the loads a feed of its own")


def scopes_wrong(
    objectives: Iterable[tuple[Slo, Sequence[Journey[Any]]]],
    journeys: Sequence[Journey[Any]],
    regions: Iterable[str],
) -> Iterator[Fault]:
    """Yield an error for each objective that names an unknown journey or region. The loader checks names of steps.

    objectives: each with the journeys that it may name. journeys, regions: those of the plan.
    """
    there_regions = list(regions)
    for slo, own in objectives:
        if slo.objective is None:
            continue
        names = [one.name for one in own]
        journey, region = slo.objective.journey, slo.objective.region
        for what, name, there in (("journey", journey, names), ("region", region, there_regions)):
            if name is not None and name not in there:
                owner = "plan" if own == journeys or what == "region" else "load"
                yield slo.origin.fault(
                    f'{slo.objective.text}: the {owner} has no {what} "{name}"',
                    did_you_mean(name, there) or f"leave out {what}=",
                )


def metrics_wrong(slos: Iterable[Slo], metrics: Iterable[MetricSpec]) -> Iterator[Fault]:
    """Yield an error for each objective on a custom metric that the scenario does not declare. metrics: its metrics.

    A metric that is made within a function is unknown, so no agent would record it.
    """
    specs = {spec.name: spec for spec in metrics}
    for slo in slos:
        objective = slo.objective
        if objective is None or objective.of_kind is None or objective.of.startswith(CHECK):
            continue
        spec = specs.get(objective.of)
        if spec is None or spec.kind != objective.of_kind:
            declared = f'{objective.of_kind}("{objective.of}")'
            yield slo.origin.fault(
                f"{objective.text}: the scenario declares no {declared}",
                did_you_mean(objective.of, specs) or f"write NAME = {declared} at the top of the scenario",
            )


def loads_and_tags_wrong(
    slos: Iterable[Slo], loads: Iterable[str], tags: Iterable[str], declared: Mapping[str, Sequence[str]]
) -> Iterator[Fault]:
    """Yield an error for each objective that names an unknown load, tag, or value of a tag.

    loads, tags: the names of the plan's. declared: the values of the tags that are declared with values, by name; only
    these tags can be tags of custom metrics.
    """
    names, known_tags = [name for name in loads if name], list(tags)
    for slo in slos:
        objective = slo.objective
        if objective is None:
            continue
        if objective.load is not None and objective.load not in names:
            yield slo.origin.fault(
                f'{objective.text}: the plan has no load "{objective.load}"',
                did_you_mean(objective.load, names)
                or f'name a load: Load({objective.load}, ..., name="{objective.load}"), or leave out load=',
            )
        for tag in objective.tags:
            if tag.name not in known_tags:
                yield slo.origin.fault(
                    f'{objective.text}: the plan has no tag "{tag.name}"',
                    did_you_mean(tag.name, known_tags) or "add it to the plan's tags, or leave out tags=",
                )
            elif objective.of_kind is not None and tag.name not in declared:
                yield slo.origin.fault(
                    f'{objective.text}: values of custom metrics have no tag "{tag.name}": it is not declared with'
                    " values",
                    f'declare it: tag("{tag.name}", ...), or leave out tags=',
                )
            elif tag.name in declared:
                for value in set(tag.values) - {*declared[tag.name], OTHER, UNTAGGED}:
                    yield _no_value(slo, tag.name, value, declared[tag.name])


def _no_value(slo: Slo, tag: str, value: str, declared: Sequence[str]) -> Fault:
    """Return the error of an objective with a value of a tag that is not declared."""
    assert slo.objective is not None
    near = did_you_mean(value, declared)
    hint = (
        near if near.startswith("did you mean") else f'write one of these, or declare it: tag("{tag}", "{value}", ...)'
    )
    message = f'{slo.objective.text}: tag "{tag}" has no value "{value}", only {listed(declared, value)}'
    return slo.origin.fault(message, hint)


def limits_never_reached(slos: Iterable[Slo]) -> Iterator[Fault]:
    """Yield a warning for each upper limit of 100 % on a share: at most a share of exactly 100 % fails it."""
    for slo in slos:
        objective = slo.objective
        if objective is None or objective.kind not in ("error_ratio", "ratio"):
            continue
        if objective.operator == "<" and objective.limit >= 1:
            expression = objective.text.rpartition(" < ")[0]
            message = f"{objective.text}: this limit can never fail, except at exactly 100 %"
            yield slo.origin.fault(message, f'write {expression} < "1%"')


# -- overrides ------------------------------------------------------------------------------------


def loads_chosen(chosen: Sequence[str], loads: Sequence[Load], faults: list[Fault]) -> tuple[Load, ...]:
    """Return the loads that `--load` names, in the plan's order; add an error to `faults` for each unknown name."""
    names = [one.name for one in loads if one.name]
    for name in dict.fromkeys(chosen):
        if name not in names:
            hint = did_you_mean(name, names) or 'give loads names: Load(..., name="spike")'
            faults.append(Fault("--load", 0, f'the plan has no load "{name}"', hint))
    return tuple(one for one in loads if one.name in chosen)


def regions_chosen(
    chosen: Mapping[str, float | None], regions: Mapping[str, float], faults: list[Fault]
) -> dict[str, float]:
    """Return the regions chosen with `--regions`, name -> weight; add an error to `faults` for each invalid one.

    chosen: name -> weight; None takes the weight from `regions`, the plan's own.
    """
    found: dict[str, float] = {}
    for name, weight in chosen.items():
        if weight is None and name not in regions:
            faults.append(Fault("--regions", 0, f'the plan has no region "{name}"', did_you_mean(name, regions)))
        elif weight is not None and not (isfinite(weight) and weight >= 0):
            message = f"the weight of {name} is {weight:g}"
            faults.append(Fault("--regions", 0, message, "write a finite number of at least 0"))
        else:
            found[name] = regions[name] if weight is None else weight
    if not faults and not any(found.values()):
        faults.append(Fault("--regions", 0, "all weights are 0", "write at least one weight above 0"))
    return found


def overrides_wrong(lanes: Sequence[DrivenLoad], overrides: Overrides) -> Iterator[Fault]:
    """Yield an error if `--rate`, `--users` or `--duration` cannot be applied to the loads as written."""
    option = {"rate": "--rate", "users": "--users"}.get(overrides.peak_of, "peak")
    try:
        if overrides.peak is not None:
            lanes = scaled(lanes, overrides.peak, overrides.peak_of)
    except ProfileError as error:
        yield from (Fault(option, 0, fault.message, fault.hint) for fault in error.faults)
        return
    try:
        if overrides.duration_s is not None:
            stretched(lanes, override_ns(overrides.duration_s))
    except ProfileError as error:
        yield from (Fault("--duration", 0, fault.message, fault.hint) for fault in error.faults)


def override_ns(duration_s: float) -> int:
    """Return the value of `--duration`, given in seconds, in ns; raises ProfileError if it is invalid."""
    try:
        return parse_duration(duration_s)
    except ValueError as error:
        raise ProfileError(str(error)) from None
