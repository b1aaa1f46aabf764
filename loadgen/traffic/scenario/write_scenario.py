"""Writes a draft as a scenario in Python.

The text is the same for line lengths of 88 and 120 in `ruff format`: what could be wrapped has a trailing comma, which
keeps one argument a line. It passes `mypy --strict`.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from loadgen.traffic.scenario.draft import (
    Call,
    Child,
    ChoiceFile,
    DataFile,
    Draft,
    DraftEdge,
    DraftGraph,
    DraftNode,
    Expression,
    Pick,
)
from loadgen.traffic.scenario.python_texts import in_comment, in_string, python_text

__all__ = [
    "BEGIN",
    "BEGIN_SESSION",
    "END",
    "begin_lines",
    "block_hash",
    "block_lines",
    "block_words",
    "content_hash",
    "csv_text",
    "imported",
    "node_lines",
    "scenario_text",
]

BEGIN: Final = "# traffic: begin "
END: Final = "# traffic: end"
"""The marks of the block that `loadgen model update` replaces."""
BEGIN_SESSION: Final = "begin_session"
LOADS: Final = "traffic"
"""The variable of the loads."""

_USUAL = frozenset({"get", "post", "put", "patch", "delete", "head", "options"})
_WIDTH = 88
_ROW = " " * 12
"""Indentation of the edges."""


def scenario_text(draft: Draft) -> str:
    """Return the text of a new scenario."""
    words = {"Plan", "User", "node", *block_words(draft)}
    if draft.choices:
        words.add("choices")
    lines = [
        f'"""{in_comment(draft.title)}',
        "",
        f"Made by `{in_comment(draft.command)}`.",
        "`loadgen model update` replaces the lines between the marks; all other lines are yours.",
        '"""',
        "",
        "from dataclasses import dataclass",
        "",
        *imported(words),
        *([""] if draft.choices else []),
        *(line for one in draft.choices for line in _choice(one)),
        "",
        "",
        "@dataclass",
        "class Visit:",
        '    """What a session remembers from request to request: add fields for what you pick."""',
        "",
    ]
    lines += ["", *begin_lines(draft.session_header), ""]
    for one in draft.nodes:
        lines += ["", *_node(one), ""]
    lines += ["", *block_lines(draft), *_plan(draft), ""]
    return "\n".join(lines)


def block_words(draft: Draft) -> set[str]:
    """Return the names from `loadgen` that the block between the marks uses."""
    return {"Load", "graph", "leave", *draft.words, *(("node",) if draft.again else ())}


def block_lines(draft: Draft) -> list[str]:
    """Return the block with its marks. The first mark has a hash of the lines between, which shows edits by hand."""
    lines = [line for name, other in draft.again for line in _again(name, other)]
    lines += [line for graph in draft.graphs for line in _graph(graph)]
    lines += _loads(draft)
    return [f"{BEGIN}{block_hash(lines)}", *lines, END]


def begin_lines(header: str) -> list[str]:
    """Return the function that runs at the start of each session."""
    return [
        f"async def {BEGIN_SESSION}(user: User) -> None:",
        '    """Mark the requests of a session, so that the log of the target shows which ones belong together."""',
        f'    user.http.headers[{python_text(header)}] = f"loadgen {{user.load.name}} {{user.number}}"',
    ]


def block_hash(lines: Sequence[str]) -> str:
    """Return the hash of the lines between the marks."""
    return content_hash("\n".join(lines))


def content_hash(text: str) -> str:
    """Return a hash that shows whether a text was changed: 8 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def node_lines(one: DraftNode, choices: Sequence[ChoiceFile]) -> list[str]:
    """Return the lines of a node, and before it those of the files that it draws from."""
    lines = [line for choice in choices for line in _choice(choice)]
    return [*lines, *(["", ""] if lines else []), *_node(one), "", ""]


def csv_text(file: DataFile) -> str:
    """Return the text of a data file."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(file.rows)
    return out.getvalue()


def imported(words: Iterable[str]) -> list[str]:
    """Return the lines that import names from `loadgen`."""
    ordered = sorted(words, key=lambda word: (not word[0].isupper(), word))
    line = f"from loadgen import {', '.join(ordered)}"
    return [line] if len(line) <= _WIDTH else ["from loadgen import (", *(f"    {word}," for word in ordered), ")"]


def _choice(one: ChoiceFile) -> Iterator[str]:
    value, weight = one.columns
    if one.note:
        yield f"# {in_comment(one.note)}"
    arguments = [python_text(one.file.path), f"value={python_text(value)}", f"weight={python_text(weight)}"]
    yield from _call(f"{one.variable} = choices", arguments, "")


def _node(one: DraftNode) -> Iterator[str]:
    yield "@node"
    yield f"async def {one.name}(user: User, visit: Visit) -> Visit:"
    if one.doc:
        yield f'    """{in_comment(one.doc)}"""'
    for call in one.calls:
        yield from (f"    # {in_comment(note)}" for note in call.notes)
        yield from _call(*_request(call), "    ", "await ")
    if one.children:
        yield from _children(one)
    yield "    return visit"


def _sure(one: DraftNode) -> list[Child]:
    """Return the parts that each action has once or twice."""
    return [child for child in one.children if 1 <= child.mean < 2]


