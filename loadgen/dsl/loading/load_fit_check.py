"""Checks whether the waits in a scenario's files fit the loads of a plan, without running the files.

    user.rendezvous("sale", users=200)   the load has at most 50 users at a time               error
    user.think(1000, 3000)               numbers are seconds, and the whole run takes 90 s      warning
    user.http.get("/", timeout=5000)     the same                                               warning
    user.pace("10s")                     in an open load, which starts iterations by arrivals   warning

Only literals and constants are known before the run. Computed numbers are not checked.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.receivers import own_nodes
from loadgen.dsl.loading.source_analysis import Source, place
from loadgen.dsl.plans.plan import Plan
from loadgen.dsl.plans.plan_loads import DrivenLoad, most_iterations
from loadgen.dsl.users.argument_checks import duration_ns
from loadgen.errors import Fault, UsageError
from loadgen.profiles.profile import IterationProfile, UserProfile
from loadgen.units import format_count, format_duration

__all__ = ["number_faults", "rendezvous_calls", "rendezvous_misfits", "wait_misfits"]


@dataclass(frozen=True, slots=True)
class RendezvousCall:
    """One call of `user.rendezvous(...)` in a file."""

    file: str
    line: int
    name: str
    """The rendez-vous' name; computed parts are `{...}`."""
    is_computed: bool
    users: int | None
    """None: not a literal number or constant."""
    function: int
    """The first line of the function that contains the call."""


def rendezvous_calls(source: Source) -> Iterator[RendezvousCall]:
    """Yield all calls of `rendezvous(..., users=...)` in a file."""
    for first_line, fn in source.functions():
        for node in _own_nodes(fn.body):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if node.func.attr != "rendezvous" or "users" not in given:
                continue
            named = node.args[0] if node.args else given.get("name")
            pattern, text = source.text_of(named) if named is not None else (".+", "{...}")
            users = source.number_of(given["users"])
            yield RendezvousCall(str(source.path), node.lineno, text, ".+" in pattern, users, first_line)


def number_faults(calls: Iterable[RendezvousCall]) -> Iterator[Fault]:
    """Yield an error for each call whose number of users is invalid or differs from that of another with its name."""
    first: dict[str, RendezvousCall] = {}
    for call in sorted(calls, key=lambda call: (call.file, call.line)):
        if call.users is None:
            continue
        if call.users < 1:
            hint = "write the number of users that meet: users=100"
            yield Fault(call.file, call.line, f'rendez-vous "{call.name}": users={call.users} must be at least 1', hint)
        elif not call.is_computed and (other := first.setdefault(call.name, call)).users != call.users:
            message = (
                f'rendez-vous "{call.name}" has users={format_count(call.users)} here and users='
                f"{format_count(other.users or 0)} in line {other.line}"
            )
            yield Fault(call.file, call.line, message, "use the same number at both places, or two different names")


def rendezvous_misfits(
    calls: Iterable[RendezvousCall], journeys: Iterable[Journey[Any]], plan: Plan
) -> Iterator[tuple[Fault, bool]]:
    """Yield (error, whether it is only a warning) of each rendez-vous that waits for more users than a load can have.

    journeys: all journeys of the scenario.
    """
    own_places = _places(journeys)
    for call in calls:
        if call.users is None:
            continue
        own = [lane for lane in plan.lanes if (call.file, call.function) in _places(lane.journeys)]
        # Any journey may call a helper, so a helper causes only a warning, and only if no load has enough users.
        is_helper = (call.file, call.function) not in own_places
        most = [_most_together(lane) for lane in (plan.lanes if is_helper else own)]
        too_few = [(number, why) for number, why in most if number < call.users]
        if not too_few or (is_helper and len(too_few) < len(most)):
            continue
        message = f'rendez-vous "{call.name}" waits for {format_count(call.users)} users, but the load {too_few[0][1]}'
        hint = "write a smaller users=, or raise the load's number of users; param(...) makes it a setting of each run"
        yield Fault(call.file, call.line, message, hint), is_helper


