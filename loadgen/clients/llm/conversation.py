"""A conversation with a model: each turn sends all messages before it, so servers can reuse their cache of these.

    talk = user.llm.conversation(system=shared_prefix("policy", tokens=2048, groups=32))
    for _ in range(5):
        await talk.ask(prompt(tokens=200), max_tokens=180)
        await user.think(2, 8)

Each turn contains the answers that the model really gave. Rows are split by the tag `turn`: 1, 2-3, 4-7 and 8+.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Unpack

from loadgen.clients.llm.reply import LlmReply
from loadgen.clients.llm.tools import ToolFunction, ToolResult, as_tools
from loadgen.clients.llm_apis.row_tags import TURN_TAG, turn_value
from loadgen.clients.llm_apis.types import JsonFormat, Message, Tool
from loadgen.errors import UsageError

if TYPE_CHECKING:
    from loadgen.clients.llm.client import Asking, Drawn, LlmClient

__all__ = ["Conversation"]


class Conversation:
    """The messages of one conversation. `user.llm.conversation` makes it.

    messages: all messages so far, sent and answered, in order.
    """

    __slots__ = ("_client", "_tools", "_turn", "messages")

    def __init__(self, client: LlmClient, system: str | Drawn, tools: Iterable[Tool | ToolFunction]) -> None:
        self._client = client
        self._tools = tuple(tools)
        as_tools(self._tools)  # so that an invalid tool is an error before the first turn
        self._turn = 0
        self.messages: list[Message] = list(client.messages((), system))

    async def ask(
        self,
        content: str | Drawn,
        *,
        expect: str | None = None,
        format: type[Any] | JsonFormat | None = None,  # the APIs' word
        **asking: Unpack[Asking],
    ) -> LlmReply:
        """Send the user's next message, and return the model's reply. Arguments and exceptions are those of `chat`.

        If the request fails, the message does not become a part of the conversation.
        """
        return await self._say(list(self._client.messages(content, "")), expect, format, asking)

    async def answer(self, *results: ToolResult, **asking: Unpack[Asking]) -> LlmReply:
        """Send the results of the tools that the last reply asked for, and return the model's reply.

        Raises:
            UsageError: there are no results. Other exceptions are those of `chat`.
        """
        if not results:
            raise UsageError(
                "answer() without results",
                hint="write await chat.answer(*[await call.run() for call in reply.tool_calls])",
            )
        sent = [Message("tool", result.content, tool_call_id=result.call_id) for result in results]
        return await self._say(sent, None, None, asking)

    async def _say(
        self,
        sent: list[Message],
        expect: str | None,
        format: type[Any] | JsonFormat | None,
        asking: Asking,
    ) -> LlmReply:
        turn = self._turn + 1
        tags: dict[Any, str] = {TURN_TAG: turn_value(turn), **(asking.get("tags") or {})}
        given: Asking = {**asking, "tags": tags}
        if self._tools and "tools" not in given:
            given["tools"] = self._tools
        reply = await self._client.chat([*self.messages, *sent], expect=expect, format=format, **given)
        calls = () if reply.reading is None else reply.reading.tool_calls
        self.messages += [*sent, Message("assistant", reply.text, tool_calls=calls)]
        self._turn = turn
        return reply
