"""Reads a scenario's files without running them: imports, steps, and the lines of arguments.

Therefore a failing import is reported together with all other errors, an objective on
an unknown step is found before the run, and errors name the exact line of an argument.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen.errors import Fault, ScenarioError

__all__ = ["UNKNOWN", "Import", "Source", "StepName", "last_name", "place", "read_source", "short_text", "syntax_fault"]

UNKNOWN: Final[Any] = object()
"""The value of an expression that only a run can compute."""
_ALLOWED = re.compile(r"#\s*loadgen:\s*allow\b")


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module in a file.

    `import a.b` has the module "a.b". `from a import b, c` has the module "a" and the names b and c.
    """

    module: str
    names: tuple[str, ...]
    level: int
    """Number of leading dots: 0 for absolute imports."""
    line: int
    is_certain: bool
    """True if the import runs whenever the file is loaded: not in a function, a `try` or an `if`."""


@dataclass(frozen=True, slots=True)
class StepName:
    """The name in a `.step(...)` call, with the names of the steps around it in the same function: `outer/inner`."""

    pattern: str
    """Regular expression for the full name; `.+` matches computed parts."""
    text: str
    """The name as shown in messages; computed parts are `{...}`."""
    is_computed: bool
    """True if the last name has no literal part, so it may be anything."""

    @classmethod
    def of(cls, name: str) -> StepName:
        """Return the name of a step whose name is this literal text."""
        return cls(re.escape(name), name, is_computed=False)

    def within(self, outer: str) -> StepName:
        """Return this step's name when it is nested in a step named `outer`: "outer/inner".

        The name is unchanged if `outer` is "".
        """
        if not outer:
            return self
        return StepName(f"{re.escape(outer)}/{self.pattern}", f"{outer}/{self.text}", self.is_computed)

    def fits(self, name: str) -> bool:
        return re.fullmatch(self.pattern, name) is not None


