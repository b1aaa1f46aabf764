"""`user.llm` over real sockets against the scripted server: what a journey gets, and what is recorded of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from loadgen import Message, prompt
from loadgen.clients.llm.exact_lengths import ExactLengths
from loadgen.clients.llm_apis.apis import APIS
from loadgen.clients.llm_apis.types import Part
from loadgen.clients.net.canned_replies import stream_reply
from loadgen.dsl.users.user import User
from loadgen.errors import RequestFailed
from loadgen.measure.deltas.series_key import STREAM_METRICS
from tests.clients.llm.asked import asked
from tests.clients.llm.test_model_facts import streamed
from tests.support.llm_target import llm_in_thread
from tests.support.scripted import ok, scripted


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llm_in_thread(model=["sim"]) as server:
        yield server.url


@pytest.fixture(scope="module")
def slow_url() -> Iterator[str]:
    with llm_in_thread(model=["sim"], ttft="40ms", itl="10ms") as server:
        yield server.url


def script(name: str) -> dict[str, Any]:
    """Return the options of a call whose answer is one of the server's scripts."""
    return {"extra": {"model": f"script:{name}"}}


async def test_a_chat_returns_the_text_the_usage_and_the_finish_reason(url: str) -> None:
    got: list[Any] = []

    async def journey(user: User) -> None:
        reply = await user.llm.chat("How many lamps?", max_tokens=5, expect="length")
        got.append((len(reply.text.split()), reply.finish, reply.usage.prompt, reply.output_tokens, reply.status_code))

    found = await asked(url, journey)
    assert found.outcome == "ok"
    assert got == [(5, "length", 3, 5, 200)]
    assert found.outcomes() == {"ok": 1}
    assert found.values("output_tokens") == [5_000]
    assert found.values("prompt_tokens") == [3_000]


@pytest.mark.parametrize(("stop", "sent"), [("END", ["END"]), (["a", "END"], ["a", "END"])])
async def test_one_stop_text_is_sent_whole(stop: str | list[str], sent: list[str]) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", stop=stop)

    async with scripted(stream_reply("one")) as server:
        assert (await asked(server.url, journey)).outcome == "ok"
    assert json.loads(server.requests[0].body)["stop"] == sent


