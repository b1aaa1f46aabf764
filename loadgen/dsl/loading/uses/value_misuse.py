"""Finds values that a scenario uses in a way that always fails, without running its journeys.

    reply.json["id"]              json is a method, and is not called           error
    reply["id"]                   a reply has no keys; its body has             error
    reply.text()                  text is a value, and cannot be called         error
    await reply.json()            json returns a value, not an awaitable        error
    await user.check("a", x)      the same of check                             error
    basket.record(1)              a trend has no method record                  error
    stock.add(1)                  a gauge has no method add                     error

Only users and replies that `receivers.py` finds are checked, and metrics that a file of the scenario assigns once, at
its top.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from types import MemberDescriptorType
from typing import Final

from loadgen.clients.response.streams import StreamedReply
from loadgen.dsl.loading.receivers import Receivers
from loadgen.dsl.loading.source_analysis import Source, short_text
from loadgen.dsl.metric import Counter, Gauge, Metric, Rate, Trend
from loadgen.dsl.users.user import UserWith
from loadgen.errors import Fault
from loadgen.similar_names import did_you_mean

__all__ = ["metric_class", "misuses", "replies_as_data"]

_KINDS: Final[Mapping[str, tuple[type[Metric], str]]] = {
    "loadgen.counter": (Counter, "add(1)"),
    "loadgen.gauge": (Gauge, "set(3)"),
    "loadgen.rate": (Rate, "add(True)"),
    "loadgen.trend": (Trend, "add(0.5)"),
}
"""By the function that declares a metric: its class, and an example of a call that records a value."""
_METHODS: Final[Mapping[str, bool]] = {
    name: inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
    for name in dir(StreamedReply)
    if not name.startswith("_") and inspect.isfunction(method := inspect.getattr_static(StreamedReply, name))
}
"""The methods of replies, and whether each is async."""
_AT_ONCE: Final = frozenset({"check", "note", "tag", "to", "draw", "trait", "setting", "now"})
"""Methods of a user whose result cannot be awaited."""
_MAY_BE_CALLED: Final = frozenset({"state", "shared"})
"""Attributes of a user whose values are the scenario's own."""
_RECORDS: Final = frozenset({"add", "inc", "increment", "observe", "record", "set", "update"})
"""Methods that record a value: of loadgen's metrics and of other libraries."""


def misuses(source: Source, receivers: Receivers, node: ast.Attribute) -> Iterator[Fault]:
    """Yield the error in the use of one attribute, if its object is certainly a user, a reply or a custom metric.

    receivers: the users and replies of the function around the attribute.
    """
    if (made_by := _made_by(source, node.value)) in _KINDS:
        yield from _of_metric(source, node, made_by)
        return
    kind = receivers.kind_of_value(node.value)
    if kind == "reply" and node.attr in _METHODS:
        yield from _of_reply(source, node, is_async=_METHODS[node.attr])
    elif kind == "user" and node.attr in _AT_ONCE:
        yield from _awaited(source, node)
    elif owner := {"user": UserWith, "reply": StreamedReply}.get(kind):
        call = source.parents.get(node)
        is_value = isinstance(inspect.getattr_static(owner, node.attr, None), property | MemberDescriptorType)
        if is_value and node.attr not in _MAY_BE_CALLED and isinstance(call, ast.Call) and call.func is node:
            what = short_text(node)
            yield source.fault(node, f"{what} is a value, and cannot be called", f"write {what} without ()")


def replies_as_data(source: Source, receivers: Receivers, node: ast.AST) -> Iterator[Fault]:
    """Yield the error if a reply itself is used like its JSON body: `reply["id"]`, `for item in reply`."""
    match node:
        case ast.Subscript(value=reply) | ast.For(iter=reply) | ast.comprehension(iter=reply):
            if receivers.kind_of_value(reply) == "reply":
                what = short_text(reply)
                rest = f"[{ast.unparse(node.slice)}]" if isinstance(node, ast.Subscript) else ""
                yield source.fault(
                    reply, f"{what} is a reply, and not the data in its body", f"write {what}.json(){rest}"
                )
        case _:
            pass


def metric_class(source: Source, node: ast.expr) -> type[Metric] | None:
    """Return the class of a custom metric, if an expression is certainly one."""
    found = _KINDS.get(_made_by(source, node))
    return None if found is None else found[0]


def _made_by(source: Source, node: ast.expr) -> str:
    """Return the full name of the function whose result an expression is, such as "loadgen.counter"; "" if unknown."""
    match source.declared(node):
        case (file, ast.Call(func=func)):
            return file.dotted_name(func)
    return ""


def _awaited(source: Source, node: ast.Attribute) -> Iterator[Fault]:
    """Yield the error if the result of a method that returns at once is awaited."""
    call = source.parents.get(node)
    if isinstance(call, ast.Call) and call.func is node and isinstance(source.parents.get(call), ast.Await):
        yield source.fault(
            node, f"{short_text(node)}(...) cannot be awaited: it returns its value at once", "remove `await`"
        )


def _of_reply(source: Source, node: ast.Attribute, *, is_async: bool) -> Iterator[Fault]:
    """Yield the error of a method of a reply that is not called, or awaited although it is not async."""
    parents = source.parents
    around, what = parents.get(node), short_text(node)
    match around:
        case (
            ast.Subscript(value=used)
            | ast.Attribute(value=used)
            | ast.For(iter=used)
            | ast.comprehension(iter=used)
            | ast.If(test=used)
            | ast.While(test=used)
        ) if used is node:
            yield source.fault(node, f"{what} is a method, and is not called", f"write {what}()")
        case ast.Compare() | ast.BoolOp() | ast.BinOp():
            yield source.fault(node, f"{what} is a method, and is not called", f"write {what}()")
        case _ if not is_async:
            yield from _awaited(source, node)
        case _:
            pass


def _of_metric(source: Source, node: ast.Attribute, made_by: str) -> Iterator[Fault]:
    """Yield the error of a method that a custom metric does not have. made_by: the function that declares it."""
    kind, recording = _KINDS[made_by]
    if hasattr(kind, node.attr) or node.attr in _OF_INSTANCES:
        yield from _awaited(source, node)
        return
    what, word = short_text(node.value), made_by.rpartition(".")[2]
    hint = did_you_mean(node.attr, sorted(one for one in dir(kind) if not one.startswith("_")))
    if node.attr in _RECORDS or isinstance(source.parents.get(source.parents.get(node, node)), ast.Expr):
        hint = f"write {what}.{recording}"
    yield source.fault(node, f"{what} is a {word}, and has no {node.attr}", hint)


_OF_INSTANCES: Final = frozenset({"kind", "spec", "origin"})
"""Attributes that an instance has, and its class may not have."""
