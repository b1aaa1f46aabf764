"""Finds calls of async functions whose value is certainly never awaited, so that the function never runs.

    log_in(user)                                 a function, or a method of a class, of the scenario's files
    reply = user.http.get("/")                   and `reply` is never read
    replies = [user.http.get(p) for p in ...]    and only `len(replies)` is read

A value that is awaited later, returned, or passed to other code (`gather`, `create_task`, a function) may be awaited
there, so it is not reported. Neither are functions with a decorator of their own, which may return anything.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen.dsl.loading.receivers import Function
from loadgen.dsl.loading.source_analysis import Source

__all__ = ["Coroutines", "is_lost"]

_KEEP_ASYNC: Final = frozenset({"staticmethod", "classmethod", "override"})
"""Decorators that leave an async function async."""
_COPIES: Final = frozenset({"list", "tuple", "set", "sorted", "reversed", "frozenset", "enumerate", "iter"})
"""Functions that return the elements of their argument."""
_ONLY_LOOK: Final = frozenset({"len", "print", "bool", "str", "repr", "id", "type", "isinstance", "all", "any", "sum"})
"""Functions that await nothing and keep nothing."""
_ADDS: Final = frozenset({"append", "extend", "insert", "reverse", "clear", "count"})
"""Methods of a list that return none of its elements."""
_OF_COROUTINE: Final = frozenset({"close", "send", "throw", "__await__"})

_Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Coroutines:
    """The async functions and methods that a file defines or imports, and which calls are calls of one.

    known: the same of other files of the scenario, by path.
    """

    def __init__(self, source: Source, known: dict[Path, Coroutines] | None = None) -> None:
        self._source = source
        self._parents = source.parents
        self._stored = {
            node.attr for node in self._parents if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }
        """Attributes that are assigned, and so may hold other functions than the class."""
        self._bindings: dict[ast.AST, dict[str, list[ast.AST]]] = {}
        self._known = {} if known is None else known
        self._known[source.path] = self

    def makes(self, call: ast.Call) -> bool:
        """Return True if a call certainly returns a coroutine of an async function of the scenario's files."""
        match call.func:
            case ast.Name(id=name):
                found = self._definitions(self._bound(call, name))
            case ast.Attribute(value=owner, attr=name) if name not in self._stored:
                if (cls := self._class_of(owner)) is not None:
                    return cls.has_async(name)
                found = self._of_module(owner, name)
            case _:
                return False
        return bool(found) and all(_is_async(one) for _, one in found)

    def functions_of(self, call: ast.Call) -> list[tuple[Source, Function]]:
        """Return the functions of the scenario that a call of a name may call, each with its file."""
        if not isinstance(call.func, ast.Name):
            return []
        found = self._definitions(self._bound(call, call.func.id))
        return [(file._source, one) for file, one in found if isinstance(one, Function)]

    # -- classes ----------------------------------------------------------------------------------

    def _class_of(self, owner: ast.expr) -> _Class | None:
        """Return the class of the scenario that an expression is, or of which it is an instance; None if unknown."""
        if isinstance(owner, ast.Call):
            return self._made(owner)
        if isinstance(owner, ast.Attribute) and owner.attr == "state" and isinstance(owner.value, ast.Name):
            for one in self._bound(owner, owner.value.id):
                match one:
                    case ast.arg(annotation=ast.Subscript(slice=ast.Name() as state)):
                        return self._class_named(state)
            return None
        if not isinstance(owner, ast.Name):
            return None
        classes = [self._class_by(one) for one in self._bound(owner, owner.id)]
        return classes[0] if classes and all(one == classes[0] for one in classes) else None

    def _class_by(self, binding: ast.AST) -> _Class | None:
        """Return the class that one binding of a name gives it, or of which it is an instance."""
        parent = self._parents.get(binding)
        match binding, parent:
            case ((ast.ClassDef() | ast.alias()), _):
                return _class_among(self._definitions([binding]))
            case ast.arg(annotation=ast.Name() as annotation), _:
                return self._class_named(annotation)
            case ast.arg(annotation=None), ast.arguments(args=[first, *_]) if first is binding:
                fn = self._parents[parent]
                cls = self._parents.get(fn)
                is_static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in _decorators(fn))
                return _Class(self, cls) if isinstance(cls, ast.ClassDef) and not is_static else None
            case ast.Name(), (ast.Assign(value=ast.Call() as call) | ast.AnnAssign(value=ast.Call() as call)):
                return self._made(call)
        return None

    def _made(self, call: ast.Call) -> _Class | None:
        """Return the class of the object that a call creates: `Shop(...)`, or `user.client(Shop)`."""
        if isinstance(call.func, ast.Attribute) and call.func.attr == "client" and call.args:
            return self._class_named(call.args[0])
        return self._class_named(call.func)

    def _class_named(self, node: ast.expr) -> _Class | None:
        if isinstance(node, ast.Name):
            return _class_among(self._definitions(self._bound(node, node.id)))
        if isinstance(node, ast.Attribute):
            return _class_among(self._of_module(node.value, node.attr))
        return None

    # -- other files ------------------------------------------------------------------------------

    def _definitions(self, nodes: list[ast.AST], depth: int = 4) -> list[_Definition]:
        """Return the nodes that give a name its value, each with its file. Imports from the scenario are followed."""
        found: list[_Definition] = []
        for one in nodes:
            parent = self._parents.get(one)
            if isinstance(one, ast.alias) and isinstance(parent, ast.ImportFrom) and depth:
                other = self._file(self._source.module_of(parent))
                there = [] if other is None else other._in(other._source.tree).get(one.name, [])
                found += [(self, one)] if other is None or not there else other._definitions(there, depth - 1)
            else:
                found.append((self, one))
        return found

    def _of_module(self, owner: ast.expr, name: str) -> list[_Definition]:
        """Return the definitions of `helpers.log_in`, if `owner` is a module of the scenario; else []."""
        first = owner
        while isinstance(first, ast.Attribute):
            first = first.value
        if not isinstance(first, ast.Name):
            return []
        bound = self._bound(first, first.id)
        if not bound or not all(isinstance(one, ast.alias) for one in bound):
            return []
        other = self._file(self._source.dotted_name(owner))
        if other is None or name in other._stored:
            return []
        return other._definitions(other._in(other._source.tree).get(name, []))

    def _file(self, module: str) -> Coroutines | None:
        source = self._source.module(module) if module else None
        if source is None:
            return None
        return self._known.get(source.path) or Coroutines(source, self._known)

    # -- names ------------------------------------------------------------------------------------

    def _bound(self, node: ast.AST, name: str) -> list[ast.AST]:
        """Return all nodes that give a name its value where `node` reads it; [] if the file does not define it."""
        inner = True
        scope: ast.AST | None = node
        while scope is not None:
            if isinstance(scope, _Scope) and (inner or not isinstance(scope, ast.ClassDef)):
                if found := self._in(scope).get(name):
                    return found
                inner = False
            scope = self._parents.get(scope)
        return []

    def _in(self, scope: _Scope) -> dict[str, list[ast.AST]]:
        found = self._bindings.get(scope)
        if found is None:
            found = self._bindings[scope] = {}
            for name, node in _bindings(scope):
                found.setdefault(name, []).append(node)
        return found


