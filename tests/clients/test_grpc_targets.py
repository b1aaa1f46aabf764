"""Targets with `grpc://` and `grpcs://` use HTTP/2, whatever the plan's other targets use."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path

import grpc
import pytest
import trustme

from loadgen.allowlist import AllowList, Entry
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.target_guard import TargetGuard
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.connection_policy import Connections
from loadgen.dsl.plans.argument_validation import url_wrong
from loadgen.errors import UsageError
from loadgen.target_url import http_url_of_grpc, is_grpc, is_http, place_of_url
from tests.clients.test_grpc import stub
from tests.clients.test_open_connections import answer, now, until_closed
from tests.support.grpc_server import connections_to, grpc_server
from tests.support.links import Rows, tcp_peer, user_for

GET = "shop.v1.Cart/Get"


async def test_a_grpc_target_beside_an_http_1_target_needs_no_setting() -> None:
    rows, before = Rows(), now()
    async with grpc_server() as server, tcp_peer(answer) as place:
        targets = {"web": f"http://{place}", "cart": f"grpc://127.0.0.1:{server.port}"}
        async with user_for(targets, rows) as user:
            await user.http.get("/")
            for _ in range(2):
                assert await stub(user.grpc_channel("cart"), "unary_unary", "Get")(b"abc") == b"abc"
            assert connections_to(server.port) == 1
            with pytest.raises(UsageError, match="is not an HTTP target") as raised:
                user.to("cart")
            assert raised.value.hint == 'write user.grpc_channel("cart")'
            user._meter.settle()
            user.http.pool.close()
            await until_closed(before)
    assert rows.rows == [("GET /", "ok"), (GET, "ok"), (GET, "ok")]


@pytest.mark.parametrize("policy", [Connections(), Connections("shared", 2), Connections("fresh")])
async def test_a_plan_with_a_grpcs_target_alone_uses_tls_and_http_2(tmp_path: Path, policy: Connections) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("localhost")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    rows = Rows()
    async with grpc_server(grpc.ssl_server_credentials([pair])) as server:
        tls = partial(tls_context, tmp_path / "ca.pem", Http(http2=True))
        ways = {"connections": policy}
        async with user_for({"": f"grpcs://localhost:{server.port}"}, rows, http2_tls=tls, ways=ways) as user:
            for _ in range(2):
                assert await stub(user.grpc, "unary_unary", "Get")(b"abc", timeout=5) == b"abc"
                user.http.pool.close_idle()
            user._meter.settle()
    assert rows.rows == [(GET, "ok")] * 2


async def test_the_allow_list_checks_connections_of_grpc_targets() -> None:
    guard = TargetGuard(AllowList(allow=(Entry(host="10.0.0.0/8", owner="us", expires=date(2999, 1, 1)),)))
    rows = Rows()
    async with (
        grpc_server() as server,
        user_for({"": f"grpc://127.0.0.1:{server.port}"}, rows, network=TcpNetwork(guard=guard)) as user,
    ):
        with pytest.raises(grpc.RpcError):
            await stub(user.grpc, "unary_unary", "Get")(b"abc")
    assert rows.rows == [(GET, "not allowed: no entry")]


def test_urls_of_grpc_have_a_port_and_no_path() -> None:
    assert url_wrong("grpcs://cart.example") == url_wrong("grpc://[::1]:50051") == ("", "")
    assert place_of_url("grpcs://cart.example") == ("cart.example", 443)
    assert http_url_of_grpc("grpcs://cart.example:8443") == "https://cart.example:8443"
    assert is_grpc("GRPC://a:1")
    assert not is_http("grpc://a:1")
    for url, hint in (
        ("grpc://cart.example", 'write "grpc://cart.example:50051"'),
        ("grpcs://cart.example:443/v1", 'write "grpcs://cart.example:443"'),
        ("grpcs://cart.example/v1", 'write "grpcs://cart.example:50051"'),
    ):
        message, found = url_wrong(url)
        assert "must have" in message
        assert found == hint
