"""Reads a scenario's files without running them: imports, steps, and the lines of arguments.

Therefore a failing import is reported together with all other errors, an objective on
an unknown step is found before the run, and errors name the exact line of an argument.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from loadgen.dsl.loading.receivers import Function, Receivers, functions
from loadgen.errors import Fault, ScenarioError

__all__ = [
    "UNKNOWN",
    "Import",
    "Source",
    "StepName",
    "bound_names",
    "last_name",
    "pairs",
    "place",
    "read_source",
    "short_text",
    "syntax_fault",
]

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
    """One Python file with its syntax tree.

    assigned_once: the value of each name that is assigned once, at the top of the file: `orders = counter("orders")`.
    package: the package of the file; "" for none.
    module: returns another file of the scenario by the name of its module; None for a module that is not part of it.
    """

    def __init__(self, path: Path, text: str, tree: ast.Module) -> None:
        self.path, self.text, self.tree = path, text, tree
        self.package = ""
        self.module: Callable[[str], Source | None] = lambda name: None
        self._bound_names = bound_names(tree)
        self.assigned_once = _assigned_once(tree.body, self._bound_names)
        self._lines = text.splitlines()

    def fault(self, node: ast.expr, message: str, hint: str) -> Fault:
        """Return an error at the first line of an expression of this file."""
        return Fault(str(self.path), node.lineno, message, hint)

    @cached_property
    def parents(self) -> Mapping[ast.AST, ast.AST]:
        """Return the node around each node of the file."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def receivers(self) -> Sequence[tuple[Function, Receivers]]:
        """Return each function of the file with its users, clients and replies; outer functions come first."""
        return tuple(functions(self.tree))

    @cached_property
    def _imported(self) -> Mapping[str, str]:
        """Return the full dotted name of each imported name."""
        return dict(self._imports_by_name())

    def _imports_by_name(self) -> Iterator[tuple[str, str]]:
        """Yield (name in the file, full dotted name) of each name that the file imports."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
            elif isinstance(node, ast.ImportFrom) and (module := self.module_of(node)):
                for alias in node.names:
                    if alias.name == "*" and module == "loadgen":
                        yield from ((name, f"loadgen.{name}") for name in import_module("loadgen").__all__)
                    yield alias.asname or alias.name, f"{module}.{alias.name}"

    def binds(self, name: str) -> bool:
        """Return True if the file defines, assigns or imports a name, in any scope."""
        return self._bound_names[name] > 0 or name in self._imported

    def is_bound_once(self, name: str) -> bool:
        """Return True if the file defines, assigns or imports a name exactly once in all scopes."""
        return self._bound_names[name] + self._times_imported[name] == 1

    @cached_property
    def _times_imported(self) -> Counter[str]:
        return Counter(
            alias.asname or alias.name.partition(".")[0]
            for node in self.parents
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        )

    def module_of(self, node: ast.ImportFrom) -> str:
        """Return the full dotted name of the module in `from MODULE import ...`; "" if it is outside of the package."""
        if not node.level:
            return node.module or ""
        parts = self.package.split(".") if self.package else []
        if len(parts) < node.level:
            return ""
        return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])

    def declared(self, node: ast.expr, depth: int = 4) -> tuple[Source, ast.expr] | None:
        """Return the value of a name that is assigned once, at the top of this file or of the file that it comes from.

        Returns (the file that assigns it, the value). Returns None for another expression, and for a name that may
        have another value somewhere. depth: how many imports to follow.
        """
        if isinstance(node, ast.Name) and node.id in self.assigned_once:
            return self, self.assigned_once[node.id]
        module, dot, name = self.dotted_name(node).rpartition(".")
        if not dot or not depth or self._bound_names[ast.unparse(node).partition(".")[0]]:
            return None
        other = self.module(module)
        return None if other is None else other.declared(ast.Name(name, ast.Load()), depth - 1)

    @cached_property
    def _of_functions(self) -> Mapping[str, ast.expr]:
        """Return the value of each variable of a function whose name is bound nowhere else in the file."""
        there = self._imported.keys() | set(dir(builtins)) | {"*"}
        bodies = (fn.body for _, fn in self.functions())
        statements = [one for body in bodies for top in body for one in ast.walk(top) if isinstance(one, ast.stmt)]
        found = _assigned_once(statements, self._bound_names)
        return {} if "*" in self._imported else {name: value for name, value in found.items() if name not in there}

    def last_value(self, node: ast.expr) -> ast.expr:
        """Return the value of a variable that is assigned once in this file; another expression as it is."""
        if not isinstance(node, ast.Name):
            return node
        return self.assigned_once.get(node.id) or self._of_functions.get(node.id, node)

    def dotted_name(self, func: ast.expr) -> str:
        """Return the full dotted name of a called function, resolved by the file's imports.

        Returns "" for a method or attribute of anything that is not imported.
        """
        if not _is_name(func):
            return ""  # a method of a value, as in random.Random(7).choice
        text = ast.unparse(func)
        first, dot, rest = text.partition(".")
        if first in self._imported:
            return self._imported[first] + dot + rest
        return text if not dot else ""

    @cached_property
    def function_names(self) -> frozenset[str]:
        """Return the names that stand for a function wherever they are used in the file.

        Functions with a decorator, which may replace them, and methods are left out.
        """
        found: set[str] = set()
        others: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                (others if node.decorator_list else found).add(node.name)
            elif isinstance(node, ast.ClassDef):
                others |= {node.name, *(one.name for one in node.body if isinstance(one, ast.FunctionDef))}
            elif isinstance(node, ast.Name):
                if not isinstance(node.ctx, ast.Load):
                    others.add(node.id)
            elif isinstance(node, ast.arg):
                others.add(node.arg)
            elif isinstance(node, ast.alias):
                others.add(node.asname or node.name)
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                others.add(node.name)
        return frozenset(found - others)

    @cached_property
    def _looped(self) -> dict[ast.Name, tuple[str, ...]]:
        """Return the values of each use of a name in a loop over literal texts: `for path in ("/", "/products"):`."""
        found: dict[ast.Name, tuple[str, ...]] = {}
        for node in ast.walk(self.tree):
            loops: list[tuple[ast.expr, ast.expr]] = []
            within: list[ast.AST] = [node]
            if isinstance(node, ast.For | ast.AsyncFor):
                loops, within = [(node.target, node.iter)], list(node.body)
            elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
                loops = [(one.target, one.iter) for one in node.generators]
            for target, values in loops:
                rows = self._rows(values)
                for name, texts in _bound(target, rows):
                    uses = [one for part in within for one in ast.walk(part) if isinstance(one, ast.Name)]
                    own = {one for one in ast.walk(target) if isinstance(one, ast.Name)}
                    uses = [one for one in uses if one.id == name and one not in own]
                    if all(isinstance(one.ctx, ast.Load) for one in uses):
                        found.update(dict.fromkeys(uses, texts))
        return found

    def _rows(self, values: ast.expr) -> Sequence[Any]:
        """Return the values of a loop that are written literally or by a name of the module; () if not known."""
        if isinstance(values, ast.Name):
            values = self.assigned_once.get(values.id, values)
        if isinstance(values, ast.Call) and isinstance(values.func, ast.Attribute) and values.func.attr == "items":
            rows = self._literal(values.func.value)
            return tuple(rows.items()) if isinstance(rows, dict) else ()
        rows = self._literal(values)
        return tuple(rows) if isinstance(rows, tuple | list | set | frozenset | dict) else ()

    def _literal(self, node: ast.expr) -> Any:
        return self.value_of(self.assigned_once.get(node.id, node) if isinstance(node, ast.Name) else node)

    def alternatives(self, node: ast.expr) -> list[ast.expr]:
        """Return the expressions that an expression stands for: one for each value in a loop over literal texts.

        Other expressions are returned as they are.
        """
        if isinstance(node, ast.Name):
            return [ast.Constant(text) for text in self._looped.get(node, ())] or [node]
        if not isinstance(node, ast.JoinedStr):
            return [node]
        names = [one.value for one in node.values if isinstance(one, ast.FormattedValue)]
        looped = next((one for one in names if isinstance(one, ast.Name) and one in self._looped), None)
        if looped is None:
            return [node]

        def with_text(part: ast.expr, text: str) -> ast.expr:
            value = part.value if isinstance(part, ast.FormattedValue) else None
            is_it = isinstance(value, ast.Name) and value.id == looped.id
            return ast.Constant(text) if is_it else part

        return [ast.JoinedStr([with_text(part, text) for part in node.values]) for text in self._looped[looped]]

    @property
    def has_lazy_annotations(self) -> bool:
        """Return True if the file has `from __future__ import annotations`."""
        return any(i.module == "__future__" and "annotations" in i.names for i in self.imports())

    def imports(self) -> tuple[Import, ...]:
        """Return all imports of the file, including those within functions, but not those under `if TYPE_CHECKING`."""
        return tuple(_imports(self.tree.body, True))

    def main_line(self) -> int:
        """Return the line of `if __name__ == "__main__":`; 0 if the file has none."""
        blocks = (node for node in self.tree.body if isinstance(node, ast.If))
        return next((node.lineno for node in blocks if "__name__" in ast.unparse(node.test)), 0)

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
        """Return the value of an expression that is written literally or by a constant; else UNKNOWN.

        A constant is a number or text in a variable that is assigned once: of the file, of a function, or of another
        file of the scenario.
        """
        if isinstance(node, ast.Name | ast.Attribute):
            value = self.last_value(node)
            if value is node:
                value = (self.declared(node) or (self, node))[1]
            is_constant = isinstance(value, ast.Constant) and type(value.value) in (str, int, float)
            return value.value if isinstance(value, ast.Constant) and is_constant else UNKNOWN
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
        value = self.value_of(node)
        return value if type(value) is int else None  # not True, which is an int, too

    def functions(self) -> Sequence[tuple[int, Function]]:
        """Return (first line, function) of each function in the file.

        The first line is that of the first decorator, as in `co_firstlineno`.
        """
        return self._functions

    @cached_property
    def _functions(self) -> Sequence[tuple[int, Function]]:
        return tuple((_first_line(node), node) for node in ast.walk(self.tree) if isinstance(node, Function))

    def keyword_line(self, line: int, name: str) -> int:
        """Return the line of the argument `name=` in a call that covers `line`; `line` itself if not found."""
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
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(value := self.value_of(node), str):
            node = ast.Constant(value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return re.escape(node.value), node.value, False
        if isinstance(node, ast.Name) and (texts := self._looped.get(node)):
            return f"(?:{'|'.join(map(re.escape, texts))})", "{...}", False
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) and isinstance(v.value, str) else None for v in node.values]
            pattern = "".join(".+" if part is None else re.escape(part) for part in parts)
            is_computed = not any(part is not None for part in parts)
            return pattern, "".join("{...}" if part is None else part for part in parts), is_computed
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


def _is_name(node: ast.expr) -> bool:
    """Return True for a name with or without dots: `random.choice`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def bound_names(tree: ast.AST) -> Counter[str]:
    """Return how often a file or function binds each name, in any scope. Imports are not counted."""
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                found[name] += 1
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] += 1
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found[name] += 1
            case ast.MatchMapping(rest=str(name)):
                found[name] += 1
            case _:
                pass
    return found


