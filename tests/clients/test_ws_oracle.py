"""Random conversations: the client of `websockets` and ours send and receive the same, however the bytes are cut."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from loadgen.errors import RequestFailed
from tests.support.scripted import client_of, rows_of
from tests.support.ws_servers import opened, ws_server

LETTERS = "aä€😀\0\n\x7f{}\"'0"
Message = str | bytes


def random_message(chance: random.Random) -> Message:
    size = chance.choice((0, 1, 3, 20, 120, 125, 126, 127, 300, 2_000, chance.randrange(70_000)))
    if chance.random() < 0.4:
        return chance.randbytes(size)
    return "".join(chance.choices(LETTERS, k=min(size, 5_000)))


async def answer_by_chance(ws: ServerConnection, message: Message) -> None:
    """Answer with messages that follow from the one received: whole or in fragments, with pings between."""
    chance = random.Random(repr(message[:50]))
    if isinstance(message, str) and message.startswith("end "):
        await ws.close(int(message[4:]), "end")
        return
    for _ in range(chance.choice((1, 1, 2, 3))):
        answer = message if chance.random() < 0.5 else random_message(chance)
        if chance.random() < 0.3:
            await ws.ping(chance.randbytes(chance.randrange(126)))
        if chance.random() < 0.5 and answer:
            step = chance.randint(1, max(1, len(answer) // 3))
            pieces: Any = [answer[n : n + step] for n in range(0, len(answer), step)]
            await ws.send(pieces)
        else:
            await ws.send(answer)
    await ws.send("over")


@asynccontextmanager
async def cut_up(port: int, chance: random.Random) -> AsyncIterator[int]:
    """A port that leads to `port`, and passes the bytes on in pieces of random sizes."""
    tasks: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(70_000):
                while data:
                    size = chance.choice((1, 2, 7, 100, 5_000, 70_000))
                    writer.write(data[:size])
                    data = data[size:]
                    if chance.random() < 0.05:
                        await asyncio.sleep(0)
                await writer.drain()
            writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        for task in (asyncio.create_task(pass_on(reader, back)), asyncio.create_task(pass_on(there, writer))):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def by_theirs(port: int, messages: list[Message]) -> tuple[list[Message], int | None]:
    found: list[Message] = []
    async with connect(f"ws://127.0.0.1:{port}/", compression=None, max_size=None) as ws:
        with suppress(ConnectionClosed):
            for message in messages:
                await ws.send(message)
                while (answer := await ws.recv()) != "over":
                    found.append(answer)
        await ws.close()
    return found, ws.close_code


async def by_ours(port: int, messages: list[Message]) -> tuple[list[Message], int | None]:
    found: list[Message] = []
    async with client_of(f"http://127.0.0.1:{port}") as client:
        with suppress(RequestFailed):
            async with opened(client) as ws:
                for message in messages:
                    await ws.send(message)
                    async for answer in ws.messages():
                        if answer.data == "over":
                            break
                        found.append(answer.data)
        assert {row.name for row in rows_of(client)} <= {"WS /feed (connect)", "WS /feed (close)"}
    return found, ws.close_code


async def compared(count: int, seed: int) -> None:
    chance = random.Random(seed)
    async with ws_server(talk=answer_by_chance) as server, cut_up(server.port, random.Random(seed)) as port:
        done = 0
        while done < count:
            messages = [random_message(chance) for _ in range(chance.randint(1, 12))]
            if chance.random() < 0.3:
                messages.append(f"end {chance.choice((1000, 1001, 1011, 3000, 4999))}")
            done += len(messages)
            seen = []
            for client in (by_theirs, by_ours):
                before = len(server.received)
                found, code = await client(port, messages)
                seen.append((found, code, server.received[before:]))
            assert seen[0] == seen[1]
            server.received.clear()


async def test_random_conversations_are_those_of_the_library() -> None:
    await compared(60, seed=7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_thousands_of_random_exchanges_are_those_of_the_library(seed: int) -> None:
    await compared(3_000, seed)
