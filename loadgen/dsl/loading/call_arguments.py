"""Checks how the functions of a scenario call the language, without running them.

    user.think(3, 1)                     the first time is longer than the second
    user.poll(call, name="job")          until= is missing
    user.http.get("/", expect=99)        not a status
    reply.pick("$.items[")               not a JSONPath
    user.http.get("/", auth="ann:pw")    not a pair of texts
    ws.ask({}, reply_to="id")            not a path (`uses/protocol_arguments.py` has WebSocket and gRPC)
    user.check(is_there, "is there")     the name comes first; a text as condition is always true
    orders.add("1")                      a counter adds whole numbers
    uniform(3, 1)                        in a journey: the lower bound is above the upper one

A call must fit the signature of its method. Arguments that are written literally, or by a constant of
the module, go through the functions that check them at run time. So a wrong argument is found in any branch of
a journey, and with the message that a run would give. Computed arguments are not checked.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, Final

from loadgen.clients.browser.page_visit import check_page_name
from loadgen.clients.graphql import gql
from loadgen.clients.http import HttpClient
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.expectation_check import check_accept, check_max_ms, check_status
from loadgen.clients.request.header_encoding import with_call_headers
from loadgen.clients.request.prepare import auth_of, max_redirects_of, timeouts_of
from loadgen.clients.request.request_head_cache import routes_of
from loadgen.clients.response.forms import Form, check_selector
from loadgen.clients.response.pick import check_path, pattern_hint
from loadgen.clients.response.replies import Reply
from loadgen.clients.retries import retries_of
from loadgen.clients.tcp_udp.exchange import check_expected
from loadgen.clients.tcp_udp.frames import fixed_size, length_prefix, lines, until
from loadgen.clients.tcp_udp.matching import check_match, first
from loadgen.clients.tcp_udp.place import bytes_of, limit_of
from loadgen.clients.tcp_udp.tcp_link import TcpLink, check_frame
from loadgen.clients.tcp_udp.udp_socket import UdpSocket
from loadgen.clients.ws_client.handshake import http_url
from loadgen.dsl.distributions import Distribution, empirical, exponential, fixed, lognormal, normal, uniform
from loadgen.dsl.loading.receivers import Receivers
from loadgen.dsl.loading.source_analysis import UNKNOWN, Source, short_text
from loadgen.dsl.loading.uses.protocol_arguments import (
    EXAMPLES,
    VALUES,
    check_descriptors_argument,
    check_method,
    check_statuses,
    owner_of,
)
from loadgen.dsl.loading.uses.value_misuse import metric_class
from loadgen.dsl.payload import ScenarioBlob, blob
from loadgen.dsl.prompts.prompt import Prompt, Zipf, prompt, shared_prefix, zipf
from loadgen.dsl.users.argument_checks import (
    check_check,
    check_condition,
    check_gathered,
    check_name,
    check_prompt,
    check_setting,
    check_until,
    distribution_of,
    pace_ns,
    poll_times_ns,
    rendezvous_timeout_ns,
    think_range_ns,
)
from loadgen.dsl.users.named_outcomes import check_outcomes
from loadgen.dsl.users.user import UserWith
from loadgen.errors import Fault, UsageError
from loadgen.similar_names import did_you_mean

__all__ = ["wrong_calls"]

_ROUTES: Final = routes_of("http://loadgen.invalid")
"""Any valid target, for the check of URLs."""


def wrong_calls(source: Source, receivers: Receivers, call: ast.Call) -> Iterator[Fault]:
    """Yield the errors in one call of a function: in a method of a user, client or reply, or of a word of loadgen.

    receivers: the users, clients and replies of the function.
    """
    found = _known(source, receivers, call)
    if found is None:
        return
    word, function, owner = found
    signature = _signature(function)
    is_whole = not any(isinstance(one, ast.Starred) for one in call.args) and all(k.arg for k in call.keywords)
    nodes = [None, *call.args] if owner else list(call.args)
    keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    unknown = _unknown(signature, keywords)
    for name in unknown:
        yield _misfit(
            source, call, word, signature, f"got an unexpected keyword argument '{name}'", is_method=bool(owner)
        )
        del keywords[name]
    try:
        if is_whole:
            bound = signature.bind(*nodes, **keywords).arguments
        else:
            bound = signature.bind_partial(*([None] if owner else []), **keywords).arguments
    except TypeError as error:
        if not unknown or str(error).startswith("missing"):
            yield _misfit(source, call, word, signature, str(error), is_method=bool(owner))
        if not owner:
            return
        try:
            bound = signature.bind_partial(*nodes, **keywords).arguments
        except TypeError:
            return
    given: dict[str, ast.expr] = {}
    for name, node in bound.items():
        if isinstance(node, dict):  # **options
            given |= node
        elif isinstance(node, ast.expr):
            given[name] = node
    if word == "grpc.accepting":
        yield from check_statuses(source, call)
        return
    if word == "grpc.service":
        yield from check_descriptors_argument(source, given)
    if word == "service.call":
        yield from check_method(source, call)
    if word == "user.check" and given.keys() >= {"name", "ok"}:
        fault = _check_of_k6(source, receivers, given) or _check_without_condition(source, given["name"], given["ok"])
        if fault is not None:
            yield fault
            return
    if word == "user.gather":
        yield from _not_calls(source, call)
        return
    yield from _invalid(source, receivers, call, word, given, signature, function)


def _unknown(signature: inspect.Signature, keywords: Mapping[str, object]) -> list[str]:
    """Return the keywords that a function does not take; [] for a function that takes all."""
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in signature.parameters.values()):
        return []
    return [name for name in keywords if name not in signature.parameters]


@lru_cache(maxsize=256)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function. Cached, because reading one takes some 50 µs."""
    return inspect.signature(function)


