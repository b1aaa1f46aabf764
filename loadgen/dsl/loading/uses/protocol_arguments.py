"""The arguments of `user.ws`, WebSockets, `user.grpc` and its services, by call: the loader's checks of literal values.

    user.ws("/feed", timeout="soon")                 not a duration
    ws.ask({"op": "join"}, reply_to="$.id")          the message has no id there
    user.grpc.reflect("shop.v1.Cart/Get")            a method, not a service
    user.grpc.service("shop.v1.Crt", SHOP)           the descriptor set has no such service
    CartStub(user.grpc).Get(request, timeout=0)      not a time

The checks are those of the methods themselves. Their modules are imported when a scenario calls them: grpcio takes
0.1 s.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from loadgen.dsl.data.descriptor_set import DescriptorSet
from loadgen.dsl.loading.source_analysis import UNKNOWN, Source, short_text
from loadgen.dsl.source_location import Origin
from loadgen.dsl.users.argument_checks import check_name
from loadgen.dsl.users.library_clients import check_factory, check_scope
from loadgen.dsl.users.named_outcomes import check_outcomes
from loadgen.errors import Fault, ScenarioError, UsageError

__all__ = ["EXAMPLES", "VALUES", "check_descriptors_argument", "check_method", "check_statuses", "owner_of"]

EXAMPLES: Final = {
    "user.ws": 'async with user.ws("/feed") as ws:',
    "user.client": 'user.client(Cache, scope="worker")',
    "ws.ask": 'await ws.ask({"id": 7}, reply_to="$.id", timeout="2s")',
    "ws.send": 'await ws.send({"op": "leave"})',
    "ws.ping": "await ws.ping()",
    "ws.messages": 'async for message in ws.messages(upto=50, within="30s"):',
    "ws.close": "await ws.close()",
    "grpc.reflect": 'await user.grpc.reflect("shop.v1.Cart")',
    "grpc.service": 'user.grpc.service("shop.v1.Cart", SHOP), with SHOP = descriptor_set("shop.binpb")',
    "grpc.accepting": "user.grpc.accepting(grpc.StatusCode.NOT_FOUND)",
}
"""An example of a right call, by word."""


@lru_cache
def owner_of(kind: str) -> type | None:
    """Return the class of a value of this kind; None for a kind of another file, or if grpcio is not installed."""
    if kind == "ws":
        from loadgen.clients.ws_client.websocket import WebSocket

        return WebSocket
    try:
        if kind == "grpc":
            from loadgen.clients.grpc_client.channel import GrpcChannel

            return GrpcChannel
        if kind == "service":
            return _ServiceCalls
    except ImportError:
        return None
    return _StubCalls if kind == "stub" else None


class _StubCalls:
    """The signature of a stub's methods: the options of unary and of streaming methods together."""

    def call(
        self,
        request: Any = None,
        *more: Any,
        request_iterator: Any = None,
        timeout: Any = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: Any = None,
        compression: Any = None,
        key: Any = None,
    ) -> None: ...


class _ServiceCalls:
    """The signature of the methods of a service that is known by its descriptors."""

    def call(
        self,
        request: Any = None,
        *,
        timeout: Any = None,
        metadata: Any = None,
        compression: Any = None,
        key: Any = None,
    ) -> None: ...


# -- WebSocket --------------------------------------------------------------------------------------


def _limit(word: str, argument: str) -> Callable[[Any], None]:
    """Return the check of a time limit."""

    def check(value: Any) -> None:
        from loadgen.clients.ws_client.arguments import limit_ns

        if value is not None:
            limit_ns(word, argument, value)

    return check


def _name(word: str) -> Callable[[Any], None]:
    return lambda name: None if name is None else check_name(word, name)


def _check_subprotocols(names: Any) -> None:
    from loadgen.clients.ws_client.handshake import check_headers

    if not isinstance(names, str | list | tuple | set | frozenset):
        raise UsageError(f"user.ws: {names!r} is not a list of subprotocols", hint='write subprotocols=["chat.v2"]')
    check_headers(None, names)


def _check_own_headers(headers: Any) -> None:
    from loadgen.clients.ws_client.handshake import check_headers

    if type(headers) in (dict, list, tuple):  # another type is reported as for requests
        check_headers(headers, ())


def _check_reply_to(reply_to: Any) -> None:
    from loadgen.clients.ws_client.answers import NEXT, key_of

    if reply_to != NEXT:
        key_of(reply_to)


def _check_stamp(stamp: Any) -> None:
    from loadgen.clients.ws_client.answers import key_of

    if stamp is not None:
        key_of(stamp, "ws.messages: stamp")


