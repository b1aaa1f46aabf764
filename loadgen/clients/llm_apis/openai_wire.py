"""The JSON that OpenAI's chat completions and completions share, and its translation into parts.

Servers that speak these APIs differ in details, so almost each field can be null or missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, TypeVar, get_args, get_type_hints

import msgspec

from loadgen.clients.llm_apis.types import InferenceRequest, Part, StreamError, ToolPiece, Usage

__all__ = [
    "UNREADABLE",
    "Chunk",
    "Delta",
    "common_body",
    "count",
    "decode_chunk",
    "decode_whole",
    "error_part",
    "finish_part",
    "usage_part",
]

T = TypeVar("T", bound=msgspec.Struct)


class WireFunction(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None
    """Some servers send an object in place of its JSON text."""


class WireToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: WireFunction | None = None


class Delta(msgspec.Struct, gc=False):
    """The new piece of a streamed answer, or the message of a whole one."""

    role: str | None = None
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    """Of vLLM before 0.11, SGLang, DeepSeek."""
    reasoning: str | None = None
    """Of newer vLLM, OpenRouter, Ollama."""
    refusal: str | None = None
    tool_calls: list[WireToolCall] | None = None


class Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: OutputDetails | None = None


class Chunk(msgspec.Struct, gc=False):
    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    error: Any = None


UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The exceptions of decoding foreign JSON. RecursionError is raised for JSON that is nested some thousand levels deep.
"""
_read: Final = msgspec.json.Decoder(Chunk).decode
_FINISHES: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "refusal": "content_filter",
}


def _neutral_finish(reason: str) -> str:
    """Return stop, length, tool_calls or content_filter for the words of the APIs; any other word as it is."""
    return _FINISHES.get(reason, reason)


def finish_part(reason: str, choice: int = 0) -> Part:
    """Return the part of a finish reason; its text is the server's own word."""
    return Part("finish", reason, choice=choice, finish=_neutral_finish(reason))


def error_part(error: object) -> Part:
    """Return the part of an error object, or of what a server sent in its place."""
    if isinstance(error, dict):
        kind, code = error.get("type"), error.get("code")
        message = error.get("message") or error.get("detail") or kind or "unknown error"
        found = StreamError(str(message), str(kind or ""), "" if code is None else str(code))
    else:
        found = StreamError(str(error))
    return Part("error", found.message, error=found)


def count(tokens: int | None) -> int:
    """Return a count of the server, or -1 if it is missing or invalid."""
    return -1 if tokens is None or tokens < 0 else tokens


def usage_part(usage: Usage) -> Part:
    """Return the part of a server's usage."""
    return Part("usage", tokens=usage.output, usage=usage)


def decode_chunk(event: str, data: bytes) -> list[Part]:
    """Return the parts of one event of a stream; of unknown or invalid JSON, one part of kind `other`."""
    if data[:1] == b"[" and data.strip() == b"[DONE]":
        return [Part("done")]
    try:
        chunk = _read(data)
    except UNREADABLE:
        if event == "error":
            return [error_part(data.decode("utf-8", "replace"))]
        chunk = _leniently(data)
    choices = chunk.choices
    # Nearly every event is a piece of text of one choice.
    if choices is not None and len(choices) == 1 and chunk.usage is None and not chunk.error and event != "error":
        choice = choices[0]
        delta = choice.delta
        if (
            delta is not None
            and type(delta.content) is str
            and delta.content
            and not (delta.reasoning_content or delta.reasoning or delta.refusal or delta.tool_calls)
            and not (choice.text or choice.finish_reason)
        ):
            return [Part("content", delta.content, -1, -1, choice.index or 0)]
    if chunk.error or event == "error":
        return [error_part(chunk.error or data.decode("utf-8", "replace"))]
    return _parts(chunk) or _odd(data)


def decode_whole(data: bytes) -> list[Part]:
    """Return the parts of an answer that was not streamed; a whole answer ends with a part of kind `done`."""
    parts = decode_chunk("message", data)
    return parts if parts[-1].kind in ("other", "error") else [*parts, Part("done")]