_OWNERS: Final[Mapping[str, type]] = {
    "user": UserWith,
    "client": HttpClient,
    "reply": Reply,
    "form": Form,
    "link": TcpLink,
    "udp": UdpSocket,
}


def _known(source: Source, receivers: Receivers, call: ast.Call) -> tuple[str, Callable[..., Any], type | None] | None:
    """Return (word, function, class) of a call of the language; None for another call. class: None for a function."""
    func, imported = call.func, source.dotted_name(call.func)
    if isinstance(func, ast.Attribute):
        kind = receivers.kind_of_value(func.value)
        owner = _OWNERS.get(kind) or owner_of(kind)
        if kind in ("stub", "service") and owner is not None:
            is_call = kind == "stub" or func.attr != "message"
            return (f"{kind}.call", owner.__dict__["call"], owner) if is_call else None
        if owner is None and func.attr == "pick" and _is_path(call):
            kind, owner = "reply", Reply
        if owner is None and (owner := metric_class(source, func.value)) is not None:
            kind = owner.__name__.lower()
        if owner is not None:
            method = inspect.getattr_static(owner, func.attr, None)
            return (f"{kind}.{func.attr}", method, owner) if inspect.isfunction(method) else None
    module, _, name = imported.rpartition(".")
    if module == "loadgen" and name in _FUNCTIONS:
        return name, _FUNCTIONS[name], None
    if imported in ("re.compile", "re.search", "re.match", "re.fullmatch", "re.findall", "re.finditer", "re.sub"):
        return imported, getattr(re, name), None
    return None


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    function.__name__: function
    for function in (
        uniform, exponential, normal, lognormal, fixed, empirical, gql, blob, prompt, shared_prefix, zipf,
        lines, until, fixed_size, length_prefix, first,
    )
}  # fmt: skip
"""Words of loadgen that journeys call."""


def _is_path(call: ast.Call) -> bool:
    """Return True if a call of some `pick` has a path of loadgen as its first argument."""
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and str(first.value).startswith(("$", "css:", "header:"))


# -- the signature ----------------------------------------------------------------------------------

