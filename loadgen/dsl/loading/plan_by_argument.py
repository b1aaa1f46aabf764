"""Evaluates the arguments of a failed `plan = Plan(...)` one by one, so that one error does not hide the others.

Python stops at the first exception. If an objective of a plan fails, or an argument is unknown, the other
arguments would not be checked. So each argument is evaluated by itself, lists element by element. Then the
plan is created from the arguments that are left, and its own checks report their errors as well.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from copy import copy
from difflib import get_close_matches
from typing import Any, Final

from loadgen.dsl.loading.source_analysis import last_name
from loadgen.dsl.plans.plan import Plan
from loadgen.errors import Fault, ScenarioError

__all__ = ["errors_by_argument", "plan_call"]

_ARGUMENTS: Final = [name for name in inspect.signature(Plan).parameters if name != "self"]
_NEEDED: Final = frozenset({"target", "targets", "load", "loads", "mix"})
"""Without one of these, a plan would have errors that follow from the first one."""


def plan_call(statement: ast.stmt) -> ast.Call | None:
    """Return the call of `Plan` in a statement `NAME = Plan(...)`.

    Returns None for another statement, and for a call whose arguments cannot be told apart by their names.
    """
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    if not isinstance(value, ast.Call) or last_name(value.func) != "Plan":
        return None
    has_stars = any(isinstance(one, ast.Starred) for one in value.args) or any(k.arg is None for k in value.keywords)
    is_repeated = any(k.arg in _ARGUMENTS[: len(value.args)] for k in value.keywords)
    return None if has_stars or is_repeated or len(value.args) > len(_ARGUMENTS) else value


def errors_by_argument(
    statement: ast.stmt,
    call: ast.Call,
    evaluate: Callable[[ast.expr], Any],
    run: Callable[[ast.stmt], None],
    fault_of: Callable[[Exception], Fault | None],
) -> Iterator[Fault]:
    """Yield the errors of each argument of a failed `plan = Plan(...)`; then run it with the arguments that are left.

    Args:
        statement, call: the statement, and the call of `Plan` in it.
        evaluate: returns the value of an expression in the scenario's module.
        run: executes a statement there.
        fault_of: returns the error for an exception; None if it only follows from another one.
    """
    given = [(name, node) for name, node in zip(_ARGUMENTS, call.args, strict=False)]
    given += [(str(keyword.arg), keyword.value) for keyword in call.keywords]
    names = {name for name, _ in given}
    kept: list[ast.keyword] = []
    made: list[Any] = []
    is_whole = True
    for name, node in given:
        known = name
        if name not in _ARGUMENTS:
            yield _unknown(name, fault_of)
            close = get_close_matches(name, _ARGUMENTS, n=1, cutoff=0.6)
            if not close or close[0] in names:
                continue
            known = close[0]
        left, values, errors = _evaluated(node, evaluate)
        made += values
        for error in errors:
            if isinstance(error, ScenarioError):
                yield from error.faults
            elif (fault := fault_of(error)) is not None:
                yield fault
        if left is None:
            is_whole = is_whole and known not in _NEEDED
        else:
            kept.append(ast.copy_location(ast.keyword(known, left), node))
    if not is_whole:
        for value in made:
            yield from getattr(value, "faults", ())  # of objectives and loads
        return
    again = copy(statement)
    again.value = ast.copy_location(ast.Call(call.func, [], kept), call)  # type: ignore[attr-defined]  # as `plan_call` found
    try:
        run(again)
    except Exception as error:  # noqa: BLE001  # the user's code: a fault of the scenario
        if (fault := fault_of(error)) is not None:
            yield fault


def _evaluated(
    node: ast.expr, evaluate: Callable[[ast.expr], Any]
) -> tuple[ast.expr | None, list[Any], list[Exception]]:
    """Evaluate an argument, and a list element by element.

    Returns the argument without the elements that failed (None if all of it failed), the values, and the exceptions.
    """
    is_list = isinstance(node, ast.List | ast.Tuple)
    kept: list[ast.expr] = []
    values: list[Any] = []
    errors: list[Exception] = []
    for element in node.elts if isinstance(node, ast.List | ast.Tuple) else [node]:
        try:
            values.append(evaluate(element))
            kept.append(element)
        except Exception as error:  # noqa: BLE001  # the user's code: a fault of the scenario
            errors.append(error)
    if errors and not kept:
        return None, values, errors
    return (ast.copy_location(ast.List(kept, ast.Load()), node) if is_list else node), values, errors


def _unknown(name: str, fault_of: Callable[[Exception], Fault | None]) -> Fault:
    fault = fault_of(TypeError(f"Plan.__init__() got an unexpected keyword argument '{name}'"))
    assert fault is not None
    return fault
