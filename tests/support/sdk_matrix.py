"""A program that puts SDKs as they are under load against a stub, and prints what was recorded and what the stub got.

    python -m tests.support.sdk_matrix            # with the SDKs of PACKAGES installed
    {"openai": {"version": "3.57.0", "ok": {"requests": 3, "rows": 3, "outcomes": ["ok", ...]}, ...}, ...}

The stub answers with 200, 429 or 500, closes the connection, answers slowly in small pieces, or as a stream of events.
`tests/integration/test_sdk_matrix.py` runs this program in an environment of its own and compares.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from loadgen.clients.net.network import TcpNetwork
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.dsl.users.user_runner import BoundJourney
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.recorder import Recorder
from tests.support.scripted import CLOSE, Answer, Received, scripted

__all__ = ["MODES", "PACKAGES", "SDKS"]

MODES: Final = ("ok", "busy", "broken", "closed", "slow", "stream")
ITERATIONS: Final = 3
TEXT: Final = "To be, or not"
ASK: Final[Any] = [{"role": "user", "content": "Hamlet?"}]
Call = Callable[[User, str, bool], Awaitable[object]]


@dataclass(frozen=True)
class Sdk:
    """package: its name in the index. call: makes one call over the user's connections; True: read it as a stream."""

    package: str
    call: Call
    streams: bool = True


# -- the SDKs, as their documentation uses them ------------------------------------------------------------


async def _anthropic(user: User, url: str, is_stream: bool) -> object:
    from anthropic import AsyncAnthropic

    client = AsyncAnthropic(http_client=user.httpx2, base_url=url, api_key="test", max_retries=1)
    if is_stream:
        events = await client.messages.create(max_tokens=9, messages=ASK, model="m", stream=True)
        return [event.type async for event in events]
    return (await client.messages.create(max_tokens=9, messages=ASK, model="m")).content[0].text


async def _openai(user: User, url: str, is_stream: bool) -> object:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(http_client=user.httpx2, base_url=f"{url}/v1", api_key="test", max_retries=1)
    return await _chat(client.chat.completions, is_stream)


async def _chat(completions: Any, is_stream: bool) -> object:
    """Call an API like OpenAI's."""
    if is_stream:
        events = await completions.create(model="m", messages=ASK, stream=True)
        return [event.choices[0].delta.content async for event in events]
    return (await completions.create(model="m", messages=ASK)).choices[0].message.content


async def _groq(user: User, url: str, is_stream: bool) -> object:
    from groq import AsyncGroq

    client = AsyncGroq(http_client=user.httpx, base_url=url, api_key="test", max_retries=1)
    return await _chat(client.chat.completions, is_stream)


async def _together(user: User, url: str, is_stream: bool) -> object:
    from together import AsyncTogether

    client = AsyncTogether(http_client=user.httpx, base_url=url, api_key="test", max_retries=1)
    return await _chat(client.chat.completions, is_stream)


async def _cerebras(user: User, url: str, is_stream: bool) -> object:
    from cerebras.cloud.sdk import AsyncCerebras

    client = AsyncCerebras(
        http_client=user.httpx, base_url=url, api_key="test", max_retries=1, warm_tcp_connection=False
    )
    return await _chat(client.chat.completions, is_stream)


async def _mistral(user: User, url: str, is_stream: bool) -> object:
    from mistralai.client import Mistral

    client = Mistral(api_key="test", server_url=url, async_client=user.httpx2)
    if is_stream:
        events = await client.chat.stream_async(model="m", messages=ASK)
        return [event.data.choices[0].delta.content async for event in events]
    return (await client.chat.complete_async(model="m", messages=ASK)).choices[0].message.content


async def _huggingface(user: User, url: str, is_stream: bool) -> object:
    from huggingface_hub import AsyncInferenceClient, set_async_client_factory

    set_async_client_factory(lambda: User.current().open_httpx2())
    client = AsyncInferenceClient(base_url=f"{url}/v1", api_key="test")
    if is_stream:
        events = await client.chat_completion(ASK, stream=True)
        return [event.choices[0].delta.content async for event in events]
    return (await client.chat_completion(ASK)).choices[0].message.content


