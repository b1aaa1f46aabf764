"""Targets that flood their client over HTTP/2: the connection ends with an outcome, and everything else goes on."""

from __future__ import annotations

import asyncio
import struct

import pytest

from loadgen.clients.framing.http2_floods import (
    FRAMES_A_TURN,
    IDLE_FRAMES,
    IDLE_FRAMES_PER_S,
    PER_REQUEST,
    FrameBudget,
)
from loadgen.clients.framing.http2_frames import frame_name
from loadgen.errors import RequestFailed
from loadgen.units import NS_PER_S
from tests.support.floods import FLOODS, Flood, flooding, frame
from tests.support.http2 import Asked, Served, http2_server, prior_pool
from tests.support.peak import peak_kib, start_of_peak_kib
from tests.support.scripted import client_of, rows_of

pytestmark = pytest.mark.usefixtures("small_heap")

MOST_BYTES = 12 * 1024 * 1024
"""Of a flood that a client has not read to its end: what two sockets of Linux hold between them, and some."""
MOST_MEMORY_KIB = 64 * 1024


async def hello(served: Served, asked: Asked) -> None:
    served.ok(asked.stream, b"hello")


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_its_connection_with_an_outcome_and_no_other_one(name: str) -> None:
    flood = FLOODS[name]
    before = start_of_peak_kib()
    with flooding(flood) as hostile:
        async with (
            http2_server(hello) as sound,
            client_of(hostile.url, pool=prior_pool()) as client,
            client_of(sound.url, pool=prior_pool()) as neighbour,
        ):

            async def be_flooded() -> None:
                for _ in range(2):
                    for _ in range(flood.sound):
                        assert (await client.get("/")).content == b"sound"
                    with pytest.raises(RequestFailed) as failure:
                        await client.get("/", timeout=60)
                    assert failure.value.outcome == flood.outcome
                    assert flood.says in str(failure.value.detail)
                    assert hostile.url.removeprefix("http://") in str(failure.value.detail)

            async def go_on() -> None:
                for _ in range(40):
                    assert (await neighbour.get("/", timeout=60)).content == b"hello"

            await asyncio.gather(be_flooded(), go_on())
            assert len(sound.connections) == 1
            assert [row.outcome for row in rows_of(client)] == (["ok"] * flood.sound + [flood.outcome]) * 2
        assert hostile.flooded == 2
        assert hostile.most_bytes < MOST_BYTES
    assert hostile.ended == 2
    assert peak_kib() - before < MOST_MEMORY_KIB


async def test_windows_of_one_byte_are_a_flood() -> None:
    """Each makes the client send a DATA frame of one byte (CVE-2019-9511)."""

    def windows(stream: int, n: int) -> bytes:
        return frame(8, 0, stream, b"\0\0\0\x01") * 5000

    with flooding(Flood(windows, settings=struct.pack(">HI", 4, 0))) as hostile:
        async with client_of(hostile.url, pool=prior_pool()) as client:
            with pytest.raises(RequestFailed, match="WINDOW_UPDATE") as failure:
                await client.post("/", content=b"x" * 500_000, timeout=60)
            assert failure.value.outcome == "h2 flood"


async def test_a_flood_between_requests_costs_the_connection_and_no_request() -> None:
    async def answer(served: Served, asked: Asked) -> None:
        served.ok(asked.stream, b"hello")
        if served.number == 1:
            served.raw(frame(6, 0, 0, b"12345678") * 20_000)

    async with http2_server(answer) as server, client_of(server.url, pool=prior_pool()) as client:
        await client.get("/")
        await server.connections[0].is_closed.wait()
        assert (await client.get("/")).content == b"hello"
        assert len(server.connections) == 2
        assert [row.outcome for row in rows_of(client)] == ["ok", "ok"]


# -- what sound servers send is no flood -----------------------------------------------------------------


async def test_a_ping_with_each_piece_of_a_long_answer_is_no_flood() -> None:
    async def answer(served: Served, asked: Asked) -> None:
        served.headers(asked.stream)
        for _ in range(3 * IDLE_FRAMES):
            served.raw(frame(0, 0, asked.stream, b"piece") + frame(6, 0, 0, b"12345678"))
        served.raw(frame(0, 1, asked.stream))

    async with http2_server(answer) as server, client_of(server.url, pool=prior_pool()) as client:
        assert (await client.get("/", timeout=60)).content == b"piece" * 3 * IDLE_FRAMES
        await server.connections[0].until(lambda: server.connections[0].pings == 3 * IDLE_FRAMES)


