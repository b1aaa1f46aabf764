"""Follows arguments into helpers: `await open_page(user, "/cart")` sends `/cart` if the helper sends its argument.

Only calls in the file of the helper are followed, and only one step: a helper of a helper stays unknown.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import deepcopy

from loadgen.dsl.loading.receivers import Function

__all__ = ["each_use"]


def each_use(tree: ast.Module, function: Function, request: ast.Call) -> list[ast.Call]:
    """Return a request once for each call of its function, with the arguments of the call in place of the parameters.

    Each has the place of the call. Return the request itself if it uses no parameter, or if no call can be read.
    """
    parameters = {one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}
    given = [
        *request.args,
        *(keyword.value for keyword in request.keywords if keyword.arg in ("url", "name", "method")),
    ]
    used = {name.id for one in given for name in ast.walk(one) if isinstance(name, ast.Name)} & parameters
    if not used:
        return [request]
    found = []
    for site in _sites(tree, function):
        arguments = _arguments(function, site)
        if arguments is not None and used <= arguments.keys():
            one = _Filled({name: arguments[name] for name in used}).visit(deepcopy(request))
            found.append(ast.copy_location(one, site))
    return found or [request]


def _sites(tree: ast.Module, function: Function) -> Iterator[ast.Call]:
    """Yield the calls of a function, `open_page(...)`, or of a method, `self.open_page(...)`."""
    is_method = _is_method(function)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) if name == function.name and not is_method:
                    yield node
                case ast.Attribute(value=ast.Name(), attr=name) if name == function.name and is_method:
                    yield node


def _arguments(function: Function, site: ast.Call) -> dict[str, ast.expr] | None:
    """Return the expression of each parameter of a function in a call; None for a call with `*` or `**`."""
    if any(isinstance(one, ast.Starred) for one in site.args) or any(one.arg is None for one in site.keywords):
        return None
    arguments = function.args
    places = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    found = dict(zip(reversed(places), reversed(arguments.defaults), strict=False))
    found |= {
        one.arg: default
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    }
    found |= dict(zip(places[_is_method(function) :], site.args, strict=False))
    return found | {one.arg: one.value for one in site.keywords if one.arg is not None}


def _is_method(function: Function) -> bool:
    first = (*function.args.posonlyargs, *function.args.args)[:1]
    return bool(first) and first[0].arg in ("self", "cls")


class _Filled(ast.NodeTransformer):
    """Puts expressions in place of names. The expressions are not copied, because loops are found by their nodes."""

    def __init__(self, values: dict[str, ast.expr]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._values.get(node.id, node)
