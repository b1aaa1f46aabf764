"""One neutral request as the body of each API."""

from __future__ import annotations

from typing import Any

import pytest

from loadgen.clients.llm_apis.apis import APIS
from loadgen.clients.llm_apis.types import ApiName, InferenceRequest, JsonFormat, Message, Tool, ToolCall
from loadgen.errors import UsageError

ASK = (Message("system", "Be brief."), Message("user", "Two oak lamps?"))
SCHEMA = {"type": "object", "properties": {"quantity": {"type": "integer"}}}
TALK = (
    *ASK,
    Message("assistant", "", (ToolCall("c1", "stock", '{"item":"lamp"}'), ToolCall("c2", "stock", "oops"))),
    Message("tool", "7", tool_call_id="c1"),
    Message("tool", "0", tool_call_id="c2"),
    Message("user", "Thanks"),
)
STOCK = Tool("stock", "Items in stock", SCHEMA)


def body(api: ApiName, messages: tuple[Message, ...] = ASK, **more: Any) -> dict[str, object]:
    return APIS[api].body(InferenceRequest("m", messages, **more))


def test_each_api_has_its_path() -> None:
    assert {name: api.path for name, api in APIS.items()} == {
        "chat": "/v1/chat/completions",
        "completions": "/v1/completions",
        "responses": "/v1/responses",
        "anthropic": "/v1/messages",
    }


def test_the_smallest_body_of_each_api() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Two oak lamps?"}]

    assert body("chat") == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": messages,
    }
    assert body("completions", usage="continuous") == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "prompt": "Be brief.\nTwo oak lamps?",
    }
    assert body("responses") == {"model": "m", "stream": True, "input": messages}
    assert body("anthropic") == {
        "model": "m",
        "stream": True,
        "max_tokens": 4096,
        "system": "Be brief.",
        "messages": [messages[1]],
    }


@pytest.mark.parametrize("options", [{"usage": "none"}, {"stream": False}])
def test_usage_is_asked_for_only_in_streams_that_want_it(options: dict[str, Any]) -> None:
    assert "stream_options" not in body("chat", **options)


def test_all_settings_of_chat() -> None:
    made = body("chat", max_tokens=9, temperature=0.0, stop=("END",), tools=(STOCK,), format=JsonFormat("O", SCHEMA))

    assert made["max_tokens"] == 9
    assert made["temperature"] == 0.0
    assert made["stop"] == ["END"]
    assert made["tools"] == [
        {"type": "function", "function": {"name": "stock", "description": "Items in stock", "parameters": SCHEMA}}
    ]
    assert made["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "O", "schema": SCHEMA, "strict": True},
    }


def test_chat_with_a_reasoning_effort_has_the_other_name_of_the_limit() -> None:
    made = body("chat", max_tokens=9, reasoning="low")

    assert (made["reasoning_effort"], made["max_completion_tokens"]) == ("low", 9)
    assert "max_tokens" not in made


def test_all_settings_of_responses() -> None:
    made = body(
        "responses", max_tokens=9, temperature=1.0, reasoning="low", tools=(STOCK,), format=JsonFormat("O", SCHEMA)
    )

    assert made["max_output_tokens"] == 9
    assert made["reasoning"] == {"effort": "low"}
    assert made["tools"] == [
        {"type": "function", "name": "stock", "description": "Items in stock", "parameters": SCHEMA}
    ]
    assert made["text"] == {"format": {"type": "json_schema", "name": "O", "schema": SCHEMA, "strict": True}}


def test_all_settings_of_anthropic() -> None:
    made = body(
        "anthropic", max_tokens=9, stop=("END",), reasoning="low", tools=(STOCK,), format=JsonFormat("O", SCHEMA)
    )

    assert (made["max_tokens"], made["stop_sequences"]) == (9, ["END"])
    assert made["tools"] == [{"name": "stock", "description": "Items in stock", "input_schema": SCHEMA}]
    assert made["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}


@pytest.mark.parametrize("api", APIS)
def test_an_exact_length_is_asked_for_as_vllm_has_it(api: ApiName) -> None:
    made = body(api, max_tokens=64, exactly=True)

    assert (made["ignore_eos"], made["min_tokens"]) == (True, 64)


@pytest.mark.parametrize("api", APIS)
def test_extra_keys_replace_ours(api: ApiName) -> None:
    made = body(api, extra={"model": "other", "top_k": 1})

    assert (made["model"], made["top_k"]) == ("other", 1)


def test_a_conversation_with_tools_in_chat() -> None:
    messages = body("chat", TALK)["messages"]

    assert isinstance(messages, list)
    assert messages[2] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "stock", "arguments": '{"item":"lamp"}'}},
            {"id": "c2", "type": "function", "function": {"name": "stock", "arguments": "oops"}},
        ],
    }
    assert messages[3] == {"role": "tool", "content": "7", "tool_call_id": "c1"}


def test_a_conversation_with_tools_in_responses() -> None:
    items = body("responses", TALK)["input"]

    assert isinstance(items, list)
    assert items[2:5] == [
        {"type": "function_call", "call_id": "c1", "name": "stock", "arguments": '{"item":"lamp"}'},
        {"type": "function_call", "call_id": "c2", "name": "stock", "arguments": "oops"},
        {"type": "function_call_output", "call_id": "c1", "output": "7"},
    ]


def test_a_conversation_with_tools_in_anthropic_has_all_results_in_one_message() -> None:
    assert body("anthropic", TALK)["messages"] == [
        {"role": "user", "content": "Two oak lamps?"},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "c1", "name": "stock", "input": {"item": "lamp"}},
                {"type": "tool_use", "id": "c2", "name": "stock", "input": {"arguments": "oops"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "7"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "0"},
            ],
        },
        {"role": "user", "content": "Thanks"},
    ]


@pytest.mark.parametrize(
    ("api", "settings", "named"),
    [
        ("completions", {"tools": (STOCK,), "reasoning": "low"}, "no tools and no reasoning"),
        ("responses", {"stop": ("END",)}, "no stop"),
    ],
)
def test_a_setting_that_an_api_does_not_have_is_refused(api: ApiName, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        body(api, **settings)