async def test_two_window_updates_for_each_kilobyte_of_an_upload_are_no_flood() -> None:
    size = 600_000

    async def answer(served: Served, asked: Asked) -> None:
        opened = 0
        while len(asked.body) < size:
            while opened + 1024 <= len(asked.body):
                served.h2.increment_flow_control_window(1024)
                served.h2.increment_flow_control_window(1024, asked.stream)
                served.flush()
                opened += 1024
            served.changed.clear()
            await served.changed.wait()
        served.ok(asked.stream, b"thanks")

    async with (
        http2_server(answer, early=True, stingy=True) as server,
        client_of(server.url, pool=prior_pool()) as client,
    ):
        reply = await client.post("/", content=b"x" * size, timeout=60)
        assert reply.content == b"thanks"
        assert len(server.asked[0].body) == size


async def test_what_was_on_its_way_when_requests_were_cancelled_is_no_flood() -> None:
    """Twenty streams, each cancelled with its window of 4 MiB on the way to us in frames of 8 KiB."""
    begun = asyncio.Event()

    async def answer(served: Served, asked: Asked) -> None:
        if asked.path == "/sound":
            served.ok(asked.stream, b"sound")
            return
        served.headers(asked.stream)
        if len(served.open) == 20:
            begun.set()
        await served.until(lambda: asked.reset is not None)
        served.raw(frame(0, 0, asked.stream, b"x" * 8192) * 500)

    async with http2_server(answer) as server, client_of(server.url, pool=prior_pool()) as client:
        calls = [asyncio.create_task(client.request("GET", "/", timeout=60)) for _ in range(20)]
        await begun.wait()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for _ in range(3):
            assert (await client.get("/sound", timeout=60)).content == b"sound"
        assert len(server.connections) == 1


def test_a_ping_a_second_for_a_day_is_no_flood() -> None:
    budget = FrameBudget(0)
    for second in range(86_400):
        assert budget.spend(1, second * NS_PER_S, is_read=True)


def test_a_budget_is_refilled_by_time_only_if_the_target_reads() -> None:
    for is_read, allowed in ((True, IDLE_FRAMES + IDLE_FRAMES_PER_S), (False, IDLE_FRAMES)):
        budget = FrameBudget(0)
        now_ns, paid = 0, 0
        while budget.spend(1, now_ns, is_read=is_read):
            paid += 1
            now_ns = NS_PER_S
        assert paid == allowed


def test_an_idle_day_saves_no_more_than_one_burst() -> None:
    budget = FrameBudget(0)
    paid = 0
    while budget.spend(1, 86_400 * NS_PER_S, is_read=True):
        paid += 1
    assert paid == 2 * IDLE_FRAMES + 1


def test_requests_earn_frames() -> None:
    budget = FrameBudget(0)
    budget.earned += 100 * PER_REQUEST
    paid = 0
    while budget.spend(1, 0, is_read=True):
        paid += 1
    assert paid == IDLE_FRAMES + 100 * PER_REQUEST


def test_frames_are_named_as_in_the_standard() -> None:
    assert [frame_name(kind) for kind in (0, 6, 9, 10, 0xFA)] == [
        "DATA frame",
        "PING frame",
        "CONTINUATION frame",
        "frame of unknown kind 0x0a",
        "frame of unknown kind 0xfa",
    ]


# -- many small frames are slow, and stop nobody ---------------------------------------------------------


async def test_an_answer_of_tiny_frames_is_whole_also_if_the_target_closes_at_once() -> None:
    tiny = 40 * FRAMES_A_TURN

    async def answer(served: Served, asked: Asked) -> None:
        served.headers(asked.stream)
        served.raw(frame(0, 0, asked.stream, b"x") * tiny + frame(0, 1, asked.stream, b"end"))
        served.close()

    async with http2_server(answer) as server, client_of(server.url, pool=prior_pool()) as client:
        assert (await client.get("/", timeout=60)).content == b"x" * tiny + b"end"
        assert (await client.get("/", timeout=60)).content == b"x" * tiny + b"end"
        assert len(server.connections) == 2


async def test_a_stream_of_tiny_frames_is_read_in_order_and_whole() -> None:
    pieces = [b"%d," % n for n in range(8_000)]

    async def answer(served: Served, asked: Asked) -> None:
        served.headers(asked.stream)
        served.raw(b"".join(frame(0, 0, asked.stream, piece) for piece in pieces) + frame(0, 1, asked.stream))

    async with (
        http2_server(answer) as server,
        client_of(server.url, pool=prior_pool()) as client,
        client.stream("GET", "/", timeout=60) as reply,
    ):
        assert await reply.aread() == b"".join(pieces)
