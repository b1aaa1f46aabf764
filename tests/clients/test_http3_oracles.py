"""HTTP/3 beside two clients of other authors, curl and aioquic's own H3 client: the server sees the same of each, and
each gets the same answers.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

from loadgen.clients.http import HttpClient
from tests.support.http3 import Asked, Http3Server, Served, echo, http3_client, http3_server

OWN = {"user-agent": "oracle", "accept": "*/*"}
"""Headers with which all three clients replace their own defaults."""


# -- curl -------------------------------------------------------------------------------------------


@pytest.fixture
def curl() -> str:
    found = shutil.which("curl")
    if found is None or "HTTP3" not in subprocess.run([found, "-V"], capture_output=True, text=True).stdout:
        pytest.skip("curl was built without HTTP/3")
    return found


async def curled(curl: str, server: Http3Server, path: str, *options: str) -> bytes:
    """Return the body that curl gets."""
    own = [word for name, value in OWN.items() for word in ("-H", f"{name}: {value}")]
    # curl waits without a limit of its own: once, a request took the 300 s of pytest's.
    limits = ["--max-time", "60"]
    command = [curl, "-sS", "--http3-only", *limits, "--cacert", str(server.ca), *own, *options, server.url + path]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out


def seen_of(asked: Asked) -> tuple[dict[str, str], bytes]:
    """Return what matters of a request: its fields in any order, and its body.

    Only loadgen offers encodings, because curl does so with an option of its own.
    """
    fields = {name: value for name, value in asked.fields if name != "accept-encoding"}
    assert len(fields) + ("accept-encoding" in dict(asked.fields)) == len(asked.fields), "no field came twice"
    names = [name for name, _ in asked.fields]
    assert names == sorted(names, key=lambda name: not name.startswith(":")), "RFC 9114, section 4.3: these come first"
    return fields, asked.body


async def test_curl_sends_the_same_requests_and_gets_the_same_bodies(curl: str, tmp_path: Path) -> None:
    body = tmp_path / "body"
    async with http3_server(echo) as server, http3_client(server.url, server.ca) as client:
        for method, path, size, more in (
            ("GET", "/a?b=c", 0, {"x-mine": "1"}),
            ("DELETE", "/a", 0, {}),
            ("POST", "/small", 10, {"content-type": "text/plain"}),
            ("PUT", "/large", 150_000, {"content-type": "application/octet-stream", "x-id": "7"}),
        ):
            content = random.Random(size).randbytes(size)
            body.write_bytes(content)
            options = ["-X", method, *(word for name in more for word in ("-H", f"{name}: {more[name]}"))]
            options += ["--data-binary", f"@{body}"] if size else []
            theirs = await curled(curl, server, path, *options)
            ours = await client.request(method, path, content=content if size else None, headers=OWN | more, expect=200)
            assert ours.content == theirs == content
            by_curl, by_us = server.asked[-2:]
            assert seen_of(by_us) == seen_of(by_curl)


async def test_curl_follows_the_same_redirects(curl: str) -> None:
    async def redirects(served: Served, asked: Asked) -> None:
        status = {"/see": 303, "/keep": 307}.get(asked.path)
        if status is None:
            served.ok(asked.stream, f"{asked.header(':method')} {asked.path}".encode() + asked.body)
        else:
            served.headers(asked.stream, status, ("location", f"/there{asked.path}"), end=True)

    async with http3_server(redirects) as server, http3_client(server.url, server.ca) as client:
        for path, text in (("/see", b"GET /there/see"), ("/keep", b"POST /there/keepxyz")):
            theirs = await curled(curl, server, path, "-L", "--data-binary", "xyz")
            reply = await client.post(path, content=b"xyz", headers=OWN, follow_redirects=True, expect=200)
            assert reply.content == theirs == text
            hops = [(asked.header(":method"), asked.path, asked.body) for asked in server.asked[-4:]]
            assert hops[:2] == hops[2:]


# -- aioquic's own client ---------------------------------------------------------------------------


@dataclass
class Got:
    """An answer: the final head, the body, the trailers, and the interim heads before."""

    head: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: int = 0


class Client(QuicConnectionProtocol):
    """Requests by aioquic's H3 layer, as its example client sends them."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._h3 = H3Connection(self._quic)
        self._waiting: dict[int, tuple[Got, asyncio.Future[Got]]] = {}

    async def request(self, fields: Sequence[tuple[str, str]], body: bytes) -> Got:
        stream = self._quic.get_next_available_stream_id()
        self._h3.send_headers(stream, [(n.encode(), v.encode()) for n, v in fields], end_stream=not body)
        if body:
            self._h3.send_data(stream, body, end_stream=True)
        got, whole = Got(), asyncio.get_running_loop().create_future()
        self._waiting[stream] = got, whole
        self.transmit()
        return await asyncio.wait_for(whole, 20)

    def quic_event_received(self, event: QuicEvent) -> None:
        for found in self._h3.handle_event(event):
            if not isinstance(found, HeadersReceived | DataReceived):
                continue
            got, whole = self._waiting[found.stream_id]
            if isinstance(found, DataReceived):
                got.body += found.data
            else:
                fields = [(name.decode(), value.decode()) for name, value in found.headers]
                if got.head:
                    got.trailers = fields
                elif fields[0][1].startswith("1"):
                    got.interim += 1
                else:
                    got.head = fields
            if found.stream_ended:
                whole.set_result(got)