_WRITE: Final = {
    "user.step": 'async with user.step("login"):',
    "user.measure": 'async with user.measure("sign"):',
    "user.browser": 'async with user.browser("/") as page:',
    "user.think": "await user.think(1, 3)",
    "user.pace": 'await user.pace("10s")',
    "user.rendezvous": 'await user.rendezvous("sale opens", users=100)',
    "user.poll": 'await user.poll(lambda: user.http.get("/job/1"), until=is_done, name="job")',
    "user.check": 'user.check("cart is full", len(items) == 3)',
    "user.fail": 'user.fail("the cart is empty")',
    "user.trait": 'user.trait("speed", lognormal(0, .3))',
    "user.to": 'user.to("login").get("/")',
    "user.tcp": 'async with user.tcp("gate", frame=lines()) as link:',
    "user.udp": 'await user.udp("dns").ask(query, match=first(2), timeout="1s")',
    **EXAMPLES,
    "user.target": 'Redis.from_url(user.target("cache"))',
    "link.ask": 'await link.ask(b"PING", name="ping")',
    "link.send": 'await link.send(b"QUIT")',
    "link.receive": 'await link.receive(name="greeting")',
    "udp.ask": 'await user.udp("dns").ask(query, match=first(2), timeout="1s")',
    "udp.send": 'await user.udp("metrics").send(b"orders:1|c")',
    "client.request": 'await user.http.request("GET", "/")',
    "client.stream": 'async with user.http.stream("GET", "/events") as reply:',
    "reply.pick": 'reply.pick("$.token")',
    "form.submit": 'await form.submit({"email": "a@b.c"}, expect=302)',
    "counter.add": "orders.add()",
    "gauge.set": "stock.set(3)",
    "rate.add": "hits.add(True)",
    "trend.add": "basket.add(41.9)",
}
"""An example of a right call, by word."""


def _misfit(
    source: Source, call: ast.Call, word: str, signature: inspect.Signature, reason: str, *, is_method: bool
) -> Fault:
    """Return the error for a call that does not fit its signature. reason: the text of inspect's TypeError."""
    shown = short_text(call.func)
    name = re.search(r"'(\w+)'", reason)
    kind, _, method = word.partition(".")
    example = _WRITE.get(word) or (f'await user.http.{method}("/path")' if kind == "client" else "")
    if not example:
        parameters = [one for one in signature.parameters.values() if not is_method or one.name != "self"]
        example = f"{method or word}{inspect.Signature([_bare(one) for one in parameters])}"
    if reason.startswith("missing") and name:
        what = name[1] if signature.parameters[name[1]].kind is not inspect.Parameter.KEYWORD_ONLY else f"{name[1]}="
        return source.fault(call, f"{shown}(...) needs {what}", f"write {example}")
    if reason.startswith("got an unexpected") and name:
        node = next((k.value for k in call.keywords if k.arg == name[1]), call)
        there = [one.name for one in signature.parameters.values() if one.name != "self"]
        return source.fault(node, f"{shown}(...) has no argument {name[1]}", did_you_mean(name[1], there))
    return source.fault(call, f"{shown}(...): {reason}", f"write {example}")


def _bare(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(annotation=inspect.Parameter.empty)


# -- the values -------------------------------------------------------------------------------------


def _check_pattern(pattern: object) -> None:
    if isinstance(pattern, str):
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(f"invalid regular expression {pattern!r}: {error}", hint=pattern_hint(pattern)) from None


def _check_gql(query: object, operation: object) -> None:
    gql(query, operation=operation).ready(lambda note: None)  # type: ignore[arg-type]  # gql checks its types


_TEXT: Final = (str, bytes)
_LISTED: Final = (list, tuple, set)
_KINDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "params": ((*_TEXT, dict, *_LISTED), 'params={"q": "oak"}'),
    "headers": ((dict, list, tuple), 'headers={"Accept": "text/html"}'),
    "cookies": ((dict, list, tuple), 'cookies={"seen": "yes"}'),
    "data": ((*_TEXT, dict, *_LISTED), 'data={"name": "value"}'),
    "files": ((dict, list, tuple), 'files={"photo": file("photo.jpg")}'),
    "content": ((*_TEXT, *_LISTED), 'content="text", or json= for a dictionary'),
    "follow_redirects": ((bool, int), "follow_redirects=True"),
    "discard": ((bool, int), "discard=True"),
    "text": (_TEXT[:1], 'text="lamp"'),
    "header": ((dict,), 'header={"content-type": "text/html"}'),
    "values": ((dict,), 'submit({"email": "a@b.c"})'),
}
"""By argument: the types of literals that it takes, and an example. None is always possible."""
_NAMES_OF_TYPES: Final[Mapping[type, str]] = {
    str: "a text",
    bytes: "bytes",
    bool: "True or False",
    int: "a number",
    float: "a number",
    dict: "a dictionary",
    list: "a list",
    tuple: "a tuple",
    set: "a set",
}


