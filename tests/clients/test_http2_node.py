"""HTTP/2 against Node's server: uploads, trailers, interim answers, resets and GOAWAY, counted by the server."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme

from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.http2_pool import Http2Pool
from loadgen.errors import RequestFailed
from tests.support.http2 import prior_pool
from tests.support.scripted import client_of, rows_of

NUMBERS = [pytest.param(150, id="few"), pytest.param(10_000, id="many", marks=pytest.mark.slow)]
_AT_ONCE = 8
_GETS = ("/0", "/1", "/100", "/1024", "/20000", "/300000", "/early")


@dataclass(frozen=True)
class Node:
    url: str
    refusing_url: str
    """Over TLS. It refuses what the client offers by ALPN."""
    ca: Path


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed (Debian: nodejs)")
    folder = tmp_path_factory.mktemp("node")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    script = Path(__file__).parents[1] / "support" / "http2_server.mjs"
    command = [program, str(script), str(folder / "server.pem")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ports = json.loads(process.stdout.readline())
            yield Node(
                f"http://127.0.0.1:{ports['plain']}", f"https://127.0.0.1:{ports['refusing']}", folder / "ca.pem"
            )
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.parametrize("number", NUMBERS)
async def test_node_answers_what_httpx_sees_and_counts_what_we_count(number: int, node: Node) -> None:
    rng = random.Random(number)
    async with httpx.AsyncClient(http1=False, http2=True, base_url=node.url) as other:
        expected = {path: await other.get(path) for path in _GETS}
        before = Counter((await other.get("/counts")).json())
    ours: Counter[str] = Counter()
    """Requests that the server looked at."""
    ended: Counter[str] = Counter()
    failed: set[tuple[str, bool, str]] = set()

    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 7000):
            yield body[at : at + 7000]

    async with client_of(node.url, pool=prior_pool()) as client:

        async def one() -> None:
            path = rng.choices(["/reset", "/away", "/echo", rng.choice(_GETS)], [4, 1, 30, 65])[0]
            method = "POST" if path == "/echo" else "GET"
            body = rng.randbytes(rng.choice((0, 1, 5_000, 70_000, 200_000))) if path == "/echo" else b""
            is_streamed = rng.random() < 0.3
            ours[f"{method} {path}"] += 1
            try:
                if path == "/echo":
                    reply = await client.post(path, content=pieces(body) if is_streamed else body, timeout=60)
                else:
                    reply = await client.get(path, timeout=60)
            except RequestFailed as failure:
                failed.add((path, is_streamed and path == "/echo", failure.outcome))
                ended[failure.outcome] += 1
                if failure.outcome == "h2 goaway":
                    ours["POST /echo"] -= 1
                return
            ended["ok"] += 1
            if path in expected:
                it = expected[path]
                assert (reply.status_code, reply.content) == (it.status_code, it.content)
                assert [(n, v) for n, v in reply.headers.multi_items() if n != "date"] == [
                    (n, v) for n, v in it.headers.multi_items() if n != "date"
                ]
            else:
                assert reply.content == (b"away" if path == "/away" else body)
            assert dict(reply.trailers) == {"x-sum": str(len(reply.content))}

        async def some() -> None:
            for _ in range(number // _AT_ONCE):
                await one()

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
        # GOAWAY names the last stream that the server looked at. Later ones are sent again, but the code that makes a
        # body in pieces cannot run twice.
        assert failed <= {("/reset", False, "h2 internal_error"), ("/echo", True, "h2 goaway")}
        assert Counter(row.outcome for row in rows_of(client)) == ended
        assert Counter((await client.get("/counts")).json()) - before == ours


async def test_a_target_that_refuses_what_we_offer_by_alpn_is_a_failed_handshake(node: Node) -> None:
    pool = Http2Pool(TcpNetwork(), tls_context(node.ca, Http(http2=True)))
    async with client_of(node.refusing_url, pool=pool) as client:
        with pytest.raises(RequestFailed) as failure:
            await client.get("/", timeout=60)
        assert failure.value.outcome == "tls"