def _children(one: DraftNode) -> Iterator[str]:
    """Yield the parts of an action. They are sent together if each action has one of them (`_sure`).

    The fraction of a mean number becomes a probability: 2.3 is two requests, and a third one in 30 % of the actions.
    """
    sure = _sure(one)
    if sure:
        yield "    children = ["
        for child in sure:
            yield from (f"        # {in_comment(note)}" for note in child.call.notes)
            *lines, last = _call(*_request(child.call), "        ")
            yield from (*lines, f"{last},")
        yield "    ]"
    for child in one.children:
        whole = int(child.mean)
        send = _appended(child) if sure else list(_call(*_request(child.call), "        ", "await "))
        if whole != 1:
            yield from (f"    # {in_comment(note)}" for note in child.call.notes)
        if whole > 1:
            yield f"    for _ in range({whole}):"
            yield from send
        if chance := round(child.mean - whole, 3):
            yield f"    if user.random.random() < {chance:g}:"
            yield from send
    if sure:
        yield "    await user.gather(*children)"


def _appended(child: Child) -> list[str]:
    function, arguments = _request(child.call)
    *lines, last = _call(function, arguments, "        ", "children.append(")
    if not lines and len(last) < _WIDTH:
        return [f"{last})"]
    return ["        children.append(", *_call(function, arguments, "            "), "        )"]


def _request(call: Call) -> tuple[str, list[str | tuple[str, Expression]]]:
    """Return the function that sends a request, and its arguments."""
    method = call.method.lower()
    arguments: list[str | tuple[str, Expression]] = [_path(call.path)]
    if method in _USUAL:
        function = f"user.http.{method}"
    else:
        function = "user.http.request"
        arguments.insert(0, python_text(call.method))
    if call.name:
        arguments.append(f"name={python_text(call.name)}")
    if len(call.expect) == 1:
        arguments.append(f"expect={call.expect[0]}")
    elif call.expect:
        arguments.append(f"expect={{{', '.join(map(str, call.expect))}}}")
    return function, arguments


def _call(
    function: str, arguments: Sequence[str | tuple[str, Expression]], indent: str, before: str = ""
) -> Iterator[str]:
    """Yield the lines of a call: one, or one for each argument if it does not fit.

    An argument may be a call: its name and an `Expression`, which is written in the same way.
    """
    texts = [one if isinstance(one, str) else f"{one[0]}={one[1]}" for one in arguments]
    line = f"{indent}{before}{function}({', '.join(texts)})"
    if len(line) < _WIDTH:
        yield line
        return
    yield f"{indent}{before}{function}("
    for one in arguments:
        if isinstance(one, str):
            yield f"{indent}    {one},"
        else:
            name, inner = one
            *lines, last = _call(inner.function, inner.arguments, f"{indent}    ", f"{name}=")
            yield from (*lines, f"{last},")
    yield f"{indent})"


def _path(parts: tuple[str | Pick, ...]) -> str:
    if len(parts) == 1 and isinstance(parts[0], Pick):
        return f"user.draw({parts[0].variable})"
    if not any(isinstance(part, Pick) for part in parts):
        return python_text("".join(map(str, parts)))
    written = (
        f"{{user.draw({part.variable})}}" if isinstance(part, Pick) else in_string(part, braces=True) for part in parts
    )
    return f'f"{"".join(written)}"'


def _again(name: str, other: str) -> Iterator[str]:
    line = f'{name} = node(name="{name}")({other}.fn)'
    if len(line) < _WIDTH:
        yield line
    else:
        yield from (f"{name} = node(", f'    name="{name}",', f")({other}.fn)")


def _graph(one: DraftGraph) -> Iterator[str]:
    if one.note:
        yield f"# {in_comment(one.note)}"
    yield f"{one.name} = graph("
    yield "    {"
    for name, row in one.edges.items():
        yield f"        {name}: {{"
        for edge in row:
            yield from _edge(edge)
        yield "        },"
    yield "    },"
    yield "    start={"
    yield from (f"        {name}: {count:_}," for name, count in one.starts.items())
    yield "    },"
    yield "    counts=True,"
    if one.think is not None:
        yield f"    think={one.think},"
    yield "    state=Visit,"
    yield f'    name="{one.name}",'
    yield ")"
    yield f"{one.name}.set_up({BEGIN_SESSION})"


def _edge(edge: DraftEdge) -> Iterator[str]:
    count, to = f"{edge.count:_}", edge.to or "leave"
    if edge.think is None:
        yield f"{_ROW}{to}: {count},"
        return
    *lines, last = _call("edge", [count, ("think", edge.think)], _ROW, f"{to}: ")
    yield from (*lines, f"{last},")


def _loads(draft: Draft) -> Iterator[str]:
    yield f"{LOADS} = ["
    for one in draft.graphs:
        if one.load_note:
            yield f"    # {in_comment(one.load_note)}"
        yield "    Load("
        yield f"        {one.name},"
        yield f"        {one.load},"
        if len(draft.graphs) > 1:
            yield f'        name="{one.name}",'
        yield "    ),"
    yield "]"


def _plan(draft: Draft) -> Iterator[str]:
    yield "plan = Plan("
    yield f"    target={python_text(draft.target)},"
    yield f"    loads={LOADS},"
    yield ")"
