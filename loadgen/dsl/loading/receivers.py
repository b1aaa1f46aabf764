"""Finds which expressions of a function are its user, a client or connection of the user, a reply, or its form.

A name is a user by its annotation (`User`), by its function's decorator (`@journey`, `@node`), or
because it is called `user`. A name is a reply if all assignments to it in the function are replies:
`page = await user.http.get("/")`. The same holds for forms: `form = page.form("#login")`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

__all__ = ["ENTERED", "METHODS_AWAITED", "VERBS", "Function", "Receivers", "functions", "own_nodes"]

VERBS: Final = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "request"})
METHODS_AWAITED: Final = frozenset({"think", "pace", "rendezvous", "poll", "gather"})
ENTERED: Final = frozenset({"step", "measure", "ws", "browser"})
_CALLS_OF_USER: Final = (
    dict.fromkeys(("to", "tcp", "udp", "target", "grpc_channel"), "target")
    | dict.fromkeys(METHODS_AWAITED, "awaited")
    | dict.fromkeys(ENTERED, "entered")
)
_USERS: Final = re.compile(r"\b(User|UserWith)\b")
_JOURNEYS: Final = re.compile(r"journey|\bnode\b|\.set_up$|\.tear_down$")
LINK_METHODS: Final = frozenset({"ask", "send", "receive"})
"""Methods of a TCP connection and of a UDP socket that need `await`."""
WS_METHODS: Final = frozenset({"ask", "send", "ping", "close"})
"""Methods of a WebSocket that need `await`."""
PAGE_METHODS: Final = frozenset({
    "goto", "reload", "go_back", "go_forward", "click", "dblclick", "tap", "fill", "type", "press", "check", "uncheck",
    "hover", "focus", "select_option", "wait_for_selector", "wait_for_timeout", "wait_for_load_state", "wait_for_url",
    "evaluate", "content", "title", "screenshot",
})  # fmt: skip
"""Methods of a page in a browser that need `await`: the usual ones of Playwright's `Page`."""
GRPC_METHODS_AWAITED: Final = frozenset({"reflect"})
"""Methods of a gRPC channel that need `await`."""
_OPENED: Final = {"tcp": "link", "ws": "ws", "browser": "page"}
"""The kind of the value that `async with user.tcp(...) as link:` gives, by the method."""
_RETURNED: Final = {
    ("user", "to"): "client",
    ("user", "udp"): "udp",
    ("user", "grpc_channel"): "grpc",
    ("grpc", "accepting"): "grpc",
    ("grpc", "service"): "service",
    ("reply", "expect"): "reply",
    ("reply", "raise_for_status"): "reply",
    ("reply", "form"): "form",
}
"""The kind of the value that a method returns, by the kind of its owner and its name."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Receivers:
    """The users, clients, replies and forms of one function.

    outer: those of the function around it, whose names it can use.
    """

    def __init__(self, fn: Function, outer: Receivers | None = None) -> None:
        arguments = [*fn.args.posonlyargs, *fn.args.args, *fn.args.kwonlyargs]
        self.is_journey = any(_JOURNEYS.search(ast.unparse(decorator)) for decorator in fn.decorator_list)
        self.is_stateless = any(_is_stateless(decorator) for decorator in fn.decorator_list)
        """True for a journey without `state=`."""
        self._shadowed = set(_shadowed(fn))
        """Names within lambdas, comprehensions and inner functions that stand for something else there."""
        own = {arg.arg: _kind_of_argument(arg) for arg in arguments}
        if self.is_journey and arguments:
            own[arguments[0].arg] = "user"
        around: Mapping[str, str] = {} if outer is None else outer._kinds
        kept = {name: kind for name, kind in around.items() if kind in ("user", "client")}
        self._kinds: Mapping[str, str] = kept | own
        """The kind of each name, as `kind_of_value` returns it."""
        self._find_assigned(fn)

    @property
    def has_user(self) -> bool:
        return not {"user", "client"}.isdisjoint(self._kinds.values())

    def kind(self, call: ast.Call) -> str:
        """Return the kind of a call.

        "awaited": it needs `await`. "entered": it needs `async with`. "target": it names a target, as `user.to(...)`.
        "": another call.
        """
        func = call.func
        if not isinstance(func, ast.Attribute):
            return ""
        match self.kind_of_value(func.value):
            case "user":
                return _CALLS_OF_USER.get(func.attr, "")
            case "client":
                return "awaited" if func.attr in VERBS else "entered" if func.attr == "stream" else ""
            case "form" if func.attr == "submit":
                return "awaited"
            case "link" | "udp" if func.attr in LINK_METHODS:
                return "awaited"
            case "ws" if func.attr in WS_METHODS:
                return "awaited"
            case "grpc" if func.attr in GRPC_METHODS_AWAITED:
                return "awaited"
            case "page" if func.attr in PAGE_METHODS:
                return "awaited"
        return ""

    def is_client(self, func: ast.expr) -> bool:
        """Return True if a called function is a method of one of the user's HTTP clients: `user.http.get`."""
        return isinstance(func, ast.Attribute) and self.kind_of_value(func.value) == "client"

    def kind_of_value(self, node: ast.expr) -> str:
        """Return the kind of an expression; "" if it is none of these.

        "user", "client" (an HTTP client of the user), "random" (the user's random numbers), "reply", "form", "link" (a
        TCP connection), "udp" (a UDP socket), "ws" (a WebSocket), "page" (a page in a browser), "grpc" (a channel),
        "stub" (a generated stub of a channel), "service" (a gRPC service that is known by its descriptors).
        """
        match node:
            case ast.Name(id=name):
                return self._kinds.get(name, "") if node not in self._shadowed else ""
            case ast.NamedExpr(value=value):
                return self.kind_of_value(value)
            case ast.Attribute(value=owner, attr="http") if self.kind_of_value(owner) == "user":
                return "client"
            case ast.Attribute(value=owner, attr="random") if self.kind_of_value(owner) == "user":
                return "random"
            case ast.Attribute(value=owner, attr="grpc") if self.kind_of_value(owner) == "user":
                return "grpc"
            case ast.Call(func=made, args=[channel, *_]) if _is_stub(made) and self.kind_of_value(channel) == "grpc":
                return "stub"
            case ast.Await(value=ast.Call(func=ast.Attribute(value=owner, attr=method))):
                of = self.kind_of_value(owner)
                if (of, method) == ("grpc", "reflect"):
                    return "service"
                return "reply" if (of == "client" and method in VERBS) or (of == "form" and method == "submit") else ""
            case ast.Call(func=ast.Attribute(value=ast.Name(id="User"), attr="current")):
                return "user"
            case ast.Call(func=ast.Attribute(value=owner, attr=method)):
                return _RETURNED.get((self.kind_of_value(owner), method), "")
        return ""

    def _find_assigned(self, fn: Function) -> None:
        """Add the names to which only values of one kind are assigned."""
        nodes = list(ast.walk(fn))
        for _ in range(8):  # a name may be a reply because of another one: `shown = page.expect(status=200)`
            kinds: dict[str, set[str]] = {}
            for name, kind in self._assigned(nodes):
                kinds.setdefault(name, set()).add(kind)
            found = {name: kind for name, kind in self._kinds.items() if name not in kinds}
            found |= {name: next(iter(those)) if len(those) == 1 else "" for name, those in kinds.items()}
            if found == self._kinds:
                return
            self._kinds = found
        self._kinds = {}  # names that depend on each other

    def _assigned(self, nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
        """Yield (name, kind) of each value that a name gets, except None, which has nothing that a check allows."""
        for node in nodes:
            targets: list[ast.expr] = []
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.NamedExpr(target=ast.Name(id=name), value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    if not (isinstance(value, ast.Constant) and value.value is None):
                        yield name, self.kind_of_value(value)
                case ast.withitem(
                    context_expr=ast.Call(func=ast.Attribute(value=owner, attr=method)), optional_vars=ast.Name(id=name)
                ) if method in _OPENED and self.kind_of_value(owner) == "user":
                    yield name, _OPENED[method]
                case ast.withitem(context_expr=ast.Call() as call, optional_vars=ast.Name(id=name)):
                    yield name, "reply" if self.kind(call) == "entered" and self.is_client(call.func) else ""
                case ast.withitem(optional_vars=ast.expr() as target):
                    targets = [target]
                case ast.For(target=target) | ast.AsyncFor(target=target):
                    targets = [target]
                case ast.Assign(targets=targets):
                    pass
                case ast.AugAssign(target=target):
                    targets = [target]
            for one in targets:
                names = (part for part in ast.walk(one) if isinstance(part, ast.Name))
                yield from ((part.id, "") for part in names if isinstance(part.ctx, ast.Store))


def _shadowed(fn: Function) -> Iterator[ast.Name]:
    """Yield the uses of names that a lambda, comprehension or inner function of `fn` binds itself."""
    for scope in ast.walk(fn):
        own: set[str] = set()
        match scope:
            case ast.Lambda() | ast.FunctionDef() | ast.AsyncFunctionDef() if scope is not fn:
                is_lambda = isinstance(scope, ast.Lambda)
                arguments = [one for one in ast.walk(scope.args) if isinstance(one, ast.arg)]
                own = {one.arg for one in arguments if is_lambda or not _is_user(one)}
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                names = (part for one in scope.generators for part in ast.walk(one.target))
                own = {one.id for one in names if isinstance(one, ast.Name)}
            case _:
                pass
        if own:
            yield from (one for one in ast.walk(scope) if isinstance(one, ast.Name) and one.id in own)


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


def _kind_of_argument(arg: ast.arg) -> str:
    if _is_user(arg):
        return "user"
    return "client" if _is_annotated(arg, "HttpClient") else "reply" if _is_annotated(arg, "Reply") else ""


def _is_stub(made: ast.expr) -> bool:
    """Return True if a called name is that of a generated stub: `CartStub`, `shop_pb2_grpc.CartStub`."""
    name = made.attr if isinstance(made, ast.Attribute) else made.id if isinstance(made, ast.Name) else ""
    return name.endswith("Stub")


def _is_user(arg: ast.arg) -> bool:
    return arg.arg == "user" if arg.annotation is None else _USERS.search(ast.unparse(arg.annotation)) is not None


def _is_annotated(arg: ast.arg, kind: str) -> bool:
    return arg.annotation is not None and ast.unparse(arg.annotation).strip("'\"").rpartition(".")[2] == kind