@asynccontextmanager
async def aioquic_client(server: Http3Server) -> AsyncIterator[Client]:
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
    configuration.load_verify_locations(str(server.ca))
    async with connect("127.0.0.1", server.port, configuration=configuration, create_protocol=Client) as client:
        assert isinstance(client, Client)
        yield client


async def as_the_path_says(served: Served, asked: Asked) -> None:
    """Answer by random numbers whose seed is the end of the path."""
    rng = random.Random(asked.path.rpartition("/")[2])
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        served.headers(asked.stream, rng.choice((102, 103)), ("link", "</a.css>"))
    status = rng.choice((200, 200, 200, 201, 204, 301, 404, 500))
    fields = [(f"x-{n}", rng.choice(("a", "b; c", "7", ""))) for n in range(rng.randrange(8))]
    has_body, has_trailers = status != 204 and rng.random() < 0.9, rng.random() < 0.3
    body = rng.randbytes(rng.choice((1, 100, 5_000, 40_000))) if has_body else b""
    served.headers(asked.stream, status, *fields, end=not body and not has_trailers)
    while body:
        size = rng.randrange(1, len(body) + 1)
        served.data(asked.stream, body[:size], end=size == len(body) and not has_trailers)
        body = body[size:]
    if has_trailers:
        served.headers(asked.stream, None, ("x-sum", str(rng.randrange(100))), end=True)


async def exchanged(server: Http3Server, ours: HttpClient, theirs: Client, number: int) -> None:
    """Send one random request by both clients, and compare."""
    rng = random.Random(f"request {number}")
    method = rng.choice(("GET", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
    body = rng.randbytes(rng.choice((0, 1, 1_000, 30_000))) if method in ("POST", "PUT", "PATCH") else b""
    more = {f"x-h{n}": rng.choice(("1", "two words", "z" * 200)) for n in range(rng.randrange(6))}
    path = f"/{'a' * rng.randrange(30)}?q=%C3%A4/{number}"
    reply = await ours.request(
        method, path, headers=OWN | more, content=body or None, accept=range(200, 600), follow_redirects=False
    )
    by_us = server.asked[-1]
    fields, _ = seen_of(by_us)
    got = await theirs.request([*fields.items()], body)
    assert seen_of(server.asked[-1]) == (fields, body) == seen_of(by_us)
    expected = {":method": method, ":scheme": "https", ":path": path, ":authority": f"127.0.0.1:{server.port}"}
    if method in ("POST", "PUT", "PATCH"):
        expected["content-length"] = str(len(body))
    assert fields == expected | OWN | more
    assert (reply.status_code, reply.content) == (int(got.head[0][1]), got.body)
    assert sorted(reply.headers.multi_items()) == sorted(got.head[1:])
    assert sorted(reply.trailers.items()) == sorted(got.trailers)


@pytest.mark.parametrize("number", [60, pytest.param(3_000, marks=pytest.mark.slow)])
async def test_random_exchanges_are_those_of_aioquics_own_client(number: int) -> None:
    async with (
        http3_server(as_the_path_says) as server,
        http3_client(server.url, server.ca) as ours,
        aioquic_client(server) as theirs,
    ):
        for n in range(number):
            await exchanged(server, ours, theirs, n)