def _checks_kind(argument: str) -> Callable[[object], None]:
    """Return a function that raises UsageError for a literal of a type that the argument never takes."""
    kinds, example = _KINDS[argument]

    def check(value: object) -> None:
        if value is not None and not isinstance(value, kinds):
            wanted = _NAMES_OF_TYPES[dict if dict in kinds else kinds[0]]
            given = _NAMES_OF_TYPES.get(type(value), repr(value))
            raise UsageError(f"{argument} must be {wanted}, got {given}", hint=f"write {example}")

    return check


def _check_header(header: object) -> None:
    """Raise UsageError for an expected header that is neither a text nor a pattern."""
    _checks_kind("header")(header)
    for name, value in header.items() if isinstance(header, dict) else ():
        if not isinstance(value, str):
            raise UsageError(
                f'header "{name}": {value!r} is not a text', hint=f'write "{value}", or a pattern: re.compile(...)'
            )


def _check_type(kind: object) -> None:
    """Raise UsageError for a literal as the type of a `pick`."""
    if kind is not None:
        shown = kind if kind in ("int", "float", "bool", "str") else "int"
        raise UsageError(f"pick: {kind!r} is not a type", hint=f'write pick("$.price", {shown})')


_RECORDED: Final[Mapping[str, tuple[str, Any, float]]] = {
    "counter.add": ("a counter adds whole numbers of at least 0", int, 0),
    "gauge.set": ("a gauge is set to numbers", int | float, float("-inf")),
    "trend.add": ("a trend adds numbers of at least 0", int | float, 0),
}
"""By method of a custom metric: the values that it takes, their type, and the lowest one."""


def _checks_recorded(word: str) -> Callable[[Any], None]:
    """Return a function that raises UsageError for a literal that a method of a custom metric cannot record."""
    rule, kind, lowest = _RECORDED[word]

    def check(value: Any) -> None:
        is_bool = isinstance(value, bool) and kind is not int  # a counter takes True as 1
        if is_bool or not isinstance(value, kind) or value < lowest:
            raise UsageError(f"{rule}, got {value!r}", hint=f"write {_WRITE[word]}")

    return check


_VALUES: Final[Mapping[str, tuple[tuple[tuple[str, ...], Callable[..., object]], ...]]] = {
    "user.think": ((("low", "high"), think_range_ns), (("low",), think_range_ns), (("high",), think_range_ns)),
    "user.pace": ((("every",), pace_ns),),
    "user.poll": (
        (("every", "timeout"), poll_times_ns),
        (("name",), lambda name: check_name("poll", name)),
        (("until",), check_until),
    ),
    # `rendezvous_check.py` checks the number of users, which it also compares with the load.
    "user.rendezvous": ((("name", "timeout"), lambda name, timeout: rendezvous_timeout_ns(name, 1, timeout)),),
    "user.step": ((("name",), lambda name: check_name("step", name)),),
    "user.measure": (
        (("name",), lambda name: check_name("measure", name)),
        (("outcomes",), lambda outcomes: None if outcomes is None else check_outcomes(outcomes)),
    ),
    "user.check": (
        (("name",), lambda name: check_check(name, True)),
        (("name",), lambda name: check_name("check", name)),
        (("ok",), check_condition),
    ),
    "user.browser": ((("name",), check_page_name),),
    "user.tcp": ((("frame",), check_frame), (("timeout",), lambda timeout: limit_of("user.tcp", timeout, 0))),
    **{f"{owner}.{method}": (
        (("message",), lambda message: bytes_of("message", message)),
        (("name",), lambda name: None if name is None else check_name("message", name)),
        (("timeout",), lambda timeout: limit_of("message", timeout, 0)),
        (("expect",), lambda expect: check_expected("message", expect)),
        (("match",), check_match),
    ) for owner in ("link", "udp") for method in ("ask", "send", "receive")},
    "user.setting": ((("setting",), check_setting),),
    "user.trait": (
        (("name",), lambda name: check_name("trait", name)),
        (("of",), lambda of: distribution_of("trait", of)),
    ),
    "user.draw": ((("of",), lambda of: distribution_of("draw", of)),),
    "user.text_of": ((("prompt",), check_prompt),),
    "reply.expect": (
        (("status",), lambda status: check_status("status", status)),
        (("max_ms",), check_max_ms),
        (("text",), _checks_kind("text")),
        (("header",), _check_header),
    ),
    "reply.pick": ((("path",), check_path), (("kind",), _check_type)),
    "reply.form": ((("selector",), check_selector),),
    "form.submit": ((("values",), _checks_kind("values")),),
    "counter.add": ((("n",), _checks_recorded("counter.add")),),
    "gauge.set": ((("value",), _checks_recorded("gauge.set")),),
    "trend.add": ((("value",), _checks_recorded("trend.add")),),
    "gql": ((("query", "operation"), _check_gql),),
    **{f"re.{name}": ((("pattern",), _check_pattern),) for name in (
        "compile", "search", "match", "fullmatch", "findall", "finditer", "sub"
    )},
    **VALUES,
}  # fmt: skip
"""By word: arguments, and the function that checks them."""


