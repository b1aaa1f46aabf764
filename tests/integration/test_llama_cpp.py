"""Streams of llama.cpp, a real inference engine: its usage, chunks that are not tokens, and its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.clients.llm.reply import LlmReply
from loadgen.dsl.users.user import User
from tests.clients.llm.asked import asked
from tests.clients.llm.test_model_facts import facts_of
from tests.support.llama_cpp import running_llama_cpp
from tests.support.run import ends_with, loadgen

pytestmark = pytest.mark.engine

TOKENS = 32
SCENARIO = """
from loadgen import Llm, Plan, User, journey, prompt, users

@journey
async def ask(user: User) -> None:
    await user.llm.chat(prompt(tokens=50), max_tokens=32, exactly=True)

plan = Plan(
    target="{url}",
    llm=Llm(),
    load=users(2).hold("10s"),
    mix=ask,
    connections="fresh",  # it closes each connection after a stream, without announcing it
)
"""


@pytest.fixture
def url() -> Iterator[str]:
    with running_llama_cpp() as found:
        yield found


def test_its_streams_have_the_tokens_that_it_counts_and_not_one_for_each_chunk(url: str) -> None:
    replies: list[LlmReply] = []
    chunks: list[int] = []

    async def journey(user: User) -> None:
        async with user.llm.stream("the oak lamp", max_tokens=TOKENS, exactly=True) as answer:
            chunks.append(sum([part.kind == "content" async for part in answer.parts()]))
        replies.append(answer)
        await asyncio.sleep(0.05)  # it closes the connection now, and the next request must not meet that

    found = asyncio.run(asked(url, journey, times=10, model=""))

    assert found.outcomes() == {"ok": 10}
    assert {reply.usage.output for reply in replies} == {TOKENS}
    assert len({reply.usage.prompt for reply in replies}) == 1
    assert {reply.finish for reply in replies} == {"length"}
    assert any(count < TOKENS for count in chunks), "letters of several bytes come in one chunk"
    assert not any("tokens" in dict(tags) for tags in found.tags("chat")), "its own counts"
    assert "first" in {dict(tags).get("cold") for tags in found.tags("chat")}, "a row of its own"
    print(f"chunks of {TOKENS} tokens: {chunks}")
    print("ttft, ms:", ", ".join(f"{reply.ttft_ns / 1e6:.1f}" for reply in replies))


def test_the_set_up_finds_its_model_and_the_tokens_of_a_word(url: str) -> None:
    facts = asyncio.run(facts_of(url, model=""))

    assert facts.settings.model
    assert facts.tokens_per_word > 0
    print(f"model {facts.settings.model}: {facts.tokens_per_word:.2f} tokens a word; {facts.warning}")


def test_a_run_measures_all_of_its_answers(url: str, tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text(SCENARIO.format(url=url))

    run = loadgen("run", str(tmp_path / "ask.py"), runs_dir=tmp_path / "runs")

    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    llm = run.summary["llm"]
    assert llm["ok"] == llm["requests"] > 10
    assert llm["tokens"]["output"] == TOKENS * llm["ok"]
    assert llm["model"]
    print(run.out)
