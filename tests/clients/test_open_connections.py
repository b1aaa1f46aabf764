"""The number of open connections of a worker follows each connection from its start to its end, by kind."""

from __future__ import annotations

import asyncio

from loadgen import lines
from loadgen.engine.health.open_connections import OPEN_CONNECTIONS
from tests.support.links import Rows, tcp_peer, user_for
from tests.support.ws_servers import ws_server


def now() -> tuple[int, int, int]:
    return OPEN_CONNECTIONS.http, OPEN_CONNECTIONS.websockets, OPEN_CONNECTIONS.tcp


async def until_closed(before: tuple[int, int, int]) -> None:
    """The loop reports the end of a connection in one of its next turns."""
    for _ in range(100):
        if now() == before:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{now()} instead of {before}")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readline():
        if await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)


async def test_idle_http_connections_count_until_their_user_ends() -> None:
    before = now()
    async with tcp_peer(answer) as place, user_for({"": f"http://{place}"}, Rows()) as user:
        for _ in range(3):
            await user.http.get("/")
        assert now() == (before[0] + 1, *before[1:])
        user.http.pool.close()
        await until_closed(before)


async def test_each_websocket_and_tcp_connection_counts_until_the_end_of_its_block() -> None:
    before = now()
    async with ws_server() as server, tcp_peer(echo) as place:
        targets = {"": server.url, "gate": f"tcp://{place}"}
        async with user_for(targets, Rows()) as user:
            async with user.ws("/feed") as ws, user.ws("/feed"), user.tcp("gate", frame=lines()) as link:
                await ws.ask("hello")
                await link.ask(b"hello")
                assert now() == (before[0], before[1] + 2, before[2] + 1)
            await until_closed(before)


async def test_a_connection_that_the_target_ends_is_no_longer_open() -> None:
    before = now()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async with (
        tcp_peer(once) as place,
        user_for({"gate": f"tcp://{place}"}, Rows()) as user,
        user.tcp("gate", frame=lines()) as link,
    ):
        await link.ask(b"hello")
        await until_closed(before)
