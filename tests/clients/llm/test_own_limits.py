"""Limits of one request (`slo=`): read before anything is sent, and recorded for every API and kind of call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loadgen import goodput
from loadgen.clients.llm.client import LlmClient
from loadgen.clients.llm.own_limits import NOT_USED, read_own_limits
from loadgen.clients.llm_apis.apis import APIS
from loadgen.dsl.users.user import User
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_series import goodputs_of
from loadgen.errors import UsageError
from loadgen.measure.deltas.series_key import OWN_LIMITS_TAG
from tests.clients.llm.asked import Asked, asked
from tests.support.llm_target import llm_in_thread


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llm_in_thread(model=["sim"], ttft="30ms", output=3) as server:
        yield server.url


OBJECTIVE = (goodput(ttft="1us") > "95%").objective
"""No request keeps it."""
assert OBJECTIVE is not None
PLANNED = goodputs_of([OBJECTIVE])


def judged(found: Asked) -> dict[tuple[str, str], int]:
    """Number of requests by (limits of their own, outcome)."""
    counts: dict[tuple[str, str], int] = {}
    for key, values in found.keys:
        if key.kind == "goodput":
            place = dict(key.tags).get(OWN_LIMITS_TAG, ""), key.outcome
            counts[place] = counts.get(place, 0) + len(values)
    return counts


@pytest.mark.parametrize("api", sorted(APIS))
async def test_each_api_judges_a_request_by_its_own_limits(url: str, api: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", slo={"tpot": "1h", "ttft": "9s"})
        await user.llm.chat("hi", slo={"ttft": "29ms"})
        await user.llm.chat("hi")
        await user.llm.chat("hi", slo=None, stream=False)

    found = judged(await asked(url, journey, goodputs=PLANNED, api=api))
    assert found == {("ttft<=9000ms,tpot<=3600000ms", "ok"): 1, ("ttft<=29ms", "slow"): 1, ("", "slow"): 2}


async def test_turns_of_a_conversation_and_streams_read_by_parts_have_limits_of_their_own(url: str) -> None:
    async def journey(user: User) -> None:
        talk = user.llm.conversation()
        await talk.ask("hi", slo={"ttft": "9s"})
        await talk.ask("and now?", slo={"ttft": "1ms"})
        async with user.llm.stream("hi", slo={"e2e": "9s"}) as answer:
            async for _ in answer.parts():
                pass

    found = judged(await asked(url, journey, goodputs=PLANNED))
    assert found == {("ttft<=9000ms", "ok"): 1, ("ttft<=1ms", "slow"): 1, ("e2e<=9000ms", "ok"): 1}


async def test_a_failed_request_is_not_good_whatever_its_limits(url: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", slo={"ttft": "9s"}, extra={"model": "script:truncated-cleanly"})

    found = judged(await asked(url, journey, goodputs=PLANNED))
    assert found == {("ttft<=9000ms", "stream truncated"): 1}


async def test_a_plan_without_goodput_says_once_that_the_limits_have_no_effect(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(Recorder, "note", lambda self, text: notes.append(text))

    async def journey(user: User) -> None:
        for _ in range(3):
            await user.llm.chat("hi", slo={"ttft": "9s"})

    found = await asked(url, journey)
    assert found.outcomes() == {"ok": 3}
    assert notes.count(NOT_USED) == 1


FAULTS: list[tuple[Any, str, str]] = [
    ({"tfft": "1s"}, "slo={'tfft': '1s'}: unknown metric 'tfft'", "did you mean 'ttft'?"),
    ({"latency": "1s"}, "unknown metric 'latency'", "limit one of ttft, ttft_due, ttfo, tpot, itl, stall, e2e"),
    ({1: "1s"}, "unknown metric 1", "limit one of"),
    ({"ttft": 500}, "ttft: 500: the limit must be a duration with its unit", 'write slo={"ttft": "1s"'),
    ({"ttft": "fast"}, 'invalid duration "fast"', 'write slo={"ttft": "1s"'),
    ({"ttft": "0s"}, "ttft: '0s': the limit must be above 0", 'write slo={"ttft": "1s"'),
    ({"ttft": "-1s"}, "ttft: '-1s'", 'write slo={"ttft": "1s"'),
    ({"ttft": ["1s"]}, "ttft: ['1s']: the limit must be a duration", 'write slo={"ttft": "1s"'),
    ({}, "slo={}: no limit is given", "the limits of goodput(...) then count"),
    ("ttft=1s", "slo='ttft=1s': limits must be a dict", 'write slo={"ttft": "1s"'),
    ({"ttft": 5, "tpto": "1s"}, "ttft: 5: the limit must be a duration with its unit; unknown metric 'tpto'", "tpot"),
]


@pytest.mark.parametrize(("given", "message", "hint"), FAULTS, ids=[str(one[0]) for one in FAULTS])
def test_what_is_wrong_with_limits_is_said_at_once(given: Any, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_own_limits(given)
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    "ask",
    [
        lambda llm: llm.chat("hi", slo={"tfft": "1s"}),
        lambda llm: llm.conversation().ask("hi", slo={"tfft": "1s"}),
        lambda llm: llm.stream("hi", slo={"tfft": "1s"}).__aenter__(),
    ],
)
async def test_wrong_limits_are_an_error_before_anything_is_sent(url: str, ask: Callable[[LlmClient], Any]) -> None:
    caught: list[UsageError] = []

    async def journey(user: User) -> None:
        try:
            await ask(user.llm)
        except UsageError as error:
            caught.append(error)

    found = await asked(url, journey)
    assert ["unknown metric 'tfft'" in str(error) for error in caught] == [True]
    assert found.outcomes() == {}


def test_the_order_of_limits_and_their_units_make_no_difference() -> None:
    one, other = read_own_limits({"tpot": "50ms", "ttft": "1s"}), read_own_limits({"ttft": "1000ms", "tpot": "0.05s"})
    assert one == other
    assert one is not None
    assert one.text == "ttft<=1000ms,tpot<=50ms"
    assert read_own_limits(None) is None


async def test_a_request_is_good_for_other_tools_by_their_figures_and_the_limits_of_the_plan(url: str) -> None:
    """vLLM's first token is the role, just before the token that comes after 30 ms."""

    async def journey(user: User) -> None:
        await user.llm.chat("hi", slo={"ttft": "1us"})
        await user.llm.chat("hi", extra={"model": "script:truncated-cleanly"})

    found = await asked(
        url, journey, conventions=("vllm", "aiperf"), exported={"vllm": {"ttft": 9_000_000_000}, "aiperf": {"ttft": 5}}
    )
    values = {key.request: list(values) for key, values in found.keys if "good" in (key.request or "")}
    assert values == {"vllm good": [1_000], "aiperf good": [0]}
