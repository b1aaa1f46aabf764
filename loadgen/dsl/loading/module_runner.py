"""Runs a scenario's file statement by statement; exceptions of its code become errors with file, line and advice.

After a failed statement the following ones still run, so a missing import does not hide
an error in a plan. NameErrors that only follow from a failed statement are left out.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import inspect
import itertools
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import loadgen.dsl.data.feed as feed_module
import loadgen.dsl.executors.standard as load_module
import loadgen.dsl.graphs.graph as graph_module
import loadgen.dsl.graphs.nodes_and_edges as node_module
import loadgen.dsl.journey as journey_module
import loadgen.dsl.metric as metric_module
import loadgen.dsl.plans.objectives.slo as slo_module
import loadgen.dsl.plans.plan as plan_module
from loadgen.dsl.loading.import_local_modules import Siblings
from loadgen.dsl.loading.other_tools import hint_of_attribute, methods_of
from loadgen.dsl.loading.plan_by_argument import errors_by_argument, plan_call
from loadgen.dsl.loading.source_analysis import Source, syntax_fault
from loadgen.dsl.plans import plan_loads
from loadgen.dsl.users.exception_to_outcome import is_ours
from loadgen.errors import Fault, ScenarioError
from loadgen.similar_names import did_you_mean

__all__ = ["run_statements"]

_numbers = itertools.count()


def run_statements(source: Source, siblings: Siblings) -> tuple[ModuleType, list[Fault]]:
    """Run a scenario's file one statement at a time; return its module and the errors of all failed statements."""
    module = ModuleType(f"loadgen_scenario_{next(_numbers)}")
    module.__file__ = str(source.path)
    module.__doc__ = ast.get_docstring(source.tree)
    siblings.activate()
    sys.modules[module.__name__] = module  # dataclasses and typing look annotations up there
    wrote_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return module, list(_statements(source, module, siblings))
    finally:
        sys.dont_write_bytecode = wrote_bytecode


def _statements(source: Source, module: ModuleType, siblings: Siblings) -> Iterator[Fault]:
    flags = __future__.annotations.compiler_flag if source.has_lazy_annotations else 0
    reported = {(fault.file, fault.line) for fault in siblings.faults}
    missing: set[str] = set()
    """Names that a failed statement should have defined."""

    def run(statement: ast.stmt) -> None:
        whole = ast.Module([statement], [])
        exec(compile(whole, str(source.path), "exec", flags, dont_inherit=True), module.__dict__)  # noqa: S102

    def evaluate(node: ast.expr) -> Any:
        code = compile(ast.Expression(node), str(source.path), "eval", flags, dont_inherit=True)
        return eval(code, module.__dict__)  # noqa: S307  # the user's code, as above

    for statement in _one_name_each(source.tree.body):
        try:
            run(statement)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the user's code: a fault of the scenario
            known = set(missing)
            found: list[Fault] = []
            call = plan_call(statement)
            if call is not None and not isinstance(error, SystemExit | SyntaxError):

                def fault_of(one: Exception, at: ast.stmt = statement, known: set[str] = known) -> Fault | None:
                    if isinstance(one, NameError) and one.name in known:
                        return None
                    return _fault_of(one, source, siblings, at.lineno)

                found = list(errors_by_argument(statement, call, evaluate, run, fault_of))
            missing |= _given_names(statement) - set(module.__dict__)
            if found:
                yield from found
            elif isinstance(error, ScenarioError):
                yield from error.faults
            elif isinstance(error, NameError) and error.name in known:
                continue
            else:
                fault = _fault_of(error, source, siblings)
                if (fault.file, fault.line) not in reported:
                    yield fault


