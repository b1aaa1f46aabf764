"""Writes a draft as a scenario in Python.

The text is the same for line lengths of 88 and 120 in `ruff format`: what could be wrapped has a trailing comma, which
keeps one argument a line. It passes `mypy --strict`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from loadgen.traffic.draft import Call, ChoiceFile, DataFile, Draft, DraftEdge, DraftNode, Expression, Pick

__all__ = ["csv_text", "scenario_text"]

_USUAL = frozenset({"get", "post", "put", "patch", "delete", "head", "options"})
_WIDTH = 88
_ROW = " " * 12
"""Indentation of the edges."""


def scenario_text(draft: Draft) -> str:
    """Return the text of the scenario."""
    words = {"Plan", "User", "graph", "leave", "node", *draft.words}
    if draft.choices:
        words.add("choices")
    lines = [
        f'"""{_plain(draft.title)}',
        "",
        f"Made by `{_plain(draft.command)}`.",
        '"""',
        "",
        "from dataclasses import dataclass",
        "",
        *_imported(sorted(words, key=lambda word: (not word[0].isupper(), word))),
        *([""] if draft.choices else []),
        *(line for one in draft.choices for line in _choice(one)),
        "",
        "",
        "@dataclass",
        "class Visit:",
        '    """What a session remembers from request to request: add fields for what you pick."""',
        "",
    ]
    for one in draft.nodes:
        lines += ["", *_node(one), ""]
    lines += ["", *_graph(draft), *_plan(draft), ""]
    return "\n".join(lines)


def csv_text(file: DataFile) -> str:
    """Return the text of a data file."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(file.rows)
    return out.getvalue()


def _imported(words: list[str]) -> list[str]:
    line = f"from loadgen import {', '.join(words)}"
    return [line] if len(line) <= _WIDTH else ["from loadgen import (", *(f"    {word}," for word in words), ")"]


def _choice(one: ChoiceFile) -> Iterator[str]:
    value, weight = one.columns
    if one.note:
        yield f"# {_plain(one.note)}"
    arguments = [_text(one.file.path), f"value={_text(value)}", f"weight={_text(weight)}"]
    yield from _call(f"{one.variable} = choices", arguments, "")


def _node(one: DraftNode) -> Iterator[str]:
    yield "@node"
    yield f"async def {one.name}(user: User, visit: Visit) -> Visit:"
    if one.doc:
        yield f'    """{_plain(one.doc)}"""'
    for call in one.calls:
        yield from (f"    # {_plain(note)}" for note in call.notes)
        yield from _request(call)
    yield "    return visit"


def _request(call: Call) -> Iterator[str]:
    method = call.method.lower()
    arguments = [_path(call.path)]
    if method in _USUAL:
        function = f"await user.http.{method}"
    else:
        function = "await user.http.request"
        arguments.insert(0, _text(call.method))
    if call.name:
        arguments.append(f"name={_text(call.name)}")
    if len(call.expect) == 1:
        arguments.append(f"expect={call.expect[0]}")
    elif call.expect:
        arguments.append(f"expect={{{', '.join(map(str, call.expect))}}}")
    yield from _call(function, arguments, "    ")


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
        return _text("".join(map(str, parts)))
    written = (
        f"{{user.draw({part.variable})}}"
        if isinstance(part, Pick)
        else _inner(part).replace("{", "{{").replace("}", "}}")
        for part in parts
    )
    return f'f"{"".join(written)}"'


def _graph(draft: Draft) -> Iterator[str]:
    yield "sessions = graph("
    yield "    {"
    for one in draft.nodes:
        yield f"        {one.name}: {{"
        for edge in draft.edges[one.name]:
            yield from _edge(edge)
        yield "        },"
    yield "    },"
    yield "    start={"
    yield from (f"        {name}: {count:_}," for name, count in draft.starts.items())
    yield "    },"
    yield "    counts=True,"
    if draft.think is not None:
        yield f"    think={draft.think},"
    yield "    state=Visit,"
    yield '    name="sessions",'
    yield ")"


def _edge(edge: DraftEdge) -> Iterator[str]:
    count, to = f"{edge.count:_}", edge.to or "leave"
    if edge.think is None:
        yield f"{_ROW}{to}: {count},"
        return
    *lines, last = _call("edge", [count, ("think", edge.think)], _ROW, f"{to}: ")
    yield from (*lines, f"{last},")


def _plan(draft: Draft) -> Iterator[str]:
    yield "plan = Plan("
    yield f"    target={_text(draft.target)},"
    if draft.load_note:
        yield f"    # {_plain(draft.load_note)}"
    yield f"    load={draft.load},"
    yield "    mix=sessions,"
    yield ")"


def _text(text: str) -> str:
    return f'"{_inner(text)}"'


def _inner(text: str) -> str:
    """Return a text as the inside of a Python string in double quotes. Only visible ASCII stays as it is."""
    return "".join(
        f"\\{c}"
        if c in '"\\'
        else c
        if " " <= c <= "~"
        else f"\\U{ord(c):08x}"
        if ord(c) > 0xFFFF
        else f"\\u{ord(c):04x}"
        for c in text
    )


def _plain(text: str) -> str:
    """Return a text for a comment or a docstring: it can end neither."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)