@dataclass(frozen=True, slots=True)
class _Class:
    """A class of a scenario's file."""

    file: Coroutines
    node: ast.ClassDef

    def has_async(self, name: str, depth: int = 8) -> bool:
        """Return True if a method of this class, or of its base classes in the scenario, is an async function."""
        if name in self.file._stored:
            return False
        if found := self.file._in(self.node).get(name):
            return all(_is_async(one) for one in found)
        bases = [self.file._class_named(base) for base in self.node.bases]
        return depth > 0 and any(base is not None and base.has_async(name, depth - 1) for base in bases)


_Definition = tuple[Coroutines, ast.AST]
"""A node that gives a name its value, and the file that has it."""


def _class_among(definitions: list[_Definition]) -> _Class | None:
    """Return the only definition, if it is a class; else None."""
    match definitions:
        case [(file, ast.ClassDef() as cls)]:
            return _Class(file, cls)
    return None


def _is_async(node: ast.AST) -> bool:
    """Return True for an async function that is not a generator and keeps what it returns."""
    if not isinstance(node, ast.AsyncFunctionDef):
        return False
    decorators = {one.id if isinstance(one, ast.Name) else "" for one in node.decorator_list}
    return decorators <= _KEEP_ASYNC and not any(isinstance(one, ast.Yield) for one in _own(node.body))


