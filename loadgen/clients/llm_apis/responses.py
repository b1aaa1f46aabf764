"""The API "OpenAI responses": typed events such as `response.output_text.delta`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from loadgen.clients.llm_apis.openai_wire import UNREADABLE, count, error_part, finish_part, usage_part
from loadgen.clients.llm_apis.types import Api, InferenceRequest, Message, Part, ToolPiece, Usage, exact_length, refuse

__all__ = ["API", "body", "decode", "decode_reply"]


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Text(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct, gc=False):
    type: str = ""
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: list[_Text] | None = None
    summary: list[_Text] | None = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    status: str | None = None
    output: list[_Item] | None = None
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: str | None = None
    output_index: int = 0
    item: _Item | None = None
    response: _Response | None = None
    code: Any = None
    message: str | None = None
    error: Any = None


_read: Final = msgspec.json.Decoder(_Event).decode
_read_reply: Final = msgspec.json.Decoder(_Response).decode


def body(request: InferenceRequest) -> dict[str, object]:
    """Return the JSON value of a request's body. This API always sends usage, at the end.

    Raises:
        UsageError: the request has stop sequences, which this API has not.
    """
    refuse("responses", {"stop": request.stop})
    made: dict[str, object] = {"model": request.model, "stream": request.stream}
    made["input"] = [item for message in request.messages for item in _items(message)]
    if request.max_tokens is not None:
        made["max_output_tokens"] = request.max_tokens
    if request.temperature is not None:
        made["temperature"] = request.temperature
    if request.tools:
        made["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            }
            for tool in request.tools
        ]
    if request.format is not None:
        made["text"] = {
            "format": {
                "type": "json_schema",
                "name": request.format.name,
                "schema": dict(request.format.schema),
                "strict": request.format.strict,
            }
        }
    if request.reasoning:
        made["reasoning"] = {"effort": request.reasoning}
    return {**made, **exact_length(request), **request.extra}


def _items(message: Message) -> list[dict[str, object]]:
    if message.role == "tool":
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}]
    made: list[dict[str, object]] = []
    if message.content or not message.tool_calls:
        made.append({"role": message.role, "content": message.content})
    for call in message.tool_calls:
        made.append({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments})
    return made


def decode(event: str, data: bytes) -> list[Part]:
    """Return the parts of one event of a stream; of unknown or invalid data, one part of kind `other`."""
    if data[:1] == b"[" and data.strip() == b"[DONE]":
        return [Part("done")]
    try:
        found = _read(data)
    except UNREADABLE:
        return [error_part(data.decode("utf-8", "replace"))] if event == "error" else [Part("other")]
    match found.type or event:
        case "response.output_text.delta" | "response.refusal.delta" if found.delta:
            return [Part("content" if found.type == "response.output_text.delta" else "refusal", found.delta)]
        case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" if found.delta:
            return [Part("reasoning", found.delta)]
        case "response.function_call_arguments.delta" if found.delta:
            piece = ToolPiece(found.output_index, arguments=found.delta)
            return [Part("tool_call", found.delta, tool=piece)]
        case "response.output_item.added" if found.item is not None and found.item.type == "function_call":
            return [_call(found.item, found.output_index)]
        case "response.created":
            return [Part("role")]
        case "response.completed" | "response.incomplete" | "response.failed" if found.response is not None:
            return _end(found.response)
        case "error":
            return [error_part(found.error or {"message": found.message, "code": found.code})]
    return [error_part(found.error)] if found.error else [Part("other")]


def decode_reply(data: bytes) -> list[Part]:
    """Return the parts of an answer that was not streamed."""
    try:
        reply = _read_reply(data)
    except UNREADABLE:
        return [Part("other")]
    parts: list[Part] = []
    for index, item in enumerate(reply.output or ()):
        if item.type == "function_call":
            parts.append(_call(item, index))
        for text in (*(item.summary or ()), *(item.content or ())):
            if text.refusal:
                parts.append(Part("refusal", text.refusal))
            elif text.text:
                parts.append(Part("reasoning" if item.type == "reasoning" else "content", text.text))
    if not parts and reply.status is None and not reply.error:
        return [Part("other")]
    return [*parts, *_end(reply)]


def _call(item: _Item, index: int) -> Part:
    arguments = item.arguments or ""
    return Part("tool_call", arguments, tool=ToolPiece(index, item.call_id or "", item.name or "", arguments))


def _end(reply: _Response) -> list[Part]:
    """Return the parts of the last event: finish reason or error, usage, done."""
    parts: list[Part] = []
    failed = bool(reply.error) or reply.status == "failed"
    if failed:
        parts.append(error_part(reply.error or "the response failed"))
    elif reply.status == "incomplete":
        reason = reply.incomplete_details.reason if reply.incomplete_details else None
        parts.append(finish_part(reason or "incomplete"))
    else:
        called = any(item.type == "function_call" for item in reply.output or ())
        parts.append(finish_part("tool_calls" if called else "stop"))
    if reply.usage is not None:
        parts.append(_usage(reply.usage))
    return parts if failed else [*parts, Part("done")]


def _usage(usage: _Usage) -> Part:
    cached = usage.input_tokens_details.cached_tokens if usage.input_tokens_details else None
    reasoning = usage.output_tokens_details.reasoning_tokens if usage.output_tokens_details else None
    return usage_part(Usage(count(usage.input_tokens), count(cached), count(usage.output_tokens), count(reasoning)))


API: Final = Api("responses", "/v1/responses", body, decode, decode_reply)
