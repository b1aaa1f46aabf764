"""Finds replies and custom metrics that a scenario uses in a way that always fails, without running its files.

    reply.json["id"]              json is a method, and is not called           error
    await reply.json()            json returns a value, not an awaitable        error
    basket.record(1)              a trend has no method record                  error
    stock.add(1)                  a gauge has no method add                     error

Only replies that `receivers.py` finds, and metrics that the same file assigns once at its top, are checked.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from typing import Final

from loadgen.clients.response.streams import StreamedReply
from loadgen.dsl.loading.receivers import Receivers
from loadgen.dsl.loading.source_analysis import Source, short_text
from loadgen.dsl.metric import Counter, Gauge, Rate, Trend
from loadgen.dsl.plans.argument_validation import did_you_mean
from loadgen.errors import Fault

__all__ = ["misuses"]

_KINDS: Final[Mapping[str, tuple[type, str]]] = {
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
_RECORDS: Final = frozenset({"add", "inc", "increment", "observe", "record", "set", "update"})
"""Methods that record a value: of loadgen's metrics and of other libraries."""


def misuses(source: Source, receivers: Receivers, node: ast.Attribute) -> Iterator[Fault]:
    """Yield the error in the use of one attribute, if its object is certainly a reply or a custom metric.

    receivers: the replies of the function around the attribute.
    """
    made = source.assigned_once.get(node.value.id) if isinstance(node.value, ast.Name) else None
    if isinstance(made, ast.Call):
        yield from _of_metric(source, node, source.dotted_name(made.func))
    elif node.attr in _METHODS and receivers.kind_of_value(node.value) == "reply":
        yield from _of_reply(source, node, is_async=_METHODS[node.attr])


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
        case ast.Call(func=func) if func is node and isinstance(parents.get(around), ast.Await) and not is_async:
            yield source.fault(node, f"{what}(...) cannot be awaited: it returns its value at once", "remove `await`")
        case _:
            pass


def _of_metric(source: Source, node: ast.Attribute, made_by: str) -> Iterator[Fault]:
    """Yield the error of a method that a custom metric does not have. made_by: the function that declares it."""
    if made_by not in _KINDS:
        return
    kind, recording = _KINDS[made_by]
    if hasattr(kind, node.attr) or node.attr in _OF_INSTANCES:
        return
    what, word = short_text(node.value), made_by.rpartition(".")[2]
    hint = did_you_mean(node.attr, sorted(one for one in dir(kind) if not one.startswith("_")))
    if node.attr in _RECORDS or isinstance(source.parents.get(source.parents.get(node, node)), ast.Expr):
        hint = f"write {what}.{recording}"
    yield source.fault(node, f"{what} is a {word}, and has no {node.attr}", hint)


_OF_INSTANCES: Final = frozenset({"kind", "spec", "origin"})
"""Attributes that an instance has, and its class may not have."""
