"""The API "Anthropic messages": typed events such as `content_block_delta`; vLLM and gateways have it, too."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from loadgen.clients.llm_apis.openai_wire import UNREADABLE, count, error_part, finish_part, usage_part
from loadgen.clients.llm_apis.types import Api, InferenceRequest, Message, Part, ToolPiece, Usage, exact_length

__all__ = ["API", "VERSION_HEADER", "body", "decode", "decode_reply"]

_DEFAULT_MAX_TOKENS: Final = 4096
"""This API requires a limit; this one is sent if the request has none."""
VERSION_HEADER: Final = ("anthropic-version", "2023-06-01")
"""Each request must have this header."""


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Message(msgspec.Struct, gc=False):
    type: str = ""
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    message: _Message | str | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: Any = None


_read: Final = msgspec.json.Decoder(_Event).decode
_read_reply: Final = msgspec.json.Decoder(_Message).decode


def body(request: InferenceRequest) -> dict[str, object]:
    """Return the JSON value of a request's body. This API always sends usage.

    System messages go into `system`; the results of tools become blocks of a user's message.
    """
    made: dict[str, object] = {"model": request.model, "stream": request.stream}
    made["max_tokens"] = _DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    system = "\n".join(message.content for message in request.messages if message.role == "system")
    if system:
        made["system"] = system
    made["messages"] = _messages(request.messages)
    if request.temperature is not None:
        made["temperature"] = request.temperature
    if request.stop:
        made["stop_sequences"] = list(request.stop)
    if request.tools:
        made["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
            for tool in request.tools
        ]
    config: dict[str, object] = {}
    if request.reasoning:
        config["effort"] = request.reasoning
    if request.format is not None:
        config["format"] = {"type": "json_schema", "schema": dict(request.format.schema)}
    if config:
        made["output_config"] = config
    return {**made, **exact_length(request), **request.extra}


def _messages(messages: tuple[Message, ...]) -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    results: list[dict[str, object]] | None = None  # the open user message of tool results, which all go into one
    for message in messages:
        if message.role == "tool":
            if results is None:
                results = []
                made.append({"role": "user", "content": results})
            results.append({"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content})
            continue
        if message.role == "system":
            continue
        results = None
        if not message.tool_calls:
            made.append({"role": message.role, "content": message.content})
            continue
        blocks: list[dict[str, object]] = [{"type": "text", "text": message.content}] if message.content else []
        blocks += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": _object(call.arguments)}
            for call in message.tool_calls
        ]
        made.append({"role": message.role, "content": blocks})
    return made


def _object(arguments: str) -> object:
    """Return the arguments as a JSON value; models can write invalid JSON, which is sent back as text."""
    try:
        return msgspec.json.decode(arguments or "{}")
    except UNREADABLE:
        return {"arguments": arguments}


def decode(event: str, data: bytes) -> list[Part]:
    """Return the parts of one event of a stream; of unknown or invalid data, one part of kind `other`."""
    try:
        found = _read(data)
    except UNREADABLE:
        return [error_part(data.decode("utf-8", "replace"))] if event == "error" else [Part("other")]
    if found.type == "content_block_delta" and found.delta is not None:
        return _delta_parts(found.delta, found.index)
    if found.type == "content_block_start" and found.content_block is not None:
        return _block_parts(found.content_block, found.index, start=True) or [Part("other")]
    if found.type == "message_start":
        message = found.message if isinstance(found.message, _Message) else None
        usage = message.usage if message else None
        return [Part("role"), *([_usage(usage)] if usage else [])]
    if found.type == "message_delta":
        reason = found.delta.stop_reason if found.delta else None
        parts = [finish_part(reason)] if reason else []
        return [*parts, *([_usage(found.usage)] if found.usage else [])] or [Part("other")]
    if found.type == "message_stop":
        return [Part("done")]
    if found.type == "error" or event == "error" or found.error:
        text = found.message if isinstance(found.message, str) else None
        return [error_part(found.error or text or "unknown error")]
    return [Part("other")]


def decode_reply(data: bytes) -> list[Part]:
    """Return the parts of an answer that was not streamed."""
    try:
        reply = _read_reply(data)
    except UNREADABLE:
        return [Part("other")]
    if reply.type == "error" or reply.error:
        return [error_part(reply.error or "unknown error")]
    if reply.content is None:
        return [Part("other")]
    parts = [part for index, block in enumerate(reply.content) for part in _block_parts(block, index, start=False)]
    if reply.stop_reason:
        parts.append(finish_part(reply.stop_reason))
    if reply.usage is not None:
        parts.append(_usage(reply.usage))
    return [*parts, Part("done")]


def _delta_parts(delta: _Delta, index: int) -> list[Part]:
    if delta.text:
        return [Part("content", delta.text)]
    if delta.thinking:
        return [Part("reasoning", delta.thinking)]
    if delta.partial_json:
        return [Part("tool_call", delta.partial_json, tool=ToolPiece(index, arguments=delta.partial_json))]
    return [Part("other")]


def _block_parts(block: _Block, index: int, *, start: bool) -> list[Part]:
    """Return the parts of a content block. At its start in a stream, a tool's input is an empty placeholder."""
    match block.type:
        case "text" if block.text:
            return [Part("content", block.text)]
        case "thinking" if block.thinking:
            return [Part("reasoning", block.thinking)]
        case "redacted_thinking":
            return [Part("reasoning")]
        case "tool_use" | "server_tool_use":
            arguments = "" if start or block.input is None else msgspec.json.encode(block.input).decode()
            return [Part("tool_call", arguments, tool=ToolPiece(index, block.id or "", block.name or "", arguments))]
    return []


def _usage(usage: _Usage) -> Part:
    """Return usage in our sense: the input tokens of this API leave out those of the cache, ours have them."""
    cached = usage.cache_read_input_tokens
    prompt = None
    if usage.input_tokens is not None:
        prompt = usage.input_tokens + (cached or 0) + (usage.cache_creation_input_tokens or 0)
    return usage_part(Usage(count(prompt), count(cached), count(usage.output_tokens)))


API: Final = Api("anthropic", "/v1/messages", body, decode, decode_reply)
