"""The client of AI models of one user: `await user.llm.chat(prompt(tokens=1024))`.

Each request is a row of its own, as those of `user.http`, with the metrics of its stream besides. Requests go over the
user's connections, with its headers and cookies.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any, Final, Protocol, TypedDict, Unpack

import msgspec

from loadgen.clients.http import HttpClient
from loadgen.clients.llm.apis import APIS
from loadgen.clients.llm.reply import LlmCall, LlmReply
from loadgen.clients.llm.settings import Llm
from loadgen.clients.llm.types import InferenceRequest, JsonFormat, Message, Tool
from loadgen.clients.protocol.request_body_encoding import encode_json
from loadgen.clients.response.reply_class_for_plan import reply_class
from loadgen.clients.response.streams import ReplyStream
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.recording.tagging import GivenTags
from loadgen.errors import RequestFailed, UsageError

__all__ = ["Asking", "Content", "Drawn", "LlmClient", "LlmStream", "Place"]


class Drawn(Protocol):
    """A prompt whose text is drawn when it is sent (`loadgen.prompt`)."""

    @property
    def mean_tokens(self) -> float: ...


class Place(Protocol):
    """What the client needs of the user that it belongs to."""

    def prompt_text(self, prompt: Any) -> str:
        """Return the text of a prompt for this request."""

    def waited_ns(self, now_ns: int) -> int | None:
        """Return the time since the iteration was due, without think time; None: it has no due time."""


Content = str | Drawn | Message | Sequence["str | Drawn | Message"]
"""What is sent to a model: a text or a prompt as the user's message, or a list of messages."""


class Asking(TypedDict, total=False):
    """Options of every request to a model."""

    system: str | Drawn
    """The system prompt, before the messages."""
    name: str
    """The name of the row; by default that of the API, such as "chat"."""
    max_tokens: int | None
    """The most output tokens; by default those of `Llm`."""
    exactly: bool
    """Ask for exactly `max_tokens` tokens (`ignore_eos` and `min_tokens`, which vLLM and SGLang accept)."""
    tools: Sequence[Tool]
    """Tools that the model may call."""
    temperature: float | None
    stop: Sequence[str]
    reasoning: str
    """The effort of reasoning, such as "low"."""
    accept: Container[int]
    """Statuses of 400 or more that are no errors."""
    tags: GivenTags | None
    extra: Mapping[str, Any]
    """Further keys of the request's body."""


