"""The chaos proxy does what it says, and counts it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from tests.support.chaos_proxy import ChaosProxy, chaos_proxy
from tests.support.wire import until


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """An address that says again what it hears."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, net: ChaosProxy) -> Client:
        host, _, port = net.address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def say(self, data: bytes, within_s: float = 60.0) -> bytes:
        """What comes back; as much as was sent."""
        self.writer.write(data)
        async with asyncio.timeout(within_s):
            return await self.reader.readexactly(len(data))

    async def is_silent(self, data: bytes = b"x") -> bool:
        try:
            await self.say(data, 0.2)
        except TimeoutError:
            return True
        return False


async def test_a_good_network_changes_nothing(echo: str) -> None:
    data = bytes(range(256)) * 4_000
    with chaos_proxy(echo) as net:
        client = await Client.to(net)
        assert await client.say(data) == data
        assert net.counts["bytes up"] == net.counts["bytes down"] == len(data)


async def test_the_end_of_a_connection_is_handed_on(echo: str) -> None:
    with chaos_proxy(echo) as net:
        client = await Client.to(net)
        client.writer.write(b"last words")
        client.writer.write_eof()
        assert await client.reader.read() in (b"last words", b"")
        await until(lambda: net.live == 0)


async def test_latency_counts_each_way_and_keeps_the_order(echo: str) -> None:
    with chaos_proxy(echo) as net:
        net.latency(0.05, jitter_s=0.05)
        client = await Client.to(net)
        for n in range(20):
            client.writer.write(bytes([n]))
            await asyncio.sleep(0.002)
        assert await client.reader.readexactly(20) == bytes(range(20))
        net.latency(0.1)
        began = monotonic()
        await client.say(b"x")
        assert monotonic() - began >= 0.2


async def test_a_narrow_pipe_takes_its_time_and_loses_nothing(echo: str) -> None:
    data = b"y" * 50_000
    with chaos_proxy(echo) as net:
        net.bandwidth(200_000)
        client = await Client.to(net)
        began = monotonic()
        assert await client.say(data) == data
        assert monotonic() - began >= 0.2  # the first chunk is there at once


async def test_a_cut_ends_every_connection_and_the_next_one_is_good(echo: str) -> None:
    with chaos_proxy(echo) as net:
        clients = [await Client.to(net) for _ in range(3)]
        for client in clients:
            await client.say(b"hello")
        net.cut()
        for client in clients:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.say(b"hello")
        assert net.counts["cuts"] == 3
        assert await (await Client.to(net)).say(b"again") == b"again"


async def test_cutting_goes_on_until_it_is_healed(echo: str) -> None:
    with chaos_proxy(echo, seed=3) as net:
        net.cutting(0.01, 0.02)
        for n in range(1, 4):
            client = await Client.to(net)
            with contextlib.suppress(OSError):
                await client.reader.read()
            assert net.counts["cuts"] >= n
        net.heal()
        client = await Client.to(net)
        assert await client.say(b"whole") == b"whole"
        assert await client.say(b"x") == b"x"


async def test_a_freeze_delays_and_loses_nothing(echo: str) -> None:
    with chaos_proxy(echo) as net:
        client = await Client.to(net)
        net.freeze(0.3)
        began = monotonic()
        assert await client.say(b"late") == b"late"
        assert monotonic() - began >= 0.25
        assert net.counts["freezes"] == 1


async def test_what_is_swallowed_is_lost_without_a_word(echo: str) -> None:
    with chaos_proxy(echo) as net:
        client = await Client.to(net)
        await client.say(b"here")
        net.swallow(up=True, down=True)
        assert await client.is_silent(b"lost")
        net.heal()
        assert await client.say(b"back") == b"back"
        assert net.counts["swallowed bytes"] == 4


async def test_one_way_only(echo: str) -> None:
    with chaos_proxy(echo) as net:
        client = await Client.to(net)
        net.swallow(up=False, down=True)
        assert await client.is_silent(b"heard")
        assert net.counts["bytes up"] == 5
        assert net.counts["bytes down"] == 0


async def test_one_bit_flips_where_it_was_asked_for(echo: str) -> None:
    with chaos_proxy(echo, seed=5) as net:
        client = await Client.to(net)
        net.flip(1)
        sent = bytes(1000)
        got = await client.say(sent)
        assert sum(byte.bit_count() for byte in got) == 1
        assert await client.say(sent) == sent


async def test_nobody_upstream_is_a_refused_connection() -> None:
    with chaos_proxy("127.0.0.1:1") as net:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):  # perhaps before the connection is there
            await (await Client.to(net)).say(b"anyone?")
        await until(lambda: net.counts["refused"] == 1)
