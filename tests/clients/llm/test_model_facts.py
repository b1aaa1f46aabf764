"""What the set-up finds out about the model before the load, and how it ends if it cannot."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from loadgen.clients.llm.model_facts import ModelFacts
from loadgen.clients.llm.settings import Llm
from loadgen.clients.net.network import TcpNetwork
from loadgen.drive.plan_share_driver import RUN_STEP
from loadgen.dsl.prompts.calibrate_by_server import NO_TEXT, NO_USAGE
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import RequestFailed, UsageError
from tests.support.llm_target import llm_in_thread
from tests.support.scripted import RESET, Answer, Received, ok, scripted
from tests.support.wire import until

JSON = "Content-Type: application/json"
LISTED = ok(json.dumps({"data": [{"id": "sim"}]}).encode(), JSON)
SSE = "Content-Type: text/event-stream"


async def facts_of(url: str, **llm: Any) -> ModelFacts:
    """Return what the set-up of a plan with this `Llm` finds out."""
    factory = UserFactory(Ways({"": url}, llm=replace(Llm(model="sim"), **llm)), TcpNetwork(), None, seed=1)
    user = factory.user(Recorder())
    user._meter.begin(RUN_STEP, warmup=False, pool_limited=False)
    try:
        await factory.find_model(user)
    finally:
        user._meter.settle()
        await user.http.close()
        factory.close()
    assert factory.model is not None
    return factory.model


def asked_with(models: bytes, answer: Answer) -> Callable[[Received], Answer]:
    """Return a server that answers /v1/models and requests for tokens in these ways."""
    return lambda request: models if request.target == "/v1/models" else answer


def streamed(*events: object) -> bytes:
    data = "".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events)
    return ok(data.encode(), SSE)


TOKEN = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "length"}]}


@pytest.fixture(scope="module")
def two() -> Iterator[str]:
    with llm_in_thread(model=["small", "large"], tokens_per_word=1.5) as server:
        yield server.url


async def test_the_only_model_of_a_server_needs_no_name_in_the_plan() -> None:
    with llm_in_thread(model=["only"]) as server:
        found = await facts_of(server.url, model="")
        assert (found.settings.model, found.tokens_per_word, found.warning) == ("only", 1.0, "")
        await until(lambda: server.stats()["answers"]["/v1/chat/completions"] == {"200": 2})


async def test_a_plan_without_a_model_needs_a_server_with_one(two: str) -> None:
    with pytest.raises(UsageError) as caught:
        await facts_of(two, model="")
    assert caught.value.with_hint == (
        'the plan names no model, and the server lists "small", "large"; add Llm(model="...") to the plan; '
        "with loadgen llm: --model NAME"
    )


async def test_a_model_that_is_not_there_is_an_error_with_the_names_that_are(two: str) -> None:
    with pytest.raises(UsageError) as caught:
        await facts_of(two, model="medium")
    assert caught.value.with_hint == (
        'the server has no model "medium"; it lists "small", "large"; correct Llm(model=...); with loadgen llm: --model'
    )


async def test_a_long_list_of_models_is_cut() -> None:
    models = ok(json.dumps({"data": [{"id": f"m{n}"} for n in range(500)]}).encode(), JSON)
    async with scripted(models) as server:
        with pytest.raises(UsageError, match=r'"m9" and 490 more$'):
            await facts_of(server.url)


async def test_prompts_are_corrected_by_the_tokens_that_the_server_counts(two: str) -> None:
    found = await facts_of(two, model="small")
    assert found.tokens_per_word == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_rejected_key_is_an_error_before_any_prompt(status: str) -> None:
    async with scripted(ok(b'{"error": "no"}', JSON, status=status)) as server:
        with pytest.raises(UsageError) as caught:
            await facts_of(server.url)
        assert [request.target for request in server.requests] == ["/v1/models"]
    assert caught.value.message == f"the model's server rejects the key with status {status[:3]}"
    assert "api_key=secret(" in caught.value.hint


async def test_a_rejected_key_of_the_plan_is_named_by_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    from loadgen import secret

    monkeypatch.setenv("LOADGEN_SECRET_REJECTED_KEY", "wrong")
    async with scripted(ok(b'{"error": "no"}', JSON, status="401 Unauthorized")) as server:
        with pytest.raises(UsageError) as caught:
            await facts_of(server.url, api_key=secret("rejected-key"))
    assert caught.value.hint == 'correct the value of the secret "rejected-key"'


async def test_a_key_that_only_the_first_prompt_needs_is_an_error_too() -> None:
    refused = ok(b'{"error": {"message": "no such key"}}', JSON, status="401 Unauthorized")
    async with scripted(asked_with(LISTED, refused)) as server:
        with pytest.raises(UsageError) as caught:
            await facts_of(server.url)
    assert caught.value.message.endswith("/v1/chat/completions: no such key")
    assert caught.value.message.startswith("the model's server refuses a first request: POST ")
    assert "api_key=" in caught.value.hint


NOT_LISTS = {
    "404": ok(b"not found", status="404 Not Found"),
    "500": ok(b"{}", JSON, status="500 Broken"),
    "html": ok(b"<html>hello</html>", "Content-Type: text/html"),
    "no UTF-8": ok(b'{"data": [{"id": "\xff"}]}', JSON),
    "deep": ok(b"[" * 100_000, JSON),
    "null": ok(b'{"data": null}', JSON),
    "a number": ok(b'{"data": 7}', JSON),
    "a text": ok(b'{"data": "sim"}', JSON),
    "no names": ok(b'{"data": [1, null, {"id": 7}, {}]}', JSON),
    "not gzip": ok(b"\x1f\x8bnope", JSON, "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("models", NOT_LISTS.values(), ids=NOT_LISTS)
async def test_a_server_that_does_not_list_its_models_is_asked_by_the_name_in_the_plan(models: bytes) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 1}}
    async with scripted(asked_with(models, streamed(TOKEN, usage, "[DONE]"))) as server:
        found = await facts_of(server.url, calibrate=False)
        assert (found.settings.model, found.tokens_per_word) == ("sim", 1.0)
        with pytest.raises(UsageError, match="the plan names no model, and the server lists none"):
            await facts_of(server.url, model="")
        assert {request.target for request in server.requests} == {"/v1/models"}


async def test_without_usage_prompts_are_not_corrected_and_the_report_says_so() -> None:
    async with scripted(asked_with(LISTED, streamed(TOKEN, "[DONE]"))) as server:
        found = await facts_of(server.url)
        posts = [request for request in server.requests if request.method == "POST"]
    assert (found.tokens_per_word, found.warning) == (1.0, NO_USAGE)
    assert len(posts) == 1, "a second prompt would show nothing new"


async def test_an_answer_without_a_token_leaves_prompts_as_they_are() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 66, "completion_tokens": 1}}
    ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    async with scripted(asked_with(LISTED, streamed(ended, usage, "[DONE]"))) as server:
        found = await facts_of(server.url)
        posts = [request for request in server.requests if request.method == "POST"]
    assert (found.tokens_per_word, found.warning) == (1.0, NO_TEXT)
    assert json.loads(posts[0].body)["max_tokens"] > 1, "a single token may be a part of a character"


async def test_a_connection_that_closes_between_two_prompts_is_opened_again() -> None:
    posts = 0

    def answer(request: Received) -> Answer:
        nonlocal posts
        posts += request.method == "POST"
        usage = {"choices": [], "usage": {"prompt_tokens": len(request.body), "completion_tokens": 1}}
        return LISTED if request.method == "GET" else RESET if posts == 2 else streamed(TOKEN, usage, "[DONE]")

    async with scripted(answer) as server:
        found = await facts_of(server.url)
        assert len([request for request in server.requests if request.method == "POST"]) == 3
    assert found.tokens_per_word > 4, "here, the server counts characters"


async def test_a_count_that_does_not_grow_with_the_prompt_is_a_warning() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
    async with scripted(asked_with(LISTED, streamed(TOKEN, usage, "[DONE]"))) as server:
        found = await facts_of(server.url)
    assert found.tokens_per_word == 1.0
    assert found.warning.startswith("prompts are not calibrated: ")


async def test_an_answer_that_breaks_during_calibration_is_a_failed_request() -> None:
    async with scripted(asked_with(LISTED, streamed(TOKEN | {"choices": []}))) as server:
        with pytest.raises(RequestFailed) as caught:
            await facts_of(server.url)
    assert caught.value.outcome == "stream truncated"


async def test_a_target_that_is_down_is_an_error_that_names_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError) as caught:
            await facts_of(url)
    assert caught.value.message.startswith("the model's server returned no answer: refused: ")
    assert url in caught.value.message
    assert caught.value.hint == "check that the server runs, and check the plan's target; with loadgen llm: the URL"


async def test_a_key_that_no_header_can_have_is_an_error_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from loadgen import secret

    monkeypatch.setenv("LOADGEN_SECRET_LLM_KEY", "a\u20acb")
    with pytest.raises(UsageError) as caught:
        await facts_of("http://127.0.0.1:1", api_key=secret("llm-key"))
    assert "'llm-key' is not an API key" in caught.value.message
    assert "\u20ac" not in caught.value.with_hint
