"""HTTP/2 against nghttpd, the server of another library: it refers to its table of headers, which nginx never does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http2 import prior_pool
from tests.support.ports import free_port
from tests.support.scripted import client_of, rows_of

SIZES = {"/empty": 0, "/small": 100, "/large": 3_000_000}


@pytest.fixture(scope="module")
def nghttpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL. It allows 20 streams at once, sends a trailer with each answer and echoes what is posted."""
    program = shutil.which("nghttpd") or "/usr/sbin/nghttpd"
    if not os.access(program, os.X_OK):
        pytest.skip("nghttpd is not installed (Debian: nghttp2-server)")
    folder = tmp_path_factory.mktemp("htdocs")
    for name, size in SIZES.items():
        Path(f"{folder}{name}").write_bytes(bytes(range(250)) * (size // 250) + b"x" * (size % 250))
    port = free_port()
    options = ["--no-tls", "-d", str(folder), "-a", "127.0.0.1", "-m", "20", "--echo-upload", "--trailer", "x-sum: 1"]
    with subprocess.Popen([program, *options, str(port)], stdout=subprocess.DEVNULL) as process:
        try:
            _wait_until_open(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def _wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise AssertionError("nghttpd did not start")


async def test_what_is_asked_for_again_and_again_is_the_same_each_time(nghttpd: str) -> None:
    async with client_of(nghttpd, pool=prior_pool()) as client:
        for turn in range(20):
            for name, size in SIZES.items():
                reply = await client.get(name, expect=200)
                assert len(reply.content) == size
                assert reply.headers["content-length"] == str(size)
                assert reply.headers["server"].startswith("nghttpd")
            assert (await client.get(f"/none/{turn}")).status_code == 404
            assert (await client.head("/small", expect=200)).headers["content-length"] == "100"
        assert client._pool.opened == 1
        assert {row.outcome for row in rows_of(client)} == {"ok", "http 404"}


async def test_a_hundred_at_once_keep_to_what_it_allows(nghttpd: str) -> None:
    async with client_of(nghttpd, pool=prior_pool()) as client:
        await client.get("/small", expect=200)
        replies = await asyncio.gather(*(client.get("/large", expect=200) for _ in range(100)))
        assert {len(reply.content) for reply in replies} == {3_000_000}
        assert 2 <= client._pool.opened <= 5
        assert [row.outcome for row in rows_of(client)] == ["ok"] * 101


async def test_it_echoes_what_was_uploaded(nghttpd: str) -> None:
    async def pieces() -> object:
        for n in range(40):
            yield bytes([n]) * 10_000

    async with client_of(nghttpd, pool=prior_pool()) as client:
        body = os.urandom(1_000_000)
        assert (await client.post("/echo", content=body, expect=200)).content == body
        reply = await client.post("/echo", content=pieces(), expect=200)  # type: ignore[arg-type]
        assert reply.content == b"".join(bytes([n]) * 10_000 for n in range(40))


async def test_a_stream_reads_what_a_reply_reads(nghttpd: str) -> None:
    async with client_of(nghttpd, pool=prior_pool()) as client:
        whole = (await client.get("/large", expect=200)).content
        async with client.stream("GET", "/large", expect=200) as reply:
            assert b"".join([piece async for piece in reply.aiter_raw()]) == whole
        discarded = await client.get("/large", expect=200, discard=True)
        assert discarded.num_bytes_downloaded == len(whole)
        assert client._pool.opened == 1