def _check_id(message: Any, reply_to: Any) -> None:
    from loadgen.clients.ws_client.answers import NEXT, key_of
    from loadgen.clients.ws_client.arguments import check_id
    from loadgen.clients.ws_client.message import encoded

    try:
        encoded(message)
        if reply_to != NEXT:
            key_of(reply_to)
    except UsageError:
        return  # reported
    check_id(message, reply_to)


def _check_message(message: Any) -> None:
    from loadgen.clients.ws_client.message import encoded

    encoded(message)


def _of_ws(check: str) -> Callable[..., None]:
    """Return a check of `ws_client/arguments.py` by its name."""

    def checks(*values: Any) -> None:
        from loadgen.clients.ws_client import arguments

        getattr(arguments, check)(*values)

    return checks


# -- gRPC -------------------------------------------------------------------------------------------


def _check_service_name(word: str) -> Callable[[Any], None]:
    def check(name: Any) -> None:
        from loadgen.clients.grpc_schema.service_arguments import check_service_name

        check_service_name(word, name)

    return check


def _check_descriptors(descriptors: Any) -> None:
    from loadgen.clients.grpc_schema.service_arguments import check_descriptors

    check_descriptors(descriptors)


def _check_as_messages(value: Any) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"as_messages={value!r} must be True or False", hint="write as_messages=True, or leave it out")


def _check_path(path: Any) -> None:
    text = path.decode("latin-1") if isinstance(path, bytes) else path
    if not isinstance(text, str) or not text.startswith("/") or "/" not in text[1:]:
        raise UsageError(f"{path!r} is not the path of a gRPC method", hint='write "/shop.v1.Cart/Get"')


def _check_timeout(timeout: Any) -> None:
    from loadgen.clients.grpc_client.options import call_limit_ns

    if timeout is not None:
        call_limit_ns(timeout)


def _check_metadata(metadata: Any) -> None:
    from loadgen.clients.grpc_client.metadata import lines_of

    if isinstance(metadata, dict):
        pairs = tuple(metadata.items())
        raise UsageError("metadata of a gRPC call must be pairs, not a dictionary", hint=f"write metadata={pairs!r}")
    is_sequence = isinstance(metadata, list | tuple)
    if metadata is not None and (not is_sequence or (metadata and all(isinstance(one, str) for one in metadata))):
        raise UsageError(
            f"metadata of a gRPC call must be pairs of a name and a value, got {metadata!r}",
            hint=f"write metadata={_as_pairs(metadata)!r}, with a comma after a single pair",
        )
    lines_of(metadata or ())


def _as_pairs(metadata: Any) -> tuple[tuple[str, str], ...]:
    """Return the pairs that "name: value" or a flat (name, value) most likely means; otherwise an example."""
    parts = re.split(r"\s*[:=]\s*", metadata, maxsplit=1) if isinstance(metadata, str) else metadata
    if isinstance(parts, list | tuple) and len(parts) == 2:
        return ((parts[0], parts[1]),)
    return (("x-tenant", "a"),)


def _check_compression(compression: Any) -> None:
    from loadgen.clients.grpc_client.options import check_compression

    check_compression(compression)


_Checks = tuple[tuple[tuple[str, ...], Callable[..., object]], ...]
_OF_CALL: Final[_Checks] = (
    (("timeout",), _check_timeout),
    (("metadata",), _check_metadata),
    (("compression",), _check_compression),
)
_OF_METHOD: Final[_Checks] = ((("method",), _check_path),)
VALUES: Final[Mapping[str, _Checks]] = {
    "user.ws": (
        (("name",), _name("ws")),
        (("subprotocols",), _check_subprotocols),
        (("headers",), _check_own_headers),
        (("timeout",), _limit("user.ws", "timeout")),
    ),
    "user.client": (
        (("factory",), check_factory),
        (("scope",), check_scope),
        (("outcomes",), lambda outcomes: None if outcomes is None else check_outcomes(outcomes, "user.client")),
    ),
    "ws.send": ((("message",), _check_message),),
    "ws.ask": (
        (("message",), _check_message),
        (("reply_to",), _check_reply_to),
        (("message", "reply_to"), _check_id),
        (("name",), _name("ask")),
        (("timeout",), _limit("ws.ask", "timeout")),
    ),
    "ws.ping": ((("timeout",), _limit("ws.ping", "timeout")),),
    "ws.messages": (
        (("upto",), _of_ws("check_upto")),
        (("within",), _limit("ws.messages", "within")),
        (("stamp",), _check_stamp),
        (("unit",), _of_ws("check_unit")),
    ),
    "ws.close": ((("code", "reason"), _of_ws("check_close")),),
    "grpc.reflect": ((("service",), _check_service_name("reflect")), (("as_messages",), _check_as_messages)),
    "grpc.service": (
        (("name",), _check_service_name("service")),
        (("descriptors",), _check_descriptors),
        (("as_messages",), _check_as_messages),
    ),
    "grpc.unary_unary": _OF_METHOD,
    "grpc.unary_stream": _OF_METHOD,
    "grpc.stream_unary": _OF_METHOD,
    "grpc.stream_stream": _OF_METHOD,
    "stub.call": _OF_CALL,
    "service.call": _OF_CALL,
}
"""By word: arguments, and the function that checks their literal values."""