def _check_url(url: object) -> None:
    if not isinstance(url, str):
        raise UsageError(f"{url!r} is not a URL", hint=_EXAMPLES["url"])
    if re.match(r"https?:?/{1,2}", url) and not re.match(r"https?://", url):
        raise ValueError(f'"{url}" is not an absolute http:// or https:// URL')
    _ROUTES.make("GET", url)


def _check_ws_url(url: object) -> None:
    if isinstance(url, str) and re.match(r"wss?:(?!//)", url):
        raise ValueError(f'"{url}" is not an absolute ws:// or wss:// URL; write a path, "/feed", or ws://HOST/feed')
    _check_url(http_url(url) if isinstance(url, str) else url)


def _check_headers(headers: Any) -> None:
    _checks_kind("headers")(headers)
    with_call_headers(None, headers)


_OF_REQUEST: Final[tuple[tuple[tuple[str, ...], Callable[..., object]], ...]] = (
    (("url",), _check_url),
    (("method",), lambda method: _ROUTES.of(str(method).upper())),
    (("name",), lambda name: None if name is None else check_name("name", name)),
    (("expect",), lambda expect: check_status("expect", expect)),
    (("accept",), check_accept),
    (("timeout",), lambda timeout: timeouts_of({"timeout": timeout}, Timeouts())),
    (("retries",), lambda retries: retries_of(retries, 0)),
    (("headers",), _check_headers),
    (("auth",), lambda auth: auth_of({"auth": auth}, "/")),
    (("max_redirects",), lambda most: max_redirects_of(most, 0)),
    *(
        ((name,), _checks_kind(name))
        for name in ("params", "cookies", "data", "files", "content", "follow_redirects", "discard")
    ),
)


def _invalid(
    source: Source,
    receivers: Receivers,
    call: ast.Call,
    word: str,
    given: Mapping[str, ast.expr],
    signature: inspect.Signature,
    function: Callable[..., Any],
) -> Iterator[Fault]:
    values = {name: _value_or_kind(source, name, node) for name, node in given.items()}
    for name in _FUNCTIONS_GIVEN.get(word, ()):
        if values.get(name) is UNKNOWN:
            is_method = word == "user.check" and _is_reply_method(receivers, given[name])
            values[name] = _named(short_text(given[name])) if is_method else _function_of(source, given[name])
            if word == "user.client":
                values[name] = _factory_of(source, given[name])
    if word in _FUNCTIONS and word != "gql":
        yield from _value_wrong(source, call, values, function)
        return
    if word.startswith("client."):
        yield from _two_bodies(source, given)
    if word == "user.think" and any(isinstance(node, ast.Call) for node in given.values()):
        return  # a distribution, which is checked itself
    is_reported = False
    checks = _VALUES.get(word, ())
    if word.startswith(("client.", "form.")):
        checks = (*checks, *_OF_REQUEST)
    elif word == "user.ws":
        checks = (*checks, (("url",), _check_ws_url), (("headers",), _check_headers))
    for names, check in checks:
        if not any(name in given for name in names):
            continue
        arguments = [values.get(name, _default(signature, name)) for name in names]
        if any(value is UNKNOWN for value in arguments):
            continue
        try:
            check(*arguments)
        except (UsageError, ValueError, TypeError) as error:
            if is_reported and word in ("user.think", "user.check"):
                continue  # the same value, which was reported
            is_reported = True
            name = next(name for name in names if name in given)
            yield source.fault(given[name], *_texts(error, word, name))


