"""Random requests over HTTP/3 against two servers: what came is what httpx and curl see, and the counts are theirs."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from loadgen.errors import RequestFailed
from tests.support.http3 import Asked, Served, http3_client, http3_server, pool_of
from tests.support.nginx import RunningNginx, running_nginx
from tests.support.scripted import rows_of

NUMBERS = [pytest.param(60, id="few"), pytest.param(5_000, id="many", marks=pytest.mark.slow)]
_AT_ONCE = 8
_KEPT = "keepalive_requests 40;"


@pytest.fixture(scope="module")
def nginx() -> Iterator[RunningNginx]:
    with tempfile.TemporaryDirectory(prefix="loadgen-http3-files-") as folder:
        yield from _nginx_with(Path(folder))


def _nginx_with(files: Path) -> Iterator[RunningNginx]:
    files.chmod(0o755)  # nginx's worker is another user
    for size in (0, 1, 1200, 70_000, 1_000_000):
        (files / str(size)).write_bytes(_body_of(f"/f/{size}"))
    with running_nginx(http3=True, tls=True, locations=f"{_KEPT} location /f/ {{ alias {files}/; }}") as running:
        yield running


def _body_of(path: str) -> bytes:
    return random.Random(path).randbytes(int(path.rpartition("/")[2]))


async def _answer(served: Served, asked: Asked) -> None:
    """By path: /reset, /reject, /away (GOAWAY after this answer), /echo, or /N: a body of N bytes with trailers."""
    if asked.path in ("/reset", "/reject"):
        served.reset(asked.stream, 0x102 if asked.path == "/reset" else 0x10B)
        return
    body = asked.body if asked.path == "/echo" else b"away" if asked.path == "/away" else _body_of(asked.path)
    served.headers(asked.stream, 200, ("x-path", asked.path), ("x-size", str(len(body))))
    served.data(asked.stream, body)
    served.headers(asked.stream, None, ("x-sum", str(len(body))), end=True)
    if asked.path == "/away":
        served.goaway(asked.stream + 4)


@pytest.mark.parametrize("number", NUMBERS)
async def test_random_requests_have_their_own_answers_whatever_ends_in_between(number: int) -> None:
    rng = random.Random(number)
    asked: Counter[str] = Counter()
    failed: Counter[tuple[str, str]] = Counter()

    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 7000):
            yield body[at : at + 7000]

    async with http3_server(_answer) as server, http3_client(server.url, server.ca) as client:

        async def one() -> None:
            path = rng.choices(["/reset", "/reject", "/away", "/echo", "get"], [40, 10, 5, 300, 645])[0]
            if path == "get":
                path = f"/{rng.choice((0, 1, 100, 1024, 20_000))}"
            asked[path] += 1
            try:
                if path == "/echo":
                    body = rng.randbytes(rng.choice((0, 1, 5_000, 30_000)))
                    reply = await client.post(path, content=pieces(body) if rng.random() < 0.3 else body, timeout=60)
                    assert reply.content == body
                else:
                    reply = await client.get(path, timeout=60)
                    assert reply.content == (b"away" if path == "/away" else _body_of(path))
                assert reply.headers["x-path"] == path
                assert dict(reply.trailers) == {"x-sum": reply.headers["x-size"]}
            except RequestFailed as failure:
                failed[path, failure.outcome] += 1

        async def user() -> None:
            for _ in range(number // _AT_ONCE):
                await one()

        await asyncio.gather(*(user() for _ in range(_AT_ONCE)))
        rows = rows_of(client)
        assert len(rows) == sum(asked.values())
        assert sum(row.outcome != "ok" for row in rows) == sum(failed.values())
        # A request that the server refused is sent again; all others arrive once.
        seen = Counter(one.path for one in server.asked)
        again = seen["/reject"] - asked["/reject"]
        assert sum(seen.values()) - again <= sum(asked.values()) + pool_of(client).stale_retries
        for path, count in asked.items():
            assert seen[path] >= count
    # Few requests meet GOAWAY on three connections in a row.
    away = sum(count for (_, outcome), count in failed.items() if outcome == "h3 goaway")
    assert away <= 1 + number // 500
    assert {key for key in failed if key[1] != "h3 goaway"} <= {
        ("/reset", "h3 internal_error"),
        ("/reject", "h3 request_rejected"),
    }
    assert failed["/reset", "h3 internal_error"] + failed["/reset", "h3 goaway"] == asked["/reset"]


@pytest.mark.parametrize("number", NUMBERS)
async def test_nginx_counts_what_we_count_and_httpx_gets_the_same(nginx: RunningNginx, number: int) -> None:
    rng = random.Random(number)
    before = nginx.counts()
    asked: Counter[str] = Counter()
    assert nginx.ca is not None
    async with http3_client(nginx.http3_url, nginx.ca) as client:

        async def one() -> None:
            method, path = rng.choice(
                [("GET", "/1k"), ("GET", "/f/0"), ("GET", "/f/1200"), ("GET", "/f/70000"), ("GET", "/status/503")]
                + [("GET", "/"), ("POST", "/json"), ("GET", "/status/404"), ("GET", "/none")]
                + [("GET", "/f/1000000")] * (rng.random() < 0.1)
            )
            if method == "POST":
                reply = await client.post(path, content=rng.randbytes(rng.choice((0, 10, 3000))), timeout=60)
            else:
                reply = await client.get(f"{path}?n={rng.random()}", timeout=60)
            if path.startswith("/f/"):
                assert reply.status_code == 200, reply.text
                assert reply.content == _body_of(path)
            asked[f"{method} {path} {reply.status_code}"] += 1

        async def user() -> None:
            for _ in range(number // _AT_ONCE):
                await one()

        await asyncio.gather(*(user() for _ in range(_AT_ONCE)))
        assert pool_of(client).opened >= number // 40  # each connection ended with GOAWAY
        assert len(rows_of(client)) == sum(asked.values())
        total = sum(before.values()) + sum(asked.values())
        assert nginx.settled_count(total) == total
        assert nginx.counts() - before == asked
        async with httpx.AsyncClient(verify=str(nginx.ca)) as other:
            for path in ("/1k", "/f/70000", "/status/404", "/"):
                ours = await client.get(path)
                theirs = await other.get(nginx.http3_url + path)
                assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)


async def test_curl_sees_the_same_heads_and_bodies(nginx: RunningNginx, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None or "HTTP3" not in subprocess.run([curl, "-V"], capture_output=True, text=True).stdout:
        pytest.skip("curl was built without HTTP/3")
    async with http3_client(nginx.http3_url, nginx.ca) as client:
        for path in ("/1k", "/json", "/status/503", "/f/70000"):
            command = [curl, "-sS", "--http3-only", "--cacert", str(nginx.ca), "-o", str(tmp_path / "body")]
            said = subprocess.run(
                [*command, "-w", "%{header_json}", nginx.http3_url + path], capture_output=True, text=True, check=True
            ).stdout
            ours = await client.get(path)
            assert ours.content == (tmp_path / "body").read_bytes()
            theirs = {name: value[0] for name, value in json.loads(said).items() if name != "date"}
            assert {name: value for name, value in ours.headers.items() if name != "date"} == theirs