async def _cohere(user: User, url: str, is_stream: bool) -> object:
    from cohere import AsyncClientV2

    client = AsyncClientV2(api_key="test", base_url=url, httpx_client=user.httpx)
    if is_stream:
        return [event.type async for event in client.chat_stream(model="m", messages=ASK)]
    return (await client.chat(model="m", messages=ASK)).message.content[0].text


async def _ollama(user: User, url: str, is_stream: bool) -> object:
    from ollama import AsyncClient

    client = AsyncClient(url, transport=user.open_transport())
    if is_stream:
        return [part.message.content async for part in await client.chat(model="m", messages=ASK, stream=True)]
    return (await client.chat(model="m", messages=ASK)).message.content


async def _genai(user: User, url: str, is_stream: bool) -> object:
    from google.genai import Client, types

    options = types.HttpOptions(base_url=url, httpx_async_client=user.httpx)
    client = Client(api_key="test", http_options=options).aio
    if is_stream:
        events = await client.models.generate_content_stream(model="m", contents="Hamlet?")
        return [event.text async for event in events]
    return (await client.models.generate_content(model="m", contents="Hamlet?")).text


async def _notion(user: User, url: str, is_stream: bool) -> object:
    from notion_client import AsyncClient

    return (await AsyncClient(client=user.httpx, base_url=url, auth="test", log_level=50).users.list())["object"]


async def _postgrest(user: User, url: str, is_stream: bool) -> object:
    from postgrest import AsyncPostgrestClient

    client = AsyncPostgrestClient(url, http_client=user.open_httpx(base_url=url))
    return (await client.from_("orders").select("*").execute()).data


async def _qdrant(user: User, url: str, is_stream: bool) -> object:
    from qdrant_client import AsyncQdrantClient

    client = AsyncQdrantClient(url, transport=user.open_transport(), check_compatibility=False)
    return (await client.get_collections()).collections


SDKS: Final = {
    "anthropic": Sdk("anthropic", _anthropic),
    "openai": Sdk("openai", _openai),
    "mistralai": Sdk("mistralai", _mistral),
    "huggingface_hub": Sdk("huggingface-hub", _huggingface),
    "google-genai": Sdk("google-genai", _genai),
    "cohere": Sdk("cohere", _cohere),
    "groq": Sdk("groq", _groq),
    "together": Sdk("together", _together),
    "cerebras": Sdk("cerebras-cloud-sdk", _cerebras),
    "ollama": Sdk("ollama", _ollama),
    "notion": Sdk("notion-client", _notion, streams=False),
    "postgrest": Sdk("postgrest", _postgrest, streams=False),
    "qdrant": Sdk("qdrant-client", _qdrant, streams=False),
}
PACKAGES: Final = ["httpx2", *(sdk.package for sdk in SDKS.values())]


# -- what the stub answers -----------------------------------------------------------------------------------


def _completion(field: str, text: str) -> dict[str, Any]:
    kind = "chat.completion" if field == "message" else "chat.completion.chunk"
    choice = {"index": 0, field: {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    base = {"id": "c", "object": kind, "created": 1, "model": "m", "system_fingerprint": "f"}
    return {**base, "choices": [choice], "usage": usage}


def _candidate(text: str) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]}


def _whole(path: str) -> Any:
    """Return the JSON of a good answer."""
    if path.endswith("/messages"):
        usage = {"input_tokens": 1, "output_tokens": 1}
        content = [{"type": "text", "text": TEXT}]
        base = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
        return {**base, "stop_sequence": None, "usage": usage, "content": content}
    if path.endswith("/v2/chat"):
        message = {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}
        return {"id": "c", "finish_reason": "COMPLETE", "message": message}
    if path.endswith("/api/chat"):
        return {"model": "m", "message": {"role": "assistant", "content": TEXT}, "done": True}
    if "generateContent" in path or "GenerateContent" in path:
        return _candidate(TEXT)
    if path.endswith("/collections"):
        return {"result": {"collections": []}, "status": "ok", "time": 0.1}
    if path.endswith("/orders"):
        return [{"id": 1}]
    if path.endswith("/users"):
        return {"object": "list", "results": [], "has_more": False}
    return _completion("message", TEXT)