_BODIES: Final = ("content", "files", "data", "json")
"""The arguments for bodies, in the order in which the client takes the first."""


def _two_bodies(source: Source, given: Mapping[str, ast.expr]) -> Iterator[Fault]:
    """Return the error for a request with several bodies, of which the client sends only the first. A form with files
    is one body.
    """
    bodies = [name for name in _BODIES if name in given and source.value_of(given[name]) is not None]
    if len(bodies) > 1 and bodies != ["files", "data"]:
        sent = f"{bodies[0]}=" if bodies[:2] != ["files", "data"] else "files= with data="
        yield source.fault(
            given[bodies[-1]],
            f"a request has one body, and {sent} is the one that is sent: {bodies[-1]}= has no effect",
            "keep one of them; only data= and files= go together",
        )


def _value_or_kind(source: Source, name: str, node: ast.expr) -> Any:
    """Return the value of an argument that is a literal; else its literal parts in a value of its type.

    If the type alone does not decide whether the argument is valid, the value is UNKNOWN.
    """
    value = source.value_of(node)
    if value is not UNKNOWN or name not in _KINDS:
        return value
    match source.last_value(node):
        case ast.Dict(keys=keys, values=values):
            found = [(source.value_of(k), source.value_of(v)) for k, v in zip(keys, values, strict=True) if k]
            return {k: v for k, v in found if isinstance(k, str) and v is not UNKNOWN}
        case ast.DictComp():
            return {}
        case ast.List() | ast.ListComp():
            return []
        case ast.JoinedStr():
            return ""
    return UNKNOWN


_FUNCTIONS_GIVEN: Final[Mapping[str, tuple[str, ...]]] = {
    "user.check": ("ok",), "user.poll": ("until",), "user.tcp": ("frame",), "user.client": ("factory",),
}  # fmt: skip
"""By word: arguments for which it matters whether they are functions."""


def _function_of(source: Source, node: ast.expr) -> Any:
    """Return a function that stands for an expression: a lambda, a function of the file or of loadgen; else UNKNOWN."""
    if isinstance(node, ast.Lambda):
        return lambda: None
    module, _, word = source.dotted_name(node).rpartition(".")
    if module == "loadgen" and word in _FUNCTIONS:
        return _FUNCTIONS[word]
    return _named(node.id) if isinstance(node, ast.Name) and node.id in source.function_names else UNKNOWN


def _factory_of(source: Source, node: ast.expr) -> Any:
    """Return what stands for the factory of a client: an async function for an async one, else as `_function_of`."""
    found = _function_of(source, node)
    asynchronous = {fn.name for _, fn in source.functions() if isinstance(fn, ast.AsyncFunctionDef)}
    if found is UNKNOWN or not isinstance(node, ast.Name) or node.id not in asynchronous:
        return found

    async def connect() -> None:
        pass

    connect.__name__ = node.id
    return connect


def _is_reply_method(receivers: Receivers, node: ast.expr) -> bool:
    """Return True for a method of a reply that is not called, such as `reply.json`."""
    if not isinstance(node, ast.Attribute) or receivers.kind_of_value(node.value) != "reply":
        return False
    return inspect.isfunction(inspect.getattr_static(Reply, node.attr, None))


def _named(name: str) -> Callable[[], None]:
    """Return a function of this name."""

    def named() -> None:
        pass

    named.__name__ = name
    return named


def _not_calls(source: Source, call: ast.Call) -> Iterator[Fault]:
    """Yield an error for the first argument of `user.gather` that is a function or a literal, and not a call."""
    for node in call.args:
        value = node.value if isinstance(node, ast.Constant) else _function_of(source, node)
        if value is not UNKNOWN:
            try:
                check_gathered(value)
            except UsageError as error:
                yield source.fault(node, error.message, error.hint)
                return


