"""What a scenario's files say, read without running them: imports, steps, and where arguments stand.

So an import that fails is told with all others, an objective on a step that no
journey has is found before a run, and a fault names the very line of an argument.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.errors import Fault, ScenarioError

__all__ = ["Import", "Source", "StepName", "read_source", "syntax_fault"]


@dataclass(frozen=True, slots=True)
class Import:
    """One module that a file imports. `import a.b`: module "a.b". `from a import b, c`: module "a", names b and c."""

    module: str
    names: tuple[str, ...]
    level: int
    """Dots in front: 0 for absolute imports."""
    line: int
    is_certain: bool
    """It is done whenever the file is loaded: not within a function, nor a `try` or `if`."""


@dataclass(frozen=True, slots=True)
class StepName:
    """A name given to `.step(...)`, with the steps around it in the same function: `outer/inner`."""

    pattern: str
    """Regular expression of the full name; `.+` stands for what is computed."""
    text: str
    """The same for people; computed parts are `{...}`."""
    is_computed: bool
    """No part of the last name is a literal, so it may be anything."""

    @classmethod
    def of(cls, name: str) -> StepName:
        """A step of this very name."""
        return cls(re.escape(name), name, is_computed=False)

    def within(self, outer: str) -> StepName:
        """The same in a step named `outer`; "": in none."""
        if not outer:
            return self
        return StepName(f"{re.escape(outer)}/{self.pattern}", f"{outer}/{self.text}", self.is_computed)

    def fits(self, name: str) -> bool:
        return re.fullmatch(self.pattern, name) is not None


class Source:
    """One file, parsed."""

    def __init__(self, path: Path, text: str, tree: ast.Module) -> None:
        self.path, self.text, self.tree = path, text, tree
        self._constants = _constants(tree)

    @property
    def has_lazy_annotations(self) -> bool:
        """`from __future__ import annotations` stands in it."""
        return any(i.module == "__future__" and "annotations" in i.names for i in self.imports())

    def imports(self) -> tuple[Import, ...]:
        """All imports, also those within functions, but not those for type checkers only."""
        return tuple(_imports(self.tree.body, True))

    def steps(self) -> dict[int, tuple[StepName, ...]]:
        """The steps of each function by the function's first line (of its first decorator, as in `co_firstlineno`)."""
        return {line: tuple(self._steps_of(fn.body, ())) for line, fn in self.functions()}

    def argument_lines(self, line: int) -> dict[str, int]:
        """Where the arguments of the `Plan(` at `line` stand, by name, and the elements of lists: "slos[1]"."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and node.lineno == line and _last_name(node.func) == "Plan":
                by_place = dict(zip(("target", "load", "mix", "slos", "regions"), node.args, strict=False))
                by_name = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
                given = by_place | by_name
                elements = {
                    f"{name}[{i}]": element.lineno
                    for name, value in given.items()
                    if isinstance(value, ast.List | ast.Tuple)
                    for i, element in enumerate(value.elts)
                }
                return {name: value.lineno for name, value in given.items()} | elements
        return {}

    def texts_given(self, function: str) -> Iterator[tuple[str, int]]:
        """The literal first arguments of all calls of a function by this name, with their lines."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and _last_name(node.func) == function:
                for first in node.args[:1]:
                    if isinstance(first, ast.Constant) and isinstance(first.value, str):
                        yield first.value, node.lineno

    def text_of(self, node: ast.expr) -> tuple[str, str]:
        """Of an expression that is a text: a regular expression, and for people, with `{...}` for what is computed."""
        pattern, text, _ = self._name(node)
        return pattern, text

    def number_of(self, node: ast.expr) -> int | None:
        """Of an expression that is a whole number, written there or as a constant of the module."""
        value = self._constants.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            value = -node.operand.value if type(node.operand.value) is int else None
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            value = node.value
        return value if isinstance(value, int) else None

    def functions(self) -> Iterator[tuple[int, ast.FunctionDef | ast.AsyncFunctionDef]]:
        """All of them, each with its first line (of its first decorator, as in `co_firstlineno`)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield _first_line(node), node

    def keyword_line(self, line: int, name: str) -> int:
        """Where the argument `name` of a call that begins at `line`, or holds it, stands; `line` when there is none."""
        calls = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Call) and node.lineno <= line <= (node.end_lineno or node.lineno)
        ]
        lines = [keyword.value.lineno for call in calls for keyword in call.keywords if keyword.arg == name]
        return min(lines, default=line, key=lambda one: abs(one - line))

    def _steps_of(self, body: Sequence[ast.AST], outer: tuple[StepName, ...]) -> Iterator[StepName]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
                continue  # a function of its own
            if isinstance(node, ast.AsyncWith | ast.With):
                inner = outer
                for item in node.items:
                    step = self._step(item.context_expr, inner)
                    if step is not None:
                        inner = (*inner, step)
                        yield step
                yield from self._steps_of(node.body, inner)
            else:
                step = self._step(node, outer)
                if step is not None and not step.is_computed:  # entered by other means than `async with`
                    yield step
                yield from self._steps_of(list(ast.iter_child_nodes(node)), outer)

    def _step(self, node: ast.AST, outer: tuple[StepName, ...]) -> StepName | None:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "step"):
            return None
        given = [*node.args, *(k.value for k in node.keywords if k.arg == "name")]
        if not given:
            return None
        pattern, text, is_computed = self._name(given[0])
        if outer:
            pattern, text = f"{outer[-1].pattern}/{pattern}", f"{outer[-1].text}/{text}"
        return StepName(pattern, text, is_computed)

    def _name(self, node: ast.expr) -> tuple[str, str, bool]:
        if isinstance(node, ast.Name) and node.id in self._constants:
            node = ast.Constant(self._constants[node.id])
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return re.escape(node.value), node.value, False
        if isinstance(node, ast.JoinedStr):
            texts = [v.value if isinstance(v, ast.Constant) and isinstance(v.value, str) else None for v in node.values]
            pattern = "".join(".+" if text is None else re.escape(text) for text in texts)
            is_computed = not any(text is not None for text in texts)
            return pattern, "".join("{...}" if text is None else text for text in texts), is_computed
        return ".+", "{...}", True


def read_source(path: Path) -> Source:
    """
    Raises:
        ScenarioError: it cannot be read, or is no Python.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScenarioError([Fault(str(path), 0, f"cannot be read: {error.strerror or error}")]) from None
    try:
        tree = ast.parse(data, filename=str(path))
    except SyntaxError as error:  # also a wrong or missing encoding declaration
        raise ScenarioError([syntax_fault(str(path), error)]) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ScenarioError([Fault(str(path), 0, f"no Python: {error or type(error).__name__}")]) from None
    return Source(path, data.decode("utf-8", "replace"), tree)


