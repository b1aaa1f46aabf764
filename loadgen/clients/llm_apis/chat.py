"""The API "OpenAI chat completions", as OpenAI, vLLM, SGLang, llama.cpp, Ollama and gateways have it."""

from __future__ import annotations

from typing import Final

from loadgen.clients.llm_apis.openai_wire import common_body, decode_chunk, decode_whole
from loadgen.clients.llm_apis.types import Api, InferenceRequest, Message, exact_length

__all__ = ["API", "body", "decode", "decode_reply"]


def body(request: InferenceRequest) -> dict[str, object]:
    """Return the JSON value of a request's body.

    The limit of tokens is `max_tokens`, which all servers know. With `reasoning` it is `max_completion_tokens`,
    because OpenAI's reasoning models refuse the other name.
    """
    made = common_body(request)
    made["messages"] = [_message(message) for message in request.messages]
    if request.tools:
        made["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                },
            }
            for tool in request.tools
        ]
    if request.reasoning:
        made["reasoning_effort"] = request.reasoning
        if "max_tokens" in made:
            made["max_completion_tokens"] = made.pop("max_tokens")
    return {**made, **exact_length(request), **request.extra}


def _message(message: Message) -> dict[str, object]:
    made: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        made["content"] = message.content or None
        made["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        made["tool_call_id"] = message.tool_call_id
    return made


decode: Final = decode_chunk
decode_reply: Final = decode_whole
API: Final = Api("chat", "/v1/chat/completions", body, decode, decode_reply)
