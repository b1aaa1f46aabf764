"""Shows gRPC messages as text, in failures and in `loadgen check`: one line a message, in the notation of JSON.

Bytes alone do not say which message they are, so the classes are remembered by the path of the method: those of answers
when a stub is made, those of requests with the first call. Secrets are masked later, as in all exchanges.
"""

from __future__ import annotations

from typing import Any, Final

from loadgen.clients.grpc_client.messages import MessageReader
from loadgen.clients.response.format_exchange import BODY_TEXTS, MAX_SHOWN_BYTES
from loadgen.errors import RequestFailed

__all__ = ["REQUEST_CLASSES", "classes_of", "learn", "learn_request", "messages_text"]

_MAX_PATHS: Final = 10_000
_MAX_UNPACKED_BYTES: Final = 1024 * 1024
_MAX_PARSED_BYTES: Final = 16 * 1024
"""Of a larger message only the size is shown: the text of 16 KiB of small fields takes 20 ms of the loop's time."""
REQUEST_CLASSES: Final[dict[str, Any]] = {}
"""The class of requests by the path of the method."""
_RESPONSE_CLASSES: Final[dict[str, Any]] = {}


def learn(path: str, request: Any, response: Any) -> None:
    """Remember the classes of a method. None: unknown."""
    if request is not None and _has_room(REQUEST_CLASSES):
        REQUEST_CLASSES[path] = request
    if response is not None and path not in _RESPONSE_CLASSES and _has_room(_RESPONSE_CLASSES):
        _RESPONSE_CLASSES[path] = response


def learn_request(path: str, request: object) -> None:
    """Remember the class of a method's requests by one of them."""
    if hasattr(request, "DESCRIPTOR") and _has_room(REQUEST_CLASSES):
        REQUEST_CLASSES[path] = type(request)


def classes_of(path: str) -> tuple[Any, Any]:
    """Return the classes of requests and answers of a method; None for an unknown one.

    path: as sent, also behind the path of a target.
    """
    method = "/" + "/".join(path.rsplit("/", 2)[-2:])
    return REQUEST_CLASSES.get(method), _RESPONSE_CLASSES.get(method)


def messages_text(path: str, body: bytes, *, is_request: bool) -> str:
    """Return the messages of one side of a call as text, cut at MAX_SHOWN_BYTES with a note."""
    reader = MessageReader(_MAX_UNPACKED_BYTES)
    reader.encoding = "gzip"  # nothing else is offered; a message says itself whether it is compressed
    kind = classes_of(path)[0 if is_request else 1]
    lines: list[str] = []
    wrong = ""
    try:
        messages = reader.feed(body)
    except RequestFailed as failure:
        return f"<{len(body)} bytes: {failure.detail}>"
    size = 0
    for number, message in enumerate(messages):
        line = _line(kind, message)
        size += len(line) + 1
        if size > MAX_SHOWN_BYTES:
            left = MAX_SHOWN_BYTES - (size - len(line) - 1)
            shown = line[:left].encode("utf-8", "replace").decode()
            return "\n".join((*lines, shown, f"<cut: {MAX_SHOWN_BYTES} of {len(body)} bytes>", _rest(messages, number)))
        lines.append(line)
    if not reader.is_between:
        wrong = "<the last message is not complete>"
    return "\n".join(filter(None, (*lines, wrong)))


def _rest(messages: list[bytes], shown: int) -> str:
    return f"<{len(messages) - shown - 1} more messages>" if len(messages) > shown + 1 else ""


def _line(kind: Any, message: bytes) -> str:
    if kind is not None and len(message) <= _MAX_PARSED_BYTES:
        from loadgen.clients.grpc_schema.values import as_text  # imports protobuf

        try:
            return as_text(kind.FromString(message))
        except Exception as error:  # noqa: BLE001  # another version of the message, or no message at all
            return f"<{len(message)} bytes, no {getattr(kind, '__name__', 'message')}: {error}>"
    return f"<{len(message)} bytes>"


def _has_room(classes: dict[str, Any]) -> bool:
    return len(classes) < _MAX_PATHS


def _body_text(path: str, body: bytes, is_request: bool) -> str:
    return messages_text(path, body, is_request=is_request)


BODY_TEXTS["application/grpc"] = _body_text