def syntax_fault(file: str, error: SyntaxError) -> Fault:
    """At its line, which the hint shows."""
    shown = (error.text or "").strip()
    hint = f"mend this line, or the one before it: {shown}" if shown else "Python cannot read it"
    if "outside async function" in error.msg or "outside function" in error.msg:
        hint = "journeys, and helpers that await, are async: write `async def`"
    return Fault(file, error.lineno or 0, f"syntax error: {error.msg}", hint)


def _imports(body: Sequence[ast.AST], is_certain: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, (), 0, node.lineno, is_certain) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.module or "", names, node.level, node.lineno, is_certain)
        elif isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING":
            yield from _imports(node.orelse, is_certain)
        else:
            yield from _imports(list(ast.iter_child_nodes(node)), is_certain and isinstance(node, ast.ClassDef))


def _constants(tree: ast.Module) -> dict[str, str | int]:
    """Module-level names that are one text or whole number and are assigned nowhere else in the file."""
    stores: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stores[node.id] = stores.get(node.id, 0) + 1
        elif isinstance(node, ast.arg):
            stores[node.arg] = stores.get(node.arg, 0) + 1
    found: dict[str, str | int] = {}
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and type(value.value) in (str, int):
            constant: Any = value.value
            found.update({t.id: constant for t in targets if isinstance(t, ast.Name) and stores[t.id] == 1})
    return found


def _first_line(fn: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([fn.lineno, *(decorator.lineno for decorator in fn.decorator_list)])


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
