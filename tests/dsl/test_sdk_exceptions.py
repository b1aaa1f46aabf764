"""How an iteration ends when a client library raises an exception of its own: by the last request of that call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from loadgen.clients.net.canned_replies import reply
from loadgen.dsl.users.user import User
from tests.support.lives import REPLIES, Bench, bound
from tests.support.second_httpx import library, second_httpx

SDK = library(
    """
import asyncio

class SDKError(Exception):
    pass

class Sdk:
    def __init__(self, client, tries=1):
        self.client, self.tries = client, tries

    async def call(self, path, check=None):
        if not isinstance(path, str):
            raise TypeError("path must be a text")
        answer = await self._sent(path)
        if check is not None:
            check(answer)
        if answer.status_code >= 400 or path.startswith("/odd"):
            self._fail(answer.status_code)
        return answer

    async def _sent(self, path):
        for _ in range(self.tries):
            answer = await self.client.get(path)
            if answer.status_code < 400:
                break
        return answer

    def _fail(self, status):
        raise SDKError(f"the API answered {status}")

    async def hiding(self, path):
        try:
            return await self.client.get(path)
        except Exception:
            pass
        raise SDKError("no answer")

    async def in_a_task(self, path):
        answer = await asyncio.create_task(self.call(path))
        return answer

    async def in_time(self, path):
        return await asyncio.wait_for(self.call(path), 10)

    async def events(self, path):
        answer = await self.client.get(path)
        if answer.status_code >= 400:
            raise SDKError("no events")
        yield answer

    def later(self, path):
        return Later(self, path)

class Later:
    def __init__(self, sdk, path):
        self.sdk, self.path = sdk, path

    def __await__(self):
        return self.sdk.call(self.path).__await__()
"""
)
BUSY = {"GET /busy": reply(429), "GET /odd": reply(200), "GET /broken": reply(500)}
Journey = Callable[[User], Awaitable[None]]


async def _ended(j: Journey, **replies: Any) -> tuple[str, int]:
    """The iteration's outcome, and how many faults of the scenario were counted."""
    bench = Bench(bound(j), replies={**REPLIES, **BUSY, **replies})
    life = await bench.run()
    return life.outcome, bench.recorder.counters.script_faults


@pytest.mark.parametrize("how", ["call", "in_a_task", "in_time", "later", "events"])
async def test_the_exception_after_an_answer_is_the_answers_outcome(how: str) -> None:
    async def j(user: User) -> None:
        called = getattr(SDK.Sdk(user.httpx), how)("/busy")
        if how == "events":
            async for _ in called:
                pass
        else:
            await called

    assert await _ended(j) == ("http 429", 0)


async def test_the_same_over_a_second_library_and_a_second_client() -> None:
    with second_httpx():

        async def j(user: User) -> None:
            await SDK.Sdk(user.httpx2).call("/busy")

        async def with_a_client_of_its_own(user: User) -> None:
            await SDK.Sdk(user.open_httpx2(headers={"A": "b"})).call("/broken")

        assert await _ended(j) == ("http 429", 0)
        assert await _ended(with_a_client_of_its_own) == ("http 500", 0)


async def test_the_last_row_of_the_call_decides() -> None:
    answers = iter([reply(429), reply(500)])

    async def j(user: User) -> None:
        await SDK.Sdk(user.httpx, tries=2).call("/twice")

    assert await _ended(j, **{"GET /twice": lambda _: next(answers)}) == ("http 500", 0)


async def test_an_exception_after_a_good_answer_is_the_scenarios_also_if_a_try_before_failed() -> None:
    answers = iter([reply(429), reply(200)])

    async def j(user: User) -> None:
        await SDK.Sdk(user.httpx, tries=2).call("/odd/twice")

    async def at_once(user: User) -> None:
        await SDK.Sdk(user.httpx).call("/odd")

    assert await _ended(j, **{"GET /odd/twice": lambda _: next(answers)}) == ("script SDKError", 1)
    assert await _ended(at_once) == ("script SDKError", 1)


async def test_a_connection_that_failed_is_the_outcome_also_if_the_library_hides_its_exception() -> None:
    async def j(user: User) -> None:
        user.httpx.base_url = "http://nowhere.test"
        await SDK.Sdk(user.httpx).hiding("/")

    outcome, faults = await _ended(j)
    assert not outcome.startswith("script ")
    assert faults == 0


async def test_a_wrong_argument_is_the_scenarios_also_after_a_call_that_failed() -> None:
    async def j(user: User) -> None:
        sdk = SDK.Sdk(user.httpx)
        for path in ("/busy", 7):
            try:
                await sdk.call(path)
            except SDK.SDKError:
                continue

    assert await _ended(j) == ("script TypeError", 1)


async def test_what_the_scenarios_own_code_raises_is_its_own_also_within_the_call() -> None:
    def checks(answer: Any) -> None:
        raise KeyError("sku")

    async def in_a_hook(user: User) -> None:
        await SDK.Sdk(user.httpx).call("/busy", checks)

    async def afterwards(user: User) -> None:
        try:
            await SDK.Sdk(user.httpx).call("/busy")
        except SDK.SDKError:
            raise ValueError("mine") from None

    async def by_its_own_look(user: User) -> None:
        if (await user.httpx.get("/busy")).status_code == 429:
            raise RuntimeError("busy")

    assert await _ended(in_a_hook) == ("script KeyError", 1)
    assert await _ended(afterwards) == ("script ValueError", 1)
    assert await _ended(by_its_own_look) == ("script RuntimeError", 1)


async def test_an_exception_of_another_iteration_or_of_another_call_is_not_attributed() -> None:
    kept: list[Exception] = []

    async def keeps(user: User) -> None:
        try:
            await SDK.Sdk(user.httpx).call("/busy")
        except SDK.SDKError as error:
            kept.append(error)

    async def raises(user: User) -> None:
        raise kept[0]

    bench = Bench(bound(keeps), bound(raises), replies={**REPLIES, **BUSY})
    await bench.run()
    life = await bench.run(journey=1, first=1)
    assert life.outcome == "script SDKError"
    assert life.user._meter.failed_calls is None


async def test_steps_measures_groups_and_gather_have_the_outcome_too() -> None:
    async def j(user: User) -> None:
        async with user.step("ask"), user.measure("sdk"):
            await SDK.Sdk(user.httpx).call("/busy")

    async def in_a_group(user: User) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(SDK.Sdk(user.httpx).call("/busy"))

    async def gathered(user: User) -> None:
        await user.gather(SDK.Sdk(user.httpx).call("/busy"), user.httpx.get("/json"))

    bench = Bench(bound(j), replies={**REPLIES, **BUSY})
    assert (await bench.run()).outcome == "http 429"
    rows = bench.rows()
    assert rows["step", "ask", None, "http 429"] == rows["request", "ask", "sdk", "http 429"] == 1
    assert await _ended(in_a_group) == ("http 429", 0)
    assert await _ended(gathered) == ("http 429", 0)
