"""Finds values that a scenario uses in a way that always fails, without running its journeys.

    reply.json["id"]              json is a method, and is not called           error
    reply["id"]                   a reply has no keys; its body has             error
    reply.text()                  text is a value, and cannot be called         error
    await reply.json()            json returns a value, not an awaitable        error
    await user.check("a", x)      the same of check                             error
    basket.record(1)              a trend has no method record                  error
    stock.add(1)                  a gauge has no method add                     error
    shopper.emial                 the feed's schema has no such field           error
    shopper["email"]              rows of a class have no keys                  error
    user.state.totl               the class of the state has no such field      error

Only users and replies that `receivers.py` finds are checked, metrics that a file of the scenario assigns once, at
its top, and rows and states in the functions of a journey itself.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
from abc import ABCMeta
from collections import Counter as Counts
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, get_origin

import msgspec

from loadgen.clients.response.streams import StreamedReply
from loadgen.dsl.data.feed import Feed
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.receivers import Function, Receivers
from loadgen.dsl.loading.source_analysis import Source, place, short_text
from loadgen.dsl.metric import Counter, Gauge, Metric, Rate, Trend
from loadgen.dsl.plans.argument_validation import did_you_mean
from loadgen.dsl.users.user import UserWith
from loadgen.errors import Fault

__all__ = ["metric_class", "misuses", "record_misuses", "replies_as_data"]

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
        is_value = isinstance(inspect.getattr_static(owner, node.attr, None), property)
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


# -- rows and states --------------------------------------------------------------------------------

_ANY_ATTRIBUTE: Final = re.compile(r"\b(__dict__|__setattr__|setattr|hasattr|delattr|vars)\b")
"""Words of code that gives objects attributes by computed names, or that asks for them."""
_BUILTIN: Final = (dict, list, set, tuple, str, bytes, int, float, bool, deque, defaultdict, OrderedDict)


@dataclass(frozen=True, slots=True)
class _Shape:
    """The attributes of the objects of a class, or of several classes."""

    label: str
    names: frozenset[str]
    has_keys: bool

    def __or__(self, other: _Shape) -> _Shape:
        return _Shape(self.label, self.names | other.names, self.has_keys or other.has_keys)


def record_misuses(journeys: Iterable[Journey[Any]], sources: Mapping[Path, Source]) -> Iterator[Fault]:
    """Yield the errors of journeys that read what their row or state does not have: `row.emial`, `row["email"]`.

    Only classes of the scenario's files and Python's own containers are checked. A scenario that gives objects
    attributes by computed names is not checked.
    """
    if any(_ANY_ATTRIBUTE.search(source.text) for source in sources.values()):
        return
    set_somewhere = frozenset(
        node.attr
        for source in sources.values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    )
    used: dict[tuple[str, int], list[tuple[_Shape | None, _Shape | None]]] = {}
    for one in journeys:
        shapes = _of_rows(one.feed, sources), _of_class(one.state, sources)
        for fn in () if one.is_graph else (one.fn, one.set_up_fn, one.tear_down_fn):
            if fn is not None:
                used.setdefault(place(fn), []).append(shapes)
    for file, source in sources.items():
        for line, function in source.functions():
            for at, name in enumerate(("row", "state")):
                shape = _together([shapes[at] for shapes in used.get((str(file), line), [])])
                if shape is not None:
                    yield from _misread(source, function, name, shape, set_somewhere)


def _of_rows(feed: Feed[Any] | None, sources: Mapping[Path, Source]) -> _Shape | None:
    if feed is None or feed.faults:
        return None
    if feed.schema is not None:
        return _of_class(feed.schema, sources)
    found = _together([_of_class(kind, sources) for kind in {type(row) for row in feed.given}])
    own = {name for row in feed.given for name in getattr(row, "__dict__", ())}
    return None if found is None else replace(found, names=found.names | own)


def _of_class(cls: object, sources: Mapping[Path, Source]) -> _Shape | None:
    """Return the attributes that objects of a class have; None if `cls` is not a class, or may have others."""
    made = get_origin(cls) or cls
    if not isinstance(made, type) or not all(_is_plain(one, sources) for one in made.__mro__):
        return None
    declared = {name for one in made.__mro__ for name in getattr(one, "__annotations__", ())}
    own = _Shape(made.__name__, frozenset(dir(made)) | declared, hasattr(made, "__getitem__"))
    below: list[type] = [] if made in _BUILTIN else type.__subclasses__(made)
    return _together([own, *(_of_class(one, sources) for one in below)])


def _is_plain(cls: type, sources: Mapping[Path, Source]) -> bool:
    """Return True for a class whose objects have no attributes but those of its text: a class of the scenario."""
    if cls is object or cls is Generic or cls in _BUILTIN or cls.__module__.partition(".")[0] == "msgspec":
        return True
    if not {"__getattr__", "__getattribute__"}.isdisjoint(vars(cls)):
        return False
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return type(cls) in (type, ABCMeta, type(msgspec.Struct)) and file is not None and Path(file) in sources


def _together(shapes: list[_Shape | None]) -> _Shape | None:
    """Return the shape of values that may have any of several; None if one of them is unknown, or if there is none."""
    known = [one for one in shapes if one is not None]
    return functools.reduce(_Shape.__or__, known) if known and len(known) == len(shapes) else None


def _misread(source: Source, fn: Function, which: str, shape: _Shape, known: frozenset[str]) -> Iterator[Fault]:
    """Yield the errors in one function's uses of its "row" or "state". known: attributes that some code sets."""
    arguments = [*fn.args.posonlyargs, *fn.args.args]
    nodes = list(ast.walk(fn))
    bound = Counts(one.id for one in nodes if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load))
    bound.update(one.arg for one in nodes if isinstance(one, ast.arg))
    texts: set[str] = set()
    """The expressions that are the row, or the state."""
    if which == "row" and len(arguments) > 1 and bound[arguments[1].arg] == 1:
        texts = {arguments[1].arg}
    elif which == "state" and arguments and bound[arguments[0].arg] == 1:
        state = f"{arguments[0].arg}.state"
        assigned = [one for one in nodes if isinstance(one, ast.Assign) and ast.unparse(one.value) == state]
        names = {one.id for node in assigned for one in node.targets if isinstance(one, ast.Name)}
        texts = {state, *(name for name in names if bound[name] == 1)}
    for node in nodes:
        match node:
            case ast.Call(func=ast.Name(id="isinstance"), args=[tested, *_]) if ast.unparse(tested) in texts:
                return  # only some of the code is for the type at hand
            case ast.Match(subject=tested) if ast.unparse(tested) in texts:
                return
            case _:
                pass
    for node in nodes:
        match node:
            case ast.Attribute(value=value, attr=attr, ctx=ast.Load()) if ast.unparse(value) in texts:
                if attr in shape.names or attr in known:
                    continue
                hint = did_you_mean(attr, sorted(name for name in shape.names if not name.startswith("_")))
                if shape.has_keys and not hint.startswith("did"):
                    hint = f'write {ast.unparse(value)}["{attr}"]'
                yield source.fault(node, f"{ast.unparse(value)} has no {attr}: it is of class {shape.label}", hint)
            case ast.Subscript(value=value, slice=key, ctx=ast.Load()) if ast.unparse(value) in texts:
                if shape.has_keys:
                    continue
                name = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else "name"
                hint = f"write {ast.unparse(value)}.{name}"
                yield source.fault(node, f"{ast.unparse(value)} has no keys: it is of class {shape.label}", hint)
            case _:
                pass