def _check_of_k6(source: Source, receivers: Receivers, given: Mapping[str, ast.expr]) -> Fault | None:
    """Return the error of `user.check(reply, {"status is 200": lambda r: r.status == 200})`, as k6 has it."""
    name, ok = given["name"], given["ok"]
    conditions = ok if isinstance(ok, ast.Dict) and any(isinstance(one, ast.Lambda) for one in ok.values) else None
    is_reply = receivers.kind_of_value(name) == "reply"
    if not is_reply and (conditions is None or isinstance(source.value_of(name), str)):
        return None
    shown = ["..."]
    if conditions is not None:
        shown = [_call_of_k6(key, value, name) for key, value in zip(conditions.keys, conditions.values, strict=True)]
    written = 'user.check("status is 200", reply.status_code == 200)' if "..." in shown else ", ".join(shown)
    each = ": one call for each condition" if len(shown) > 1 else ""
    message = f"user.check(...): the name must be a text, got {short_text(name)}"
    return source.fault(name, message, f"write {written}{each}")


def _check_without_condition(source: Source, name: ast.expr, ok: ast.expr) -> Fault | None:
    """Return the error of `user.check(page.is_success, "is there")`: the condition is not the second argument."""
    is_named = isinstance(source.value_of(name), str) or isinstance(name, ast.JoinedStr)
    if isinstance(ok, ast.JoinedStr) or isinstance(source.value_of(ok), str):
        written = "(name, condition)" if is_named else f"({ast.unparse(ok)}, {ast.unparse(name)})"
        return source.fault(ok, "check: the condition is a text, so it is always true", f"write user.check{written}")
    if isinstance(name, ast.Compare) or (isinstance(name, ast.UnaryOp) and isinstance(name.op, ast.Not)):
        hint = f'write user.check("what is checked", {ast.unparse(name)})'
        return source.fault(name, "check: the name must be a text, got a condition", hint)
    return None


def _call_of_k6(key: ast.expr | None, condition: ast.expr, reply: ast.expr) -> str:
    """Return the call of `user.check` for one condition of k6; "..." if it is not a lambda with a literal name."""
    if not (isinstance(condition, ast.Lambda) and len(condition.args.args) == 1):
        return "..."
    if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
        return "..."
    body = _OfReply(condition.args.args[0].arg, reply).visit(deepcopy(condition.body))
    return f'user.check("{key.value}", {ast.unparse(body)})'


class _OfReply(ast.NodeTransformer):
    """Replaces the parameter of a lambda by the reply, and attributes of k6's responses by those of a reply."""

    def __init__(self, parameter: str, reply: ast.expr) -> None:
        self._parameter, self._reply = parameter, reply

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        is_direct = isinstance(node.value, ast.Name) and node.value.id == self._parameter
        self.generic_visit(node)
        if is_direct:
            node.attr = {"status": "status_code", "body": "text"}.get(node.attr, node.attr)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._reply if node.id == self._parameter else node


def _default(signature: inspect.Signature, name: str) -> Any:
    parameter = signature.parameters.get(name)
    return UNKNOWN if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def _value_wrong(
    source: Source, call: ast.Call, values: Mapping[str, Any], function: Callable[..., Any]
) -> Iterator[Fault]:
    if function is shared_prefix and values.get("name") is not UNKNOWN:
        values = {name: value for name, value in values.items() if value is not UNKNOWN}  # such as pick=zipf(1.1)
    if any(value is UNKNOWN for value in values.values()):
        return
    try:
        made = function(**values)
    except UsageError as error:  # of frames and matches
        yield source.fault(call, error.message, error.hint)
        return
    if isinstance(made, Distribution | ScenarioBlob | Prompt | Zipf):
        for fault in made.faults:
            yield source.fault(call, fault.message, fault.hint)


_EXAMPLES: Final = {
    "url": 'write a path, "/cart", or a URL that begins with http:// or https://',
    "method": 'write "GET", "POST" or another HTTP method',
    "timeout": 'write seconds, 2, or a text such as "500ms"',
    "headers": 'write texts: headers={"X-Version": "3"}',
}
"""A hint for each argument whose check has none."""


def _texts(error: Exception, word: str, argument: str) -> tuple[str, str]:
    """Return message and hint of an exception. A ValueError has the hint after a semicolon in its text."""
    if isinstance(error, UsageError):
        return error.message, error.hint
    message, separator, hint = str(error).rpartition("; ")
    if not separator:
        message, hint = hint, ""
    return message, hint or _EXAMPLES.get(argument) or f"write {_WRITE[word]}"
