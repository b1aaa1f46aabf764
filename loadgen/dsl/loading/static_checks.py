"""Finds common mistakes in a scenario's files without running them.

    user.http.get("/")                          never awaited, so nothing is sent             error
    user.http.get("/").expect(status=200)       the same                                      error
    log_in(user)                                the same, of an async function of the file    error
    with user.step("login"): ...                a step needs `async with`                     error
    user.htp.get("/")                           User has no such attribute                    error
    user.to("logn").get("/")                    the plan has no such target                   error
    f"Bearer {token}" of a secret               gives the text "Bearer ****"                  error
    orders = counter(f"orders {i}")             in a journey: the metric is not recorded      error

The arguments of calls are checked by `call_arguments.py`. Code that works and makes a measurement wrong
is found by `pitfalls.py`. Values that nothing awaits are found by `await_check.py`. Which variables are
users, clients and replies is found by `receivers.py`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from loadgen.clients.http import HttpClient
from loadgen.clients.request.prepare import AllOptions
from loadgen.clients.response.forms import Form
from loadgen.clients.response.streams import StreamedReply
from loadgen.clients.tcp_udp.tcp_link import TcpLink
from loadgen.clients.tcp_udp.udp_socket import UdpSocket
from loadgen.dsl.loading.await_check import Coroutines, is_lost
from loadgen.dsl.loading.call_arguments import wrong_calls
from loadgen.dsl.loading.other_tools import hint_of_attribute
from loadgen.dsl.loading.pitfalls import changed_globals, once_functions, pitfalls
from loadgen.dsl.loading.receivers import VERBS, Function, Receivers, own_nodes
from loadgen.dsl.loading.source_analysis import Source, read_source, short_text
from loadgen.dsl.loading.uses.protocol_arguments import owner_of
from loadgen.dsl.loading.uses.value_misuse import misuses, replies_as_data
from loadgen.dsl.users.user import UserWith
from loadgen.errors import Fault, ScenarioError
from loadgen.similar_names import did_you_mean

__all__ = ["mistakes", "mistakes_of"]

_METRICS = frozenset({"counter", "gauge", "trend", "rate"})

_COROUTINES = frozenset({"asyncio.sleep", "asyncio.to_thread", "asyncio.wait", "asyncio.wait_for"})

_OWNERS: Mapping[str, type] = {
    "user": UserWith,
    "client": HttpClient,
    "reply": StreamedReply,
    "form": Form,
    "random": Random,
    "link": TcpLink,
    "udp": UdpSocket,
}
"""By kind of a value: its class. Users and clients have slots, so other attributes can never exist."""
_ATTRIBUTES = {kind: frozenset(dir(owner)) for kind, owner in _OWNERS.items()}
_NOT_METHODS: Mapping[str, frozenset[str]] = {
    "ws": frozenset({"connection", "head", "inbox", "is_leaving", "subprotocol"})
}
"""By kind of a value: attributes that its class sets in `__init__`."""
_OPTIONS = frozenset(AllOptions.__annotations__) | {*AllOptions.__optional_keys__, "name", "expect", "tags"}
_OPTIONS_OF_SUBMIT = _OPTIONS - {"json", "data", "content", "files"} | {"values", "add", "button"}
_BY_NAME = frozenset({"url", "method"})
"""Arguments of requests that are usually given by position."""


def mistakes(source: Source, targets: Collection[str] | None = None) -> tuple[list[Fault], list[Fault]]:
    """Return the errors and the warnings found in the text of one file, as two lists.

    targets: all target names of the file's plans; None if they are unknown, and then target names are not checked.
    """
    reading = _Reading(source, targets)
    reading.secrets()
    reading.functions()
    reading.module_calls()
    reading.twice()
    # A helper's own pitfalls are found again with each journey that calls it.
    errors, warnings = dict.fromkeys(reading.faults), dict.fromkeys(reading.warnings)
    return list(errors), [one for one in warnings if one not in errors]


def mistakes_of(functions: Iterable[Callable[..., Any]]) -> list[Fault]:
    """Return the errors in the source text of the given functions, for a trial without the loader.

    A function whose source file cannot be read has no errors.
    """
    found: set[Fault] = set()
    for fn in functions:
        code = getattr(inspect.unwrap(fn), "__code__", None)
        if code is None or not (path := Path(code.co_filename)).is_file():
            continue
        try:
            source, errors = _errors_of_file(path, path.stat().st_mtime_ns)
        except ScenarioError:
            continue
        end = next((node.end_lineno or 0 for line, node in source.functions() if line == code.co_firstlineno), 0)
        found |= {one for one in errors if code.co_firstlineno <= one.line <= end}
    return sorted(found)


@lru_cache(maxsize=32)
def _errors_of_file(path: Path, changed_ns: int) -> tuple[Source, tuple[Fault, ...]]:
    """Return a file's source and its errors. changed_ns: when the file was changed, for the cache."""
    source = read_source(path)
    return source, tuple(mistakes(source)[0])


