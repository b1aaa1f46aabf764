"""Finds wrong uses of the names of the scenario's files within functions, also in branches that no trial enters.

    user.note(x=anwser)           nothing defines the name                        error
    json.dump_s({})               the module has no such name                     error
    helpers.log_inn(user)         the same of another file of the scenario        error
    log_in(user, "a", "b")        the function takes fewer arguments              error
    await browse(user)            a journey cannot be called                      error

Python finds these when it executes the line. The files are loaded, so the values of their names are known here. A name
that is bound in several places is not checked, and neither are files that look names up by other means.
"""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from loadgen.dsl.graphs.nodes_and_edges import Node
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.other_tools import hint_of_import
from loadgen.dsl.loading.source_analysis import Source, short_text
from loadgen.errors import Fault
from loadgen.similar_names import did_you_mean

__all__ = ["wrong_names"]

_OTHER_MEANS: Final = re.compile(r"\b(globals|exec|eval|NameError)\b")
"""Words of files that define names by other means, or that expect some to be missing."""
_DEPENDS: Final = re.compile(r"\b(hasattr|AttributeError|version_info|find_spec)\b")
"""Words of files whose code depends on what a module has."""
_OF_K6: Final = {
    "__ENV": 'write a setting, stage = param("stage", str, default="test"), or a secret: secret("api-key")',
    "__VU": "write user.number",
    "__ITER": "write user.iteration",
}


def wrong_names(sources: Mapping[Path, Source], namespaces: Mapping[Path, Mapping[str, Any]]) -> Iterator[Fault]:
    """Yield the errors in the uses of global names. namespaces: the names of each loaded file, with their values."""
    for path, source in sources.items():
        if path in namespaces and not _OTHER_MEANS.search(source.text):
            yield from _File(source, namespaces[path], sources).faults()


class _File:
    def __init__(self, source: Source, namespace: Mapping[str, Any], sources: Mapping[Path, Source]) -> None:
        self._source, self._namespace, self._sources = source, namespace, sources
        # Statement by statement, as the file is run (`module_runner.py`).
        codes = [code for one in source.tree.body for code in _functions(_compiled(one, source))]
        loads = [one for code in codes for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"]
        self._places = {(one.positions.lineno, one.positions.col_offset) for one in loads if one.positions}
        """(line, column) of each use of a global name in a function."""

    def faults(self) -> Iterator[Fault]:
        for node in ast.walk(self._source.tree):
            match node:
                case ast.Name(id=name) if self._is_global(node):
                    yield from self._undefined(node, name)
                case ast.Attribute(value=ast.Name() as owner, attr=attr) if self._is_global(owner):
                    yield from self._not_in_module(node, owner, attr)
                case ast.Call(func=func):
                    yield from self._wrong_call(node, func)
                case _:
                    pass

    def _is_global(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and (node.lineno, node.col_offset) in self._places

    def _value(self, node: ast.expr) -> Any:
        """Return the value of a global name, or of a name of a module, that never changes; None if unknown."""
        match node:
            case ast.Name(id=name) if self._is_global(node) and self._source.is_bound_once(name):
                return self._namespace.get(name)
            case ast.Attribute(value=owner, attr=attr) if isinstance(module := self._value(owner), ModuleType):
                path = Path(getattr(module, "__file__", None) or "")
                is_constant = path in self._sources and self._sources[path].is_bound_once(attr)
                return vars(module).get(attr) if is_constant else None
        return None

    def _undefined(self, node: ast.Name, name: str) -> Iterator[Fault]:
        """Yield the error of a name that nothing in the file defines."""
        if name in self._namespace or hasattr(builtins, name) or self._source.binds(name):
            return
        there = [*self._names_around(node), *self._namespace]
        near = did_you_mean(name, [one for one in there if not one.startswith("_")])
        hint = near if near.startswith("did") else _OF_K6.get(name) or hint_of_import(name)
        yield self._source.fault(node, f"the name {name} is not defined", hint or "define or import it")

    def _names_around(self, node: ast.AST) -> Iterator[str]:
        """Yield the names that the function around a node binds."""
        around: ast.AST | None = node
        while around is not None and not isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef):
            around = self._source.parents.get(around)
        for one in ast.walk(around) if around is not None else ():
            if isinstance(one, ast.arg):
                yield one.arg
            elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                yield one.id

    def _not_in_module(self, node: ast.Attribute, owner: ast.Name, attr: str) -> Iterator[Fault]:
        """Yield the error of a name that a module does not have."""
        module = self._value(owner)
        if not isinstance(module, ModuleType) or _DEPENDS.search(self._source.text):
            return
        if not isinstance(node.ctx, ast.Load) or hasattr(module, attr) or _is_module(f"{module.__name__}.{attr}"):
            return
        near = did_you_mean(attr, [one for one in dir(module) if not one.startswith("_")])
        hint = near if near.startswith("did") else "correct the name"
        yield self._source.fault(node, f"the module {owner.id} has no {attr}", hint)

    def _wrong_call(self, call: ast.Call, func: ast.expr) -> Iterator[Fault]:
        """Yield the error of a call of something that cannot be called, or with arguments that do not fit."""
        value, what = self._value(func), short_text(func)
        if isinstance(value, Journey | Node):
            word = "node" if isinstance(value, Node) else "graph" if value.is_graph else "journey"
            hint = "move the common part into an `async def` without decorator, and await it in both"
            yield self._source.fault(call, f"{what} is a {word}, and cannot be called", hint)
        elif isinstance(value, FunctionType) and not hasattr(value, "__wrapped__"):
            if Path(value.__code__.co_filename) not in self._sources:
                return
            if any(isinstance(one, ast.Starred) for one in call.args) or not all(one.arg for one in call.keywords):
                return
            signature = inspect.signature(value)
            try:
                signature.bind(*call.args, **{str(one.arg): one.value for one in call.keywords})
            except TypeError as error:
                plain = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
                hint = f"its arguments are {value.__name__}{inspect.Signature(plain)}"
                yield self._source.fault(call, f"{what}(...): {error}", hint)


def _compiled(statement: ast.stmt, source: Source) -> CodeType:
    return compile(ast.Module([statement], []), str(source.path), "exec", dont_inherit=True)


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of each function and lambda within a code object."""
    if code.co_flags & CO_OPTIMIZED:
        yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _functions(one)


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False