def _assigned_once(statements: Iterable[ast.stmt], bound: Mapping[str, int]) -> dict[str, ast.expr]:
    """Return the value of each name that one of the statements assigns, and that its file binds only once.

    bound: how often the file binds each name.
    """
    found = [pair for one in statements for pair in pairs(one)]
    return {target.id: value for target, value in found if isinstance(target, ast.Name) and bound[target.id] == 1}


def pairs(node: ast.stmt) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield (target, value) of an assignment, also of each part of `a, b = 1, 2`."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            is_starred = any(isinstance(one, ast.Starred) for one in (*target.elts, *node.value.elts))
            yield from () if is_starred else zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


def _bound(target: ast.expr, rows: Sequence[Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (name, texts) for each name of a loop's target that has only texts in the values of the loop."""
    if isinstance(target, ast.Name):
        if rows and all(isinstance(row, str) for row in rows):
            yield target.id, tuple(rows)
    elif isinstance(target, ast.Tuple) and all(
        isinstance(row, tuple | list) and len(row) == len(target.elts) for row in rows
    ):
        for at, one in enumerate(target.elts):
            yield from _bound(one, [row[at] for row in rows])


def _first_line(fn: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([fn.lineno, *(decorator.lineno for decorator in fn.decorator_list)])


def last_name(node: ast.expr) -> str:
    """Return "Plan" for the expressions `Plan` and `loadgen.Plan`; "" for an expression that is not a name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
