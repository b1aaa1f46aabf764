"""Answers that an SDK reads over `user.httpx`: which are those of a model, and how broken ones end."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from loadgen.clients.events import MAX_EVENT_BYTES
from loadgen.dsl.users.user import User
from loadgen.measure.deltas.series_key import STREAM_METRICS
from tests.clients.llm.asked import Asked, asked
from tests.support.llm_target import chat_body, llm_in_thread
from tests.support.scripted import CLOSE, Answer, ok, scripted

if TYPE_CHECKING:
    from openai import AsyncOpenAI

SSE = "Content-Type: text/event-stream"
JSON = "Content-Type: application/json"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
ERROR = b'data: {"error":{"message":"out of memory","code":500}}\n\n'
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llm_in_thread(model=["sim"]) as server:
        yield server.url


def openai_of(user: User) -> AsyncOpenAI:
    from openai import AsyncOpenAI  # more than a second, so not when the module is imported

    return AsyncOpenAI(http_client=user.httpx, base_url=f"{user.http.base_url.join('/v1')}", api_key="k", max_retries=0)


async def asks(user: User, model: str = "sim", **more: Any) -> Any:
    return await openai_of(user).chat.completions.create(
        model=model, messages=[{"role": "user", "content": "?"}], **more
    )


async def posted(answer: Answer, path: str = CHAT, method: str = "POST") -> Asked:
    """Return what is recorded of one plain request over `user.httpx`."""

    async def journey(user: User) -> None:
        await user.httpx.request(method, path, json=chat_body())

    async with scripted(answer) as server:
        return await asked(server.url, journey)


def is_model_row(found: Asked) -> bool:
    """Return whether any metric of streams was recorded."""
    return any(key.metric in STREAM_METRICS for key, _ in found.keys)


async def test_a_streamed_answer_of_an_sdk_has_the_metrics_of_user_llm(url: str) -> None:
    async def journey(user: User) -> None:
        usage = {"include_usage": True}
        async for _ in await asks(user, stream=True, max_tokens=5, stream_options=usage):
            pass

    found = await asked(url, journey)
    assert (found.outcome, found.outcomes()) == ("ok", {"ok": 1})
    assert len(found.values("ttft")) == 1
    assert found.values("output_tokens") == [5_000]
    (kept,) = found.kept
    assert (kept.request, kept.outcome, kept.output_tokens, kept.clock) == (f"POST {CHAT}", "ok", 5, "loop")
    assert kept.figures("ours")["ttft_ms"] == pytest.approx(found.values("ttft")[0] / 1e6, abs=1e-6)


async def test_a_whole_answer_of_an_sdk_is_a_row_of_its_own_kind(url: str) -> None:
    async def journey(user: User) -> None:
        assert (await asks(user, max_tokens=5)).usage.completion_tokens == 5

    found = await asked(url, journey)
    assert found.outcomes() == {"ok": 1}
    assert found.values("output_tokens") == [5_000]
    assert found.tags(f"POST {CHAT}") == {(("answer", "whole"),)}
    assert found.values("ttft") == found.values("response"), "its first token comes with its last"
    assert found.kept == [], "a whole answer has no events"


async def fails_over_an_sdk(url: str, outcome: str, model: str = "sim") -> None:
    """Read a stream with the SDK: its only row has this outcome, and no metric says that it ended well."""

    async def journey(user: User) -> None:
        async for _ in await asks(user, model=model, stream=True):
            pass

    found = await asked(url, journey)
    assert found.outcomes() == {outcome: 1}
    stream = ("response", "service", *STREAM_METRICS)
    assert not [key for key, _ in found.keys if key.kind == "request" and key.outcome == "ok" and key.metric in stream]


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("truncated-cleanly", "stream truncated"),
        ("no-tokens", "no tokens"),
        ("truncated", "protocol"),
        ("closed", "protocol"),
        ("reset", "reset"),
        ("error-in-band", "stream error"),
        ("rate-limited", "http 429"),
    ],
)
async def test_a_stream_that_breaks_is_a_failure_of_its_row_also_over_an_sdk(url: str, name: str, outcome: str) -> None:
    await fails_over_an_sdk(url, outcome, f"script:{name}")


async def test_an_event_beyond_the_limit_is_a_failure_of_its_row_also_over_an_sdk() -> None:
    # Just beyond it, because the SDK copies all bytes of the event again at each read.
    body = TOKEN + b"data: " + b"x" * MAX_EVENT_BYTES + b"\n\n" + END
    async with scripted(ok(body, SSE)) as server:
        await fails_over_an_sdk(server.url, "event too large")


@pytest.mark.parametrize(
    ("body", "outcome"),
    [(TOKEN + END, "ok"), (TOKEN, "stream truncated"), (TOKEN + ERROR, "stream error"), (END, "no tokens")],
)
@pytest.mark.parametrize("is_zipped", [False, True])
async def test_the_outcome_is_that_of_the_events(body: bytes, outcome: str, is_zipped: bool) -> None:
    fields = (SSE, "Content-Encoding: gzip") if is_zipped else (SSE,)
    found = await posted(ok(gzip.compress(body) if is_zipped else body, *fields))
    assert found.outcomes() == {outcome: 1}
    assert is_model_row(found)


async def test_a_stream_that_ends_within_a_chunk_is_one_failed_row_with_its_ttft() -> None:
    head = f"HTTP/1.1 200 OK\r\n{SSE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()

    async def journey(user: User) -> None:
        import httpx

        with pytest.raises(httpx.RemoteProtocolError):
            await user.httpx.post(CHAT, json=chat_body())

    async with scripted([head, b"%x\r\n" % len(TOKEN) + TOKEN + b"\r\n40\r\n", CLOSE]) as server:
        found = await asked(server.url, journey)
    assert found.outcomes() == {"protocol": 1}
    assert len(found.values("ttft", "protocol", bound=False)) == 1


@pytest.mark.parametrize(
    ("answer", "path", "method"),
    [
        (ok(b'{"id": 7, "state": "queued"}', JSON), CHAT, "POST"),
        (ok(b"[1, 2]", JSON), CHAT, "POST"),
        (ok(b"no JSON", JSON), CHAT, "POST"),
        (ok(b"<html></html>", "Content-Type: text/html"), CHAT, "POST"),
        (ok(b"", JSON, status="204 No Content"), CHAT, "POST"),
        (ok(TOKEN + END, SSE), CHAT, "GET"),
        (ok(TOKEN + END, SSE), "/prices", "POST"),
    ],
    ids=["another object", "a list", "no JSON", "html", "no body", "a GET", "another path"],
)
async def test_an_answer_that_is_none_of_a_model_is_a_plain_row(answer: bytes, path: str, method: str) -> None:
    found = await posted(answer, path, method)
    assert found.outcomes() == {"ok": 1}
    assert not is_model_row(found)
    assert found.tags(f"{method} {path}") == {()}


async def test_an_error_in_json_with_status_200_is_a_failure() -> None:
    found = await posted(ok(b'{"error": {"message": "out of memory"}}', JSON))
    assert found.outcomes() == {"stream error": 1}
