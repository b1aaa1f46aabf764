"""SDKs that fail: what they raise ends the iteration with the outcome of the request that it is about.

The SDKs are imported by the tests: openai takes more than a second, and each worker of pytest imports this module.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from loadgen.clients.net.network import TcpNetwork
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.recorder import Recorder
from tests.support.lives import bound
from tests.support.scripted import CLOSE, HANG, RESET, Answer, ok, scripted
from tests.support.sdk_api import fake_api

if TYPE_CHECKING:
    from notion_client import AsyncClient as Notion
    from openai import AsyncOpenAI

Journey = Callable[[User], Awaitable[None]]


def openai_of(user: User, **more: Any) -> AsyncOpenAI:
    from openai import AsyncOpenAI

    return AsyncOpenAI(http_client=user.httpx, base_url=f"{user.http.base_url.join('/v1')}", api_key="k", **more)


async def _ask(client: AsyncOpenAI, **more: Any) -> Any:
    return await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}], **more)


async def _run(url: str, j: Journey) -> tuple[str, int, int]:
    """The iteration's outcome; how many requests were recorded; how many faults of the scenario were said."""
    recorder, said = Recorder(), list[str]()
    life = UserFactory(Ways({"": url}), TcpNetwork(), None, seed=1).life(
        recorder, [bound(j)], fresh=True, report=said.append
    )
    await life.iterate(Arrival(None, 0, 0, False), pool_limited=False)
    await life.close()
    assert len(said) == recorder.counters.script_faults
    return life.outcome, recorder.counters.requests_finished, recorder.counters.script_faults


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ok(b'{"error": {}}', status="500 Broken"), "http 500"),
        (RESET, "reset"),
        (CLOSE, "reset"),
        (b"SMTP ready\r\n\r\n", "protocol"),
        (HANG, "timeout"),
    ],
    ids=["500", "reset", "closed", "no HTTP", "hangs"],
)
async def test_an_error_of_openai_is_the_outcome_of_its_request(answer: Answer, outcome: str, retries: int) -> None:
    async def j(user: User) -> None:
        await _ask(openai_of(user, max_retries=retries, timeout=0.05 if answer == HANG else 10))

    async def no_wait(*_: object, **__: object) -> None:
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openai.AsyncOpenAI._sleep_for_retry", no_wait)
        async with scripted(answer) as server:
            assert await _run(server.url, j) == (outcome, 1 + retries, 0)
            assert len(server.requests) == 1 + retries


async def test_nobody_there_is_refused_also_to_an_sdk() -> None:
    import openai

    async def j(user: User) -> None:
        with pytest.raises(openai.APIConnectionError):
            await _ask(openai_of(user, max_retries=0))
        await _ask(openai_of(user, max_retries=0))

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert await _run(f"http://127.0.0.1:{taken.getsockname()[1]}", j) == ("refused", 2, 0)


async def test_a_stream_that_breaks_is_the_outcome() -> None:
    parts: Answer = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: {\r\n", CLOSE)

    async def j(user: User) -> None:
        async for _ in await _ask(openai_of(user), stream=True):
            pass

    async with scripted(lambda _: parts) as server:
        assert await _run(server.url, j) == ("protocol", 1, 0)


async def test_a_stream_that_is_left_is_one_row_and_no_error() -> None:
    async def j(user: User) -> None:
        stream = await _ask(openai_of(user), stream=True)
        async for _ in stream:
            break
        await stream.close()

    async with fake_api() as api:
        assert await _run(api.url, j) == ("ok", 1, 0)


def _notion(user: User) -> Notion:
    from notion_client import AsyncClient as Notion

    base = f"{user.http.base_url}"
    return Notion(client=user.httpx, base_url=base, auth="k", logger=logging.getLogger("n"), log_level=50)


async def test_an_error_of_notion_is_the_outcome_of_its_request_unless_it_is_caught() -> None:
    from notion_client import APIResponseError

    async def leaving(user: User) -> None:
        await _notion(user).pages.retrieve("missing")

    async def wrong(user: User) -> None:
        try:
            await _notion(user).pages.retrieve("missing")
        except APIResponseError as error:
            raise ValueError("no page") from error

    async def accepting(user: User) -> None:
        async def accept(request: Any) -> None:
            request.extensions["accept"] = {404}

        user.httpx.event_hooks["request"].append(accept)
        with pytest.raises(APIResponseError):
            await _notion(user).pages.retrieve("missing")

    async with fake_api() as api:
        assert await _run(api.url, leaving) == ("http 404", 1, 0)
        assert await _run(api.url, wrong) == ("script ValueError", 1, 1)
        assert await _run(api.url, accepting) == ("ok", 1, 0)


async def test_calls_of_an_sdk_at_once_are_each_a_row_in_their_step() -> None:
    async def j(user: User) -> None:
        notion = _notion(user)
        async with user.step("all"):
            await asyncio.gather(*(notion.pages.retrieve("p") for _ in range(8)))

    async with fake_api() as api:
        assert await _run(api.url, j) == ("ok", 8, 0)
        assert len(api.requests) == 8
