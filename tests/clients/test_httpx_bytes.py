"""What user.httpx sends, byte by byte, beside stock httpx: whole conversations, with all that httpx has for them."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from loadgen.clients.http import HttpClient
from tests.support.measured import measured
from tests.support.scripted import ok

Use = Callable[[httpx.AsyncClient], Awaitable[None]]
CONVERSATIONS: dict[str, tuple[Use, list[bytes]]] = {}


def conversation(*answers: bytes) -> Callable[[Use], Use]:
    """Requests that are given these answers, in turn; the last one from then on."""

    def keep(use: Use) -> Use:
        CONVERSATIONS[use.__name__.replace("_", " ")] = (use, list(answers))
        return use

    return keep


async def _pieces() -> AsyncIterator[bytes]:
    yield b"one"
    yield b""
    yield b"two" * 1000


@conversation(ok())
async def every_method(client: httpx.AsyncClient) -> None:
    for method in ("get", "head", "options", "delete"):
        await getattr(client, method)("/x")
    for method in ("post", "put", "patch"):
        await getattr(client, method)("/x", content=b"abc")
        await getattr(client, method)("/x")
    await client.request("PROPFIND", "/x", content="é")


@conversation(ok())
async def joins_of_the_base_url(client: httpx.AsyncClient) -> None:
    for url in ("", "/", "x", "/x", "x/../y", "?q=1", "//other", "/a?b=c#d"):
        await client.get(url)
    client.base_url = httpx.URL(str(client.base_url).replace("/v1", "/v2/deep"))
    await client.get("x")


@conversation(ok())
async def headers_params_and_cookies_of_client_and_call(client: httpx.AsyncClient) -> None:
    client.headers = httpx.Headers({"User-Agent": "sdk/1", "X-Mixed-Case": "a"})
    client.params = httpx.QueryParams({"key": "1"})
    client.cookies.set("a", "b")
    await client.get("/x", headers={"x-MORE": "1", "User-Agent": "call"}, params={"q": "é ä", "n": [1, 2]})
    await client.post("/x", headers=[("X-Twice", "1"), ("X-Twice", "2")], json={"a": [1.5, None, "é"]})
    await client.get("/x", headers={"Host": "virtual.example"})


@conversation(ok(b"", "Set-Cookie: s=1; Path=/v1", "Set-Cookie: gone=1; Max-Age=0"), ok(b"", "Set-Cookie: s=2"), ok())
async def cookies_that_the_target_sets(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await client.get("/x")
    client.cookies.clear()
    await client.get("/x")


@conversation(ok())
async def forms_and_files(client: httpx.AsyncClient) -> None:
    await client.post("/x", data={"a": "b c", "n": ["1", "2"]})
    await client.post("/x", data={"a": "1"}, files={"f": ("a.txt", b"hello", "text/plain"), "g": b"\x00"})
    await client.put("/x", files=[("f", ("big.bin", bytes(70_000)))])


@conversation(ok())
async def bodies_that_are_made_while_they_are_sent(client: httpx.AsyncClient) -> None:
    await client.post("/x", content=_pieces())
    await client.put("/x", content=_pieces(), headers={"Content-Length": "3003"})
    await client.post("/x", content=b"in one piece", headers={"Transfer-Encoding": "chunked"})
    await client.get("/x")


@conversation(ok(status="401 No"), ok())
async def basic_auth_and_auth_in_the_url(client: httpx.AsyncClient) -> None:
    await client.get("/x", auth=("me", "sécret"))
    client.auth = httpx.BasicAuth("client", "wide")
    await client.get("/x")
    await client.get(client.base_url.copy_with(userinfo=b"in:url").join("/v1/x"), auth=None)


@conversation(
    ok(b"", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", opaque="o"', status="401 No"), ok(b"in"), ok()
)
async def digest_auth(client: httpx.AsyncClient) -> None:
    auth = httpx.DigestAuth("me", "secret")
    await client.post("/x?y=1", auth=auth, content=b"body")
    await client.post("/x", auth=auth, content=b"again")


@conversation(
    ok(b"moved", "Location: /v1/b?c=1", status="302 Found"),
    ok(b"", "Location: d", status="307 Temporary"),
    ok(b"", "Location: /e", status="303 See Other"),
    ok(b"there"),
)
async def redirects(client: httpx.AsyncClient) -> None:
    reply = await client.put("/a", content=b"abc", follow_redirects=True, headers={"Authorization": "x"})
    assert [one.status_code for one in reply.history] == [302, 307, 303]
    assert reply.text == "there"


@conversation(ok(b"", "Location: /b", status="308 Permanent"), ok())
async def a_redirect_that_is_not_followed(client: httpx.AsyncClient) -> None:
    reply = await client.post("/a", json=1)
    assert reply.next_request is not None
    await client.send(reply.next_request)


@conversation(ok(b"x"))
async def event_hooks(client: httpx.AsyncClient) -> None:
    async def sign(request: httpx.Request) -> None:
        request.headers["X-Signature"] = str(len(request.url.path))

    async def look(reply: httpx.Response) -> None:
        await reply.aread()
        seen.append(reply.text)

    seen: list[str] = []
    client.event_hooks = {"request": [sign], "response": [look]}
    await client.get("/x")
    assert seen == ["x"]


class _Refreshing(httpx.Auth):
    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = "Bearer old"
        reply = yield request
        if reply.status_code == 401:
            yield httpx.Request("POST", request.url.join("/token"), data={"grant": "refresh"})
            request.headers["Authorization"] = "Bearer new"
            yield request


@conversation(ok(status="401 No"), ok(b"token"), ok())
async def an_auth_flow_of_several_requests(client: httpx.AsyncClient) -> None:
    await client.get("/x", auth=_Refreshing())


@conversation(ok(b"a" * 100_000))
async def a_stream_of_an_answer(client: httpx.AsyncClient) -> None:
    async with client.stream("POST", "/x", json={"stream": True}) as reply:
        assert sum([len(piece) async for piece in reply.aiter_bytes()]) == 100_000
    await client.get("/x", timeout=httpx.Timeout(9, read=None))


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_what_goes_over_the_wire_is_httpxs_byte_by_byte(name: str) -> None:
    use, answers = CONVERSATIONS[name]
    sent = []
    for is_stock in (True, False):
        server = await asyncio.start_server(_Serving(answers), "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            if is_stock:
                async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as stock:
                    await use(stock)
            else:
                async with measured(url) as it:
                    await use(it.client)
                    assert len(it.rows) == len(_Serving.last.came)
            sent.append([_plain(one, url) for one in _Serving.last.came])
    assert sent[1] == sent[0]
    assert sent[0]


class _Serving:
    """Reads requests as they come, to the byte, and gives the answers."""

    last: _Serving

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = list(answers)
        self.came: list[bytes] = []
        _Serving.last = self

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lower = head.lower()
                length = re.search(rb"\r\ncontent-length: (\d+)", lower)
                body = await reader.readexactly(int(length[1])) if length else b""
                if b"\r\ntransfer-encoding: chunked" in lower:
                    body = await reader.readuntil(b"\r\n0\r\n\r\n")
                self.came.append(head + body)
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                writer.write(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head.startswith(b"HEAD") else answer)
        except asyncio.IncompleteReadError:
            writer.close()


def _plain(sent: bytes, url: str) -> bytes:
    """Without what is drawn by chance: port, boundary, nonce and what is computed from it."""
    sent = sent.replace(url.split(":")[2].split("/")[0].encode(), b"PORT")
    sent = re.sub(rb"(?<=boundary=)[0-9a-f]{32}|(?<=--)[0-9a-f]{32}", b"BOUNDARY", sent)
    return re.sub(rb'(c?nonce|response)="[0-9a-f]{16,}"', rb"\1=X", sent)


def test_our_clients_methods_have_httpxs_parameters_in_httpxs_order() -> None:
    """What httpx takes we take, by the same name; `url` and what stands before it are positional in both."""
    for method in ("get", "post", "put", "patch", "delete", "head", "options", "request", "stream"):
        theirs = [p.name for p in inspect.signature(getattr(httpx.AsyncClient, method)).parameters.values()]
        parameters = inspect.signature(getattr(HttpClient, method)).parameters
        ours = {p.name for p in parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD}
        options = inspect.get_annotations(inspect.getmodule(HttpClient).AllOptions)  # type: ignore[union-attr]
        missing = set(theirs) - ours - set(options)
        assert not missing, f"{method} lacks {missing}"
        positional = [p.name for p in parameters.values() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        assert theirs[: len(positional)] == positional
