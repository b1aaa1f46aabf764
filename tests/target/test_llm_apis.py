"""The APIs of the inference server, read by a plain client."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from loadgen.target.llm.server import LlmServer
from tests.support.llm_target import Wire, answer_of, chat_body, llm_in_thread


@pytest.fixture(scope="module")
def server() -> Iterator[LlmServer]:
    with llm_in_thread(model=["one", "two"], context=1000) as running:
        yield running


def test_chat_stream_has_role_tokens_finish_usage_and_done(server: LlmServer) -> None:
    body = chat_body(model="two", max_tokens=3, stream_options={"include_usage": True})
    reply = answer_of(server.url, "/v1/chat/completions", body)

    choices = [chunk["choices"][0] for chunk in reply.data if chunk["choices"]]
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert [c["delta"]["content"] for c in choices[1:4]] == ["".join([" ", w]) for w in _words(choices[1:4])]
    assert choices[4]["finish_reason"] == "length"
    assert reply.data[-1]["usage"] == {
        "prompt_tokens": 2,
        "total_tokens": 5,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert reply.events[-1] == "data: [DONE]"
    assert {chunk["model"] for chunk in reply.data} == {"two"}


def _words(choices: list[dict[str, Any]]) -> list[str]:
    words = [choice["delta"]["content"].strip() for choice in choices]
    assert all(word.isalpha() for word in words)
    return words


def test_usage_comes_only_when_it_is_asked_for(server: LlmServer) -> None:
    reply = answer_of(server.url, "/v1/chat/completions", chat_body(max_tokens=3))

    assert not [chunk for chunk in reply.data if "usage" in chunk]


def test_continuous_usage_counts_up_to_the_total(server: LlmServer) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    reply = answer_of(server.url, "/v1/chat/completions", chat_body(max_tokens=4, stream_options=options))

    assert [chunk["usage"]["completion_tokens"] for chunk in reply.data] == [0, 1, 2, 3, 4, 4, 4]


def test_an_answer_that_nothing_cuts_off_stops_by_itself(server: LlmServer) -> None:
    reply = answer_of(server.url, "/v1/chat/completions", {**chat_body(), "stream": False})

    assert reply.json["choices"][0]["finish_reason"] == "stop"
    assert reply.json["usage"]["completion_tokens"] == 64
    assert len(reply.json["choices"][0]["message"]["content"].split()) == 64


@pytest.mark.parametrize(
    ("fields", "tokens", "reason"),
    [
        ({"max_tokens": 100}, 64, "stop"),
        ({"max_tokens": 100, "ignore_eos": True}, 100, "length"),
        ({"max_completion_tokens": 7}, 7, "length"),
        ({"max_tokens": 100, "min_tokens": 80}, 80, "stop"),
        ({"ignore_eos": True}, 64, "length"),
    ],
)
def test_limits_decide_the_length(server: LlmServer, fields: dict[str, Any], tokens: int, reason: str) -> None:
    reply = answer_of(server.url, "/v1/chat/completions", {**chat_body(), "stream": False, **fields})

    assert reply.json["usage"]["completion_tokens"] == tokens
    assert reply.json["choices"][0]["finish_reason"] == reason


def test_several_choices_have_indices_and_share_the_usage(server: LlmServer) -> None:
    body = chat_body(max_tokens=2, n=3, stream_options={"include_usage": True})
    reply = answer_of(server.url, "/v1/chat/completions", body)

    finished = [c["index"] for chunk in reply.data for c in chunk["choices"] if c["finish_reason"]]
    assert finished == [0, 1, 2]
    assert reply.data[-1]["usage"]["completion_tokens"] == 6


def test_reasoning_effort_begins_the_answer_with_reasoning_tokens(server: LlmServer) -> None:
    body = chat_body(max_tokens=100, reasoning_effort="low", stream_options={"include_usage": True})
    reply = answer_of(server.url, "/v1/chat/completions", body)

    deltas = [chunk["choices"][0]["delta"] for chunk in reply.data[1:-2]]
    assert ["reasoning_content" in delta for delta in deltas] == [True] * 16 + [False] * 48
    assert reply.data[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 16}


_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "stock",
        "parameters": {
            "type": "object",
            "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 2}},
        },
    },
}


def test_a_tool_is_called_with_arguments_that_fit_its_schema(server: LlmServer) -> None:
    reply = answer_of(server.url, "/v1/chat/completions", chat_body(tools=[_TOOL]))

    calls = [
        c["delta"]["tool_calls"][0] for chunk in reply.data for c in chunk["choices"] if "tool_calls" in c["delta"]
    ]
    assert calls[0]["function"]["name"] == "stock"
    assert calls[0]["id"]
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"sku": "oak", "count": 2}
    assert reply.data[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_result_of_a_tool_gets_an_answer_in_words(server: LlmServer) -> None:
    messages = [{"role": "user", "content": "is it there?"}, {"role": "tool", "content": "7", "tool_call_id": "a"}]
    reply = answer_of(server.url, "/v1/chat/completions", {"messages": messages, "tools": [_TOOL]})

    assert reply.json["choices"][0]["message"]["content"]
    assert reply.json["choices"][0]["finish_reason"] == "stop"


def test_structured_output_fits_the_schema(server: LlmServer) -> None:
    schema = {
        "type": "object",
        "properties": {
            "quantity": {"type": "integer"},
            "city": {"enum": ["Bern", "Basel"]},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 2},
        },
        "$defs": {"part": {"type": "object", "properties": {"is_oak": {"type": "boolean"}}}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "Order", "schema": schema}}
    reply = answer_of(server.url, "/v1/chat/completions", {**chat_body(), "stream": False, "response_format": wanted})

    made = json.loads(reply.json["choices"][0]["message"]["content"])
    assert made == {"quantity": 1, "city": "Bern", "parts": [{"is_oak": True}, {"is_oak": True}]}


def test_completions_stream_texts(server: LlmServer) -> None:
    body = {"prompt": ["a b", "c"], "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}}
    reply = answer_of(server.url, "/v1/completions", body)

    assert all(chunk["choices"][0]["text"] for chunk in reply.data[:3])
    assert reply.data[3]["choices"][0]["finish_reason"] == "length"
    assert reply.data[4]["usage"]["prompt_tokens"] == 3


def test_anthropic_messages_begin_and_end_their_blocks(server: LlmServer) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body = {**chat_body(max_tokens=4), "thinking": thinking, "system": "be short"}
    reply = answer_of(server.url, "/v1/messages", body)

    assert [data["type"] for data in reply.data] == [
        *("message_start", "ping", "content_block_start", "content_block_delta", "content_block_delta"),
        *("content_block_stop", "content_block_start", "content_block_delta", "content_block_delta"),
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    assert all(
        event.startswith(f"event: {data['type']}\n") for event, data in zip(reply.events, reply.data, strict=True)
    )
    assert reply.data[0]["message"]["usage"]["input_tokens"] == 4
    assert reply.data[-2]["usage"]["output_tokens"] == 4
    assert reply.data[-2]["delta"]["stop_reason"] == "max_tokens"


def test_anthropic_calls_a_tool(server: LlmServer) -> None:
    tool = {"name": "stock", "input_schema": _TOOL["function"]["parameters"]}
    reply = answer_of(server.url, "/v1/messages", {**chat_body(max_tokens=50), "stream": False, "tools": [tool]})

    assert reply.json["content"][0]["name"] == "stock"
    assert reply.json["content"][0]["input"] == {"sku": "oak", "count": 2}
    assert reply.json["stop_reason"] == "tool_use"


def test_responses_number_their_events_and_end_with_the_whole_response(server: LlmServer) -> None:
    reply = answer_of(server.url, "/v1/responses", {"input": "hello there", "stream": True, "max_output_tokens": 500})

    assert [data["sequence_number"] for data in reply.data] == list(range(len(reply.data)))
    last = reply.data[-1]
    deltas = [data["delta"] for data in reply.data if data["type"] == "response.output_text.delta"]
    assert last["type"] == "response.completed"
    assert last["response"]["output"][0]["content"][0]["text"] == "".join(deltas)
    assert last["response"]["usage"]["input_tokens"] == 2
    assert last["response"]["usage"]["output_tokens"] == len(deltas) == 64


def test_embeddings_of_the_same_text_are_equal_and_have_length_one(server: LlmServer) -> None:
    plain = answer_of(server.url, "/v1/embeddings", {"input": ["a b", "c", "a b"], "dimensions": 8}).json
    packed = answer_of(
        server.url, "/v1/embeddings", {"input": "a b", "dimensions": 8, "encoding_format": "base64"}
    ).json

    vectors = [one["embedding"] for one in plain["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert sum(value * value for value in vectors[1]) == pytest.approx(1)
    assert struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"])) == pytest.approx(vectors[0])
    assert plain["usage"] == {"prompt_tokens": 5, "total_tokens": 5}


def test_models_and_health_answer(server: LlmServer) -> None:
    models = answer_of(server.url, "/v1/models").json["data"]

    assert [(one["id"], one["max_model_len"]) for one in models] == [("one", 1000), ("two", 1000)]
    assert answer_of(server.url, "/health").status == 200


def test_tokens_of_a_prompt_are_its_words_times_the_factor() -> None:
    with llm_in_thread(tokens_per_word=1.5) as server:
        tokenized = answer_of(server.url, "/tokenize", {"prompt": "one two three"}).json
        answered = answer_of(server.url, "/v1/chat/completions", {**chat_body("one two three"), "stream": False}).json

    assert tokenized["count"] == len(tokenized["tokens"]) == 5
    assert answered["usage"]["prompt_tokens"] == 5


def test_prompts_that_share_their_begin_have_cached_blocks_of_16(server: LlmServer) -> None:
    prefix = " ".join(f"word{n}" for n in range(40))
    usages = [
        answer_of(server.url, "/v1/chat/completions", {**chat_body(text), "stream": False}).json["usage"]
        for text in (prefix + " a", prefix + " b", "new " + prefix, prefix)
    ]

    assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages] == [0, 32, 0, 32]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/chat/completions", chat_body(model="nope"), 404, "The model `nope` does not exist."),
        ("/v1/chat/completions", chat_body(max_tokens=999), 400, "maximum context length is 1000 tokens and your"),
        ("/v1/chat/completions", chat_body("a " * 1000), 400, "your request has 1000 input tokens"),
        ("/v1/chat/completions", chat_body(max_tokens=0), 400, "max_tokens must be at least 1, got 0."),
        ("/v1/chat/completions", chat_body(max_tokens=5, min_tokens=6), 400, "less than or equal to max_tokens=5"),
        ("/v1/chat/completions", {"messages": []}, 400, "messages must be a list of at least one"),
        ("/v1/chat/completions", b"{oak", 400, "the body is not JSON"),
        ("/v1/chat/completions", b"[]", 400, "the body must be a JSON object"),
        ("/v1/chat/completions", {**chat_body(), "stream": "yes"}, 400, "stream must be true or false"),
        ("/v1/chat/completions", {**chat_body(), "stream": False, "stream_options": {}}, 400, "when `stream=True`"),
        ("/v1/chat/completions", chat_body(reasoning_effort="huge"), 400, "reasoning_effort must be one of"),
        ("/v1/chat/completions", chat_body(tools=[{"type": "function"}]), 400, "a function with a name"),
        ("/v1/messages", {"messages": [{"role": "user", "content": "a"}]}, 400, "max_tokens: Field required"),
        ("/v1/embeddings", {}, 400, "input: Field required"),
        ("/v1/nothing", {}, 404, "Not Found"),
    ],
)
def test_bad_requests_get_an_error_in_json(server: LlmServer, path: str, body: Any, status: int, said: str) -> None:
    reply = answer_of(server.url, path, body)

    assert reply.status == status
    assert said in reply.json["error"]["message"]


def test_images_are_rejected(server: LlmServer) -> None:
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    reply = answer_of(server.url, "/v1/chat/completions", {"messages": [{"role": "user", "content": parts}]})

    assert reply.status == 400
    assert "image(s)" in reply.json["error"]["message"]


def test_anthropic_errors_have_its_shape(server: LlmServer) -> None:
    reply = answer_of(server.url, "/v1/messages", chat_body(model="nope", max_tokens=1))

    assert reply.json["type"] == "error"
    assert reply.json["error"]["type"] == "not_found_error"


def test_a_key_is_needed_where_one_is_set() -> None:
    with llm_in_thread(api_key="oak") as server:
        bare = answer_of(server.url, "/v1/chat/completions", chat_body())
        wrong = answer_of(server.url, "/v1/models", headers={"authorization": "Bearer elm"})
        right = answer_of(server.url, "/v1/models", headers={"authorization": "Bearer oak"})
        anthropic = answer_of(server.url, "/v1/messages", chat_body(max_tokens=1), {"x-api-key": "oak"})
        health = answer_of(server.url, "/health")

    assert (bare.status, bare.json) == (401, {"error": "Unauthorized"})
    assert (wrong.status, right.status, anthropic.status, health.status) == (401, 200, 200, 200)


@pytest.mark.parametrize("field", [{"ignore_eos": True}, {"min_tokens": 5}])
def test_exact_lengths_can_be_refused(field: dict[str, Any]) -> None:
    with llm_in_thread(no_ignore_eos=True) as server:
        reply = answer_of(server.url, "/v1/chat/completions", chat_body(max_tokens=9, **field))

    assert reply.status == 400
    assert f"Unrecognized request argument supplied: {next(iter(field))}" in reply.json["error"]["message"]


def test_one_connection_serves_many_requests_also_pipelined_ones(server: LlmServer) -> None:
    wire = Wire(server.url)
    wire.send("/v1/chat/completions", chat_body(max_tokens=1))
    wire.send("/health")
    wire.send("/v1/chat/completions", chat_body(max_tokens=2), {"connection": "close"})
    replies = [wire.read() for _ in range(3)]

    assert [reply.ended for reply in replies] == ["complete"] * 3
    assert [len(reply.data) for reply in replies] == [3, 0, 4]
    assert wire.sock.recv(1) == b""
    wire.close()


def test_a_chunked_body_and_expect_are_read(server: LlmServer) -> None:
    wire = Wire(server.url)
    body = json.dumps(chat_body(max_tokens=1)).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n"
    )
    wire.sock.sendall(head)
    assert wire.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.sock.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    assert wire.read().events[-1] == "data: [DONE]"
    wire.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"oak\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\noak\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000, 431),
    ],
)
def test_bytes_that_are_no_request_are_answered_and_the_connection_closed(
    server: LlmServer, sent: bytes, status: int
) -> None:
    wire = Wire(server.url)
    wire.sock.sendall(sent)

    assert wire.read().status == status
    wire.close()


def test_stats_and_metrics_count_what_was_sent() -> None:
    with llm_in_thread() as server:
        answer_of(server.url, "/v1/chat/completions", chat_body("a b c", max_tokens=5))
        answer_of(server.url, "/v1/chat/completions", chat_body(model="nope"))
        stats = answer_of(server.url, "/stats").json
        page = answer_of(server.url, "/metrics").body.decode()

    assert stats["answers"] == {"/v1/chat/completions": {"200": 1, "404": 1}}
    assert (stats["prompt_tokens"], stats["generation_tokens"]) == (3, 5)
    labels = '{engine="0",model_name="loadgen-llm"}'
    for line in (
        f"vllm:num_requests_running{labels} 0.0",
        f"vllm:num_requests_waiting{labels} 0.0",
        f"vllm:prompt_tokens_total{labels} 3.0",
        f"vllm:generation_tokens_total{labels} 5.0",
        f"vllm:time_to_first_token_seconds_count{labels} 1.0",
        f"vllm:inter_token_latency_seconds_count{labels} 4.0",
        f"vllm:request_prefill_time_seconds_count{labels} 1.0",
        f"vllm:request_decode_time_seconds_count{labels} 1.0",
    ):
        assert line in page.splitlines()


def test_metrics_have_the_names_of_sglang_if_it_is_chosen() -> None:
    with llm_in_thread(engine="sglang") as server:
        page = answer_of(server.url, "/metrics").body.decode()

    assert 'sglang:num_running_reqs{model_name="loadgen-llm"} 0.0' in page.splitlines()
    assert "vllm:" not in page


def test_the_openai_library_reads_a_stream(server: LlmServer) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)
    chunks = list(
        client.chat.completions.create(
            model="one",
            messages=[{"role": "user", "content": "hello"}],
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert len("".join(c.choices[0].delta.content or "" for c in chunks if c.choices).split()) == 5
    with client.responses.stream(model="one", input="hello", max_output_tokens=100) as events:
        assert len(events.get_final_response().output_text.split()) == 64
