"""The neutral values that all inference APIs share: requests, parts of answers, usage, tool calls.

One file of this room per API translates these values into the JSON of the API and back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from loadgen.errors import UsageError
from loadgen.measure.streams import EventKind

__all__ = [
    "Api",
    "ApiName",
    "InferenceRequest",
    "JsonFormat",
    "Message",
    "Part",
    "Role",
    "StreamError",
    "Tool",
    "ToolCall",
    "ToolPiece",
    "Usage",
    "exact_length",
    "refuse",
]

ApiName = Literal["chat", "completions", "responses", "anthropic"]
Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(msgspec.Struct, frozen=True):
    """One complete call of a tool that the model asked for. arguments: JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True):
    """One message of a conversation.

    tool_calls: the calls that an assistant's message asked for. tool_call_id: of a tool's message, the call it answers.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call. parameters: the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, object] = field(default_factory=lambda: {"type": "object", "properties": {}})


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """The JSON schema that an answer has to follow."""

    name: str
    schema: Mapping[str, object]
    strict: bool = True


class InferenceRequest(msgspec.Struct, frozen=True):
    """One request to a model, in no API's words.

    usage: "final" asks for usage at the end of the stream, "continuous" for usage in each event, "none" for no usage.
    exactly: the answer must have `max_tokens` tokens. `ignore_eos` and `min_tokens` are sent, as vLLM and SGLang have
        them; other servers ignore or refuse them.
    reasoning: the effort of reasoning, such as "low". extra: more keys of the body, which replace ours.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int | None = None
    stream: bool = True
    usage: Literal["final", "continuous", "none"] = "final"
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    format: JsonFormat | None = None
    reasoning: str = ""
    exactly: bool = False
    extra: Mapping[str, object] = msgspec.field(default_factory=dict)


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts by the server; -1 if the server did not send one.

    prompt: all input tokens, cached ones too. cached: input tokens that the server had in its cache.
    output: all output tokens so far, reasoning too. reasoning: the output tokens that are reasoning.
    """

    prompt: int = -1
    cached: int = -1
    output: int = -1
    reasoning: int = -1

    def then(self, later: Usage) -> Usage:
        """Return the later usage, with the counts of this one where the later one has none."""
        return Usage(
            later.prompt if later.prompt >= 0 else self.prompt,
            later.cached if later.cached >= 0 else self.cached,
            later.output if later.output >= 0 else self.output,
            later.reasoning if later.reasoning >= 0 else self.reasoning,
        )


class ToolPiece(msgspec.Struct, frozen=True, gc=False):
    """A piece of a tool call. Pieces with the same index belong together; arguments are joined in order."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class StreamError(msgspec.Struct, frozen=True, gc=False):
    """An error object that the server sent in place of an answer, or in the middle of one."""

    message: str
    kind: str = ""
    code: str = ""


class Part(msgspec.Struct):
    """One part of an answer: what one event of the stream means. One event can have several parts.

    kind: role, reasoning, content, tool_call, refusal, finish, usage, done, error or other.
    text: the generated text of reasoning, content, tool_call (its arguments) and refusal. Of finish, the server's own
        word; of error, the message.
    tokens: the tokens in it, or -1 if unknown; of usage, all output tokens so far.
    t_ns: when it arrived; the reader of the stream sets it. choice: the index of the choice, with n > 1.
    finish: of finish: stop, length, tool_calls, content_filter, or the server's own word.
    """

    kind: EventKind
    text: str = ""
    tokens: int = -1
    t_ns: int = -1
    choice: int = 0
    finish: str = ""
    usage: Usage | None = None
    tool: ToolPiece | None = None
    error: StreamError | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """One inference API as pure functions.

    path: where requests go, such as /v1/chat/completions.
    body: the request's JSON value. decode: the parts of one SSE event (its name, its data).
    decode_reply: the parts of an answer that was not streamed.
    """

    name: ApiName
    path: str
    body: Callable[[InferenceRequest], dict[str, object]]
    decode: Callable[[str, bytes], list[Part]]
    decode_reply: Callable[[bytes], list[Part]]


def exact_length(request: InferenceRequest) -> dict[str, object]:
    """Return the keys that make a server generate exactly `max_tokens` tokens, if the request asks for that."""
    if not request.exactly or request.max_tokens is None:
        return {}
    return {"ignore_eos": True, "min_tokens": request.max_tokens}


def refuse(api: ApiName, unsupported: Mapping[str, object]) -> None:
    """Raise a UsageError if the request has one of these settings, which the API does not have."""
    found = [name for name, value in unsupported.items() if value]
    if found:
        raise UsageError(
            f'the API "{api}" has no {" and no ".join(found)}',
            hint='use api="chat", or send a key of your server in `extra`',
        )
