"""Messages over a socketpair: whole, in order, and over when the other end is gone."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

import pytest

from loadgen.errors import WireError
from loadgen.wire.codec import encode
from loadgen.wire.messages import Bye, Message, SetUpDone, Stop
from loadgen.wire.worker_pipe import FrameStream


async def pair() -> tuple[FrameStream, socket.socket]:
    ours, theirs = socket.socketpair()
    return await FrameStream.over(ours), theirs


def framed(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


async def test_messages_arrive_whole_and_in_order_however_they_are_cut() -> None:
    stream, raw = await pair()
    sent: list[Message] = [
        Stop("run", "because", True),
        SetUpDone("run", random.Random(1).randbytes(3_000_000)),
        Bye("run"),
    ]
    data = b"".join(framed(encode(message, limit_bytes=1 << 24)) for message in sent)
    loop = asyncio.get_running_loop()
    raw.setblocking(False)

    async def drip() -> None:
        for at in (*range(20), 20):
            await loop.sock_sendall(raw, data[at : at + 1] if at < 20 else data[20:])

    writing = asyncio.create_task(drip())
    assert [await stream.read() for _ in sent] == sent
    await writing
    raw.close()
    assert await stream.read() is None
    stream.close()


async def test_a_cancelled_read_loses_nothing() -> None:
    stream, raw = await pair()
    data = framed(encode(Bye("run")))
    raw.sendall(data[:6])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.read(), 0.01)
    raw.sendall(data[6:])
    assert await stream.read() == Bye("run")
    stream.close()
    raw.close()


async def test_an_end_that_died_within_a_frame_is_the_end() -> None:
    stream, raw = await pair()
    raw.sendall(framed(encode(Bye("run")))[:-1])
    raw.close()
    assert await stream.read() is None
    stream.write(Bye("run"))
    await stream.drain()
    stream.close()


async def test_a_frame_of_garbage_or_over_the_limit_is_a_wire_error() -> None:
    stream, raw = await pair()
    raw.sendall(framed(b"garbage"))
    with pytest.raises(WireError):
        await stream.read()
    raw.sendall(struct.pack("<I", 2**32 - 1))
    with pytest.raises(WireError, match="limit"):
        await stream.read()
    stream.close()
    raw.close()