def _events(path: str) -> tuple[str, list[bytes]]:
    """Return the content type and the pieces of a streamed answer."""
    words = ("To ", "be", ", or ", "not")
    if path.endswith("/api/chat"):
        parts = [{"model": "m", "message": {"role": "assistant", "content": word}, "done": False} for word in words]
        parts[-1]["done"] = True
        return "application/x-ndjson", [json.dumps(part).encode() + b"\n" for part in parts]
    if path.endswith("/messages"):
        message = _whole(path) | {"content": []}
        block = {"type": "text", "text": ""}
        named = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": w}} for w in words),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_stop"},
        ]
        return "text/event-stream", [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in named]
    if path.endswith("/v2/chat"):
        named = [
            {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant", "content": []}}},
            *(
                {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}}
                for word in words
            ),
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
        ]
        return "text/event-stream", [f"data: {json.dumps(one)}\n\n".encode() for one in named]
    if "GenerateContent" in path:
        return "text/event-stream", [f"data: {json.dumps(_candidate(word))}\r\n\r\n".encode() for word in words]
    parts = [_completion("delta", word) for word in words]
    return "text/event-stream", [*(f"data: {json.dumps(one)}\n\n".encode() for one in parts), b"data: [DONE]\n\n"]


_SOON: Final = ("Retry-After: 0", "retry-after-ms: 1")


def _head(status: str, kind: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {kind}", *lines, "", ""]).encode()


def _answer(mode: str, request: Received) -> Answer:
    path = request.target.partition("?")[0]
    if mode == "closed":
        return CLOSE
    if mode in ("busy", "broken"):
        status = "429 Too Many Requests" if mode == "busy" else "500 Internal Server Error"
        error = {"message": mode, "type": "error", "code": "rate_limited", "status": mode.upper()}
        body = json.dumps({"object": "error", "error": error, "message": mode, "code": "x", "status": 0}).encode()
        return _head(status, "application/json", f"Content-Length: {len(body)}", *_SOON) + body
    if mode == "stream":
        kind, pieces = _events(path)
        chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        return [_head("200 OK", kind, "Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n"]
    body = json.dumps(_whole(path)).encode()
    head = _head("200 OK", "application/json", f"Content-Length: {len(body)}")
    return [head, *(body[at : at + 7] for at in range(0, len(body), 7))] if mode == "slow" else head + body


# -- one cell of the matrix ----------------------------------------------------------------------------------


async def measured(sdk: Sdk, mode: str) -> dict[str, Any]:
    """Return what the stub got and what was recorded in ITERATIONS iterations of one call."""
    said: list[str] = []
    async with scripted(lambda request: _answer(mode, request)) as server:

        async def ask(user: User) -> None:
            found = await sdk.call(user, server.url, mode == "stream")
            user.check("answered", found is not None)

        factory = UserFactory(Ways({"": server.url}), TcpNetwork(), None, seed=1)
        recorder = Recorder()
        life = factory.life(recorder, [BoundJourney("ask", ask)], fresh=True, report=said.append)
        outcomes = []
        for n in range(ITERATIONS):
            await life.iterate(Arrival(None, n, 0, False), pool_limited=False)
            outcomes.append(life.outcome)
        # Some SDKs leave a stream before its last byte, which then arrives while nobody waits.
        async with asyncio.timeout(10):
            while recorder.counters.requests_finished < recorder.counters.requests_started:
                await asyncio.sleep(0.01)
                life.user._meter.settle()
        await life.close()
        delta = recorder.flip(0, 1)
        rows: dict[str, int] = {}
        for stats in delta.stats:
            key = delta.new_series[stats.series]
            if key.kind == "request" and key.metric == "response":
                rows[key.outcome] = rows.get(key.outcome, 0) + stats.n
        counters = recorder.counters
        return {
            "requests": len(server.requests),
            "connections": server.connections,
            "rows": rows,
            "started": counters.requests_started,
            "finished": counters.requests_finished,
            "outcomes": outcomes,
            "faults": counters.script_faults,
            "said": said,
        }


async def main(names: list[str]) -> None:
    found: dict[str, Any] = {}
    for name in names or SDKS:
        sdk = SDKS[name]
        found[name] = {"version": version(sdk.package), "streams": sdk.streams}
        for mode in MODES:
            if mode != "stream" or sdk.streams:
                found[name][mode] = await measured(sdk, mode)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