class LlmClient:
    """The client of one user for one model. `user.llm` is the one of the plan's `Llm`.

    reads: counts the reads of the worker's streams; None: nothing counts them.
    """

    __slots__ = ("_api", "_headers", "_http", "_last", "_limits", "_path", "_place", "_reads", "settings")

    def __init__(self, http: HttpClient, settings: Llm, place: Place, reads: StreamReads | None = None) -> None:
        self._http, self.settings, self._place, self._reads = http, settings, place, reads
        self._api: Final = APIS[settings.api]
        self._path: Final = settings.path or self._api.path
        self._headers = _headers(settings)
        # Read once: to parse three durations took 12 µs a request.
        self._limits: Final = settings.first_token_ns, settings.idle_ns, settings.timeout_ns
        self._last = (-1, -1)
        """Load and number of the iteration of the last call."""

    async def chat(
        self,
        content: Content,
        *,
        expect: str | None = None,
        format: type[Any] | JsonFormat | None = None,  # the APIs' word
        stream: bool | None = None,
        **asking: Unpack[Asking],
    ) -> LlmReply:
        """Ask the model, and return its reply when the whole answer is there.

        Args:
            content: a text or prompt, or a list of them and of messages.
            expect: the finish reason, "stop" or "length"; another one has the outcome `expect finish`.
            format: a dataclass or Struct whose JSON the answer has to be; its schema is sent.
            stream: False: ask for a whole answer. None: as `Llm` says.
            asking: the options of every request (`Asking`).

        Raises:
            RequestFailed: no usable answer: `http 429`, `timeout`, `stream truncated`, `no tokens` ...
            ExpectFailed: the answer was not as expected.
        """
        reply = await self._ask(content, asking, format, self.settings.stream if stream is None else stream)
        await reply.over()
        if expect is not None:
            reply.expect_finish(expect)
        if format is not None and not isinstance(format, JsonFormat):
            reply.parsed(format)
        return reply

    def stream(self, content: Content, **asking: Unpack[Asking]) -> LlmStream:
        """Return a context manager that asks the model and reads the answer part by part.

        `async with user.llm.stream(prompt(tokens=64)) as answer:`, then `async for part in answer.parts():`. To leave
        the block before the end closes the connection; the outcome is then `left`.
        """
        return LlmStream(self._ask(content, asking, None, True, reads_parts=True), None)

    # -- the way of one request -------------------------------------------------------------

    async def _ask(
        self,
        content: Content,
        asking: Asking,
        format: type[Any] | JsonFormat | None,
        wants_stream: bool,
        *,
        reads_parts: bool = False,
    ) -> LlmReply:
        """Send a request, and return its reply when the head of the answer is there."""
        http = self._http
        body = encode_json(self._api.body(self._request(content, asking, format, wants_stream)))
        meter, pool = http.meter, http.pool
        call = LlmCall(
            self._api,
            wants_stream,
            self._waited_ns(meter.load, meter.n),
            *self._limits,
            reads_parts,
            self._reads,
        )
        kind: type[LlmReply] = reply_class(LlmReply, pool.limit_bytes, has_phases=pool.has_phases)
        reply = await http.post_streamed(
            self._path,
            body,
            self._headers,
            partial(kind, call),
            name=asking.get("name") or self._api.name,
            tags=asking.get("tags"),
            limit_ns=min(call.total_ns, call.first_token_ns or call.total_ns),
        )
        assert isinstance(reply, LlmReply)
        if reply.status_code >= 400 and reply.status_code not in asking.get("accept", ()):
            await reply.over()
            raise RequestFailed(reply.outcome, f"{reply.route.method} {reply.route.url}: {_error_text(reply.body)}")
        return reply

    def _request(
        self,
        content: Content,
        asking: Asking,
        format: type[Any] | JsonFormat | None,
        wants_stream: bool,
    ) -> InferenceRequest:
        settings = self.settings
        max_tokens, temperature = asking.get("max_tokens"), asking.get("temperature")
        return InferenceRequest(
            model=settings.model,
            messages=self._messages(content, asking.get("system", "")),
            max_tokens=settings.max_tokens if max_tokens is None else max_tokens,
            stream=wants_stream,
            usage=settings.usage,
            temperature=settings.temperature if temperature is None else temperature,
            stop=tuple(asking.get("stop", ())),
            tools=tuple(asking.get("tools", ())),
            format=format if format is None or isinstance(format, JsonFormat) else _schema(format),
            reasoning=asking.get("reasoning", ""),
            exactly=asking.get("exactly", False),
            extra={**settings.extra, **asking.get("extra", {})},
        )

    def _waited_ns(self, load: int, n: int) -> int | None:
        """Return how long the iteration has waited since it was due; None if this is not its first call."""
        if self._last == (load, n):
            return None
        self._last = (load, n)
        return self._place.waited_ns(perf_counter_ns())

    def _messages(self, content: Content, system: str | Drawn) -> tuple[Message, ...]:
        given = content if isinstance(content, Sequence) and not isinstance(content, str) else (content,)
        found = [Message("system", self._text(system))] if system != "" else []
        found += [one if isinstance(one, Message) else Message("user", self._text(one)) for one in given]
        return tuple(found)

    def _text(self, given: str | Drawn) -> str:
        return given if isinstance(given, str) else self._place.prompt_text(given)


class LlmStream(ReplyStream):
    """The result of `user.llm.stream(...)`: an async context manager around one `LlmReply`."""

    __slots__ = ()

    async def __aenter__(self) -> LlmReply:
        reply = await super().__aenter__()
        assert isinstance(reply, LlmReply)
        return reply


def _headers(settings: Llm) -> bytes:
    """Return the header lines of each request besides the user's: version and API key.

    Raises:
        UsageError: the key has characters that no header may have.
    """
    lines = b"anthropic-version: 2023-06-01\r\n" if settings.api == "anthropic" else b""
    if settings.api_key is not None:
        key = settings.api_key.reveal().strip()
        if not key.isascii() or not key.isprintable():
            raise UsageError(
                f"the secret {settings.api_key.name!r} is no API key: it has characters that a header cannot have",
                hint="store the key alone, without quotes or line breaks",
            )
        name = "x-api-key: " if settings.api == "anthropic" else "Authorization: Bearer "
        lines += f"{name}{key}\r\n".encode("ascii")
    return lines


def _schema(kind: type[Any]) -> JsonFormat:
    """Return the JSON schema of a dataclass or Struct.

    Raises:
        UsageError: the type has no schema.
    """
    try:
        (schema,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    except TypeError as error:
        raise UsageError(f"format={kind!r} has no JSON schema: {error}", hint="use a dataclass or a Struct") from error
    own = parts.pop(kind.__name__, schema) if "$ref" in schema else schema
    return JsonFormat(kind.__name__, {**own, **({"$defs": parts} if parts else {})})


def _error_text(body: bytes) -> str:
    """Return the message of an error's body, cut to 500 characters."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError):
        return body.decode("utf-8", errors="replace")[:500]
    error = found.get("error", found) if isinstance(found, dict) else found
    return str(error.get("message", error) if isinstance(error, dict) else error)[:500]
