"""The gRPC server of a controller's API: authorization of calls, and the calls themselves (`control/run_service.py`).

Authorization uses only the metadata of a call, before any message is read. A call without a token, with an unknown
token or with too low a role is rejected. Outside of loopback addresses, the API requires TLS and tokens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec

from loadgen.api.v1 import api_pb2 as pb
from loadgen.errors import ExitCode, LoadgenError, PortBusy, UsageError
from loadgen.hostport import is_loopback
from loadgen.secret_files import check_private
from loadgen.wire.sockets import parse_address
from loadgen_controller.api.address import ERROR_KEY
from loadgen_controller.api.order import read_order
from loadgen_controller.api.tokens import Role, Token, Tokens
from loadgen_controller.control.control_request import ControlAction, ControlReply, ControlRequest
from loadgen_controller.control.run_service import Look, Service
from loadgen_controller.core.rejected_input_counter import RejectedInput

__all__ = ["MAX_MESSAGE_BYTES", "SERVICE", "ApiServer", "Tls", "check_bind"]

log = logging.getLogger(__name__)

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Controller"].full_name
MAX_MESSAGE_BYTES: Final = 8 << 20
"""Largest message: enough for a plan with a long curve. Bundles come in parts."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_concurrent_streams", 100),
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.so_reuseport", 0),  # a second controller on this port must get an error
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients ping every 20 s. With gRPC's default of 300 s, the server would close their connections for too many
    # pings.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)
_MAX_CALLS: Final = 200
_LOCAL: Final = Token("local", Role.ADMIN, "", "")
"""The caller if no tokens are required, which is possible on loopback addresses only."""


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate with its private key, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Tls:
        """Read the certificate and its private key from their files.

        Raises:
            UsageError: a file cannot be read, or other users may read the key.
        """
        check_private(key)
        try:
            return cls(certificate.read_bytes(), key.read_bytes())
        except OSError as error:
            raise UsageError(
                f"cannot read {error.filename}: {error.strerror}", hint="check the path and its permissions"
            ) from error


def check_bind(bind: str, tls: Tls | None, tokens: Tokens | None) -> None:
    """Check that an API at this address requires TLS and tokens, unless the address is a loopback one.

    Raises:
        UsageError: anybody who can reach the address could start load.
    """
    host, _ = parse_address(bind)
    if is_loopback(host.strip("[]")):
        return
    missing = [text for text, is_there in (("TLS", tls), ("tokens", tokens)) if not is_there]
    if missing:
        lacks = " and no ".join(missing)
        raise UsageError(
            f"the API at {bind} would have no {lacks}: anybody who can reach that address could start load",
            hint="create them with loadgen api cert DIR and loadgen api token DIR NAME, or use --api 127.0.0.1:5558",
        )


class ApiServer:
    """The server of the API. Create it in the running loop, then call `start`, and `close` at the end.

    Raises:
        UsageError: it would be open to everybody (see `check_bind`).
        PortBusy: the port is in use, or the certificate does not fit its key.
    """

    def __init__(self, service: Service, bind: str, tokens: Tokens | None = None, tls: Tls | None = None) -> None:
        check_bind(bind, tls, tokens)
        host, port = parse_address(bind)
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MAX_CALLS)
        self._server.add_generic_rpc_handlers((_Authorization(_Calls(service), tokens),))
        place = f"{host}:{port}"
        try:
            if tls is None:
                port = self._server.add_insecure_port(place)
            else:
                credentials = grpc.ssl_server_credentials([(tls.key, tls.certificate)])
                port = self._server.add_secure_port(place, credentials)
        except (RuntimeError, ValueError) as error:
            raise _cannot_listen(bind) from error
        if not port:
            raise _cannot_listen(bind)
        self.address = f"{host}:{port}"
        """The address at which it listens, with the real port."""

    async def start(self) -> None:
        """Start to accept calls of clients."""
        await self._server.start()

    async def close(self) -> None:
        """Stop the API at once. Calls in progress are cut off."""
        await self._server.stop(0)


def _cannot_listen(bind: str) -> PortBusy:
    return PortBusy(
        f"cannot listen for the API at {bind}",
        hint="another program uses the port, or the certificate does not fit its key; port 0 takes any free port",
    )


# -- authorization -----------------------------------------------------------------------------


