"""Finds common mistakes in a scenario's files without running them.

    user.http.get("/")                          never awaited, so nothing is sent             error
    user.http.get("/").expect(status=200)       the same                                      error
    with user.step("login"): ...                a step needs `async with`                     error
    user.htp.get("/")                           User has no such attribute                    error
    user.to("logn").get("/")                    the plan has no such target                   error
    f"Bearer {token}" of a secret               gives the text "Bearer ****"                  error
    orders = counter(f"orders {i}")             in a journey: the metric is not recorded      error
    time.sleep(1), requests.get(...)            blocks all users of the worker                warning
    asyncio.sleep(1)                            counts as the target's response time          warning

Only certain mistakes are errors. A variable is taken as a user by its annotation
(`User`), by its function's decorator (`@journey`, `@node`), or by its name `user`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from loadgen.clients.http import HttpClient
from loadgen.clients.request.prepare import AllOptions
from loadgen.dsl.loading.source_analysis import Source
from loadgen.dsl.plans.argument_validation import did_you_mean
from loadgen.dsl.users.user import UserWith
from loadgen.errors import Fault

__all__ = ["RequestName", "mistakes", "request_names"]

_VERBS = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "request"})
_AWAITED = frozenset({"think", "pace", "rendezvous", "poll", "gather"})
_ENTERED = frozenset({"step", "measure"})
_METRICS = frozenset({"counter", "gauge", "trend", "rate"})
_USERS = re.compile(r"\b(User|UserWith)\b")
_JOURNEYS = re.compile(r"journey|\bnode\b")

_THINK = "write `await user.think(...)`: think time does not count as response time"
_HTTP = "write `await user.http.get(...)`: it is measured and does not block"
_THREAD = "write `await asyncio.to_thread(...)`, or do it before the run, in set_up"
_BLOCKING = {
    "time.sleep": _THINK,
    "requests": _HTTP,
    "urllib.request.urlopen": _HTTP,
    "httpx.get": _HTTP,
    "httpx.post": _HTTP,
    "httpx.put": _HTTP,
    "httpx.patch": _HTTP,
    "httpx.delete": _HTTP,
    "httpx.request": _HTTP,
    "httpx.Client": _HTTP,
    "http.client": _HTTP,
    "urllib3": _HTTP,
    "subprocess.run": _THREAD,
    "subprocess.call": _THREAD,
    "subprocess.check_call": _THREAD,
    "subprocess.check_output": _THREAD,
    "socket.create_connection": _THREAD,
    "os.system": _THREAD,
    "input": "use param(...) or a feed: a run has no terminal input",
}

_OF_USER = frozenset(dir(UserWith))
_OF_CLIENT = frozenset(dir(HttpClient))
"""All attributes of the two classes. Both have slots, so other attributes can never exist."""
_OPTIONS = frozenset(AllOptions.__annotations__) | {*AllOptions.__optional_keys__, "name", "expect", "tags"}

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def mistakes(source: Source, targets: Collection[str] | None = None) -> tuple[list[Fault], list[Fault]]:
    """Return the errors and the warnings found in the text of one file, as two lists.

    targets: all target names of the file's plans; None if they are unknown, and then target names are not checked.
    """
    reading = _Reading(source, targets)
    reading.secrets()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef):
            reading.function(node)
    return reading.faults, reading.warnings


class _Reading:
    def __init__(self, source: Source, targets: Collection[str] | None) -> None:
        self._targets = targets
        self._file, self._tree = str(source.path), source.tree
        self._parents = {child: node for node in ast.walk(source.tree) for child in ast.iter_child_nodes(node)}
        self._imported = dict(_imported(source.tree))
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []

    def secrets(self) -> None:
        """Add an error for each secret that is inserted into a text without `reveal()`."""
        names = {
            target.id
            for node in self._tree.body
            if isinstance(node, ast.Assign) and self._is_secret(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(self._tree):
            if isinstance(node, ast.FormattedValue) and (
                self._is_secret(node.value) or (isinstance(node.value, ast.Name) and node.value.id in names)
            ):
                what = _shown(node.value)
                self._fault(
                    node.value, f"{{{what}}} in a text gives ****, not the secret's value", f"write {{{what}.reveal()}}"
                )

    def _is_secret(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Call):
            return False
        name = self._dotted(node.func)
        return name.startswith("loadgen.") and name.endswith(".secret")

    def function(self, fn: ast.AsyncFunctionDef) -> None:
        clients = _Clients(fn)
        for node in _own_nodes(fn):
            if isinstance(node, ast.Attribute):
                self._check_attribute(clients, node)
            if not isinstance(node, ast.Call):
                continue
            kind = clients.kind(node)
            if kind == "awaited":
                self._check_awaited(fn, node)
                if clients.is_client(node.func):
                    self._check_options(node)
            elif kind == "entered":
                self._check_entered(node)
            elif kind == "target":
                self._check_target(node)
            self._check_blocking(node)
            self._check_metric(fn, node)

    def _check_attribute(self, clients: _Clients, node: ast.Attribute) -> None:
        kind = clients.kind_of_value(node.value)
        known = _OF_USER if kind == "user" else _OF_CLIENT if kind == "client" else None
        if known is None or node.attr in known:
            return
        hint = did_you_mean(node.attr, sorted(name for name in known if not name.startswith("_")))
        if kind == "user" and isinstance(node.ctx, ast.Store):
            hint = "keep values of a user in its state: @journey(state=Session)"
        self._fault(node, f"{_shown(node.value)} has no {node.attr}", hint)

    def _check_options(self, call: ast.Call) -> None:
        for keyword in call.keywords:
            if keyword.arg is not None and keyword.arg not in _OPTIONS:
                hint = did_you_mean(keyword.arg, sorted(_OPTIONS))
                self._fault(keyword.value, f"{_shown(call.func)}(...) has no argument {keyword.arg}", hint)

    def _check_target(self, call: ast.Call) -> None:
        if self._targets is None or not call.args or not isinstance(call.args[0], ast.Constant):
            return
        name = call.args[0].value
        if name not in self._targets:
            there = [one for one in self._targets if one]
            hint = did_you_mean(str(name), there) or 'write Plan(targets={"api": "https://api.example"})'
            self._fault(call, f"no plan in this file has a target {name!r}", hint)

    def _check_awaited(self, fn: ast.AsyncFunctionDef, call: ast.Call) -> None:
        parent, what = self._parents.get(call), _shown(call.func)
        if isinstance(parent, ast.Expr):
            self._fault(call, f"{what}(...) is never awaited, so it does nothing", f"write `await {what}(...)`")
        elif isinstance(parent, ast.Attribute):
            message = f"{what}(...) has no .{parent.attr} before it is awaited"
            self._fault(call, message, f"write `(await {what}(...)).{parent.attr}`")
        elif isinstance(parent, ast.Assign | ast.AnnAssign) and (used := self._used_unawaited(fn, parent)) is not None:
            name, attribute = used
            message = f"{what}(...) is never awaited, so {name} is not a reply and has no .{attribute}"
            self._fault(call, message, f"write `{name} = await {what}(...)`")
        elif isinstance(parent, ast.If | ast.While | ast.Compare | ast.Subscript | ast.BoolOp | ast.FormattedValue):
            self._fault(call, f"{what}(...) is used before it is awaited", f"write `await {what}(...)`")

    def _used_unawaited(self, fn: ast.AsyncFunctionDef, assign: ast.Assign | ast.AnnAssign) -> tuple[str, str] | None:
        """Return the variable that holds an un-awaited call, and an attribute read from it.

        Returns None if the variable may be awaited later, or no attribute of it is read.
        """
        targets = assign.targets if isinstance(assign, ast.Assign) else [assign.target]
        if len(targets) != 1 or not isinstance(targets[0], ast.Name):
            return None
        name, attribute = targets[0].id, ""
        for node in ast.walk(fn):
            if not (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)):
                continue
            parent = self._parents.get(node)
            if not isinstance(parent, ast.Attribute):
                return None  # awaited here, or passed to code that may await it
            attribute = attribute or parent.attr
        return (name, attribute) if attribute else None

    def _check_entered(self, call: ast.Call) -> None:
        parent, what = self._parents.get(call), _shown(call.func)
        if isinstance(parent, ast.withitem):
            block = self._parents.get(parent)
            if isinstance(block, ast.With):
                self._fault(call, f"{what}(...) is entered with `with`", f"write `async with {what}(...):`")
        elif isinstance(parent, ast.Expr | ast.Await):
            message = f"{what}(...) is not entered, so it times nothing"
            self._fault(call, message, f"write `async with {what}(...):` and indent the code to time below it")

    def _check_blocking(self, call: ast.Call) -> None:
        name = self._dotted(call.func)
        if name == "asyncio.sleep":
            message = "asyncio.sleep(...) counts as response time of the step and the journey"
            self.warnings.append(Fault(self._file, call.lineno, message, _THINK))
            return
        hint = next((h for what, h in _BLOCKING.items() if name == what or name.startswith(what + ".")), None)
        if hint is not None:
            message = f"{name}(...) blocks the event loop: all users of the worker wait meanwhile"
            self.warnings.append(Fault(self._file, call.lineno, message, hint))

    def _check_metric(self, fn: ast.AsyncFunctionDef, call: ast.Call) -> None:
        name = self._dotted(call.func)
        if name.startswith("loadgen.") and name.rpartition(".")[2] in _METRICS:
            what = _shown(call.func)
            message = f"{what}(...) within {fn.name}: a metric created during the run is not recorded"
            self._fault(call, message, f"write `orders = {what}(...)` at the top of the file, and use it in {fn.name}")

    def _dotted(self, func: ast.expr) -> str:
        """Return the full dotted name of a called function, resolved by the file's imports.

        Returns "" for a method or attribute of anything that is not imported.
        """
        text = _shown(func)
        first, dot, rest = text.partition(".")
        if first in self._imported:
            return self._imported[first] + dot + rest
        return text if not dot else ""

    def _fault(self, node: ast.expr, message: str, hint: str) -> None:
        self.faults.append(Fault(self._file, node.lineno, message, hint))


class _Clients:
    """Finds which expressions of a function are its user, and which are HTTP clients of the user."""

    def __init__(self, fn: _Function) -> None:
        arguments = [*fn.args.posonlyargs, *fn.args.args, *fn.args.kwonlyargs]
        is_journey = any(_JOURNEYS.search(ast.unparse(decorator)) for decorator in fn.decorator_list)
        self._users = {arg.arg for arg in arguments if _is_user(arg)} | (
            {arguments[0].arg} if is_journey and arguments else set()
        )
        self._clients = {
            arg.arg for arg in arguments if arg.annotation is not None and "HttpClient" in ast.unparse(arg.annotation)
        }
        for node in ast.walk(fn):
            if isinstance(node, ast.Assign) and self._is_client(node.value):
                self._clients |= {target.id for target in node.targets if isinstance(target, ast.Name)}

    def kind(self, call: ast.Call) -> str:
        """Return how a call must be used: "awaited", "entered", "target" (of `user.to`), or "" for other calls."""
        func = call.func
        if not isinstance(func, ast.Attribute):
            return ""
        if self._is_user(func.value):
            by_name = {"to": "target"} | dict.fromkeys(_AWAITED, "awaited") | dict.fromkeys(_ENTERED, "entered")
            return by_name.get(func.attr, "")
        if self._is_client(func.value):
            return "awaited" if func.attr in _VERBS else "entered" if func.attr == "stream" else ""
        return ""

    def is_client(self, func: ast.expr) -> bool:
        """Return True if a called function is a method of one of the user's HTTP clients: `user.http.get`."""
        return isinstance(func, ast.Attribute) and self._is_client(func.value)

    def kind_of_value(self, node: ast.expr) -> str:
        """Return the kind of an expression: "user" (the journey's), "client" (an HTTP client of the user), or ""."""
        return "user" if self._is_user(node) else "client" if self._is_client(node) else ""

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