def _decorators(node: ast.AST) -> list[ast.expr]:
    return node.decorator_list if isinstance(node, Function) else []


def _own(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield the nodes of a body; of functions and classes within it only the definition itself."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _Scope):
            waiting += ast.iter_child_nodes(node)


def _bindings(scope: _Scope) -> Iterator[tuple[str, ast.AST]]:
    """Yield (name, node) of each node that gives a name of this scope a value."""
    if isinstance(scope, Function | ast.Lambda):
        args = scope.args
        for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg):
            if arg is not None:
                yield arg.arg, arg
    for node in _own(scope.body) if not isinstance(scope, ast.Lambda) else ():
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name, node
            case ast.alias(name=name, asname=asname):
                yield asname or name.partition(".")[0], node
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from ((name, node) for name in names)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node
            case ast.MatchMapping(rest=str(name)):
                yield name, node


# -- values -----------------------------------------------------------------------------------------


def is_lost(fn: Function, value: ast.expr, parents: Mapping[ast.AST, ast.AST]) -> bool:
    """Return True if nothing can await the value of an expression, a coroutine, in the function around it.

    parents: the node around each node of the file.
    """
    return _is_lost(fn, value, parents, many=False, depth=12)


def _is_lost(fn: Function, value: ast.AST, parents: Mapping[ast.AST, ast.AST], *, many: bool, depth: int) -> bool:
    """Return True if the coroutine `value`, or the coroutines in the collection `value` (many), are never awaited."""
    parent = parents.get(value)
    if depth == 0 or parent is None:
        return False

    def follow(node: ast.AST, *, many: bool) -> bool:
        return _is_lost(fn, node, parents, many=many, depth=depth - 1)

    def unread(target: ast.expr, *, many: bool) -> bool:
        if not isinstance(target, ast.Name):
            return False
        nodes = list(ast.walk(fn))
        if any(isinstance(node, ast.Global | ast.Nonlocal) and target.id in node.names for node in nodes):
            return False
        reads = (n for n in nodes if isinstance(n, ast.Name) and n.id == target.id and isinstance(n.ctx, ast.Load))
        return all(follow(node, many=many) for node in reads)

    match parent:
        case ast.Expr() | ast.If() | ast.While() | ast.Assert() | ast.Compare() | ast.FormattedValue():
            return True
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
            return unread(target, many=many)
        case ast.NamedExpr(target=target):
            return follow(parent, many=many) and unread(target, many=many)
        case ast.Attribute(attr=attr):
            if not many:
                return attr not in _OF_COROUTINE
            return attr in _ADDS and isinstance(parents.get(parent), ast.Call)
        case ast.Subscript(value=owner) if owner is value:
            return not many or follow(parent, many=isinstance(parent.slice, ast.Slice))
        case ast.BoolOp() | ast.IfExp():
            return (isinstance(parent, ast.IfExp) and parent.test is value) or follow(parent, many=many)
        case ast.BinOp():
            return not many or follow(parent, many=True)
        case ast.List() | ast.Set():
            return follow(parent, many=True)
        case ast.Tuple(elts=elts):
            match parents.get(parent):
                case ast.Assign(targets=[ast.Tuple(elts=targets)]) if len(targets) == len(elts):
                    return unread(targets[elts.index(value)], many=many)  # type: ignore[arg-type]  # an element
            return follow(parent, many=True)
        case ast.Starred():
            return isinstance(parents.get(parent), ast.List | ast.Tuple | ast.Set) and follow(parent, many=True)
        case ast.Dict() | ast.DictComp() | ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
            return follow(parent, many=True)
        case ast.comprehension(iter=iterated, target=target) | ast.For(iter=iterated, target=target):
            return iterated is value and (not many or unread(target, many=False))
        case ast.Call(func=ast.Name(id=name)) if name in _COPIES:
            return follow(parent, many=True)
        case ast.Call(func=ast.Name(id=name)):
            return name in _ONLY_LOOK
    return False