def wait_misfits(sources: Iterable[Source], plan: Plan) -> Iterator[Fault]:
    """Yield a warning for each time that is longer than the whole run, and each pace that no load of the plan keeps.

    Only the journeys themselves are checked, because any journey may call a helper.
    """
    in_plan = _places(plan.journeys)
    closed = _places(one for lane in plan.lanes if not _is_open(lane) for one in lane.journeys)
    run_ns = None if plan.duration_ns is None else plan.duration_ns + plan.longest_drain_ns
    for source in sources:
        lines = {fn: line for line, fn in source.functions()}
        for fn, receivers in source.receivers:
            at = str(source.path), lines[fn]
            for node in own_nodes(fn) if at in in_plan else ():
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                if source.is_allowed(node):
                    continue
                match receivers.kind_of_value(node.func.value), node.func.attr:
                    case "user", "think" if run_ns is not None:
                        given = [*node.args, *(keyword.value for keyword in node.keywords)]
                        yield from _too_long(source, node, "think", given, run_ns)
                    case "client", _ if run_ns is not None:
                        given = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
                        yield from _too_long(source, node, "timeout", given, run_ns)
                    case "user", "pace" if at not in closed:
                        message = "user.pace only keeps the user busy: in an open load, arrivals start the iterations"
                        yield source.fault(node, message, 'remove it, or write a closed load: users(50).hold("10m")')
                    case _:
                        pass


_WRITTEN: Final = {"think": "think({})", "timeout": "timeout={}"}


def _too_long(source: Source, call: ast.Call, word: str, given: list[ast.expr], run_ns: int) -> Iterator[Fault]:
    """Yield a warning for the times of a call if all of them are longer than the run. word: "think" or "timeout"."""
    values = [source.value_of(one) for one in given]
    try:
        times_ns = [duration_ns(value, word) for value in values]
    except (UsageError, ValueError):
        return  # not known before the run, or reported by the check of arguments
    is_in_ms = all(isinstance(value, int | float) and value >= 100 for value in values)
    if not times_ns or min(times_ns) < run_ns or (word == "timeout" and not is_in_ms):
        return
    written = _WRITTEN[word].format(", ".join(map(repr, values)))
    message = f"{written} is longer than the whole run, which takes {format_duration(run_ns)} with its drain"
    hint = "write a shorter time, or a longer load"
    if is_in_ms:
        in_ms = _WRITTEN[word].format(", ".join(f'"{value}ms"' for value in values))
        hint = f"write {in_ms} for milliseconds: numbers are seconds"
    yield source.fault(call, message, hint)


def _is_open(lane: DrivenLoad) -> bool:
    return not isinstance(lane.profile, UserProfile | IterationProfile)


def _places(journeys: Iterable[Journey[Any]]) -> set[tuple[str, int]]:
    """Return the (file, first line) of each function that the journeys run."""
    return {place(fn) for one in journeys for _, fn in one.parts}


def _most_together(lane: DrivenLoad) -> tuple[int, str]:
    """Return how many users of a load can wait at the same time at most, and why, as text that follows "the load"."""
    profile = lane.profile
    if isinstance(profile, UserProfile):
        return profile.peak, f"has at most {format_count(profile.peak)} users at a time"
    if isinstance(profile, IterationProfile):
        return profile.users, f"has {format_count(profile.users)} users for {format_count(profile.total())} iterations"
    total = most_iterations(lane, profile)
    if lane.max_users is not None and lane.max_users < total:
        return lane.max_users, f"has max_users={format_count(lane.max_users)}"
    most = "at most " if lane.steering is not None else ""
    return total, f"has {most}{format_count(total)} arrivals"


def _own_nodes(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield all syntax nodes of a function's body, without those of nested functions, which are visited separately."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _own_nodes(ast.iter_child_nodes(node))