def _is_user(arg: ast.arg) -> bool:
    if arg.annotation is None:
        return arg.arg == "user"
    return _USERS.search(ast.unparse(arg.annotation)) is not None


def _own_nodes(fn: _Function) -> Iterator[ast.AST]:
    """Yield all syntax nodes of the function's body, without the bodies of nested async functions."""
    waiting: list[ast.AST] = list(fn.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _shown(func: ast.expr) -> str:
    """Return an expression as source text, such as `user.http.get`; of more than 60 characters only the end."""
    text = ast.unparse(func)
    return text if len(text) <= 60 else "..." + text[-50:]


# -- names of requests ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestName:
    """The predicted name of a request: its `name=`, or its method and path."""

    pattern: str
    """Regular expression for the name; `.+` matches computed parts."""
    text: str
    """The name as shown in messages; computed parts are `{...}`."""
    is_computed: bool
    """True if any part of the name is computed."""
    is_given: bool
    """True if the name comes from `name=`, not from the path."""


def request_names(source: Source) -> Iterator[RequestName]:
    """Yield the predicted name of each call in the file that looks like a request.

    Requests of third-party clients are not found.
    """
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        verb = node.func.attr
        given = next((k.value for k in node.keywords if k.arg == "name"), None)
        if given is None and verb == "measure" and node.args:
            given = node.args[0]
        if given is not None:
            pattern, text = source.text_of(given)
            yield RequestName(pattern, text, ".+" in pattern, True)
            if verb == "poll":
                yield RequestName(pattern + r" \(poll\)", f"{text} (poll)", ".+" in pattern, True)
        elif verb in ("request", "stream") and len(node.args) > 1:
            yield _by_path(source, node.args[0], node.args[1], node)
        elif verb in _VERBS and node.args and _is_path(source, node):
            yield _by_path(source, ast.Constant(verb.upper()), node.args[0], node)


def _is_path(source: Source, call: ast.Call) -> bool:
    """Return True if the call's first argument may be a path or URL; that of `row.get("name")` is not."""
    text = source.text_of(call.args[0])[1]
    return ".http." in _shown(call.func) or text.startswith(("/", "http://", "https://", "{...}"))


def _by_path(source: Source, method: ast.expr, url: ast.expr, call: ast.Call) -> RequestName:
    if any(isinstance(k.value, ast.Call) and _shown(k.value.func).endswith("gql") for k in call.keywords):
        return RequestName(".+", "{...}", True, True)  # a GraphQL request is named by its operation
    (method_pattern, method_text), (pattern, text) = source.text_of(method), source.text_of(url)
    pattern, text = pattern.partition(r"\?")[0], text.partition("?")[0]
    is_computed = ".+" in pattern or ".+" in method_pattern
    pattern = re.sub(r"^https?://[^/]*", "(?:https?://[^/]*)?", pattern)
    # The target's own path, if it has one, comes first.
    prefix = "" if pattern.startswith("(?:") else "(?:/.*)?" if pattern.startswith("/") else "(?:/.*)?/?"
    # Requests of `user.to("login")` are named `GET login:/path`, unless "login" is the target of `user.http`.
    target = r"(?:[^/ ]+:)?"
    return RequestName(f"{method_pattern} {target}{prefix}{pattern}", f"{method_text} {text}", is_computed, False)
