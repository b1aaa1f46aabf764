"""Reads objectives from text: `p(99)<300ms` of an option becomes the same value as in a scenario.

    read_objective("p(99, request='GET /') < 300ms", "--of")

The words are those of the language: `p`, `error_ratio` and `goodput`, compared with a limit. The limit needs no quotes,
because a shell has its own. Nothing is evaluated: Python's parser reads the call, and only plain values, `any_of` and
`none_of` are accepted as arguments.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from loadgen.dsl.plans.objectives.goodput import goodput
from loadgen.dsl.plans.objectives.slo import any_of, error_ratio, none_of, p
from loadgen.dsl.plans.objectives.slo_expression import Slo
from loadgen.dsl.source_location import Origin
from loadgen.errors import Fault
from loadgen.similar_names import did_you_mean

__all__ = ["MAX_LENGTH", "read_objective"]

MAX_LENGTH: Final = 1000
"""Longest text of an objective, in characters."""
_WORDS: Final[Mapping[str, Callable[..., Any]]] = {"p": p, "error_ratio": error_ratio, "goodput": goodput}
_CHOICES: Final[Mapping[str, Callable[..., Any]]] = {"any_of": any_of, "none_of": none_of}
_LIKE: Final = "write it as in a scenario: p(99)<300ms or error_ratio()<1%"
_COMPARED: Final = re.compile(r"^(?P<left>.*\))\s*(?P<sign><=|>=|=<|=>|==|<|>|=)\s*(?P<limit>[^()<>=]+)$", re.DOTALL)


def read_objective(text: str, where: str) -> Slo:
    """Return the objective that `text` writes down. It never raises: an error becomes one of the objective's faults.

    Args:
        text: such as `p(99)<300ms`, `error_ratio(step="pay") < 1%`, `goodput(ttft="500ms") > 95%`. At most
            `MAX_LENGTH` characters.
        where: the place of the text in messages, such as "--of".
    """
    origin = Origin(where, 0)
    if len(text) > MAX_LENGTH:
        return _wrong(origin, f"{len(text):,} characters are too long for an objective", _LIKE)
    if not text.strip():
        return _wrong(origin, "the objective is empty", _LIKE)
    found = _COMPARED.match(text.strip())
    if found is None:
        return _wrong(origin, f'"{text}" is not an objective', _LIKE)
    try:
        called = _called(found["left"])
        if found["sign"] in ("=", "=="):
            raise _NoObjectiveError("an objective is above or below its limit", "use < or >")
    except _NoObjectiveError as error:
        return _wrong(origin, f'"{text}": {error}', error.hint)
    limit = found["limit"].strip().strip("'\"").strip()
    return _placed(_compared(called, found["sign"], limit), origin)


class _NoObjectiveError(Exception):
    """The text is not an objective. The message is the reason."""

    def __init__(self, message: str, hint: str = _LIKE) -> None:
        super().__init__(message)
        self.hint = hint


def _called(left: str) -> Any:
    """Return the value of the call left of the comparison, such as `p(99)`.

    Raises:
        _NoObjectiveError: it is something else, or has an argument that is not a plain value.
    """
    try:
        tree = ast.parse(left, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _NoObjectiveError(f'"{left}" cannot be read') from None
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise _NoObjectiveError(f'"{left}" is not one of {", ".join(_WORDS)} with its arguments')
    word = _WORDS.get(tree.func.id)
    if word is None:
        near = did_you_mean(tree.func.id, _WORDS)
        hint = near if near.startswith("did you mean") else f"use one of {', '.join(_WORDS)}"
        raise _NoObjectiveError(f'a load cannot follow "{tree.func.id}"', hint)
    if any(keyword.arg is None for keyword in tree.keywords):
        raise _NoObjectiveError("** is not supported")
    try:
        given = [_plain(one) for one in tree.args]
        named = {str(keyword.arg): _plain(keyword.value) for keyword in tree.keywords}
        return word(*given, **named)
    except TypeError as error:  # Python's own text names the argument
        raise _NoObjectiveError(str(error)) from None


def _plain(node: ast.expr) -> Any:
    """Return the value of a literal, a dictionary of literals, or `any_of` or `none_of` of literals."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        if isinstance(value, int | float):
            return -value
    if isinstance(node, ast.Dict) and all(key is not None for key in node.keys):
        return {_plain(key): _plain(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        choice = _CHOICES.get(node.func.id)
        if choice is not None:
            return choice(*map(_plain, node.args))
    raise _NoObjectiveError(f'the argument "{ast.unparse(node)}" is not a plain value', 'write request="GET /"')


def _compared(value: Any, sign: str, limit: str) -> Slo:
    compared: Slo
    match sign:
        case "<":
            compared = value < limit
        case ">":
            compared = value > limit
        case "<=" | "=<":
            compared = value <= limit
        case _:
            compared = value >= limit
    return compared


def _placed(slo: Slo, origin: Origin) -> Slo:
    """Return the objective with its place, and those of its faults, on the command line."""
    faults = tuple(Fault(origin.file, origin.line, one.message, one.hint) for one in slo.faults)
    return replace(slo, origin=origin, faults=faults)


def _wrong(origin: Origin, message: str, hint: str) -> Slo:
    return Slo(origin, None, (origin.fault(message, hint),))
