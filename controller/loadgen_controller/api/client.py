"""Speaks to `loadgen controller` over its API; what is wrong there is raised here, as the error that it was there.

A token goes only through TLS, or to this machine itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import grpc
import msgspec

from loadgen.api.v1 import api_pb2 as pb
from loadgen.errors import ExitCode, FleetError, LoadgenError, UsageError
from loadgen.measure.run_folder.transfer import Coming
from loadgen.wire.sockets import parse_address
from loadgen_controller.api.address import ERROR_KEY, Place
from loadgen_controller.api.order import parts_of
from loadgen_controller.control.unix_socket import ControlReply, ControlRequest
from loadgen_controller.core.order import Order
from loadgen_controller.screen.figures import Figures

__all__ = ["SERVICE", "Client", "figures_of"]

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Controller"].full_name
_PATIENCE_S: Final = 10.0
_NO_RUN: Final = "-"
"""No run is called so."""
_START_S: Final = 300.0
"""A bundle may be large, and the line slow."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

R = TypeVar("R")


class Client:
    """Use it with `async with`, in a running loop.

    Raises, each call:
        UsageError, FleetError: what the controller says is wrong, or that it cannot be reached.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        parse_address(place.address)
        if place.is_plain:
            self._channel = grpc.aio.insecure_channel(place.address, options=_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(place.ca)
            self._channel = grpc.aio.secure_channel(place.address, credentials, options=_OPTIONS)
        self._metadata = (("authorization", f"Bearer {place.token}"),) if place.token else ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def start(self, order: Order) -> pb.Started:
        call = self._channel.stream_unary(
            f"/{SERVICE}/Start",
            request_serializer=pb.StartPart.SerializeToString,
            response_deserializer=pb.Started.FromString,
        )
        try:
            started: pb.Started = await call(parts_of(order), timeout=_START_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from None
        return started

    async def watch(self, run: str = "") -> AsyncIterator[pb.Snapshot]:
        """Until the run is over; the last snapshot says so."""
        call = self._channel.unary_stream(
            f"/{SERVICE}/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.Snapshot.FromString,
        )
        try:
            async for snapshot in call(pb.WatchRequest(run=run), metadata=self._metadata):
                yield snapshot
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from None

    async def ask(self, ask: ControlRequest) -> ControlReply:
        """What a run is asked to do."""
        told = await self._unary(ask.do.capitalize(), _request_of(ask), pb.Told.FromString)
        return ControlReply(lines=tuple(told.lines))

    async def kill_all(self) -> ControlReply:
        told = await self._unary("Kill", pb.KillRequest(all=True), pb.Told.FromString)
        return ControlReply(lines=tuple(told.lines))

    async def agents(self) -> list[pb.Agent]:
        return list((await self._unary("Agents", pb.AgentsRequest(), pb.AgentList.FromString)).agents)

    async def runs(self, limit: int = 0) -> list[pb.RunLine]:
        return list((await self._unary("Runs", pb.RunsRequest(limit=limit), pb.RunList.FromString)).runs)

    async def summary(self, run: str) -> tuple[dict[str, object], str]:
        """summary.json, and the run's folder at the controller."""
        reply = await self._unary("Summary", pb.SummaryRequest(run=run), pb.SummaryReply.FromString)
        return msgspec.json.decode(reply.summary_json, type=dict[str, object]), reply.folder

    async def check_fetch(self) -> None:
        """Would `fetch` be answered? An older controller does not know it; better heard before a run is made."""
        try:
            async for _ in self._files(_NO_RUN):
                break
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:  # there is no such run: it knows the call
                raise self._error(error) from None

    async def fetch(self, run: str, runs_dir: Path) -> Path:
        """Bring the folder of a run that is over into `runs_dir`; one that is there already stays as it is.

        Raises, beside the others:
            StorageError: it cannot be written, or what comes is no run's.
        """
        coming = Coming(runs_dir, run)
        if coming.is_there:
            return coming.path
        try:
            with coming:
                async for part in self._files(run):
                    coming.add(part.name, part.data)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from None
        return coming.path

    def _files(self, run: str) -> Any:
        call = self._channel.unary_stream(
            f"/{SERVICE}/Fetch",
            request_serializer=pb.FetchRequest.SerializeToString,
            response_deserializer=pb.FilePart.FromString,
        )
        return call(pb.FetchRequest(run=run), metadata=self._metadata)

    async def _unary(self, name: str, request: Any, read: Callable[[bytes], R]) -> R:
        call = self._channel.unary_unary(
            f"/{SERVICE}/{name}", request_serializer=type(request).SerializeToString, response_deserializer=read
        )
        try:
            reply: R = await call(request, timeout=_PATIENCE_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from None
        return reply

    def _error(self, error: Any) -> LoadgenError:
        """As it was raised at the controller, or why it cannot be reached."""
        for key, value in error.trailing_metadata() or ():
            if key == ERROR_KEY:
                try:
                    told = msgspec.json.decode(value, type=ControlReply)
                except msgspec.DecodeError:
                    break
                kind = UsageError if told.exit_code == ExitCode.USAGE else FleetError
                return kind(told.error, hint=told.hint)
        address = self._place.address
        match error.code():
            case grpc.StatusCode.UNAVAILABLE:
                return FleetError(f"no controller answers at {address}: {error.details()}", hint=self._way())
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return FleetError(f"the controller at {address} does not answer")
            case grpc.StatusCode.UNIMPLEMENTED:
                return FleetError(
                    f"the controller at {address} does not know this call", hint="run the same version of loadgen"
                )
        return FleetError(f"the controller at {address} failed: {error.code().name}: {error.details()}")

    def _way(self) -> str:
        if self._place.is_plain:
            return "does it run, with --api at this address? If it has TLS, --ca FILE"
        return "does it run, with --api at this address? --ca FILE names the certificate that it has"


def figures_of(snapshot: pb.Snapshot) -> Figures:
    """
    Raises:
        FleetError: the controller is of another version.
    """
    try:
        return msgspec.json.decode(snapshot.figures_json, type=Figures)
    except msgspec.DecodeError as error:
        raise FleetError(f"what the controller shows cannot be read: {error}", hint="run the same version") from None


def _request_of(ask: ControlRequest) -> Any:
    match ask.do:
        case "stop":
            return pb.StopRequest(run=ask.run_id, now=ask.now)
        case "kill":
            return pb.KillRequest(run=ask.run_id)
        case "scale":
            by = {"factor": ask.factor, "rate": ask.rate, "users": ask.users}
            given = {name: value for name, value in by.items() if value is not None}
            return pb.ScaleRequest(run=ask.run_id, load=ask.load or "", **given)
    return pb.ChangeRequest(run=ask.run_id, load=ask.load or "")
