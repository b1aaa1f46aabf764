"""A 101 is the answer of a request that asked for an upgrade, and of no other."""

from __future__ import annotations

import httpx
import pytest

from loadgen.clients.httpx_api.transport import HttpxTransport
from loadgen.errors import RequestFailed
from tests.support.scripted import HANG, client_of, ok, rows_of, scripted

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Key: k\r\n\r\n"
ASKED = {"Connection": "Upgrade", "Upgrade": "websocket"}


@pytest.mark.parametrize(
    "parts",
    [[SWITCHING, HANG], [SWITCHING + b"\x81\x05hello", HANG], [SWITCHING[:30], SWITCHING[30:], HANG]],
    ids=["alone", "with bytes of the new protocol", "in pieces"],
)
@pytest.mark.parametrize("way", ["call", "user", "stream", "httpx"])
async def test_a_101_that_was_asked_for_is_the_answer(way: str, parts: list[bytes]) -> None:
    async with scripted(parts) as server, client_of(server.url) as client:
        for _ in range(2):
            if way == "stream":
                async with client.stream("GET", "/chat", headers=ASKED, expect=101) as streamed:
                    assert await streamed.aread() == b""
                    assert streamed.headers["x-key"] == "k"
                continue
            if way == "httpx":
                transport = HttpxTransport(client._meter, client._pool, server.url)
                async with httpx.AsyncClient(transport=transport, base_url=server.url) as stock:
                    response = await stock.get("/chat", headers=ASKED)
                assert (response.status_code, response.content, response.headers["x-key"]) == (101, b"", "k")
                continue
            if way == "user":
                client.headers.update(ASKED)
                reply = await client.get("/chat", expect=101)
            else:
                reply = await client.get("/chat", headers=ASKED, expect=101)
            assert (reply.status_code, reply.content, reply.headers["x-key"]) == (101, b"", "k")
            assert reply.is_informational
        assert {row.outcome for row in rows_of(client)} == {"ok"}
        assert server.connections == 2  # the new protocol has the connection, so no other request gets it


async def test_a_101_without_a_request_for_it_is_an_error_also_after_one_that_was_asked_for() -> None:
    async with scripted([SWITCHING, HANG]) as server, client_of(server.url) as client:
        await client.get("/chat", headers=ASKED, expect=101)
        with pytest.raises(RequestFailed, match="protocol"):
            await client.get("/chat")


async def test_a_target_that_does_not_upgrade_answers_as_usual() -> None:
    async with scripted(ok(b"no")) as server, client_of(server.url) as client:
        assert (await client.get("/chat", headers=ASKED, expect=200)).text == "no"
        assert (await client.get("/chat", headers=ASKED, expect=200)).text == "no"
        assert server.connections == 1