# -- what needs the source --------------------------------------------------------------------------


def check_statuses(source: Source, call: ast.Call) -> Iterator[Fault]:
    """Yield the errors in `user.grpc.accepting(...)`: literals, and statuses that grpc does not have."""
    from loadgen.clients.grpc_client.channel import check_codes
    from loadgen.clients.grpc_client.status import CODES

    for node in call.args:
        value, (owner, _, name) = source.value_of(node), source.dotted_name(node).rpartition(".")
        if value is UNKNOWN and owner.endswith("grpc.StatusCode") and name.lower() not in CODES:
            value = f"grpc.StatusCode.{name}"
        if value is not UNKNOWN:
            try:
                check_codes([value])
            except UsageError as error:
                yield source.fault(node, error.message.replace(f"'{value}'", str(value)), error.hint)


def check_descriptors_argument(source: Source, given: Mapping[str, ast.expr]) -> Iterator[Fault]:
    """Yield the errors in a call of `user.grpc.service` that only its descriptor set shows."""
    descriptors, name = given.get("descriptors"), source.value_of(given["name"]) if "name" in given else UNKNOWN
    if descriptors is None:
        return
    if isinstance(descriptors, ast.Call) and source.dotted_name(descriptors.func) == "loadgen.descriptor_set":
        shown, call = short_text(descriptors), ast.unparse(descriptors)
        message = (
            f"{shown} is called in a function, so the file is not packed with the scenario, and agents do not have it"
        )
        service = repr(name) if isinstance(name, str) else "..."
        hint = f"write SHOP = {call} at the top of the file, and user.grpc.service({service}, SHOP) here"
        yield source.fault(descriptors, message, hint)
        return
    schema = _schema(source, descriptors)
    if schema is not None and isinstance(name, str):
        try:
            schema.service(name)
        except UsageError as error:
            yield source.fault(given["name"], error.message, error.hint)


def check_method(source: Source, call: ast.Call) -> Iterator[Fault]:
    """Yield the errors in a call of a service's method, `cart.Get({"id": "7"})`, that its descriptor set shows."""
    assert isinstance(call.func, ast.Attribute)
    made = source.last_value(call.func.value)
    if not (isinstance(made, ast.Call) and isinstance(made.func, ast.Attribute) and made.func.attr == "service"):
        return
    of = dict(zip(("name", "descriptors"), made.args, strict=False)) | {one.arg: one.value for one in made.keywords}
    name, descriptors = source.value_of(of["name"]) if "name" in of else UNKNOWN, of.get("descriptors")
    schema = None if descriptors is None else _schema(source, descriptors)
    if schema is None or not isinstance(name, str):
        return
    from loadgen.clients.grpc_schema.values import message_of

    try:
        shape = schema.service(name)
    except UsageError:
        return  # reported
    request = call.args[0] if call.args else None
    value = UNKNOWN if request is None else source.value_of(request)
    try:
        method = shape.method(call.func.attr)
        if isinstance(value, dict) and not method.streams_request:
            message_of(method.request, value, shape.pool)
    except UsageError as error:
        yield source.fault(call, error.message, error.hint)


def _schema(source: Source, node: ast.expr) -> Any:
    """Return the schema of a descriptor set that a file of the scenario declares at its top; None for anything else."""
    file, made = source.declared(node) or (source, node)
    if not (isinstance(made, ast.Call) and file.dotted_name(made.func) == "loadgen.descriptor_set" and made.args):
        return None
    path = file.value_of(made.args[0])
    if not isinstance(path, str):
        return None
    place = file.path.parent / path
    return _read(place, place.stat().st_mtime_ns) if place.is_file() else None


@lru_cache(maxsize=8)
def _read(path: Path, changed_ns: int) -> Any:
    """Return the schema in a file; None if it has errors, which `descriptor_set` reports. changed_ns: for the cache."""
    try:
        return DescriptorSet(path, Origin(str(path), 0)).schema
    except ScenarioError:
        return None