async def test_times_are_those_of_the_events_and_not_of_the_end(slow_url: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", max_tokens=4)

    for _ in range(5):
        found = await asked(slow_url, journey)
        if found.values("icl"):
            break  # else the machine stood still for as long as the answer took, and one read brought all of it
    (ttft,), (response,) = found.values("ttft"), found.values("response")
    assert 40_000_000 <= ttft < response, "the first token comes 30 ms before the last"
    # On a busy machine, tokens may share a read with the first one.
    assert 1 <= len(found.values("itl")) <= 3
    assert found.values("stall") == [max(found.values("icl"))]
    assert len(found.values("tpot")) == 1


async def test_the_first_request_of_an_iteration_also_counts_from_when_it_was_due(url: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", max_tokens=2)
        await user.llm.chat("hi", max_tokens=2)

    found = await asked(url, journey, due_ago_ns=500_000_000)
    (from_due,) = found.values("ttft_due")
    assert len(found.values("ttft")) == 2
    assert from_due >= 500_000_000 + min(found.values("ttft"))
    first, second = found.kept
    assert (first.wait_ns + round(first.figures("ours")["ttft_ms"] * 1e6), second.wait_ns) == (from_due, -1)  # type: ignore[operator]
    assert (await asked(url, journey)).values("ttft_due") == [], "a closed load has no due times"


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("error-in-band", "stream error"),
        ("truncated-cleanly", "stream truncated"),
        ("truncated", "protocol"),
        ("closed", "protocol"),
        ("reset", "reset"),
        ("no-tokens", "no tokens"),
        ("json", "no stream"),
        ("html", "no stream"),
        ("redirect", "no stream"),
        ("rate-limited", "http 429"),
    ],
)
async def test_an_answer_that_breaks_is_in_no_ok_row_of_any_metric(url: str, name: str, outcome: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", **script(name))

    found = await asked(url, journey)
    assert found.outcome == outcome
    assert found.outcomes() == {outcome: 1}
    stream = ("response", "service", *STREAM_METRICS)
    assert not [key for key, _ in found.keys if key.kind == "request" and key.outcome == "ok" and key.metric in stream]
    assert len(found.values("ttft", outcome)) == 1, "each ended request has one ttft"
    assert all(one.outcome == outcome for one in found.kept)


async def test_a_request_without_a_token_has_its_time_as_a_lower_bound_of_ttft(url: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", **script("rate-limited"))

    found = await asked(url, journey)
    assert found.values("ttft", "http 429", bound=True) == found.values("response", "http 429")


async def test_a_stream_that_stalls_ends_at_the_idle_limit(url: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", **script("stall"))

    found = await asked(url, journey, idle="200ms")
    assert found.outcome == "stream stalled"
    (response,) = found.values("response", None)
    assert 480_000_000 <= response < 2_000_000_000, "the last token comes at 280 ms"
    assert len(found.values("ttft", "stream stalled", bound=False)) == 1


async def test_comments_keep_a_stream_alive() -> None:
    async def journey(user: User) -> None:
        assert (await user.llm.chat("hi")).text == "one"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = stream_reply("one").partition(b"\r\n\r\n")[2]
        begin = body.index(b'data: {"choices": [{"index": 0, "delta": {}')
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body[:begin])
        for _ in range(8):
            await asyncio.sleep(0.3)
            writer.write(b":\n\n")
        writer.write(body[begin:])
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await asked(f"http://127.0.0.1:{port}", journey, idle="2s")  # a stall of the machine is shorter
    assert found.outcome == "ok"


async def test_an_answer_without_a_first_token_is_a_timeout_at_its_limit() -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", max_tokens=4)

    with llm_in_thread(model=["sim"], ttft="10m") as server:
        found = await asked(server.url, journey, first_token="20ms")
    assert found.outcome == "timeout"
    assert found.values("ttft", "timeout", bound=True) == [20_000_000]


@pytest.mark.parametrize("name", ["crlf", "crlf-cuts", "cr", "utf8-cuts", "chunk-cuts", "comments", "gzip", "no-done"])
async def test_other_ways_to_write_the_same_events_are_read_alike(url: str, name: str) -> None:
    texts: list[str] = []

    async def journey(user: User) -> None:
        texts.append((await user.llm.chat("hi", **script(name))).text)

    found = await asked(url, journey)
    assert found.outcome == "ok"
    assert texts[0] in ("Zürich漢字 🦉", " lamp" * 10)


async def test_reasoning_is_the_first_token_and_content_the_first_output(url: str) -> None:
    got: list[Any] = []

    async def journey(user: User) -> None:
        reply = await user.llm.chat("hi", **script("reasoning"))
        got.append((reply.reasoning, reply.text))

    for _ in range(5):
        found = await asked(url, journey)
        (ttft,), (ttfo,) = found.values("ttft"), found.values("ttfo")
        if ttft < ttfo:
            break  # else the machine stood still for as long as the answer took, and one read brought all of it
    assert ttfo - ttft > 50_000_000, "200 ms by the script"
    assert set(got) == {(" hm" * 10, " lamp" * 10)}


async def test_rows_whose_tokens_are_counted_by_events_are_apart(url: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", max_tokens=2)
        await user.llm.chat("hi", **script("usage-none"))

    found = await asked(url, journey)
    assert (("tokens", "events"),) in found.tags("chat")
    assert (("cold", "first"),) in found.tags("chat"), "the first request of the worker"


async def test_a_whole_answer_is_read_and_its_row_is_apart(url: str) -> None:
    texts: list[str] = []

    async def journey(user: User) -> None:
        await user.llm.chat("hi", max_tokens=2)
        texts.append((await user.llm.chat("hi", max_tokens=3, stream=False)).text)

    found = await asked(url, journey)
    assert len(texts[0].split()) == 3
    assert (("answer", "whole"),) in found.tags("chat")


async def test_leaving_a_stream_early_is_kept_apart_and_closes_the_connection(slow_url: str) -> None:
    seen: list[Part] = []

    async def journey(user: User) -> None:
        async with user.llm.stream("hi", max_tokens=50) as answer:
            async for part in answer.parts():
                seen.append(part)
                if len(seen) == 3:
                    break

    found = await asked(slow_url, journey)
    assert [part.kind for part in seen] == ["role", "content", "content"]
    assert seen[2].t_ns > seen[1].t_ns, "10 ms later"
    assert found.outcomes() == {"left": 1}
    assert found.outcome == "ok", "the journey left on purpose"


async def test_the_parts_of_a_stream_that_is_read_to_its_end_are_all_there(url: str) -> None:
    texts: list[str] = []

    async def journey(user: User) -> None:
        async with user.llm.stream("hi", max_tokens=4) as answer:
            texts.append("".join([part.text async for part in answer.parts() if part.kind == "content"]))
            texts.append(answer.text)

    found = await asked(url, journey)
    assert found.outcomes() == {"ok": 1}
    assert texts[0] == texts[1] != ""


async def test_the_part_of_a_last_event_without_its_blank_line_is_there() -> None:
    texts: list[str] = []

    async def journey(user: User) -> None:
        async with user.llm.stream("hi") as answer:
            texts.append("".join([part.text async for part in answer.parts() if part.kind == "content"]))
            texts.append(answer.text)

    body = stream_reply("one", " two").partition(b"\r\n\r\n")[2]
    cut = body[: body.index(b" two") + 4] + b'"}, "finish_reason": "stop"}]}'
    async with scripted(ok(cut, "Content-Type: text/event-stream")) as server:
        found = await asked(server.url, journey)
    assert found.outcome == "ok"
    assert texts == ["one two", "one two"]


async def test_a_stream_that_breaks_while_it_is_read_raises_in_the_journey(url: str) -> None:
    caught: list[str] = []

    async def journey(user: User) -> None:
        try:
            async with user.llm.stream("hi", **script("reset")) as answer:
                async for _ in answer.parts():
                    pass
        except RequestFailed as failure:
            caught.append(failure.outcome)

    found = await asked(url, journey)
    assert caught == ["reset"]
    assert found.outcomes() == {"reset": 1}


async def test_a_conversation_carries_the_real_answers_on_and_splits_rows_by_turn(url: str) -> None:
    sent: list[int] = []

    async def journey(user: User) -> None:
        talk = user.llm.conversation(system="Be brief.")
        for _ in range(8):
            reply = await talk.ask(prompt(tokens=10), max_tokens=3)
            sent.append(reply.usage.prompt)
        assert [message.role for message in talk.messages[:3]] == ["system", "user", "assistant"]

    found = await asked(url, journey)
    assert found.outcome == "ok"
    assert sent == [2 + 10 * turn + 3 * (turn - 1) for turn in range(1, 9)]
    values = {value for tags in found.tags("chat") for name, value in tags if name == "turn"}
    assert values == {"1", "2-3", "4-7", "8+"}


async def test_a_failed_turn_stays_out_of_the_conversation(url: str) -> None:
    async def journey(user: User) -> None:
        talk = user.llm.conversation()
        with pytest.raises(RequestFailed):
            await talk.ask("hi", **script("rate-limited"))
        assert talk.messages == []
        await talk.ask("hi", max_tokens=2)
        assert len(talk.messages) == 2

    await asked(url, journey)


async def stock(item: str, shop: str = "bern") -> int:
    """Return how many pieces of an item are there."""
    return len(item)


async def test_a_tool_is_called_with_the_arguments_that_the_model_wrote(url: str) -> None:
    results: list[Any] = []

    async def journey(user: User) -> None:
        talk = user.llm.conversation(tools=[stock])
        reply = await talk.ask("Is the lamp there?")
        assert reply.finish == "tool_calls"
        for call in reply.tool_calls:
            results.append((call.name, (await call.run()).content))
        await talk.answer(*[await call.run() for call in reply.tool_calls])
        assert talk.messages[2].role == "tool"
        assert talk.messages[2].tool_call_id == reply.tool_calls[0].id

    found = await asked(url, journey)
    assert found.outcome == "ok"
    assert [name for name, _ in results] == ["stock"]


async def test_a_tool_of_one_request_is_called_in_a_stream_and_in_a_turn_of_a_conversation() -> None:
    results: list[str] = []

    async def journey(user: User) -> None:
        async with user.llm.stream("Is the lamp there?", tools=[stock]) as answer:
            async for _ in answer.parts():
                pass
        reply = await user.llm.conversation().ask("Is the lamp there?", tools=[stock])
        for call in (*answer.tool_calls, *reply.tool_calls):
            results.append((await call.run()).content)

    async with scripted(stream_reply(tool_calls={"stock": {"item": "lamp"}}, finish="tool_calls")) as server:
        found = await asked(server.url, journey)
    assert found.outcome == "ok"
    assert results == ["4", "4"]


async def test_a_call_of_an_unknown_tool_has_an_outcome_of_its_own(url: str) -> None:
    async def journey(user: User) -> None:
        reply = await user.llm.chat("hi", **script("tool-call"))
        await reply.tool_calls[0].run()

    found = await asked(url, journey)
    assert found.outcome == "unknown tool"


@dataclass(frozen=True)
class Order:
    item: str
    quantity: int


async def test_structured_output_is_parsed_and_its_schema_is_sent(url: str) -> None:
    async def journey(user: User) -> None:
        reply = await user.llm.chat("Two lamps", format=Order)
        assert isinstance(reply.parsed(Order), Order)

    assert (await asked(url, journey)).outcome == "ok"


async def test_output_that_does_not_fit_its_type_is_an_outcome(url: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("Two lamps", format=Order, **script("golden"))

    found = await asked(url, journey)
    assert found.outcome == "parse Order"
    assert found.outcomes() == {"parse Order": 1}
    assert found.values("ttft") == []


async def test_the_wrong_finish_reason_is_an_outcome(url: str) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", max_tokens=2, expect="stop")

    found = await asked(url, journey)
    assert found.outcomes() == {"expect finish": 1}


@pytest.mark.parametrize("api", ["completions", "responses", "anthropic"])
async def test_other_apis_have_the_same_metrics(api: Any) -> None:
    async def journey(user: User) -> None:
        reply = await user.llm.chat([Message("user", "How many lamps?")], max_tokens=5)
        assert len(reply.text.split()) == 5
        assert reply.output_tokens == 5

    # So long between tokens that a busy machine reads some of them apart.
    with llm_in_thread(model=["sim"], ttft="0ms", itl="100ms") as server:
        found = await asked(server.url, journey, api=api)
    assert found.outcome == "ok"
    assert 1 <= len(found.values("itl")) <= 4, "fewer if tokens share a read with the first one"


async def test_an_api_of_ones_own_that_is_made_from_another_has_its_headers() -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi")

    async with scripted(ok(status="404 Not Found")) as server:
        await asked(server.url, journey, api=replace(APIS["anthropic"], path="/gateway/v1/ask"))
    assert server.requests[0].header("anthropic-version") == "2023-06-01"


async def test_embeddings_are_counted_and_their_number_and_size_are_checked(url: str) -> None:
    async def journey(user: User) -> None:
        found = await user.llm.embed([prompt(tokens=20)] * 4, name="embed 4")
        assert len(found.vectors) == 4
        assert found.prompt_tokens == 80
        await user.llm.embed("one", dimensions=found.size + 1)

    found = await asked(url, journey)
    assert found.outcomes() == {"ok": 1, "expect vectors": 1}
    assert found.values("prompt_tokens") == [80_000]


async def test_a_cancelled_request_has_no_row(slow_url: str) -> None:
    async def journey(user: User) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.06):
                await user.llm.chat("hi", max_tokens=50)

    found = await asked(slow_url, journey)
    assert found.outcomes() == {}


async def test_prompts_of_one_iteration_differ_and_are_the_same_in_another_run(url: str) -> None:
    sent: list[str] = []

    async def journey(user: User) -> None:
        for _ in range(2):
            reply = await user.llm.chat(prompt(tokens=12), max_tokens=1)
            sent.append(reply.request.content.decode())

    await asked(url, journey)
    await asked(url, journey)
    assert sent[:2] == sent[2:]
    assert sent[0] != sent[1]


async def test_figures_that_a_journey_reads_before_the_end_are_not_those_that_are_recorded(url: str) -> None:
    early: list[int] = []

    async def journey(user: User) -> None:
        async with user.llm.stream("hi", max_tokens=5) as answer:
            async for _ in answer.parts():
                early.append(answer.output_tokens)

    found = await asked(url, journey)
    assert early[-1] == 5
    assert found.values("output_tokens") == [5_000]


def test_lengths_are_noted_once_if_more_than_5_percent_are_others() -> None:
    lengths = ExactLengths()
    assert not any(lengths.add(is_exact=n != 7) for n in range(20)), "one of 20 is 5 %"
    notes = [lengths.add(is_exact=False) for _ in range(5)]
    assert ["not the workload" in note for note in notes] == [True, False, False, False, False]


@pytest.mark.parametrize(("tokens", "notes"), [(12, 0), (11, 1)])
async def test_answers_of_another_length_than_asked_for_are_noted(tokens: int, notes: int) -> None:
    async def journey(user: User) -> None:
        await user.llm.chat("hi", max_tokens=12, exactly=True)

    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": tokens}}
    text = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "length"}]}
    async with scripted(lambda _: streamed(text, usage, "[DONE]")) as server:
        found = await asked(server.url, journey, times=25)

    assert found.outcomes() == {"ok": 25}
    assert len([note for note in found.notes if "not the workload" in note]) == notes
