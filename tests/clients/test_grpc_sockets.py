"""grpcio opens no connection to the target: not for streams, reflection, TLS or published stubs. All bytes are ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.http import HttpClient
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http2_pool import Http2Pool
from tests.support.grpc_server import SERVICE, connections_to, grpc_server
from tests.support.grpc_services import running_services
from tests.support.http2 import prior_pool
from tests.support.scripted import client_of
from tests.support.shop_service import CART, shop_server


@asynccontextmanager
async def only_our_connection(url: str, pool: Http2Pool | None = None) -> AsyncIterator[GrpcChannel]:
    """Yield a channel. At the end, the user's one connection must be the only one to the target."""
    async with client_of(url, pool=prior_pool() if pool is None else pool) as client:
        yield GrpcChannel(client)
        assert connections_to(port_of(client)) == client.pool.opened == 1, "grpcio has opened a connection of its own"


def port_of(client: HttpClient) -> int:
    return int(str(client.base_url).rstrip("/").rpartition(":")[2])


async def all_kinds(channel: GrpcChannel) -> None:
    """Send a call of each kind, and leave one stream early."""

    def method(kind: str, name: str) -> Any:
        return getattr(channel, kind)(f"/{SERVICE}/{name}")

    assert await method("unary_unary", "Get")(b"a") == b"a"
    assert len([one async for one in method("unary_stream", "Watch")(b"3,10")]) == 3
    async for _ in method("unary_stream", "Watch")(b"1000,10"):
        break
    assert await method("stream_unary", "Sum")([b"a", b"bc"]) == b"3"
    call = method("stream_stream", "Chat")()
    await call.write(b"a")
    assert await call.read() == b"a"
    await call.done_writing()
    assert await call.read() is aio.EOF


async def test_calls_of_each_kind_are_on_the_connection_of_the_user() -> None:
    async with grpc_server() as server, only_our_connection(server.url) as channel:
        await all_kinds(channel)


async def test_calls_over_tls_are_on_the_connection_of_the_user(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("localhost")
    chain = b"".join(one.bytes() for one in issued.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
    pool = Http2Pool(TcpNetwork(), tls_context(tmp_path / "ca.pem", Http(http2=True)))
    async with (
        grpc_server(credentials) as server,
        only_our_connection(f"https://localhost:{server.port}", pool) as channel,
    ):
        await all_kinds(channel)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_and_its_services_are_on_the_connection_of_the_user(version: str) -> None:
    async with shop_server(version) as server, only_our_connection(server.url) as channel:
        live = await channel.reflect(CART)
        assert (await live.Get({"id": "7"}))["id"] == "7"
        assert len([one async for one in live.Watch({"id": "8"})]) == 3


async def test_published_stubs_are_on_the_connection_of_the_user() -> None:
    with running_services() as services:
        async with only_our_connection(services.url) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            reply = await health.Check(health_pb2.HealthCheckRequest(service=""))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
            async for _ in health.Watch(health_pb2.HealthCheckRequest(service="")):
                break
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            assert (await call.read()).list_services_response.service
            assert call.cancel()
            collector: Any = trace_service_pb2_grpc.TraceServiceStub
            await collector(channel).Export(trace_service_pb2.ExportTraceServiceRequest())