class Source:
    """One Python file with its syntax tree."""

    def __init__(self, path: Path, text: str, tree: ast.Module) -> None:
        self.path, self.text, self.tree = path, text, tree
        self._constants = _constants(tree)
        self._lines = text.splitlines()

    def fault(self, node: ast.expr, message: str, hint: str) -> Fault:
        """Return an error at the first line of an expression of this file."""
        return Fault(str(self.path), node.lineno, message, hint)

    @property
    def has_lazy_annotations(self) -> bool:
        """Return True if the file has `from __future__ import annotations`."""
        return any(i.module == "__future__" and "annotations" in i.names for i in self.imports())

    def imports(self) -> tuple[Import, ...]:
        """Return all imports of the file, including those within functions, but not those under `if TYPE_CHECKING`."""
        return tuple(_imports(self.tree.body, True))

    def steps(self) -> dict[int, tuple[StepName, ...]]:
        """Return the names of the steps in each function of the file, by the function's first line.

        The first line is that of the first decorator, as in `co_firstlineno`.
        """
        return {line: tuple(self._steps_of(fn.body, ())) for line, fn in self.functions()}

    def argument_lines(self, line: int) -> dict[str, int]:
        """Return the line of each argument of the `Plan(...)` call at `line`, by the argument's name.

        Elements of lists are named "slos[1]". Returns {} if there is no such call.
        """
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and node.lineno == line and last_name(node.func) == "Plan":
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
        """Yield (text, line) of each call of `function` whose first argument is a literal text."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and last_name(node.func) == function:
                for first in node.args[:1]:
                    if isinstance(first, ast.Constant) and isinstance(first.value, str):
                        yield first.value, node.lineno

    def text_of(self, node: ast.expr) -> tuple[str, str]:
        """Return two texts for an expression: a regular expression for its value, and the value as shown in messages.

        Computed parts are `.+` in the first and `{...}` in the second.
        """
        pattern, text, _ = self._name(node)
        return pattern, text

    def value_of(self, node: ast.expr) -> Any:
        """Return the value of an expression that is written literally or by a constant of the module; else UNKNOWN."""
        if isinstance(node, ast.Name):
            return self._constants.get(node.id, UNKNOWN)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
            ends = [self.value_of(one) for one in node.args]
            return range(*ends) if 0 < len(ends) < 4 and all(type(end) is int for end in ends) else UNKNOWN
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return UNKNOWN

    def module_names(self) -> set[str]:
        """Return the names that the module's own statements assign or import, which are constant in a run."""
        names: set[str] = set()
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                names |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            elif isinstance(statement, ast.Import | ast.ImportFrom):
                names |= {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
        return names

    def is_allowed(self, node: ast.AST) -> bool:
        """Return True if a line of the node ends with the comment `# loadgen: allow`."""
        first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
        return any(_ALLOWED.search(line) for line in self._lines[max(0, first - 1) : last])

    def number_of(self, node: ast.expr) -> int | None:
        """Return the whole number that an expression writes literally or by a constant of the module; else None."""
        value = self._constants.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            value = -node.operand.value if type(node.operand.value) is int else None
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            value = node.value
        return value if isinstance(value, int) else None

    def functions(self) -> Iterator[tuple[int, ast.FunctionDef | ast.AsyncFunctionDef]]:
        """Yield (first line, function) of each function in the file.

        The first line is that of the first decorator, as in `co_firstlineno`.
        """
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield _first_line(node), node

    def keyword_line(self, line: int, name: str) -> int:
        """Return the line of the argument `name=` in a call that covers `line`; `line` itself if there is none."""
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
                continue  # visited separately
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
                if step is not None and not step.is_computed:  # entered without `async with`
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
    """Return the text and syntax tree of a Python file.

    Raises:
        ScenarioError: the file cannot be read, or is not valid Python.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScenarioError(
            [Fault(str(path), 0, f"cannot be read: {error.strerror or error}", "check the path and its permissions")]
        ) from None
    try:
        tree = ast.parse(data, filename=str(path))
    except SyntaxError as error:  # also a wrong or missing encoding declaration
        raise ScenarioError([syntax_fault(str(path), error)]) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ScenarioError(
            [Fault(str(path), 0, f"is not valid Python: {error or type(error).__name__}", "correct the file")]
        ) from None
    return Source(path, data.decode("utf-8", "replace"), tree)


def place(fn: Callable[..., Any]) -> tuple[str, int]:
    """Return (file, first line) of a function, with lines as in `Source.functions`; ("", 0) if it has no code."""
    code = getattr(fn, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)


def short_text(node: ast.expr) -> str:
    """Return an expression as source text, such as `user.http.get`; of more than 60 characters only the end."""
    text = ast.unparse(node)
    return text if len(text) <= 60 else "..." + text[-50:]


def syntax_fault(file: str, error: SyntaxError) -> Fault:
    """Return the error for invalid syntax in `file`; the source line is part of the hint."""
    shown = (error.text or "").strip()
    hint = f"correct this line, or the one before it: {shown}" if shown else "correct this line"
    if "outside async function" in error.msg or "outside function" in error.msg:
        hint = "write `async def`: journeys, and helpers that await, must be async"
    return Fault(file, error.lineno or 0, f"syntax error: {error.msg}", hint)


def _imports(body: Sequence[ast.AST], is_certain: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, (), 0, node.lineno, is_certain) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.module or "", names, node.level, node.lineno, is_certain)
        elif isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING":
            yield from _imports(node.orelse, is_certain)
        else:
            yield from _imports(list(ast.iter_child_nodes(node)), is_certain and isinstance(node, ast.ClassDef))


def _constants(tree: ast.Module) -> dict[str, str | int]:
    """Return the value of each module-level constant, by name.

    A constant is a name with a literal text or whole number that is assigned only once in the file.
    """
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


def last_name(node: ast.expr) -> str:
    """Return "Plan" for the expressions `Plan` and `loadgen.Plan`; "" for an expression that is not a name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