def _one_name_each(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements, with an import of several names split into one import per name.

    Then a missing name does not keep the other names from being imported.
    """
    for statement in body:
        match statement:
            case ast.ImportFrom(module="__future__"):
                continue
            case ast.Expr(value=ast.Constant(value=str())):
                continue  # compiled by itself, the text under a variable would become the docstring of the module
            case ast.ImportFrom(module=module, names=names, level=level):
                yield from (ast.copy_location(ast.ImportFrom(module, [name], level), statement) for name in names)
            case ast.Import(names=names):
                yield from (ast.copy_location(ast.Import([name]), statement) for name in names)
            case _:
                yield statement


def _given_names(statement: ast.stmt) -> set[str]:
    """Return the names that a statement assigns, defines or imports."""
    names: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
    return names


def _fault_of(error: BaseException, source: Source, siblings: Siblings, line: int = 0) -> Fault:
    """Return the error for an exception that a statement raised, at the innermost line of the scenario's own files.

    line: the line to report if the exception has no place in them.
    """
    file = str(source.path)
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename) in siblings.sources:
            file, line = frame.filename, frame.lineno or 0
    if isinstance(error, SyntaxError):
        return syntax_fault(error.filename or file, error)
    if isinstance(error, SystemExit):
        message = f"sys.exit({'' if error.code is None else repr(error.code)}) is called while the scenario is loaded"
        return Fault(file, line, message, "remove the call: every agent loads the file to get its plans and journeys")
    text, hint = str(error), ""
    if isinstance(error, NameError | AttributeError | TypeError | ImportError):
        text = re.sub(
            r"\. Did you mean '[^']*'\?$", "", text
        )  # from 3.13 on, Python adds its own suggestion to some texts
        hint = _suggestion(error, text)
        text = re.sub(r" \(/[^)]*\)$", "", text)  # Python adds the path of a module; messages show no paths
        unexpected = _UNEXPECTED.search(text)
        if unexpected and file == str(source.path):
            line = source.keyword_line(line, unexpected["argument"])
    kind = "invalid regular expression" if isinstance(error, re.error) else type(error).__name__
    return Fault(file, line, f"{kind}: {text}".removesuffix(": "), hint or _advice(error, text))


_UNEXPECTED = re.compile(
    r"(?:(?P<owner>\w+)\.)?(?P<function>\w+)\(\) got an unexpected keyword argument '(?P<argument>\w+)'"
)
_JUDGED = {
    "Counter": "write orders.total() > 1_000",
    "Gauge": "write stock.last() < 100",
    "Rate": 'write hits.ratio() > "90%"',
    "Trend": "write basket.p(95) < 3",
}
"""An objective on each kind of metric."""
_WORDS = (
    plan_module,
    plan_loads,
    load_module,
    slo_module,
    feed_module,
    journey_module,
    metric_module,
    graph_module,
    node_module,
)
"""Modules that define the public functions of the DSL."""
_OS = ("<frozen os>", os.__file__)
"""Files in whose frames `os.environ[...]` raises."""
_MISSING = re.compile(
    r"(?P<function>\w+)\(\) missing \d+ required (?:keyword-only|positional) arguments?: (?P<names>.*)"
)


_POSITIONAL = re.compile(
    r"(?:(?P<owner>\w+)\.)?(?P<function>\w+)\(\) takes .* positional arguments? but .* (?:was|were) given"
)


def _suggestion(error: BaseException, text: str) -> str:
    """Return the hint 'did you mean "..."?' with the name most similar to a misspelt one; "" if there is none.

    Python's own "Did you mean" is missing from the text of some exceptions.
    """
    unexpected = _UNEXPECTED.fullmatch(text)
    if unexpected and (parameters := _parameters(unexpected["owner"], unexpected["function"])):
        return did_you_mean(unexpected["argument"], parameters)
    not_there = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", text)
    if not_there and not_there[2] in sys.modules:
        return did_you_mean(not_there[1], [one for one in dir(sys.modules[not_there[2]]) if not one.startswith("_")])
    name = getattr(error, "name", None)
    if name == "user" and isinstance(error, NameError):
        return "requests belong in a journey: write `async def browse(user: User)` with @journey above it"
    if not isinstance(name, str) or not isinstance(error, NameError | AttributeError):
        return ""
    if isinstance(error, AttributeError) and is_ours(type(error.obj).__module__):
        owner = type(error.obj)
        if hint := hint_of_attribute(owner.__name__, name, owner):
            return hint
        if methods := methods_of(owner.__name__):
            return did_you_mean(name, methods)
    close = get_close_matches(name, _names_at(error), n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else ""


def _names_at(error: NameError | AttributeError) -> list[str]:
    """Return the names that existed where a name was missing: attributes of the object, or variables in scope."""
    if isinstance(error, AttributeError):
        return [one for one in dir(error.obj) if not one.startswith("_")]
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [*frames[-1].f_locals, *frames[-1].f_globals, *dir(builtins)] if frames else []


def _parameters(owner: str | None, function: str) -> list[str]:
    """Return the parameter names of a function of the DSL, or of a method of its class `owner`; [] if it is unknown."""
    return [one.name for one in _signature_of(owner, function)]


def _signature_of(owner: str | None, function: str) -> list[inspect.Parameter]:
    for module in _WORDS:
        found = getattr(module, owner or function, None)
        if owner is not None and function != "__init__":
            found = getattr(found, function, None)
        if callable(found):
            return [one for one in inspect.signature(found).parameters.values() if one.name != "self"]
    return []


def _signature(owner: str | None, function: str) -> str:
    """Return the hint for a call with too many arguments: "write ramp(to=..., over=...)"."""
    parameters = [one.replace(annotation=inspect.Parameter.empty) for one in _signature_of(owner, function)]
    name = owner if function == "__init__" else function
    if not parameters:
        return "correct the arguments of this call"
    if all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in parameters):
        needed = [f"{one.name}=..." for one in parameters if one.default is inspect.Parameter.empty]
        return f"write {name}({', '.join(needed)})"
    return f"its arguments are {name}{inspect.Signature(parameters)}"


def _advice(error: BaseException, text: str) -> str:
    """Return a hint on how to fix an exception raised while the scenario was loaded; never empty.

    text: the exception's text.
    """
    missing = _MISSING.search(text)
    if missing:
        names = re.findall(r"'(\w+)'", missing["names"])
        return f"write {missing['function'].removeprefix('__')}({', '.join(f'{name}=...' for name in names)})"
    if not_called := re.fullmatch(r"'(Journey|Graph|Node)' object is not callable", text):
        return f"write the name of the {not_called[1].lower()} without ()"
    if isinstance(error, KeyError) and traceback.extract_tb(error.__traceback__)[-1].filename in _OS:
        return (
            f'write param({text}, str) and set it with -P, or write secret("..."): agents have a different environment'
        )
    if isinstance(error, re.error):
        return 'put \\ before a literal "(", "[", "*" or "?"'
    if metric := re.fullmatch(r"'[<>]=?' not supported between instances of '(Counter|Gauge|Rate|Trend)' and .*", text):
        return f"compare one of its values: {_JUDGED[metric[1]]}"
    if positional := _POSITIONAL.fullmatch(text):
        return _signature(positional["owner"], positional["function"])
    if isinstance(error, NameError):
        return "import or define the name above this line"
    return "correct this line: it runs whenever the scenario is loaded, here and on every agent"
