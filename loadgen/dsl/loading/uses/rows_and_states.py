"""Finds reads of attributes that a row, a state or another object of a class of the scenario does not have.

    shopper.emial                 the feed's schema has no such field           error
    shopper["email"]              rows of a class have no keys                  error
    shopper.email = "a@b.c"       the class is frozen                           error
    user.state.totl               the class of the state has no such field      error
    page = Page(user); page.opn() the class has no such method                  error

Rows and states are checked in the functions of a journey itself, other objects in the function that creates them.
Only classes whose objects have no attributes but those of their text are checked.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from abc import ABCMeta
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, get_origin

import msgspec

from loadgen.dsl.data.feed import Feed
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.receivers import Function
from loadgen.dsl.loading.source_analysis import Source, bound_names, place
from loadgen.errors import Fault
from loadgen.similar_names import did_you_mean

__all__ = ["attribute_misuses"]

_ANY_ATTRIBUTE: Final = re.compile(r"\b(__dict__|__setattr__|setattr|hasattr|delattr|vars)\b")
"""Words of code that gives objects attributes by computed names, or that asks for them."""
_BUILTIN: Final = (dict, list, set, tuple, str, bytes, int, float, bool, deque, defaultdict, OrderedDict)


@dataclass(frozen=True, slots=True)
class _Shape:
    """The attributes of the objects of a class, or of several classes."""

    label: str
    names: frozenset[str]
    has_keys: bool
    is_frozen: bool = False

    def __or__(self, other: _Shape) -> _Shape:
        return _Shape(
            self.label,
            self.names | other.names,
            self.has_keys or other.has_keys,
            self.is_frozen and other.is_frozen,
        )


def attribute_misuses(
    journeys: Iterable[Journey[Any]], sources: Mapping[Path, Source], namespaces: Mapping[Path, Mapping[str, Any]]
) -> Iterator[Fault]:
    """Yield an error for each attribute or key that a row, a state or an own object is asked for and does not have.

    A scenario with a word such as `setattr` or `__dict__` is not checked at all.

    Args:
        journeys: all journeys of the scenario, for the classes of their rows and states.
        sources, namespaces: of each loaded file, its text, and its names with their values.
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
            rows_and_states = used.get((str(file), line), [])
            values = _Values(source, function, sources, namespaces.get(file, {}))
            values.add_row(_together([row for row, _ in rows_and_states]))
            values.add_state(_together([state for _, state in rows_and_states]))
            values.add_created()
            yield from values.misreads(set_somewhere)


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
    names = frozenset(dir(made)) | declared
    own = _Shape(made.__name__, names, hasattr(made, "__getitem__"), is_frozen=_is_frozen(made))
    below: list[type] = [] if made in _BUILTIN else type.__subclasses__(made)
    return _together([own, *(_of_class(one, sources) for one in below)])


def _creates_others(cls: Any) -> bool:
    """Return True if a call of a class may return an object of another class."""
    return any(
        "__new__" in vars(one) for one in cls.__mro__ if one.__module__ != "builtins" and one is not msgspec.Struct
    )


def _is_frozen(cls: type) -> bool:
    """Return True for a frozen dataclass or struct."""
    if issubclass(cls, msgspec.Struct):
        return bool(cls.__struct_config__.frozen)
    return bool(getattr(getattr(cls, "__dataclass_params__", None), "frozen", False))


def _is_plain(cls: type, sources: Mapping[Path, Source]) -> bool:
    """Return True for a class whose objects have no attributes but those of its text: a class of the scenario."""
    if cls is object or cls is Generic or cls in _BUILTIN or cls.__module__.partition(".")[0] == "msgspec":
        return True
    if not {"__getattr__", "__getattribute__"}.isdisjoint(vars(cls)):
        return False
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return type(cls) in (type, ABCMeta, type(msgspec.Struct)) and file is not None and Path(file) in sources


