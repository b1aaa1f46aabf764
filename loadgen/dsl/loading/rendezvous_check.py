"""Checks rendez-vous calls in a scenario's files without running them: can that many users ever meet?

Only literal numbers and constants of the module are known before the run. Computed
numbers are not checked; in the run, each user waits no longer than its time-out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from loadgen.dsl.loading.source_analysis import Source
from loadgen.dsl.plans.plan_loads import DrivenLoad, most_iterations
from loadgen.errors import Fault
from loadgen.profiles.profile import IterationProfile, UserProfile
from loadgen.units import format_count

__all__ = ["RendezvousCall", "most_together", "number_faults", "rendezvous_calls"]


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


def most_together(lane: DrivenLoad) -> tuple[int, str]:
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
