"""Tools that a model may call: async functions of the scenario, and the calls that a model asks for. Example:

async def stock(item: str) -> int:
    "Return how many pieces of an item are there."

chat = user.llm.conversation(tools=[stock])
reply = await chat.ask("Is the oak lamp there?")
reply = await chat.answer(*[await call.run() for call in reply.tool_calls])
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_type_hints

import msgspec

from loadgen.clients.llm_apis.openai_wire import UNREADABLE
from loadgen.clients.llm_apis.types import Tool, ToolCall
from loadgen.errors import ExpectFailed, UsageError

__all__ = ["RunnableCall", "ToolFunction", "ToolResult", "as_tools"]

ToolFunction = Callable[..., Awaitable[Any]]
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_UNKNOWN_TOOL = "unknown tool"
"""Outcome: the model called a tool that the conversation does not have."""
_TOOL_ARGUMENTS = "tool arguments"
"""Outcome: the model called a tool with arguments that do not fit."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of one call of a tool, as text for the model."""

    call_id: str
    content: str


class RunnableCall:
    """A call of a tool that a model asked for. `run` calls the scenario's function.

    id: the server's name of this call. name: of the tool. arguments: JSON text, as the model wrote it.
    """

    __slots__ = ("_functions", "arguments", "id", "name")

    def __init__(self, call: ToolCall, functions: dict[str, ToolFunction]) -> None:
        self.id, self.name, self.arguments = call.id, call.name, call.arguments
        self._functions = functions

    async def run(self) -> ToolResult:
        """Call the tool's function, and return its result for `Conversation.answer`.

        Raises:
            ExpectFailed: `unknown tool`: the model was not given this tool. `tool arguments`: the arguments do not fit
                the function's signature.
        """
        function = self._functions.get(self.name)
        if function is None:
            known = ", ".join(self._functions) or "none"
            message = f"the model called the tool {self.name[:100]!r}, which it was not given; it was given {known}"
            raise ExpectFailed(_UNKNOWN_TOOL, message)
        try:
            given = msgspec.json.decode(self.arguments or "{}", type=_arguments_of(function))
        except (*UNREADABLE, UnicodeError) as error:
            raise ExpectFailed(_TOOL_ARGUMENTS, f"{self.name}({self.arguments[:200]}): {error}") from error
        result = await function(**{field: getattr(given, field) for field in given.__struct_fields__})
        text = result if isinstance(result, str) else msgspec.json.encode(result).decode()
        return ToolResult(self.id, text)


def _tool_of(function: Tool | ToolFunction) -> Tool:
    """Return a function as a tool: its name, its docstring's first line, and the JSON schema of its parameters.

    Raises:
        UsageError: it is not an async function, or a parameter has no type or no schema.
    """
    if isinstance(function, Tool):
        return function
    # Checked before the cache, which needs values with a hash: a dict of OpenAI's form has none.
    if not inspect.iscoroutinefunction(function) or not hasattr(function, "__name__"):
        name = getattr(function, "__name__", "")
        hint = f"write async def {name or 'stock'}(...)"
        raise UsageError(f"tools: {name or repr(function)[:100]} is not an async function", hint=hint)
    return _made_of(function)


@lru_cache(maxsize=256)
def _made_of(function: ToolFunction) -> Tool:
    """Return the tool of a function. The result is cached, because a schema takes 100 µs to make."""
    (schema,), parts = msgspec.json.schema_components([_arguments_of(function)], ref_template="#/$defs/{name}")
    own = dict(parts.pop(_struct_name(function), schema))
    own.pop("title", None)
    doc = (inspect.getdoc(function) or "").partition("\n")[0]
    return Tool(function.__name__, doc, {**own, **({"$defs": parts} if parts else {})})


def as_tools(given: Iterable[Tool | ToolFunction]) -> tuple[tuple[Tool, ...], dict[str, ToolFunction]]:
    """Return (the tools, the scenario's functions by the name of their tool) of a scenario's list.

    Raises:
        UsageError: as `_tool_of`.
    """
    given = tuple(given)
    tools = tuple(map(_tool_of, given))
    functions = {tool.name: one for tool, one in zip(tools, given, strict=True) if not isinstance(one, Tool)}
    return tools, functions


def _struct_name(function: ToolFunction) -> str:
    return f"{function.__name__}_arguments"


@lru_cache(maxsize=256)
def _arguments_of(function: ToolFunction) -> type[msgspec.Struct]:
    """Return a Struct type with the parameters of a function as fields. The result is cached."""
    try:
        hints = get_type_hints(function)
    except Exception as error:  # whatever the scenario's annotations raise
        raise UsageError(
            f"tools: the type of a parameter of {function.__name__} cannot be read: {error}",
            hint="write types that the file imports outside of functions and of `if TYPE_CHECKING`",
        ) from error
    fields: list[Any] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in _NAMED:
            raise UsageError(
                f"tools: the model cannot send the parameter {name} of {function.__name__} by name",
                hint="write one parameter for each argument, without *, ** and /",
            )
        if name not in hints:
            raise UsageError(
                f"tools: the parameter {name} of {function.__name__} has no type",
                hint=f"write {name}: str, or its type",
            )
        has_default = parameter.default is not inspect.Parameter.empty
        fields.append((name, hints[name], parameter.default) if has_default else (name, hints[name]))
    try:
        made = msgspec.defstruct(_struct_name(function), fields, forbid_unknown_fields=True)
        msgspec.json.schema(made)
    except TypeError as error:
        raise UsageError(
            f"tools: the parameters of {function.__name__} have no JSON schema: {error}",
            hint="use str, int, float, bool, lists, dicts, dataclasses and Structs",
        ) from error
    return made
