"""Requests that the plan or the server refuses: what the journey and the row get, over real sockets."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from loadgen import Llm, prompt
from loadgen.clients.llm.client import LlmClient
from loadgen.clients.llm.embeddings import NotEmbeddings, read_embeddings
from loadgen.clients.llm.tools import RunnableCall
from loadgen.clients.llm_apis.types import ToolCall
from loadgen.dsl.users.user import User
from loadgen.errors import ExpectFailed, RequestFailed, UsageError
from tests.clients.llm.asked import asked
from tests.support.llm_target import llm_in_thread
from tests.support.scripted import ok, scripted


@pytest.fixture(scope="module")
def strict() -> Iterator[str]:
    with llm_in_thread(model=["sim"], no_ignore_eos=True, context=100) as server:
        yield server.url


async def caught_of(url: str, ask: Callable[[LlmClient], Any], **llm: Any) -> tuple[RequestFailed, dict[str, int]]:
    """Return the failure that a journey catches, and the number of requests by outcome."""
    caught: list[RequestFailed] = []

    async def journey(user: User) -> None:
        try:
            await ask(user.llm)
        except RequestFailed as failure:
            caught.append(failure)

    found = await asked(url, journey, **llm)
    assert len(caught) == 1, found.outcome
    return caught[0], found.outcomes()


async def test_exactly_at_a_server_that_refuses_it_shows_what_the_server_wrote(strict: str) -> None:
    failure, outcomes = await caught_of(strict, lambda llm: llm.chat("hi", max_tokens=5, exactly=True))
    assert outcomes == {"http 400": 1}
    assert failure.detail == f"POST {strict}/v1/chat/completions: Unrecognized request argument supplied: ignore_eos"


async def test_a_prompt_beyond_the_context_shows_the_servers_limit(strict: str) -> None:
    failure, outcomes = await caught_of(strict, lambda llm: llm.chat(prompt(tokens=200), max_tokens=1))
    assert outcomes == {"http 400": 1}
    assert "maximum context length is 100 tokens. However, your request has 200 input tokens" in failure.detail


async def test_prompt_and_answer_beyond_the_context_show_the_servers_limit(strict: str) -> None:
    failure, outcomes = await caught_of(strict, lambda llm: llm.chat(prompt(tokens=60), max_tokens=60))
    assert outcomes == {"http 400": 1}
    assert "'max_completion_tokens' is too large: 60. This model's maximum context length is 100" in failure.detail


@pytest.mark.parametrize(
    ("llm", "message", "hint"),
    [
        (
            Llm(api="anthropic", path="/v1/chat/completions"),
            'Llm: path="/v1/chat/completions" belongs to api="chat", not to api="anthropic"',
            'write api="chat", or leave out path=',
        ),
        (
            Llm(path="/gateway/v1/messages?beta=true"),
            'Llm: path="/gateway/v1/messages?beta=true" belongs to api="anthropic", not to api="chat"',
            'write api="anthropic", or leave out path=',
        ),
    ],
)
def test_an_api_that_the_path_contradicts_is_an_error_of_the_plan(llm: Llm, message: str, hint: str) -> None:
    assert list(llm.wrongs()) == [(message, hint)]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/openai/v1/chat/completions?v=1", "/ask", None])
def test_a_path_of_the_same_api_or_of_none_is_no_error(path: str | None) -> None:
    assert list(Llm(path=path).wrongs()) == []


async def refused(ask: Callable[[User], Any]) -> UsageError:
    """Return the error of a call that must not reach the server."""
    caught: list[UsageError] = []

    async def journey(user: User) -> None:
        with pytest.raises(UsageError) as error:
            await ask(user)
        caught.append(error.value)

    found = await asked("http://127.0.0.1:1", journey)
    assert (found.outcome, found.outcomes()) == ("ok", {}), "nothing is sent, so there is no row"
    return caught[0]


@pytest.mark.parametrize(
    "kind", [object, AsyncIterator, complex, lambda: 0], ids=["object", "ABC", "complex", "a function"]
)
async def test_a_format_without_a_schema_is_an_error_before_anything_is_sent(kind: Any) -> None:
    error = await refused(lambda user: user.llm.chat("hi", format=kind))
    assert error.message.startswith(f"format={kind!r} has no JSON schema: ")
    assert error.hint == "use a dataclass or a Struct"


def blocking(item: str) -> int:
    return 1


async def untyped(item) -> int:  # type: ignore[no-untyped-def]
    return 1


async def odd(item: complex) -> int:
    return 1


async def unknown(item: Missing) -> int:  # type: ignore[name-defined]  # noqa: F821
    return 1


async def many(*items: str, **more: str) -> int:
    return 1


@pytest.mark.parametrize(
    ("tool", "message", "hint"),
    [
        (blocking, "tools: blocking is not an async function", "write async def blocking(...)"),
        (untyped, "tools: the parameter item of untyped has no type", "write item: str, or its type"),
        (odd, "tools: the parameters of odd have no JSON schema: ", "use str, int, float, bool"),
        (unknown, "tools: the type of a parameter of unknown cannot be read: ", "write types that the file imports"),
        (
            many,
            "tools: the model cannot send the parameter items of many by name",
            "write one parameter for each argument",
        ),
        ({"name": "stock"}, "tools: {'name': 'stock'} is not an async function", "write async def stock(...)"),
    ],
    ids=["not async", "no type", "no schema", "unknown type", "variable", "no function"],
)
async def test_a_tool_that_no_schema_can_be_made_of_is_an_error_before_anything_is_sent(
    tool: Any, message: str, hint: str
) -> None:
    error = await refused(lambda user: user.llm.chat("hi", tools=[tool]))
    assert error.message.startswith(message)
    assert error.hint.startswith(hint)

    async def talks(user: User) -> None:
        user.llm.conversation(tools=[tool])

    assert (await refused(talks)).message == error.message


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llm_in_thread(model=["sim"]) as server:
        yield server.url


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("bad-json", "ok"),
        ("not-utf8", "ok"),
        ("nul", "ok"),
        ("two-finishes", "ok"),
        ("usage-falls", "ok"),
        ("no-newline", "stream truncated"),
        ("huge-event", "event too large"),
    ],
)
async def test_what_no_server_should_send_has_an_outcome_and_one_row(url: str, name: str, outcome: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", extra={"model": f"script:{name}"})

    found = await asked(url, journey)
    assert found.outcome == outcome
    assert found.outcomes() == {outcome: 1}
    assert len(found.values("ttft", outcome)) == 1
    assert found.values("response", outcome)[0] > 0


DEEP = "[" * 100_000
"""JSON that is nested too deep for any reader; to decode it raises RecursionError."""


async def test_an_error_that_is_nested_too_deep_is_shown_as_it_came() -> None:
    async with scripted(ok(DEEP.encode(), "Content-Type: application/json", status="503 Busy")) as server:
        failure, outcomes = await caught_of(server.url, lambda llm: llm.chat("hi"))
        assert outcomes == {"http 503": 1}
        assert failure.detail == f"POST {server.url}/v1/chat/completions: {DEEP[:500]}"


async def test_an_error_in_gzip_shows_what_the_server_wrote() -> None:
    head = ("Content-Type: application/json", "Content-Encoding: gzip")
    for body, shown in ((gzip.compress(b'{"error": {"message": "too long"}}'), "too long"), (b"not gzip", "not gzip")):
        async with scripted(ok(body, *head, status="400 Bad Request")) as server:
            failure, outcomes = await caught_of(server.url, lambda llm: llm.chat("hi"))
            assert outcomes == {"http 400": 1}
            assert failure.detail == f"POST {server.url}/v1/chat/completions: {shown}"


@pytest.mark.parametrize(("is_broken", "outcome"), [(False, "ok"), (True, "protocol")])
async def test_a_whole_answer_in_gzip_is_read(is_broken: bool, outcome: str) -> None:
    async def journey(user: User) -> None:
        assert (await user.llm.chat("hi", stream=False)).text == "hello"

    message = {"role": "assistant", "content": "hello"}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    packed = body if is_broken else gzip.compress(body)
    async with scripted(ok(packed, "Content-Type: application/json", "Content-Encoding: gzip")) as server:
        found = await asked(server.url, journey)
    assert (found.outcome, found.outcomes()) == (outcome, {outcome: 1})


async def test_an_accepted_status_is_no_error_of_the_row_or_of_the_iteration() -> None:
    statuses: list[int] = []

    async def journey(user: User) -> None:
        statuses.append((await user.llm.chat("hi", accept={429})).status_code)
        async with user.llm.stream("hi", accept={429}) as answer:
            assert [part async for part in answer.parts()] == []
            statuses.append(answer.status_code)

    async with scripted(ok(b"{}", "Content-Type: application/json", status="429 Too Many Requests")) as server:
        found = await asked(server.url, journey)
    assert statuses == [429, 429]
    assert (found.outcome, found.outcomes()) == ("ok", {"ok": 2})
    assert len(found.values("response", "ok")) == 2
    assert found.values("ttft", None) == [], "no model answered"


async def test_generated_json_that_is_nested_too_deep_does_not_fit_its_type() -> None:
    async def journey(user: User) -> None:
        reply = await user.llm.chat("hi")
        reply.parsed(list)

    chunk = {"choices": [{"index": 0, "delta": {"content": DEEP}, "finish_reason": "stop"}]}
    stream = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
    async with scripted(ok(stream, "Content-Type: text/event-stream")) as server:
        assert (await asked(server.url, journey)).outcomes() == {"parse list": 1}


async def test_arguments_that_are_nested_too_deep_do_not_fit_their_tool() -> None:
    async def stock(item: Any) -> int:
        return 1

    with pytest.raises(ExpectFailed) as failed:
        await RunnableCall(ToolCall("", "stock", '{"item":' + DEEP), {"stock": stock}).run()
    assert failed.value.outcome == "tool arguments"


def test_embeddings_that_are_nested_too_deep_are_none() -> None:
    with pytest.raises(NotEmbeddings):
        read_embeddings(f'{{"data": [], "x": {DEEP}'.encode(), 0)


async def test_a_stream_in_brotli_or_broken_gzip_is_a_failure(url: str) -> None:
    body = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    for encoding in ("gzip", "br", "deflate", "unknown"):
        head = ("Content-Type: text/event-stream", f"Content-Encoding: {encoding}")
        async with scripted(ok(body, *head)) as server:

            async def journey(user: User) -> None:
                await user.llm.chat("hi")

            found = await asked(server.url, journey)
            assert found.outcomes() == {found.outcome: 1}
            assert found.outcome in ("protocol", "no stream", "stream truncated")
            assert found.values("ttft") == []
            assert found.values("response", found.outcome)[0] > 0