def _leniently(data: bytes) -> Chunk:
    """Return a chunk without those of its members that have an unusual type, because the chunk's token has arrived.

    Numbers in quotes and whole numbers with a point, `"usage": {"completion_tokens": 12.0}`, are read as numbers.
    """
    try:
        value = msgspec.json.decode(data)
    except UNREADABLE:
        return Chunk()
    if not isinstance(value, dict):
        return Chunk()
    choices = value.get("choices")
    found = [_converted(choice, Choice) for choice in choices] if isinstance(choices, list) else []
    usage = _converted(value.get("usage"), WireUsage)
    return Chunk([choice for choice in found if choice is not None], usage, value.get("error"))


def _converted(value: object, kind: type[T]) -> T | None:
    """Return a value as this struct; None if it is no object. Members with values of other types are left out."""
    if not isinstance(value, dict):
        return None
    with suppress(msgspec.ValidationError):
        return msgspec.convert(value, kind, strict=False)
    found = kind()
    for name, member in get_type_hints(kind).items():
        inner = [one for one in get_args(member) if isinstance(one, type) and issubclass(one, msgspec.Struct)]
        if inner:
            setattr(found, name, _converted(value.get(name), inner[0]))
            continue
        with suppress(msgspec.ValidationError):
            setattr(found, name, msgspec.convert(value.get(name), member, strict=False))
    return found


def _odd(data: bytes) -> list[Part]:
    """Return the parts of a chunk without choices and usage: older vLLM's error object, or something else."""
    try:
        value = msgspec.json.decode(data)
    except UNREADABLE:
        return [Part("other")]
    return [error_part(value) if isinstance(value, dict) and value.get("object") == "error" else Part("other")]


def _parts(chunk: Chunk) -> list[Part]:
    parts: list[Part] = []
    for choice in chunk.choices or ():
        delta, number = choice.delta or choice.message, choice.index or 0
        before = len(parts)
        if choice.text:
            parts.append(Part("content", choice.text, choice=number))
        if delta is not None:
            if reasoning := delta.reasoning_content or delta.reasoning:
                parts.append(Part("reasoning", reasoning, choice=number))
            if (content := delta.content) and (content := content if type(content) is str else _text(content)):
                parts.append(Part("content", content, choice=number))
            if delta.refusal:
                parts.append(Part("refusal", delta.refusal, choice=number))
            if delta.tool_calls:
                parts += _tool_parts(delta.tool_calls, number)
        if choice.finish_reason:
            parts.append(finish_part(choice.finish_reason, number))
        if len(parts) == before:
            parts.append(Part("role", choice=number))
    if chunk.usage is not None:
        parts.append(_usage(chunk.usage))
    return parts


def _text(content: str | list[Any]) -> str:
    if isinstance(content, str):
        return content
    pieces = [piece.get("text") for piece in content if isinstance(piece, dict)]
    return "".join(piece for piece in pieces if isinstance(piece, str))


def _tool_parts(calls: Iterable[WireToolCall], choice: int) -> Iterable[Part]:
    for position, call in enumerate(calls):
        function = call.function or WireFunction()
        arguments = function.arguments or ""
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        piece = ToolPiece(position if call.index is None else call.index, call.id or "", function.name or "", arguments)
        if piece.id or piece.name or piece.arguments:
            yield Part("tool_call", arguments, choice=choice, tool=piece)


def _usage(usage: WireUsage) -> Part:
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
    reasoning = usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else None
    return usage_part(
        Usage(count(usage.prompt_tokens), count(cached), count(usage.completion_tokens), count(reasoning))
    )


def common_body(request: InferenceRequest) -> dict[str, object]:
    """Return the keys that the bodies of chat completions and completions share."""
    made: dict[str, object] = {"model": request.model, "stream": request.stream}
    if request.max_tokens is not None:
        made["max_tokens"] = request.max_tokens
    if request.stream and request.usage != "none":
        options: dict[str, object] = {"include_usage": True}
        if request.usage == "continuous":
            options["continuous_usage_stats"] = True
        made["stream_options"] = options
    if request.temperature is not None:
        made["temperature"] = request.temperature
    if request.stop:
        made["stop"] = list(request.stop)
    if request.format is not None:
        made["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": request.format.name,
                "schema": dict(request.format.schema),
                "strict": request.format.strict,
            },
        }
    return made
