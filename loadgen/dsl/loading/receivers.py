"""Finds which expressions of a function are its user, an HTTP client of the user, or a reply.

A name is a user by its annotation (`User`), by its function's decorator (`@journey`, `@node`), or
because it is called `user`. A name is a reply if all assignments to it in the function are replies:
`page = await user.http.get("/")`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

__all__ = ["ENTERED", "METHODS_AWAITED", "VERBS", "Function", "Receivers", "functions", "own_nodes"]

VERBS: Final = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "request"})
METHODS_AWAITED: Final = frozenset({"think", "pace", "rendezvous", "poll", "gather"})
ENTERED: Final = frozenset({"step", "measure"})
_USERS: Final = re.compile(r"\b(User|UserWith)\b")
_JOURNEYS: Final = re.compile(r"journey|\bnode\b|\.set_up$|\.tear_down$")
_SAME_REPLY: Final = frozenset({"expect", "raise_for_status"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Receivers:
    """The users, clients and replies of one function.

    outer: those of the function around it, whose names it can use.
    """

    def __init__(self, fn: Function, outer: Receivers | None = None) -> None:
        arguments = [*fn.args.posonlyargs, *fn.args.args, *fn.args.kwonlyargs]
        self.is_journey = any(_JOURNEYS.search(ast.unparse(decorator)) for decorator in fn.decorator_list)
        self.is_stateless = any(_is_stateless(decorator) for decorator in fn.decorator_list)
        """True for a journey without `state=`."""
        self._users = {arg.arg for arg in arguments if _is_user(arg)} | (
            {arguments[0].arg} if self.is_journey and arguments else set()
        )
        self._clients = {arg.arg for arg in arguments if _is_annotated(arg, "HttpClient")}
        for node in ast.walk(fn):
            if isinstance(node, ast.Assign) and self._is_client(node.value):
                self._clients |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        self._replies = {arg.arg for arg in arguments if _is_annotated(arg, "Reply")}
        if outer is not None:
            own = {arg.arg for arg in arguments}
            self._users |= outer._users - own
            self._clients |= outer._clients - own
        self._replies |= self._assigned_replies(fn)

    @property
    def has_user(self) -> bool:
        return bool(self._users or self._clients)

    def kind(self, call: ast.Call) -> str:
        """Return the kind of a call.

        "awaited": it needs `await`. "entered": it needs `async with`. "target": it is `user.to(...)`. "": another call.
        """
        func = call.func
        if not isinstance(func, ast.Attribute):
            return ""
        if self._is_user(func.value):
            by_name = {"to": "target"} | dict.fromkeys(METHODS_AWAITED, "awaited") | dict.fromkeys(ENTERED, "entered")
            return by_name.get(func.attr, "")
        if self._is_client(func.value):
            return "awaited" if func.attr in VERBS else "entered" if func.attr == "stream" else ""
        return ""

    def is_client(self, func: ast.expr) -> bool:
        """Return True if a called function is a method of one of the user's HTTP clients: `user.http.get`."""
        return isinstance(func, ast.Attribute) and self._is_client(func.value)

    def kind_of_value(self, node: ast.expr) -> str:
        """Return the kind of an expression: "user", "client" (an HTTP client of the user), "reply", or ""."""
        if self._is_user(node):
            return "user"
        return "client" if self._is_client(node) else "reply" if self._is_reply(node) else ""

    def _is_user(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self._users

    def _is_client(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self._clients
            case ast.Attribute(value=owner, attr="http"):
                return self._is_user(owner)
            case ast.Call(func=ast.Attribute(value=owner, attr="to")):
                return self._is_user(owner)
        return False

    def _is_reply(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self._replies
            case ast.NamedExpr(value=value):
                return self._is_reply(value)
            case ast.Await(value=ast.Call(func=ast.Attribute(value=owner, attr=verb))):
                return verb in VERBS and self._is_client(owner)
            case ast.Call(func=ast.Attribute(value=owner, attr=method)):
                return method in _SAME_REPLY and self._is_reply(owner)
        return False

    def _assigned_replies(self, fn: Function) -> set[str]:
        """Return the names to which only replies are assigned."""
        replies: set[str] = set()
        others: set[str] = set()
        for node in ast.walk(fn):
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.NamedExpr(target=ast.Name(id=name), value=value)
                ):
                    (replies if self._is_reply(value) else others).add(name)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    (replies if self._is_reply(value) else others).add(name)
                case ast.withitem(context_expr=ast.Call() as call, optional_vars=ast.Name(id=name)):
                    (replies if self.kind(call) == "entered" and self.is_client(call.func) else others).add(name)
                case ast.For(target=target) | ast.AsyncFor(target=target) | ast.comprehension(target=target):
                    others |= {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
                case ast.Assign(targets=targets):
                    others |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
        return replies - others


def functions(node: ast.AST, outer: Receivers | None = None) -> Iterator[tuple[Function, Receivers]]:
    """Yield each function below a syntax node with its receivers; a function comes before those that it contains.

    outer: the receivers of the function around the node.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            receivers = Receivers(child, outer)
            yield child, receivers
            yield from functions(child, receivers)
        else:
            yield from functions(child, outer)


def own_nodes(fn: Function) -> Iterator[ast.AST]:
    """Yield all syntax nodes of the function's body, also those of nested functions and lambdas.

    The bodies of nested async functions are left out, because they are checked as functions of their own.
    """
    waiting: list[ast.AST] = list(fn.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)


def _is_stateless(decorator: ast.expr) -> bool:
    """Return True for `@journey`, and for `@journey(...)` without `state=`."""
    call = decorator if isinstance(decorator, ast.Call) else None
    name = ast.unparse(decorator if call is None else call.func).rpartition(".")[2]
    return name == "journey" and (call is None or not {"state", None} & {keyword.arg for keyword in call.keywords})


def _is_user(arg: ast.arg) -> bool:
    return arg.arg == "user" if arg.annotation is None else _USERS.search(ast.unparse(arg.annotation)) is not None


def _is_annotated(arg: ast.arg, kind: str) -> bool:
    return arg.annotation is not None and ast.unparse(arg.annotation).strip("'\"").rpartition(".")[2] == kind
