"""Tools that a model may call: async functions of the scenario, and the calls that a model asks for.

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
    """What a tool returned for one call, as the text that is sent to the model."""

    call_id: str
    content: str


class RunnableCall:
    """A call of a tool that a model asked for. `run` calls the scenario's function.

    arguments: JSON text, as the model wrote it.
    """

    __slots__ = ("_functions", "arguments", "id", "name")

    def __init__(self, call: ToolCall, functions: dict[str, ToolFunction]) -> None:
        self.id, self.name, self.arguments = call.id, call.name, call.arguments
        self._functions = functions

    async def run(self) -> ToolResult:
        """Call the tool's function, and return its result for `Conversation.answer`.

        Raises:
            ExpectFailed: `unknown tool`, or `tool arguments`: they do not fit the function's signature.
        """
        function = self._functions.get(self.name)
        if function is None:
            known = ", ".join(self._functions) or "none"
            raise ExpectFailed(_UNKNOWN_TOOL, f"the model called {self.name[:100]!r}; the tools are {known}")
        try:
            given = msgspec.json.decode(self.arguments or "{}", type=_arguments_of(function))
        except (*UNREADABLE, UnicodeError) as error:
            raise ExpectFailed(_TOOL_ARGUMENTS, f"{self.name}({self.arguments[:200]}): {error}") from error
        result = await function(**{field: getattr(given, field) for field in given.__struct_fields__})
        text = result if isinstance(result, str) else msgspec.json.encode(result).decode()
        return ToolResult(self.id, text)


def _tool_of(function: Tool | ToolFunction) -> Tool:
    """Return a function as a tool: its name, its docstring's first line, and the JSON schema of its arguments.

    Raises:
        UsageError: it is not an async function, or an argument has no type or no schema.
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
    """Return the tool of a function. Made once a function, because a schema takes 100 µs."""
    (schema,), parts = msgspec.json.schema_components([_arguments_of(function)], ref_template="#/$defs/{name}")
    own = dict(parts.pop(_struct_name(function), schema))
    own.pop("title", None)
    doc = (inspect.getdoc(function) or "").partition("\n")[0]
    return Tool(function.__name__, doc, {**own, **({"$defs": parts} if parts else {})})


def as_tools(given: Iterable[Tool | ToolFunction]) -> tuple[tuple[Tool, ...], dict[str, ToolFunction]]:
    """Return (the tools, the functions by the tool's name) of a scenario's list."""
    given = tuple(given)
    tools = tuple(map(_tool_of, given))
    functions = {tool.name: one for tool, one in zip(tools, given, strict=True) if not isinstance(one, Tool)}
    return tools, functions


def _struct_name(function: ToolFunction) -> str:
    return f"{function.__name__}_arguments"


@lru_cache(maxsize=256)
def _arguments_of(function: ToolFunction) -> type[msgspec.Struct]:
    """Return a Struct type with the arguments of a function. Made once a function."""
    try:
        hints = get_type_hints(function)
    except Exception as error:  # whatever the scenario's annotations raise
        raise UsageError(
            f"tools: the type of an argument of {function.__name__} cannot be read: {error}",
            hint="write types that the file imports outside of functions and of `if TYPE_CHECKING`",
        ) from error
    fields: list[Any] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in _NAMED:
            raise UsageError(
                f"tools: the argument {name} of {function.__name__} has no name for the model",
                hint="write one parameter for each argument, without *, ** and /",
            )
        if name not in hints:
            raise UsageError(
                f"tools: the argument {name} of {function.__name__} has no type", hint=f"write {name}: str, or its type"
            )
        has_default = parameter.default is not inspect.Parameter.empty
        fields.append((name, hints[name], parameter.default) if has_default else (name, hints[name]))
    try:
        made = msgspec.defstruct(_struct_name(function), fields, forbid_unknown_fields=True)
        msgspec.json.schema(made)
    except TypeError as error:
        raise UsageError(
            f"tools: the arguments of {function.__name__} have no JSON schema: {error}",
            hint="use str, int, float, bool, lists, dicts, dataclasses and Structs",
        ) from error
    return made
