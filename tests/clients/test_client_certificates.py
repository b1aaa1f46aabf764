"""Mutual TLS: gRPC, WebSocket and TCP present the client certificate of the plan, and a target refuses who has none."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import pytest
import trustme

from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.clients.tcp_udp.frames import lines
from loadgen.errors import RequestFailed
from tests.support.grpc_server import grpc_server
from tests.support.links import Rows, tcp_peer, user_for
from tests.support.scripted import client_of
from tests.support.ws_servers import opened, ws_server

REFUSED = ("tls", "reset")
"""The server sends a TLS alert and closes the connection, and the client's TLS may report the close first."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """ca: who signed the server's and the client's certificate. own: those of the client, and its key, in one file."""

    ca: Path
    own: Path
    server: trustme.LeafCert

    def asks_for_one(self) -> ssl.SSLContext:
        """Return the context of a server that accepts only clients with a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # With TLS 1.3 a client learns of the refusal after its handshake.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.server.configure_cert(context)
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def http(self, *, has_own: bool) -> Http:
        return Http(http2=True, cert=str(self.own) if has_own else None)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ca.issue_cert("someone@shop.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    return Certificates(tmp_path / "ca.pem", tmp_path / "own.pem", ca.issue_cert("localhost"))


async def test_grpc_presents_the_certificate(certificates: Certificates) -> None:
    key = certificates.server.private_key_pem.bytes()
    chain = b"".join(one.bytes() for one in certificates.server.cert_chain_pems)
    tls = grpc.ssl_server_credentials([(key, chain)], certificates.ca.read_bytes(), require_client_auth=True)
    async with grpc_server(tls) as server:
        url = f"https://localhost:{server.port}"

        async def get(*, has_own: bool) -> bytes:
            context = tls_context(certificates.ca, certificates.http(has_own=has_own))
            async with client_of(url, pool=Http2Pool(TcpNetwork(), context)) as client:
                answer: bytes = await GrpcChannel(client).unary_unary("/shop.v1.Cart/Get")(b"x", timeout=10)
                return answer

        assert await get(has_own=True) == b"x"
        with pytest.raises(grpc.RpcError):
            await get(has_own=False)
    assert server.calls == ["Get"]


async def test_a_websocket_presents_the_certificate(certificates: Certificates) -> None:
    async with ws_server(certificates.asks_for_one()) as server:
        for has_own in (True, False):
            context = tls_context(certificates.ca, certificates.http(has_own=has_own))
            async with client_of(server.url, pool=Http2Pool(TcpNetwork(), context)) as client:
                if has_own:
                    async with opened(client, "/feed") as ws:
                        assert (await ws.ask("hello")).text == "hello"
                else:
                    with pytest.raises(RequestFailed) as caught:
                        await opened(client, "/feed").__aenter__()
                    assert caught.value.outcome in REFUSED


async def test_tcp_presents_the_certificate(certificates: Certificates) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())

    def context(*, has_own: bool) -> ssl.SSLContext:
        return tls_context(certificates.ca, certificates.http(has_own=has_own), is_http=False)

    async with tcp_peer(echo, certificates.asks_for_one()) as place:
        targets = {"gate": f"tcps://localhost:{place.rpartition(':')[2]}"}
        for has_own in (True, False):
            network = TcpNetwork(Http(resolve={"localhost": "127.0.0.1"}))
            tls = partial(context, has_own=has_own)
            async with user_for(targets, Rows(), network=network, raw_tls=tls) as user:
                link = user.tcp("gate", frame=lines())
                if has_own:
                    async with link:
                        assert await link.ask(b"ping") == b"ping"
                else:
                    with pytest.raises(RequestFailed) as caught:
                        await link.open()
                    assert caught.value.outcome in REFUSED
