"""Streams of xpyd-sim, an inference server of other authors: its times, role chunk, usage and warm-up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median

import pytest

from loadgen.clients.llm.reply import LlmReply
from loadgen.clients.llm_apis.types import Usage
from loadgen.dsl.users.user import User
from tests.clients.llm.asked import Asked, asked
from tests.support.quiet import in_a_quiet_moment
from tests.support.xpyd_sim import running_xpyd_sim

pytestmark = pytest.mark.quiet

TIMES = ("--prefill-delay-ms", "100", "--decode-delay-per-token-ms", "20")
WARM_UP = ("--warmup-requests", "5", "--warmup-penalty-ms", "500")
MS = 1_000_000


@in_a_quiet_moment
def test_its_times_are_measured_as_they_are_set(tmp_path: Path) -> None:
    replies: list[LlmReply] = []
    kinds: list[list[str]] = []

    async def journey(user: User) -> None:
        async with user.llm.stream("How many oak lamps are there?", max_tokens=10, exactly=True) as answer:
            kinds.append([part.kind async for part in answer.parts()])
        replies.append(answer)

    with running_xpyd_sim("--model", "sim", *TIMES, *WARM_UP) as url:
        found: Asked = asyncio.run(asked(url, journey, times=15))

    assert found.outcomes() == {"ok": 15}
    assert {tuple(one) for one in kinds} == {("role", *["content"] * 10, "finish", "usage", "done")}
    assert {reply.usage for reply in replies} == {Usage(prompt=8, output=10)}
    assert {reply.finish for reply in replies} == {"length"}

    # Its sleeps give lower bounds. The first token is decoded after the prefill, so ttft is 120 ms and not 100.
    ttft_ms = [reply.ttft_ns / MS for reply in replies]
    assert all(620 <= value < 1_500 for value in ttft_ms[:5]), ttft_ms
    assert 120 <= median(ttft_ms[5:]) < 170, ttft_ms
    assert max(ttft_ms[5:]) < 600, "only the first five are slower"
    itl_ms = [value / MS for value in found.values("itl")]
    assert len(itl_ms) == 15 * 9
    assert 19.5 <= median(itl_ms) < 28, median(itl_ms)
