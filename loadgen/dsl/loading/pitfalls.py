"""Finds code in a journey that works, and makes a measurement wrong, unrepeatable or dependent on the fleet.

    time.sleep(1), requests.get(...)     blocks all users of the worker
    open("big.json")                     blocks, and agents do not get the file
    asyncio.run(...)                     fails: a journey already runs in an event loop
    asyncio.create_task(...)             not awaited: cancelled at the end of the iteration
    assert reply.status_code == 200      counts as an error of the scenario, not of the target
    random.choice(...)                   cannot be repeated
    SEEN.append(...)                     shared within one worker only                           warning
    asyncio.sleep(1)                     counts as the target's response time                    warning
    post("/cart", json=json.dumps(...))  sends a text in JSON, and not the object                warning
    except Exception: pass               hides the failure of a request
    get(f"/items/{id}")                  a row in the results for each id
    step("a") within step("a")           a step named a/a

Each is an error, except for three that are only warnings, because such code may be right: a cache for each worker, a
pause as of a client, and JSON that the scenario encodes itself. A line that ends with the comment `# loadgen: allow`
is not reported.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from loadgen.dsl.loading.receivers import VERBS, Function, Receivers, own_nodes
from loadgen.dsl.loading.source_analysis import UNKNOWN, Source, last_name

__all__ = ["Pitfall", "changed_globals", "once_functions", "pitfalls"]

_THINK: Final = "write `await user.think(...)`: think time does not count as response time"
_HTTP: Final = "write `await user.http.get(...)`: it is measured and does not block"
_THREAD: Final = "write `await asyncio.to_thread(...)`, or do it once, in the plan's set_up"
_FILE: Final = (
    'send it with file("..."), read rows with feed.csv("..."), or read it at the top of the file: '
    "agents get no other files"
)
_BLOCKING: Final = {
    "time.sleep": _THINK,
    "requests": _HTTP,
    "urllib.request.urlopen": _HTTP,
    "httpx.get": _HTTP,
    "httpx.post": _HTTP,
    "httpx.put": _HTTP,
    "httpx.patch": _HTTP,
    "httpx.delete": _HTTP,
    "httpx.request": _HTTP,
    "httpx.Client": _HTTP,
    "http.client": _HTTP,
    "urllib3": _HTTP,
    "subprocess.run": _THREAD,
    "subprocess.call": _THREAD,
    "subprocess.check_call": _THREAD,
    "subprocess.check_output": _THREAD,
    "socket.create_connection": _THREAD,
    "os.system": _THREAD,
    "open": _FILE,
    "input": "use param(...) or a feed: a run has no terminal input",
}
_OF_A_PATH: Final = frozenset({"read_text", "read_bytes", "write_text", "write_bytes"})
_REPEATABLE: Final = frozenset({"random.Random", "random.SystemRandom", "numpy.random.default_rng"})
_SEEDED: Final = frozenset({"random.Random", "numpy.random.default_rng"})
"""Repeatable only with a seed."""
_MUTATES: Final = frozenset(
    {
        *("append", "appendleft", "extend", "insert", "add", "update", "setdefault"),
        *("pop", "popleft", "popitem", "remove", "discard", "clear", "sort"),
    }
)
_CONTAINERS: Final = frozenset({"list", "dict", "set", "defaultdict", "deque", "Counter", "OrderedDict"})
_PRINTS: Final = frozenset({"print", "debug", "info", "warning", "error", "exception", "print_exc"})
_DUMPS: Final = frozenset({"json.dumps", "orjson.dumps", "ujson.dumps", "simplejson.dumps"})
_CATCH_ALL: Final = frozenset({"Exception", "BaseException"})


@dataclass(frozen=True, slots=True)
class Pitfall:
    """One finding: its node in the syntax tree, the problem, and what to write instead."""

    node: ast.AST
    message: str
    hint: str
    is_error: bool = True
    """False: it is often right, so it is only a warning."""


def pitfalls(source: Source, fn: Function, receivers: Receivers, once: Collection[str]) -> Iterator[Pitfall]:
    """Yield the pitfalls in one async function, without those in lines with `# loadgen: allow`.

    Args:
        receivers: the users, clients and replies of the function.
        once: names of the functions that run once in a run, in which blocking is harmless.
    """
    parents = {child: node for node in ast.walk(fn) for child in ast.iter_child_nodes(node)}
    found: list[Pitfall] = []
    for node in own_nodes(fn):
        match node:
            case ast.Call():
                found += _call_wrong(source, node, receivers, parents, is_once=fn.name in once)
            case ast.Assert() if receivers.has_user:
                found += _assert_wrong(node, receivers)
            case ast.Try() if receivers.has_user:
                found += _hidden_failures(node, receivers)
            case ast.AsyncWith() if receivers.has_user:
                found += _nested_steps(source, node, receivers, parents)
            case _:
                pass
    if receivers.has_user:
        found += _urls_wrong(source, fn, receivers)
    yield from (one for one in found if not source.is_allowed(_statement(one.node, parents)))


def once_functions(tree: ast.Module) -> frozenset[str]:
    """Return the names of the functions that a `Plan(...)` in the file runs once: its set_up and tear_down."""
    return frozenset(
        keyword.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and last_name(node.func) == "Plan"
        for keyword in node.keywords
        if keyword.arg in ("set_up", "tear_down") and isinstance(keyword.value, ast.Name)
    )


# -- calls ------------------------------------------------------------------------------------------


def _call_wrong(
    source: Source,
    call: ast.Call,
    receivers: Receivers,
    parents: dict[ast.AST, ast.AST],
    *,
    is_once: bool,
) -> Iterator[Pitfall]:
    name = source.dotted_name(call.func)
    hint = next((h for what, h in _BLOCKING.items() if name == what or name.startswith(what + ".")), None)
    if hint is None and isinstance(call.func, ast.Attribute) and call.func.attr in _OF_A_PATH:
        hint, name = _FILE, f"{ast.unparse(call.func)}"
    if hint is _FILE and (not receivers.has_user or _is_body(call, receivers, parents)):
        hint = None
    if hint is not None and not is_once:
        yield Pitfall(call, f"{name}(...) blocks the event loop: all users of the worker wait meanwhile", hint)
    if receivers.is_client(call.func):
        yield from _encoded_twice(source, call)
    if name == "asyncio.run" or (isinstance(call.func, ast.Attribute) and call.func.attr == "run_until_complete"):
        what = name or ast.unparse(call.func)
        yield Pitfall(call, f"{what}(...) fails: a journey already runs in an event loop", "write `await` instead")
    if (
        name == "asyncio.sleep"
        and isinstance(parents.get(call), ast.Await)
        and not _is_measured(call, receivers, parents)
    ):
        message = "asyncio.sleep(...) counts as response time of the step and the journey"
        yield Pitfall(call, message, _THINK, is_error=False)
    if name in ("asyncio.create_task", "asyncio.ensure_future") and _is_unused(parents.get(call), parents):
        message = f"{name}(...) is not awaited: the task is cancelled when the iteration ends"
        yield Pitfall(call, message, "write `await user.gather(...)` to run calls at the same time")
    if name in _SEEDED and not call.args and not call.keywords and receivers.has_user:
        message = f"{name}() has no seed: it draws other numbers in each run, so a run cannot be repeated"
        yield Pitfall(call, message, f"write user.random, or give a seed: {name}(user.arrival)")
    elif name.startswith(("random.", "numpy.random.")) and name not in _REPEATABLE and receivers.has_user:
        draw = name.rpartition(".")[2]
        message = f"{name}(...) draws other numbers in each run, so a run cannot be repeated"
        yield Pitfall(call, message, f"write user.random.{draw}(...): its numbers follow from the run's seed")


def _encoded_twice(source: Source, call: ast.Call) -> Iterator[Pitfall]:
    """Yield a body that the scenario encodes as JSON, although `json=` does that."""
    given = {keyword.arg: source.last_value(keyword.value) for keyword in call.keywords}
    for argument, value in given.items():
        if not (isinstance(value, ast.Call) and source.dotted_name(value.func) in _DUMPS):
            continue
        if argument == "json":
            message = "json= encodes its value, so the target gets a text that contains JSON"
        elif argument == "data" and not _is_hidden(given.get("headers")) and "content-type" not in source.text.lower():
            message = "data= of a text sends no Content-Type, so the target may not read it as JSON"
        else:
            continue
        written = ast.unparse(value.args[0]) if value.args else "..."
        yield Pitfall(call, message, f"write json={written}, without {ast.unparse(value.func)}", is_error=False)


def _is_hidden(headers: ast.expr | None) -> bool:
    """Return True if the source does not show all headers of a request: another file may give it its Content-Type."""
    return headers is not None and not (isinstance(headers, ast.Dict) and None not in headers.keys)


def _is_measured(call: ast.Call, receivers: Receivers, parents: dict[ast.AST, ast.AST]) -> bool:
    """Return True if a call stands within `async with user.measure(...)`, whose time is meant to be counted."""
    node: ast.AST | None = parents.get(call)
    while node is not None:
        for item in node.items if isinstance(node, ast.AsyncWith) else ():
            one = item.context_expr
            if isinstance(one, ast.Call) and receivers.kind(one) == "entered" and _method(one) == "measure":
                return True
        node = parents.get(node)
    return False


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _is_unused(statement: ast.AST | None, parents: dict[ast.AST, ast.AST]) -> bool:
    """Return True if the value of a statement is not used: a bare expression, or a name that nothing reads."""
    if isinstance(statement, ast.Expr):
        return True
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
        return False
    name = statement.targets[0].id
    reads = (node for node in parents if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    return all(node.id != name for node in reads)


def _is_body(call: ast.Call, receivers: Receivers, parents: dict[ast.AST, ast.AST]) -> bool:
    """Return True if a call stands within the arguments of a request, as an open file that is sent does."""
    node: ast.AST | None = parents.get(call)
    while node is not None and not isinstance(node, ast.stmt):
        if isinstance(node, ast.Call) and receivers.is_client(node.func):
            return True
        node = parents.get(node)
    return False


# -- statements -------------------------------------------------------------------------------------


def _assert_wrong(node: ast.Assert, receivers: Receivers) -> Iterator[Pitfall]:
    if any(_judges_reply(part, receivers) for part in ast.walk(node.test)) or _is_success(node.test, receivers):
        yield Pitfall(
            node,
            "assert counts as an error of the scenario, not as a failure of the target",
            'write reply.expect(status=200), user.check("name", ...) or user.fail("reason")',
        )


def _judges_reply(part: ast.AST, receivers: Receivers) -> bool:
    """Return True for an expression that judges what the target answered: a status, or the content of a body."""
    match part:
        case ast.Attribute(attr="status_code"):
            return True
        case ast.Compare(left=left, comparators=[right]):
            return any(_is_body_of_reply(side, receivers) for side in (left, right))
    return False


def _is_body_of_reply(node: ast.expr, receivers: Receivers) -> bool:
    match node:
        case ast.Attribute(value=reply, attr="text"):
            return receivers.kind_of_value(reply) == "reply"
        case ast.Call(func=ast.Attribute(value=reply, attr="json")):
            return receivers.kind_of_value(reply) == "reply"
        case ast.Subscript(value=value):
            return _is_body_of_reply(value, receivers)
    return False


def _is_success(test: ast.expr, receivers: Receivers) -> bool:
    match test:
        case (
            ast.Attribute(value=reply, attr="is_success")
            | ast.UnaryOp(op=ast.Not(), operand=ast.Attribute(value=reply, attr="is_error"))
        ):
            return receivers.kind_of_value(reply) == "reply"
    return False


def _hidden_failures(node: ast.Try, receivers: Receivers) -> Iterator[Pitfall]:
    """Yield the handlers that catch everything around a request and do nothing."""
    if not any(_is_request(part, receivers) for statement in node.body for part in ast.walk(statement)):
        return
    for handler in node.handlers:
        caught = [] if handler.type is None else [ast.unparse(part) for part in _parts(handler.type)]
        is_all = handler.type is None or not _CATCH_ALL.isdisjoint(caught)
        if is_all and all(_does_nothing(statement) for statement in handler.body):
            what = f"except {', '.join(caught)}" if caught else "except"
            yield Pitfall(
                handler,
                f"`{what}` hides failed requests: the iteration counts as ok",
                "remove it, or catch only what you expect, such as `except ExpectFailed:`; "
                "to accept a status, write accept={404}",
            )


def _parts(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def _does_nothing(node: ast.stmt) -> bool:
    match node:
        case ast.Pass() | ast.Continue() | ast.Break() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=func)):
            return last_name(func) in _PRINTS
    return False


def _is_request(node: ast.AST, receivers: Receivers) -> bool:
    return isinstance(node, ast.Call) and receivers.is_client(node.func) and receivers.kind(node) != ""


def _nested_steps(
    source: Source, node: ast.AsyncWith, receivers: Receivers, parents: dict[ast.AST, ast.AST]
) -> Iterator[Pitfall]:
    """Yield a step that is directly within a step of the same name."""
    for name, call in _steps(source, node, receivers):
        outer: ast.AST | None = parents.get(node)
        while outer is not None and not isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            if isinstance(outer, ast.AsyncWith) and any(name == one for one, _ in _steps(source, outer, receivers)):
                message = f'step "{name}" is within a step of the same name, and would be recorded as {name}/{name}'
                yield Pitfall(call, message, "give it another name, or remove one of the two")
                break
            outer = parents.get(outer)


def _steps(source: Source, node: ast.AsyncWith, receivers: Receivers) -> Iterator[tuple[str, ast.Call]]:
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and receivers.kind(call) == "entered" and call.args:
            name = source.value_of(call.args[0])
            if isinstance(call.func, ast.Attribute) and call.func.attr == "step" and isinstance(name, str):
                yield name, call


# -- names of requests ------------------------------------------------------------------------------


def _urls_wrong(source: Source, fn: Function, receivers: Receivers) -> Iterator[Pitfall]:
    """Yield the requests that have a row in the results for each value of a computed part of their URL."""
    few = _few_values(source, fn)
    for call in own_nodes(fn):
        if not (isinstance(call, ast.Call) and receivers.is_client(call.func)):
            continue
        assert isinstance(call.func, ast.Attribute)
        if call.func.attr not in VERBS and call.func.attr != "stream":
            continue
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        at = 1 if call.func.attr in ("request", "stream") else 0
        url = call.args[at] if len(call.args) > at else keywords.get("url")
        name = keywords.get("name")
        if None in keywords or not isinstance(url, ast.JoinedStr):
            continue
        computed = {ast.unparse(part) for part in _computed(url) if not _has_few_values(part, few, receivers)}
        if name is None and computed:
            yield Pitfall(
                call,
                f"each value of {{{min(computed)}}} in the URL is a row of its own in the results",
                f'add name="{_template(url)}"',
            )
        elif isinstance(name, ast.JoinedStr) and (both := computed & set(map(ast.unparse, _computed(name)))):
            shown = min(both)
            yield Pitfall(
                name,
                f"each value of {{{shown}}} in name= is a row of its own in the results",
                f'write name="{_template(name)}", without f',
            )


def _computed(text: ast.JoinedStr) -> Iterator[ast.expr]:
    """Yield the computed parts in the path of a URL that is an f-string; those in its host and query are left out."""
    seen = ""
    for part in text.values:
        if isinstance(part, ast.Constant):
            seen += str(part.value)
        elif isinstance(part, ast.FormattedValue) and "?" not in seen:
            if seen not in ("", "http://", "https://"):
                yield part.value
            seen += "_"


def _has_few_values(part: ast.expr, few: Collection[str], receivers: Receivers) -> bool:
    """Return True if an expression follows from names with few values, or from `user.shared`."""
    match part:
        case ast.Name(id=name):
            return name in few
        case ast.Attribute(value=owner, attr="shared") if receivers.kind_of_value(owner) == "user":
            return True
        case ast.Attribute(value=owner) | ast.Subscript(value=owner, slice=ast.Constant()):
            return _has_few_values(owner, few, receivers)
    return isinstance(part, ast.Constant)


def _few_values(source: Source, fn: Function) -> set[str]:
    """Return the names with few values: constants of the module, of the function, and of loops over literal values."""
    few = source.module_names()
    stores: dict[str, int] = {}
    for node in ast.walk(fn):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stores[node.id] = stores.get(node.id, 0) + 1
    few -= set(stores) | {arg.arg for arg in ast.walk(fn) if isinstance(arg, ast.arg)}
    for node in ast.walk(fn):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.For(target=ast.Name(id=name), iter=value)
                | ast.comprehension(target=ast.Name(id=name), iter=value)
            ) if stores.get(name) == 1 and source.value_of(value) is not UNKNOWN:
                few.add(name)
            case _:
                pass
    return few


def _template(text: ast.JoinedStr) -> str:
    """Return an f-string as the name of its requests: "/items/{id}", without the query."""
    parts = [str(part.value) if isinstance(part, ast.Constant) else f"{{{_last_word(part)}}}" for part in text.values]
    return "".join(parts).partition("?")[0]


def _last_word(part: ast.expr) -> str:
    value = part.value if isinstance(part, ast.FormattedValue) else part
    match value:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return "id"


# -- globals ----------------------------------------------------------------------------------------


def changed_globals(source: Source, fn: Function) -> Iterator[Pitfall]:
    """Yield the first place at which a function changes each variable of its module, unless its line is allowed."""
    containers = {
        target.id
        for node in source.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and _is_container(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    declared = {name for node in own_nodes(fn) if isinstance(node, ast.Global) for name in node.names}
    local = {arg.arg for arg in ast.walk(fn) if isinstance(arg, ast.arg)} | {
        node.id for node in ast.walk(fn) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    containers -= local - declared
    seen: set[str] = set()
    for node in sorted((n for n in own_nodes(fn) if hasattr(n, "lineno")), key=lambda n: n.lineno):
        name = _changed(node, containers, declared)
        if name and name not in seen and not source.is_allowed(node):
            seen.add(name)
            yield Pitfall(
                node,
                f"{name} is changed by a journey, but each worker has its own {name}: results depend on the fleet",
                'keep values of a user in @journey(state=...), and count with counter("..."); '
                "if a value for each worker is right, end the line with `# loadgen: allow`",
                is_error=False,
            )


def _changed(node: ast.AST, containers: Collection[str], declared: Collection[str]) -> str:
    """Return the name of the module's variable that a node changes; "" for none."""
    found: list[ast.expr]
    match node:
        case ast.Assign(targets=targets):
            found = targets
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            found = [target]
        case ast.Delete(targets=targets):
            found = targets
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)):
            return name if attr in _MUTATES and name in containers else ""
        case _:
            return ""
    for one in found:
        if isinstance(one, ast.Name) and one.id in declared:
            return one.id
        if isinstance(one, ast.Subscript) and isinstance(one.value, ast.Name) and one.value.id in containers:
            return one.value.id
    return ""


def _is_container(value: ast.expr | None) -> bool:
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return True
    return isinstance(value, ast.Call) and last_name(value.func) in _CONTAINERS


def _statement(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> ast.AST:
    """Return the node whose lines may have the comment: the whole simple statement, or the node itself in a block."""
    at: ast.AST | None = node
    while at is not None and not isinstance(at, ast.stmt):
        at = parents.get(at)
    return at if at is not None and not hasattr(at, "body") else node