def _together(shapes: list[_Shape | None]) -> _Shape | None:
    """Return the shape of values that may have any of `shapes`; None if a shape is unknown, or if `shapes` is empty."""
    known = [one for one in shapes if one is not None]
    return functools.reduce(_Shape.__or__, known) if known and len(known) == len(shapes) else None


class _Values:
    """The objects of one function whose attributes are known, by the expressions that stand for them."""

    def __init__(
        self, source: Source, fn: Function, sources: Mapping[Path, Source], namespace: Mapping[str, Any]
    ) -> None:
        self._source, self._sources, self._namespace = source, sources, namespace
        self._arguments = [*fn.args.posonlyargs, *fn.args.args]
        self._nodes = list(ast.walk(fn))
        self._bound = bound_names(fn)
        self._shapes: dict[str, _Shape] = {}

    def add_row(self, shape: _Shape | None) -> None:
        name = self._arguments[1].arg if len(self._arguments) > 1 else ""
        if shape is not None and self._bound[name] == 1:
            self._shapes[name] = shape

    def add_state(self, shape: _Shape | None) -> None:
        """Add `user.state`, and the variables that hold it."""
        name = self._arguments[0].arg if self._arguments else ""
        if shape is None or self._bound[name] != 1:
            return
        self._shapes[f"{name}.state"] = shape
        for target, value in self._assigned():
            if ast.unparse(value) == f"{name}.state":
                self._shapes[target] = shape

    def add_created(self) -> None:
        """Add the variables that hold a new object: `page = Page(user)`."""
        for target, value in self._assigned():
            match value:
                case ast.Call(func=ast.Name(id=name)) if not self._bound[name] and self._source.is_bound_once(name):
                    made = self._namespace.get(name)
                    shape = _of_class(made, self._sources)
                    if shape is not None and made not in _BUILTIN and not _creates_others(made):
                        self._shapes[target] = shape
                case _:
                    pass

    def _assigned(self) -> Iterator[tuple[str, ast.expr]]:
        """Yield (name, value) of each variable that is assigned only once in the function."""
        for node in self._nodes:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if self._bound[name] == 1:
                    yield name, value
                case _:
                    pass

    def misreads(self, known: frozenset[str]) -> Iterator[Fault]:
        """Yield the errors in the uses of the objects. known: attributes that some code sets."""
        for node in self._nodes:
            match node:
                case ast.Call(func=ast.Name(id="isinstance"), args=[tested, *_]) | ast.Match(subject=tested):
                    self._shapes.pop(ast.unparse(tested), None)  # only some of the code is for the type at hand
                case _:
                    pass
        for node in self._nodes if self._shapes else ():
            match node:
                case ast.Attribute(value=value) | ast.Subscript(value=value):
                    text = ast.unparse(value)
                    if (shape := self._shapes.get(text)) is not None:
                        yield from self._misread(node, text, shape, known)
                case _:
                    pass

    def _misread(
        self, node: ast.Attribute | ast.Subscript, text: str, shape: _Shape, known: frozenset[str]
    ) -> Iterator[Fault]:
        match node:
            case ast.Attribute(attr=attr, ctx=ast.Load()) if attr not in shape.names and attr not in known:
                hint = did_you_mean(attr, sorted(name for name in shape.names if not name.startswith("_")))
                if shape.has_keys and not hint.startswith("did"):
                    hint = f'write {text}["{attr}"]'
                yield self._source.fault(node, f"{text}.{attr}: {shape.label} has no attribute {attr}", hint)
            case ast.Attribute(attr=attr) if shape.is_frozen and not isinstance(node.ctx, ast.Load):
                hint = f"remove frozen=True from {shape.label}, or keep the value in a variable"
                yield self._source.fault(node, f"{text}.{attr} cannot be changed: {shape.label} is frozen", hint)
            case ast.Subscript(slice=key, ctx=ast.Load()) if not shape.has_keys:
                name = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else "name"
                message = f"{text}[...]: {shape.label} has attributes, and no keys"
                yield self._source.fault(node, message, f"write {text}.{name}")
            case _:
                pass
