"""The client of a controller's API. An error that is raised at the controller is raised again here.

A token is sent only over TLS or to this machine.
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
from loadgen_controller.control.control_request import ControlReply, ControlRequest
from loadgen_controller.core.run_request import Order
from loadgen_controller.screen.live_figures import Figures

__all__ = ["SERVICE", "Client", "figures_of"]

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Controller"].full_name
_PATIENCE_S: Final = 10.0
_NO_RUN: Final = "-"
"""A name that no run has."""
_START_S: Final = 300.0
"""Longest wait for a start: a bundle may be large and the network slow."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

R = TypeVar("R")


class Client:
    """Calls the API of a controller. Use it with `async with` in a running loop.

    Each call raises:
        UsageError, FleetError: the controller rejected the call, or it cannot be reached.
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
        """Send an order with its bundle (the packed scenario) to the controller, which starts a run.

        Return the id and folder of the run.
        """
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
        """Yield snapshots of a run until it has ended; the last one has `is_over` set.

        run: its id; empty: the only run that is going on.
        """
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
        """Send a control request for a run, such as pause or stop; return the controller's reply.

        It says what was done.
        """
        reply = await self._unary(ask.do.capitalize(), _request_of(ask), pb.Told.FromString)
        return ControlReply(lines=tuple(reply.lines))

    async def kill_all(self) -> ControlReply:
        """Kill all runs of the controller, and return its reply. This needs a token with the role admin."""
        reply = await self._unary("Kill", pb.KillRequest(all=True), pb.Told.FromString)
        return ControlReply(lines=tuple(reply.lines))

    async def agents(self) -> list[pb.Agent]:
        """Return all agents that are registered at the controller."""
        return list((await self._unary("Agents", pb.AgentsRequest(), pb.AgentList.FromString)).agents)

    async def runs(self, limit: int = 0) -> list[pb.RunLine]:
        """Return at most `limit` runs, running ones first; 0: the controller's default."""
        return list((await self._unary("Runs", pb.RunsRequest(limit=limit), pb.RunList.FromString)).runs)

    async def summary(self, run: str) -> tuple[dict[str, object], str]:
        """Return the content of summary.json of an ended run, and the path of the run's folder at the controller."""
        reply = await self._unary("Summary", pb.SummaryRequest(run=run), pb.SummaryReply.FromString)
        return msgspec.json.decode(reply.summary_json, type=dict[str, object]), reply.folder

    async def check_fetch(self) -> None:
        """Raise an error if the controller does not support `fetch`, as older versions do not.

        Call it before starting a run.
        """
        try:
            async for _ in self._files(_NO_RUN):
                break
        except grpc.aio.AioRpcError as error:
            # FAILED_PRECONDITION: the controller knows the call, and there is no such run.
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise self._error(error) from None

    async def fetch(self, run: str, runs_dir: Path) -> Path:
        """Copy the folder of an ended run into `runs_dir`, and return its path. An existing folder is not changed.

        Raises also:
            StorageError: the folder cannot be written, or the received files are not those of a run.
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
        """Return the exception for a failed gRPC call: the controller's own error, or why the controller gave no
        answer.
        """
        for key, value in error.trailing_metadata() or ():
            if key == ERROR_KEY:
                try:
                    reply = msgspec.json.decode(value, type=ControlReply)
                except msgspec.DecodeError:
                    break
                kind = UsageError if reply.exit_code == ExitCode.USAGE else FleetError
                return kind(reply.error, hint=reply.hint)
        address = self._place.address
        match error.code():
            case grpc.StatusCode.UNAVAILABLE:
                return FleetError(f"no controller answers at {address}: {error.details()}", hint=self._address_hint())
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                hint = "it may be overloaded: try again, or look at its log"
                return FleetError(f"the controller at {address} does not answer", hint=hint)
            case grpc.StatusCode.UNIMPLEMENTED:
                return FleetError(
                    f"the controller at {address} does not support this call",
                    hint="run the same version of loadgen here and at the controller",
                )
        return FleetError(
            f"the controller at {address} failed: {error.code().name}: {error.details()}", hint="look at its log"
        )

    def _address_hint(self) -> str:
        if self._place.is_plain:
            return "check that it runs with --api at this address; if it has TLS, give --ca FILE"
        return "check that it runs with --api at this address, and that --ca FILE is its certificate"


def figures_of(snapshot: pb.Snapshot) -> Figures:
    """Decode the figures of a run from a snapshot that the controller sent.

    Raises:
        FleetError: the controller has an incompatible version.
    """
    try:
        return msgspec.json.decode(snapshot.figures_json, type=Figures)
    except msgspec.DecodeError as error:
        raise FleetError(
            f"the figures from the controller cannot be read: {error}",
            hint="run the same version of loadgen here and at the controller",
        ) from None


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