class _Reading:
    def __init__(self, source: Source, targets: Collection[str] | None) -> None:
        self._targets, self._source = targets, source
        self._file, self._tree = str(source.path), source.tree
        self._parents = source.parents
        self._coroutines = Coroutines(source)
        self._once = once_functions(source.tree)
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []

    def secrets(self) -> None:
        """Add an error for each secret that is inserted into a text without `reveal()`."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.FormattedValue) and self._is_secret(node.value):
                what = short_text(node.value)
                self._fault(
                    node.value, f"{{{what}}} in a text gives ****, not the secret's value", f"write {{{what}.reveal()}}"
                )

    def _is_secret(self, node: ast.expr) -> bool:
        """Return True for a call of `secret`, and for a name that stands for one, in this or another file."""
        file, made = self._source.declared(node) or (self._source, node)
        if not isinstance(made, ast.Call):
            return False
        name = file.dotted_name(made.func)
        return name.startswith("loadgen.") and name.endswith(".secret")

    def functions(self) -> None:
        """Check all functions of the file."""
        checked: set[ast.AST] = set()
        """Functions that are not async, whose nodes were checked with those of the async function around them."""
        for fn, receivers in self._source.receivers:
            if fn not in checked:
                self._function(fn, receivers)
            if isinstance(fn, ast.AsyncFunctionDef):
                self._pitfalls(fn, receivers)
                checked |= {node for node in own_nodes(fn) if isinstance(node, ast.FunctionDef)}

    def twice(self) -> None:
        """Add an error for each journey that a later definition of the same name replaces."""
        first: dict[str, int] = {}
        for fn in self._tree.body:
            if not isinstance(fn, ast.AsyncFunctionDef) or not Receivers(fn).is_journey or fn.name == "_":
                continue
            if fn.name in first:
                message = f"{fn.name} replaces the journey of the same name in line {first[fn.name]}"
                self.faults.append(Fault(self._file, fn.lineno, message, "rename one of the two functions"))
            first.setdefault(fn.name, fn.lineno)

    def _function(self, fn: Function, receivers: Receivers) -> None:
        is_async = isinstance(fn, ast.AsyncFunctionDef)
        for node in own_nodes(fn):
            self.faults += replies_as_data(self._source, receivers, node)
            if isinstance(node, ast.Attribute):
                self._check_attribute(receivers, node)
                self.faults += misuses(self._source, receivers, node)
            if not isinstance(node, ast.Call):
                continue
            kind = receivers.kind(node)
            if kind == "awaited" or self._is_coroutine(node):
                if is_async:
                    self._check_awaited(fn, node)
                # The loader reports a journey or set-up that is not async by itself.
                elif isinstance(self._parents.get(node), ast.Expr) and not (
                    receivers.is_journey or fn.name in self._once
                ):
                    message = f"{short_text(node.func)}(...) is never awaited, because {fn.name} is not async"
                    self._fault(node, message, f"write `async def {fn.name}`, and `await` here and where it is called")
            if kind == "awaited":
                if receivers.is_client(node.func):
                    self._check_options(node)
                    self._check_hidden(node)
                elif isinstance(node.func, ast.Attribute) and node.func.attr == "submit":
                    self._check_submit(node)
                elif isinstance(node.func, ast.Attribute) and node.func.attr in ("gather", "poll"):
                    self._check_calls(receivers, node)
            elif kind == "entered":
                if is_async and self._check_entered(node):
                    continue  # its arguments are part of the same fault
                if isinstance(node.func, ast.Attribute) and node.func.attr == "ws":
                    self._check_target(node)
            elif kind == "target":
                self._check_target(node)
            self._check_factory(receivers, node)
            if is_async:
                self._check_metric(fn, node)
            self.faults += wrong_calls(self._source, receivers, node)

    def _pitfalls(self, fn: ast.AsyncFunctionDef, receivers: Receivers) -> None:
        """Add the pitfalls of an async function, and of the helpers that it calls, to the errors and warnings.

        Those of a function without a user are warnings: it may be part of a library, and not of a journey.
        """
        found = [(self._source, one) for one in pitfalls(self._source, fn, receivers, self._once)]
        if receivers.has_user:
            found += [(self._source, one) for one in changed_globals(self._source, fn)]
            if fn.name not in self._once:
                calls = (node for node in own_nodes(fn) if isinstance(node, ast.Call))
                for source, helper in {one for call in calls for one in self._coroutines.functions_of(call)}:
                    if not Receivers(helper).has_user:
                        found += [(source, one) for one in pitfalls(source, helper, receivers, self._once)]
        for source, one in found:
            fault = Fault(str(source.path), getattr(one.node, "lineno", 0), one.message, one.hint)
            (self.faults if one.is_error and receivers.has_user else self.warnings).append(fault)

    def _check_attribute(self, receivers: Receivers, node: ast.Attribute) -> None:
        kind = receivers.kind_of_value(node.value)
        owner = _OWNERS.get(kind) or (owner_of(kind) if kind in ("ws", "grpc") else None)
        if owner is None:
            return
        known = _ATTRIBUTES.get(kind) or frozenset(dir(owner)) | _NOT_METHODS.get(kind, frozenset())
        if node.attr in known:
            if kind == "user" and node.attr == "state" and receivers.is_stateless:
                message = f"{short_text(node)}: this journey has no state"
                self._fault(node, message, "declare it: @journey(state=Session), with a class of your own")
            is_method = inspect.isfunction(inspect.getattr_static(owner, node.attr, None))
            parent = self._parents.get(node)
            if is_method and kind != "reply" and isinstance(parent, ast.Attribute):
                self._check_of_method(kind, node, parent)
            elif is_method and isinstance(parent, ast.Expr):
                what = short_text(node)
                self._fault(node, f"{what} is not called, so it does nothing", f"write {what}(...)")
            return
        hint = hint_of_attribute(kind, node.attr, owner)
        hint = hint or did_you_mean(node.attr, sorted(name for name in known if not name.startswith("_")))
        if kind == "user" and isinstance(node.ctx, ast.Store):
            hint = "keep values of a user in its state: @journey(state=Session)"
        self._fault(node, f"{short_text(node.value)} has no {node.attr}", hint)

    def _check_of_method(self, kind: str, method: ast.Attribute, read: ast.Attribute) -> None:
        """Add an error for an attribute of a method that is not called: `user.client.get`."""
        if read.attr.startswith("__"):
            return
        what = short_text(method)
        hint = f"write {what}(...).{read.attr}"
        if kind == "user" and read.attr in VERBS | {"stream"}:
            hint = f"write {short_text(method.value)}.http.{read.attr}(...); Locust's client is user.http here"
        self._fault(method, f"{what} is a method, and has no {read.attr}", hint)

    def _check_options(self, call: ast.Call) -> None:
        for keyword in call.keywords:
            if keyword.arg is not None and keyword.arg not in _OPTIONS | _BY_NAME:
                hint = did_you_mean(keyword.arg, sorted(_OPTIONS))
                self._fault(keyword.value, f"{short_text(call.func)}(...) has no argument {keyword.arg}", hint)

    def _check_submit(self, call: ast.Call) -> None:
        """Add an error for values of a form that are passed by keyword: `form.submit(email="a@b.c")`."""
        unknown = [one for one in call.keywords if one.arg is not None and one.arg not in _OPTIONS_OF_SUBMIT]
        if unknown:
            values = ", ".join(f'"{one.arg}": {ast.unparse(one.value)}' for one in unknown)
            message = f"{short_text(call.func)}(...) has no argument {unknown[0].arg}"
            self._fault(unknown[0].value, message, f"write the values as a dictionary: submit({{{values}}})")

    def _check_hidden(self, call: ast.Call) -> None:
        """Add an error for each secret in the headers or the body of a request without `reveal()`."""
        for keyword in call.keywords:
            for value in keyword.value.values if isinstance(keyword.value, ast.Dict) else ():
                if self._is_secret(value):
                    what = short_text(value)
                    self._fault(value, f"{what} is a secret, and cannot be sent as it is", f"write {what}.reveal()")

    def _check_factory(self, receivers: Receivers, call: ast.Call) -> None:
        """Add an error for a client that would be created again at each call."""
        func = call.func
        if not (isinstance(func, ast.Attribute) and func.attr == "client" and call.args):
            return
        if receivers.kind_of_value(func.value) == "user" and isinstance(call.args[0], ast.Lambda):
            message = f"{short_text(func)}(...) gets a new function at each call, and so creates a new client each time"
            self._fault(call.args[0], message, "pass a class or function defined at module level, not a lambda")

    def _check_calls(self, receivers: Receivers, call: ast.Call) -> None:
        """Check the calls that are passed to `user.gather` and `user.poll`."""
        assert isinstance(call.func, ast.Attribute)
        what, first = short_text(call.func), call.args[0] if call.args else None
        if call.func.attr == "poll":
            if isinstance(first, ast.Call) and (receivers.kind(first) == "awaited" or self._is_coroutine(first)):
                shown = ast.unparse(first)
                message = f"{what}(...) needs a function that starts the call, because it repeats the call"
                self._fault(first, message, f"write {what}(lambda: {shown}, ...)")
            return
        awaited = next((one for one in call.args if isinstance(one, ast.Await)), None)
        calls = ", ".join(ast.unparse(one.value if isinstance(one, ast.Await) else one) for one in call.args)
        if awaited is not None:
            self._fault(
                awaited,
                f"{what}(...) gets a result and not a call, so the calls run one after the other",
                f"remove the `await` within the parentheses: {what}({calls})",
            )
        if len(call.args) == 1 and first is not None:
            made = self._source.last_value(first)
            if isinstance(made, ast.List | ast.ListComp | ast.Tuple | ast.GeneratorExp | ast.Set | ast.SetComp):
                name = first.id if isinstance(first, ast.Name) else "calls"
                self._fault(first, f"{what}(...) takes calls, not a list of them", f"write {what}(*{name})")

    def _check_target(self, call: ast.Call) -> None:
        is_ws = isinstance(call.func, ast.Attribute) and call.func.attr == "ws"
        by_name = (one.value for one in call.keywords if one.arg == "target")
        given = next(by_name, None) or (None if is_ws or not call.args else call.args[0])
        if self._targets is None or not isinstance(given, ast.Constant) or (is_ws and given.value == ""):
            return
        name = given.value
        if name not in self._targets:
            there = [one for one in self._targets if one]
            hint = did_you_mean(str(name), there) or 'write Plan(targets={"api": "https://api.example"})'
            self._fault(call, f"no plan in this file has a target {name!r}", hint)

    def _check_awaited(self, fn: Function, call: ast.Call) -> None:
        parent, what = self._parents.get(call), short_text(call.func)
        if isinstance(parent, ast.Expr):
            self._fault(call, f"{what}(...) is never awaited, so it does nothing", f"write `await {what}(...)`")
        elif isinstance(parent, ast.withitem):
            self._fault(call, f"{what}(...) is not a context manager", f"write `reply = await {what}(...)`")
        elif isinstance(parent, ast.Attribute):
            message = f"{what}(...) has no .{parent.attr} before it is awaited"
            self._fault(call, message, f"write `(await {what}(...)).{parent.attr}`")
        elif isinstance(parent, ast.Assign | ast.AnnAssign) and (used := self._used_unawaited(fn, parent)) is not None:
            name, attribute = used
            message = f"{what}(...) is never awaited, so {name} is not a reply and has no .{attribute}"
            self._fault(call, message, f"write `{name} = await {what}(...)`")
        elif isinstance(parent, ast.If | ast.While | ast.Compare | ast.Subscript | ast.BoolOp | ast.FormattedValue):
            self._fault(call, f"{what}(...) is used before it is awaited", f"write `await {what}(...)`")
        elif is_lost(fn, call, self._parents):
            is_one = isinstance(parent, ast.Assign | ast.AnnAssign | ast.NamedExpr)
            hint = f"write `await {what}(...)`" + (
                "" if is_one else ", or pass all calls to `await user.gather(*calls)`"
            )
            self._fault(call, f"{what}(...) is never awaited, so it does nothing", hint)

    def _is_coroutine(self, call: ast.Call) -> bool:
        """Return True for a call of an async function of this file, or of `asyncio.sleep` and the like."""
        return self._coroutines.makes(call) or (
            isinstance(call.func, ast.Attribute) and self._source.dotted_name(call.func) in _COROUTINES
        )

    def _is_unread(self, targets: list[ast.expr]) -> bool:
        """Return True if the targets of an assignment are names that nothing in the file reads."""
        names = {one.id if isinstance(one, ast.Name) else "" for one in targets}
        return "" not in names and not any(
            isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load) for node in self._parents
        )

    def module_calls(self) -> None:
        """Add an error for each async function that a statement of the module calls."""
        for node in self._tree.body:
            if not isinstance(node, ast.Expr | ast.Assign) or not isinstance(node.value, ast.Call):
                continue
            if isinstance(node, ast.Assign) and not self._is_unread(node.targets):
                continue
            if self._is_coroutine(node.value):
                message = f"{short_text(node.value.func)}(...) is never awaited, so it does nothing"
                self._fault(
                    node.value, message, "call it in a journey, with `await`, or give it to the plan: set_up=..."
                )

    def _used_unawaited(self, fn: Function, assign: ast.Assign | ast.AnnAssign) -> tuple[str, str] | None:
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
            if not isinstance(parent, ast.Attribute) or parent.attr == "close":
                return None  # awaited here, or passed to code that may await it, or ended on purpose
            attribute = attribute or parent.attr
        return (name, attribute) if attribute else None

    def _check_entered(self, call: ast.Call) -> bool:
        """Return True, and add an error, if a call that needs `async with` is used in another way."""
        parent, what = self._parents.get(call), short_text(call.func)
        if isinstance(parent, ast.withitem):
            block = self._parents.get(parent)
            if isinstance(block, ast.With):
                self._fault(call, f"{what}(...) is entered with `with`", f"write `async with {what}(...):`")
                return True
        elif isinstance(parent, ast.AsyncFor | ast.For):
            hint = f"write `async with {what}(...) as reply:`, and then iterate over the reply"
            self._fault(call, f"{what}(...) is not entered, so there is nothing to iterate over", hint)
            return True
        elif isinstance(parent, ast.Expr | ast.Await):
            opened = (
                {"ws": "ws", "browser": "page"}.get(call.func.attr) if isinstance(call.func, ast.Attribute) else None
            )
            message = f"{what}(...) is not entered, so it {'opens' if opened else 'times'} nothing"
            code = f"`async with {what}(...){f' as {opened}' if opened else ''}:`"
            self._fault(
                call, message, f"write {code} and indent the code {'that uses it' if opened else 'to time'} below it"
            )
            return True
        return False

    def _check_metric(self, fn: Function, call: ast.Call) -> None:
        name = self._source.dotted_name(call.func)
        if name.startswith("loadgen.") and name.rpartition(".")[2] in _METRICS:
            what = short_text(call.func)
            message = f"{what}(...) within {fn.name}: a metric created during the run is not recorded"
            self._fault(call, message, f"write `orders = {what}(...)` at the top of the file, and use it in {fn.name}")

    def _fault(self, node: ast.expr, message: str, hint: str) -> None:
        self.faults.append(self._source.fault(node, message, hint))