class _Authorization(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Gives each call its handler, or a handler that rejects it."""

    def __init__(self, calls: _Calls, tokens: Tokens | None) -> None:
        self._calls, self._tokens = calls, tokens
        self._rejected_input = RejectedInput(_log, time.perf_counter_ns)

    def service(self, details: Any) -> Any:
        """Return the handler of a call if its token permits the call, or else a handler that rejects it.

        Return None if there is no such method. gRPC calls this before it reads a message.
        """
        name = str(details.method).removeprefix(f"/{SERVICE}/")
        call = self._calls.table.get(name)
        if call is None:
            return None
        secret = _secret(details.invocation_metadata)
        try:
            token = self._who(secret)
        except UsageError as error:
            return self._refuse(grpc.StatusCode.UNAVAILABLE, f"the controller's tokens cannot be read: {error.message}")
        if token is None:
            why = "this API requires a token" if not secret else "the token is unknown or was revoked"
            return self._refuse(grpc.StatusCode.UNAUTHENTICATED, why)
        if token.role < call.role:
            why = f"{name} needs the role {call.role}, but the token {token.name} has the role {token.role}"
            return self._refuse(grpc.StatusCode.PERMISSION_DENIED, why)
        return call.handler(_Caller(token, lambda: self._is_good(secret, call.role)))

    def _who(self, secret: str) -> Token | None:
        return _LOCAL if self._tokens is None else self._tokens.who(secret)

    def _is_good(self, secret: str, role: Role) -> bool:
        """Return whether the token is still valid and has at least this role.

        Calls that last check this again and again.
        """
        try:
            token = self._who(secret)
        except UsageError:
            return False
        return token is not None and token.role >= role

    def _refuse(self, code: Any, why: str) -> Any:
        self._rejected_input.add("rejected a call", why)

        async def refuse(_requests: Any, context: Any) -> None:
            await _abort(context, code, UsageError(why, hint=_HINTS.get(code, "")))

        # A handler of streams reads no message unless it asks for one.
        return grpc.stream_unary_rpc_method_handler(refuse)


_HINTS: Final = {
    grpc.StatusCode.UNAUTHENTICATED: (
        "give a token with --token-file FILE or LOADGEN_TOKEN; loadgen api token DIR NAME creates one"
    ),
    grpc.StatusCode.PERMISSION_DENIED: (
        "use another token; loadgen api token DIR NAME --role ROLE, at the controller, creates one"
    ),
}


def _log(kind: str, text: str, count: int) -> None:
    log.warning("%s: %s (%d)", kind, text, count)


def _secret(metadata: Sequence[tuple[str, str | bytes]] | None) -> str:
    for key, value in metadata or ():
        if key == "authorization" and isinstance(value, str):
            scheme, _, secret = value.partition(" ")
            return secret.strip() if scheme.lower() == "bearer" else ""
    return ""


@dataclass(frozen=True, slots=True)
class _Caller:
    """The authorized caller of a call."""

    token: Token
    is_good: Callable[[], bool]
    """Returns whether the token is still valid."""

    @property
    def by(self) -> str:
        return f"{self.token.name}, by the API"


# -- calls -------------------------------------------------------------------------------------

_Unary = Callable[[Any, _Caller], Awaitable[Any]]
_Stream = Callable[[Any, _Caller], AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class _Call:
    """A method of the API: the least role for it, its request type, and its implementation."""

    role: Role
    request: Any
    unary: _Unary | None = None
    stream: _Stream | None = None
    takes_stream: bool = False

    def handler(self, caller: _Caller) -> Any:
        how = {
            "request_deserializer": self.request.FromString,
            "response_serializer": lambda reply: reply.SerializeToString(),
        }
        if self.stream is not None:
            return grpc.unary_stream_rpc_method_handler(_streaming(self.stream, caller), **how)
        assert self.unary is not None
        kind = grpc.stream_unary_rpc_method_handler if self.takes_stream else grpc.unary_unary_rpc_method_handler
        return kind(_answering(self.unary, caller), **how)


def _answering(call: _Unary, caller: _Caller) -> Callable[[Any, Any], Awaitable[Any]]:
    async def answer(request: Any, context: Any) -> Any:
        try:
            return await call(request, caller)
        except LoadgenError as error:
            await _abort(context, _status(error), error)
        except Exception as error:  # a bug of ours must end this call only, and not the controller
            log.exception("a call failed")
            await _abort(context, grpc.StatusCode.INTERNAL, _bug(error))

    return answer


def _streaming(call: _Stream, caller: _Caller) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for reply in call(request, caller):
                if not caller.is_good():
                    await _abort(
                        context,
                        grpc.StatusCode.UNAUTHENTICATED,
                        UsageError("the token was revoked", hint="ask the controller's owner for a new token"),
                    )
                yield reply
        except LoadgenError as error:
            await _abort(context, _status(error), error)

    return answer


def _status(error: LoadgenError) -> Any:
    return grpc.StatusCode.FAILED_PRECONDITION if error.exit_code is ExitCode.USAGE else grpc.StatusCode.ABORTED


def _bug(error: Exception) -> LoadgenError:
    hint = "please report it with the controller's log"
    return LoadgenError(f"this is a bug of loadgen: {type(error).__name__}", hint=hint)


async def _abort(context: Any, code: Any, error: LoadgenError) -> None:
    reply = ControlReply(error=error.message, hint=error.hint, exit_code=int(error.exit_code))
    await context.abort(code, error.message, ((ERROR_KEY, msgspec.json.encode(reply)),))


class _Calls:
    """The implementation of all calls. `table` is the only place that assigns roles to calls."""

    def __init__(self, service: Service) -> None:
        self._service = service
        view, run = Role.VIEW, Role.RUN
        self.table = {
            "Start": _Call(run, pb.StartPart, self._start, takes_stream=True),
            "Watch": _Call(view, pb.WatchRequest, stream=self._watch),
            "Stop": _Call(run, pb.StopRequest, self._stop),
            "Kill": _Call(run, pb.KillRequest, self._kill),
            "Pause": _Call(run, pb.ChangeRequest, self._change("pause")),
            "Resume": _Call(run, pb.ChangeRequest, self._change("resume")),
            "Scale": _Call(run, pb.ScaleRequest, self._scale),
            "Skip": _Call(run, pb.ChangeRequest, self._change("skip")),
            "Agents": _Call(view, pb.AgentsRequest, self._agents),
            "Runs": _Call(view, pb.RunsRequest, self._runs),
            "Summary": _Call(view, pb.SummaryRequest, self._summary),
            "Fetch": _Call(run, pb.FetchRequest, stream=self._fetch),
        }

    async def _start(self, parts: AsyncIterator[pb.StartPart], caller: _Caller) -> pb.Started:
        conductor = await self._service.start(await read_order(parts), caller.by)
        return pb.Started(run_id=conductor.run_id, folder=str(conductor.run_dir.absolute()))

    async def _watch(self, request: pb.WatchRequest, _: _Caller) -> AsyncIterator[pb.Snapshot]:
        async for look in self._service.watch(request.run):
            yield _snapshot(look)

    async def _stop(self, request: pb.StopRequest, caller: _Caller) -> pb.Told:
        return self._control(ControlRequest(run_id=request.run, do="stop", now=request.now), caller)

    async def _kill(self, request: pb.KillRequest, caller: _Caller) -> pb.Told:
        if not request.all:
            return self._control(ControlRequest(run_id=request.run, do="kill"), caller)
        if caller.token.role < Role.ADMIN:
            raise UsageError(
                f"killing all runs needs the role {Role.ADMIN}, but the token has the role {caller.token.role}",
                hint=_HINTS[grpc.StatusCode.PERMISSION_DENIED],
            )
        return pb.Told(lines=self._service.kill_all(caller.by).lines)

    def _change(self, do: ControlAction) -> _Unary:
        async def change(request: pb.ChangeRequest, caller: _Caller) -> pb.Told:
            return self._control(ControlRequest(run_id=request.run, do=do, load=request.load or None), caller)

        return change

    async def _scale(self, request: pb.ScaleRequest, caller: _Caller) -> pb.Told:
        by = request.WhichOneof("by")
        values = {} if by is None else {by: getattr(request, by)}
        return self._control(
            ControlRequest(run_id=request.run, do="scale", load=request.load or None, **values), caller
        )

    def _control(self, ask: ControlRequest, caller: _Caller) -> pb.Told:
        return pb.Told(lines=self._service.answer(ask, caller.by).lines)

    async def _agents(self, _request: pb.AgentsRequest, _: _Caller) -> pb.AgentList:
        return pb.AgentList(
            agents=[
                pb.Agent(
                    id=one.id,
                    region=one.region,
                    presence=one.presence,
                    run_id=one.run_id,
                    silent_s=one.silent_s,
                    host=one.host,
                    cpus=one.cpus,
                    workers=one.workers,
                    epoch=one.epoch,
                    note=one.note,
                )
                for one in self._service.agents()
            ]
        )

    async def _runs(self, request: pb.RunsRequest, _: _Caller) -> pb.RunList:
        found = await self._service.runs(min(request.limit, 1_000))
        return pb.RunList(
            runs=[
                pb.RunLine(run_id=one.run_id, state=one.state, is_going=one.is_going, agents=one.agents, by=one.by)
                for one in found
            ]
        )

    async def _summary(self, request: pb.SummaryRequest, _: _Caller) -> pb.SummaryReply:
        run_id, summary = await self._service.summary(request.run)
        folder = str(self._service.folder(run_id).absolute())
        return pb.SummaryReply(run_id=run_id, summary_json=msgspec.json.encode(summary), folder=folder)

    async def _fetch(self, request: pb.FetchRequest, _: _Caller) -> AsyncIterator[pb.FilePart]:
        async for name, data in self._service.files(request.run):
            yield pb.FilePart(name=name, data=data)


def _snapshot(look: Look) -> pb.Snapshot:
    return pb.Snapshot(
        run_id=look.run_id,
        phase=look.phase,
        clock_s=look.clock_s,
        is_over=look.is_over,
        exit_code=look.exit_code,
        figures_json=look.figures_json,
    )
