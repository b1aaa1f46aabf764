"""OpenAI's responses: named events with numbers, and output items that begin and end."""

from __future__ import annotations

from typing import Any

from loadgen.target.llm.answer import Piece
from loadgen.target.llm.ask import Ask
from loadgen.target.llm.formats.stream_format import Event, encode

__all__ = ["ResponsesFormat"]

_ITEMS = {"reasoning": "reasoning", "tool_name": "function_call", "tool_call": "function_call"}


class ResponsesFormat:
    """The events of one response. This API has one choice."""

    def __init__(self, ask: Ask, name: str, created_s: int) -> None:
        """name: id of the request, without its prefix."""
        self._ask, self._name, self._created_s = ask, name, created_s
        self._output = self._reasoning = 0
        self._sequence = -1
        self._items: list[dict[str, Any]] = []
        self._item = ""
        self._texts: list[str] = []
        self._reason = "stop"

    def begin(self, choice: int) -> list[Event]:
        return [
            ("role", 0, self._event("response.created", {"response": self._response("in_progress")})),
            ("other", 0, self._event("response.in_progress", {"response": self._response("in_progress")})),
        ]

    def piece(self, choice: int, piece: Piece) -> list[Event]:
        kind, text, tokens = piece
        self._output += tokens
        if kind == "reasoning":
            self._reasoning += tokens
        item = _ITEMS.get(kind, "message")
        events: list[Event] = []
        if item != self._item:
            events = self._close()
            events += self._open(item, kind, text, tokens)
            if kind == "tool_name":
                return events
        self._texts.append(text)
        name = {
            "reasoning": "response.reasoning_text.delta",
            "function_call": "response.function_call_arguments.delta",
        }.get(item, "response.refusal.delta" if kind == "refusal" else "response.output_text.delta")
        where = self._where() if item == "function_call" else {**self._where(), "content_index": 0}
        events.append((kind, tokens, self._event(name, {**where, "delta": text})))
        return events

    def finish(self, choice: int, reason: str) -> list[Event]:
        self._reason = reason
        return self._close()

    def usage(self, tokens: int | None = None) -> list[Event]:
        if tokens is not None:
            self._output = tokens
        return []  # `response.completed` has it.

    def done(self) -> list[Event]:
        status = "incomplete" if self._reason == "length" else "completed"
        return [("done", 0, self._event(f"response.{status}", {"response": self._response(status)}))]

    def error(self, message: str, code: int) -> list[Event]:
        return [("error", 0, self._event("error", {"code": str(code), "message": message, "param": None}))]

    def whole(self, choices: list[tuple[list[Piece], str]]) -> bytes:
        pieces, self._reason = choices[0]
        for piece in pieces:
            self.piece(0, piece)
        self._close()
        return encode(self._response("incomplete" if self._reason == "length" else "completed"))

    def _open(self, item: str, kind: str, text: str, tokens: int) -> list[Event]:
        self._item, self._texts = item, []
        number = f"{self._name}_{len(self._items)}"
        is_name = kind == "tool_name"
        value: dict[str, Any]
        if item == "function_call":
            value = {"type": item, "id": f"fc_{number}", "call_id": f"call_{number}", "arguments": ""}
            value["name"] = text if is_name else ""
        elif item == "reasoning":
            value = {"type": item, "id": f"rs_{number}", "summary": [], "content": []}
        else:
            value = {"type": item, "id": f"msg_{number}", "role": "assistant", "content": []}
        self._items.append({**value, "status": "in_progress"})
        added = self._event("response.output_item.added", {"output_index": len(self._items) - 1, "item": value})
        # The item of a tool has the tool's name, which is a token.
        events: list[Event] = [("tool_call" if is_name else "other", tokens * is_name, added)]
        if item == "message":
            part = {**self._where(), "content_index": 0, "part": _text_part("")}
            events.append(("other", 0, self._event("response.content_part.added", part)))
        return events

    def _close(self) -> list[Event]:
        if not self._item:
            return []
        text, value = "".join(self._texts), self._items[-1]
        events: list[Event] = []
        value["status"] = "completed"
        where = {**self._where(), "content_index": 0}
        if self._item == "function_call":
            value["arguments"] = text
            done = self._event("response.function_call_arguments.done", {**self._where(), "arguments": text})
            events.append(("other", 0, done))
        elif self._item == "reasoning":
            value["content"] = [{"type": "reasoning_text", "text": text}]
            events.append(("other", 0, self._event("response.reasoning_text.done", {**where, "text": text})))
        else:
            value["content"] = [_text_part(text)]
            events.append(("other", 0, self._event("response.output_text.done", {**where, "text": text})))
            part = self._event("response.content_part.done", {**where, "part": _text_part(text)})
            events.append(("other", 0, part))
        item = {"output_index": len(self._items) - 1, "item": value}
        events.append(("other", 0, self._event("response.output_item.done", item)))
        self._item = ""
        return events

    def _where(self) -> dict[str, Any]:
        return {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1}

    def _response(self, status: str) -> dict[str, Any]:
        ask = self._ask
        is_over = status != "in_progress"
        usage = {
            "input_tokens": ask.prompt_tokens,
            "input_tokens_details": {"cached_tokens": ask.cached_tokens},
            "output_tokens": self._output,
            "output_tokens_details": {"reasoning_tokens": self._reasoning},
            "total_tokens": ask.prompt_tokens + self._output,
        }
        return {
            "id": f"resp_{self._name}",
            "object": "response",
            "created_at": self._created_s,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": ask.model,
            "output": self._items if is_over else [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage if is_over else None,
        }

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        self._sequence += 1
        body = encode({"type": name, "sequence_number": self._sequence, **fields})
        return b"event: %b\ndata: %b\n\n" % (name.encode(), body)


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
