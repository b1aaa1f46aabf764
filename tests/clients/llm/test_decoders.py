"""One event or one whole answer of each API, as neutral parts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.llm_apis.apis import APIS
from loadgen.clients.llm_apis.types import ApiName, Part, StreamError, ToolPiece, Usage


def decode(api: ApiName, value: object, event: str = "message") -> list[Part]:
    return APIS[api].decode(event, json.dumps(value).encode())


def delta(finish: str | None = None, index: int = 0, **keys: object) -> dict[str, object]:
    return {"choices": [{"index": index, "delta": keys, "finish_reason": finish}], "usage": None}


def kinds(parts: list[Part]) -> list[str]:
    return [part.kind for part in parts]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_chat_reasoning_has_two_names(key: str) -> None:
    assert decode("chat", {"choices": [{"delta": {key: "Hm"}}]}) == [Part("reasoning", "Hm")]


def test_chat_with_both_names_for_reasoning_has_it_once() -> None:
    assert decode("chat", delta(reasoning="Hm", reasoning_content="Hm")) == [Part("reasoning", "Hm")]


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (delta(role="assistant", content=""), [Part("role")]),
        (delta(role="assistant", content=None), [Part("role")]),
        (delta(), [Part("role")]),
        (delta(role="assistant", content="A"), [Part("content", "A")]),
        (delta(content=[{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]), [Part("content", "AB")]),
        (delta(refusal="No."), [Part("refusal", "No.")]),
        (delta(content="A", index=2), [Part("content", "A", choice=2)]),
        (delta("stop"), [Part("finish", "stop", finish="stop")]),
        (delta("length", content="A"), [Part("content", "A"), Part("finish", "length", finish="length")]),
        ({"choices": [], "usage": None}, [Part("other")]),
        ({"choices": None}, [Part("other")]),
        ({"choices": [{"delta": None, "index": None}]}, [Part("role")]),
    ],
)
def test_chat_chunks(chunk: object, expected: list[Part]) -> None:
    assert decode("chat", chunk) == expected


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [{"index": "0", "delta": {"content": "A"}}]},
        {"choices": [{"delta": {"content": "A", "reasoning": {"text": "Hm"}}}]},
        {"choices": [{"delta": {"content": "A", "tool_calls": {"a": 1}}, "finish_reason": {"type": "stop"}}]},
        {"choices": [{"delta": {"content": "A"}}, 5], "usage": []},
        {"choices": [{"delta": {"content": "A"}}], "usage": {"completion_tokens": {"text": 1}}},
    ],
)
def test_a_member_of_an_unusual_type_does_not_lose_the_token_beside_it(odd: object) -> None:
    parts = [part for part in decode("chat", odd) if part.kind != "usage"]

    assert parts == [Part("content", "A")]


@pytest.mark.parametrize("number", [12.0, "12"])
def test_usage_with_a_point_or_in_quotes_is_usage(number: object) -> None:
    chunk = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": number, "prompt_tokens_details": []}}

    assert decode("chat", chunk) == [Part("usage", tokens=12, usage=Usage(prompt=5, output=12))]


def test_chat_usage_beside_content_comes_after_it() -> None:
    chunk = {**delta(content="A"), "usage": {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": None}}

    assert decode("chat", chunk) == [Part("content", "A"), Part("usage", tokens=3, usage=Usage(prompt=5, output=3))]


def test_chat_usage_has_cached_and_reasoning_tokens() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }

    assert decode("chat", {"choices": [], "usage": usage}) == [Part("usage", tokens=7, usage=Usage(9, 8, 7, 4))]


def test_a_negative_count_is_no_count() -> None:
    usage = {"prompt_tokens": -3, "completion_tokens": -1}

    assert decode("chat", {"choices": [], "usage": usage}) == [Part("usage", usage=Usage())]


def test_chat_pieces_of_tool_calls() -> None:
    calls = [
        {"index": 1, "id": "c1", "type": "function", "function": {"name": "stock", "arguments": ""}},
        {"index": 1, "id": None, "function": {"name": None, "arguments": '{"a"'}},
        {"function": {"name": "f", "arguments": {"a": 1}}},
    ]

    assert [part.tool for part in decode("chat", delta(tool_calls=calls))] == [
        ToolPiece(1, "c1", "stock", ""),
        ToolPiece(1, "", "", '{"a"'),
        ToolPiece(2, "", "f", '{"a":1}'),
    ]


@pytest.mark.parametrize(
    ("event", "data", "message"),
    [
        ("message", b'{"error":{"message":"out of memory","type":"oom","code":500}}', "out of memory"),
        ("message", b'{"error":"overloaded"}', "overloaded"),
        ("message", b'{"object":"error","message":"bad","type":"x","code":400}', "bad"),
        ("error", b'{"message":"late"}', '{"message":"late"}'),
        ("error", b"no JSON", "no JSON"),
    ],
)
def test_errors_in_a_chat_stream(event: str, data: bytes, message: str) -> None:
    (part,) = APIS["chat"].decode(event, data)

    assert (part.kind, part.text) == ("error", message)


def test_an_error_keeps_its_kind_and_code() -> None:
    (part,) = decode("chat", {"error": {"message": "full", "type": "oom", "code": 500}})

    assert part.error == StreamError("full", "oom", "500")


def test_completions_have_text() -> None:
    chunk = {"choices": [{"index": 0, "text": "A", "finish_reason": None}]}

    assert decode("completions", chunk) == [Part("content", "A")]
    assert decode("completions", {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}) == [
        Part("finish", "stop", finish="stop")
    ]


@pytest.mark.parametrize("api", ["chat", "completions", "responses"])
@pytest.mark.parametrize("data", [b"[DONE]", b"[DONE] ", b"[DONE]\n"])
def test_done_ends_the_streams_of_openai(api: ApiName, data: bytes) -> None:
    assert APIS[api].decode("message", data) == [Part("done")]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"3",
        b"[1]",
        b'"x"',
        b"\xff",
        b'{"choices":7}',
        b'{"type":5}',
        b'{"x":1}',
        b"<html>",
        b"{}",
        b"[" * 100_000,
        b'{"x":' * 100_000,
    ],
)
def test_unknown_or_invalid_data_are_other(api: ApiName, data: bytes) -> None:
    assert kinds(APIS[api].decode("message", data)) == ["other"]
    assert kinds(APIS[api].decode_reply(data)) == ["other"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "response.created", "response": {"status": "in_progress"}}, [Part("role")]),
        ({"type": "response.output_text.delta", "delta": "A"}, [Part("content", "A")]),
        ({"type": "response.output_text.delta", "delta": ""}, [Part("other")]),
        ({"type": "response.reasoning_text.delta", "delta": "A"}, [Part("reasoning", "A")]),
        ({"type": "response.reasoning_summary_text.delta", "delta": "A"}, [Part("reasoning", "A")]),
        ({"type": "response.refusal.delta", "delta": "No"}, [Part("refusal", "No")]),
        ({"type": "response.output_text.done", "text": "A"}, [Part("other")]),
        (
            {
                "type": "response.output_item.added",
                "output_index": 1,
                "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
            },
            [Part("tool_call", tool=ToolPiece(1, "c", "f", ""))],
        ),
        (
            {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
            [Part("tool_call", "{}", tool=ToolPiece(1, arguments="{}"))],
        ),
        (
            {
                "type": "response.incomplete",
                "response": {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            },
            [Part("finish", "max_output_tokens", finish="length"), Part("done")],
        ),
        (
            {"type": "response.failed", "response": {"status": "failed", "error": {"code": "oom", "message": "full"}}},
            [Part("error", "full", error=StreamError("full", "", "oom"))],
        ),
        (
            {"type": "error", "code": "oom", "message": "full", "param": None},
            [Part("error", "full", error=StreamError("full", "", "oom"))],
        ),
    ],
)
def test_events_of_responses(value: object, expected: list[Part]) -> None:
    assert decode("responses", value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "ping"}, [Part("other")]),
        ({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, [Part("other")]),
        (
            {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
            [Part("reasoning", "Hm")],
        ),
        (
            {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "x"}},
            [Part("other")],
        ),
        (
            {
                "type": "content_block_start",
                "index": 1,
                "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            },
            [Part("tool_call", tool=ToolPiece(1, "t", "f", ""))],
        ),
        (
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a'}},
            [Part("tool_call", '{"a', tool=ToolPiece(1, arguments='{"a'))],
        ),
        (
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
            [Part("finish", "tool_use", finish="tool_calls"), Part("usage", tokens=5, usage=Usage(output=5))],
        ),
        ({"type": "message_stop"}, [Part("done")]),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            [Part("error", "Overloaded", error=StreamError("Overloaded", "overloaded_error"))],
        ),
    ],
)
def test_events_of_anthropic(value: object, expected: list[Part]) -> None:
    assert decode("anthropic", value) == expected


def test_the_prompt_of_anthropic_has_the_cached_tokens_in_it() -> None:
    usage = {"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 85, "output_tokens": 1}

    parts = decode("anthropic", {"type": "message_start", "message": {"type": "message", "usage": usage}})

    assert parts == [Part("role"), Part("usage", tokens=1, usage=Usage(prompt=100, cached=85, output=1))]


USAGE = Part("usage", tokens=2, usage=Usage(prompt=5, output=2))
REPLIES: dict[ApiName, tuple[object, list[Part]]] = {
    "chat": (
        {
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "A",
                        "reasoning_content": "R",
                        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    },
                    "finish_reason": "tool_calls",
                }
            ],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2},
        },
        [
            Part("reasoning", "R"),
            Part("content", "A"),
            Part("tool_call", "{}", tool=ToolPiece(0, "c", "f", "{}")),
            Part("finish", "tool_calls", finish="tool_calls"),
            USAGE,
            Part("done"),
        ],
    ),
    "completions": (
        {
            "choices": [{"index": 0, "text": "A", "finish_reason": "length"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2},
        },
        [Part("content", "A"), Part("finish", "length", finish="length"), USAGE, Part("done")],
    ),
    "responses": (
        {
            "status": "completed",
            "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "R"}]},
                {"type": "message", "content": [{"type": "output_text", "text": "A"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            ],
            "usage": {"input_tokens": 5, "output_tokens": 2},
        },
        [
            Part("reasoning", "R"),
            Part("content", "A"),
            Part("tool_call", "{}", tool=ToolPiece(2, "c", "f", "{}")),
            Part("finish", "tool_calls", finish="tool_calls"),
            USAGE,
            Part("done"),
        ],
    ),
    "anthropic": (
        {
            "type": "message",
            "content": [
                {"type": "thinking", "thinking": "R", "signature": "x"},
                {"type": "text", "text": "A"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
            ],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 5, "output_tokens": 2},
        },
        [
            Part("reasoning", "R"),
            Part("content", "A"),
            Part("tool_call", '{"a":1}', tool=ToolPiece(2, "c", "f", '{"a":1}')),
            Part("finish", "tool_use", finish="tool_calls"),
            USAGE,
            Part("done"),
        ],
    ),
}


@pytest.mark.parametrize("api", APIS)
def test_an_answer_that_was_not_streamed_has_the_same_parts(api: ApiName) -> None:
    value, expected = REPLIES[api]

    assert APIS[api].decode_reply(json.dumps(value).encode()) == expected


@pytest.mark.parametrize("api", APIS)
def test_an_error_in_place_of_an_answer_is_an_error_without_an_end(api: ApiName) -> None:
    data = json.dumps({"error": {"message": "no such model", "type": "not_found"}}).encode()

    assert kinds(APIS[api].decode_reply(data)) == ["error"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "text",
                    "usage",
                    "error",
                    "item",
                    "response",
                    "output",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(value=json_values, api=st.sampled_from(list(APIS)), event=st.sampled_from(["message", "error", "ping"]))
def test_any_json_gives_parts_and_no_exception(value: object, api: ApiName, event: str) -> None:
    data = json.dumps(value).encode()

    assert APIS[api].decode(event, data)
    assert APIS[api].decode_reply(data)


@given(data=st.binary(max_size=40), api=st.sampled_from(list(APIS)))
def test_any_bytes_give_parts_and_no_exception(data: bytes, api: ApiName) -> None:
    assert APIS[api].decode("message", data)
    assert APIS[api].decode_reply(data)
