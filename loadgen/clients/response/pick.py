"""Takes a typed value out of a reply: `$.token`, `css:input[name=csrf]@value`, `regex:id=(\\d+)`, `header:etag`.

A path is compiled once and cached. Plain JSONPaths such as `$.a.b[0]` are evaluated here, in
0.2 µs; all others by python-jsonpath. CSS uses selectolax: the text of the first match, or
an attribute after `@`. A regular expression yields its group, or the whole match.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_origin

import msgspec

if TYPE_CHECKING:
    from loadgen.clients.response.replies import Reply

__all__ = ["Missing", "check_path", "finder", "pattern_hint", "pick_from"]

_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]|\['([^'\\]+)'\]|\[\"([^\"\\]+)\"\]")
_NAMES = re.compile(r"[A-Za-z_]\w*(\[\d+\]|\.\w+)*")
_GROUP_ELSEWHERE = re.compile(r"\(\?<(\w+)>")
"""A named group as JavaScript and Java write it."""
_CSS_ATTRIBUTE = re.compile(r"@([A-Za-z_:][A-Za-z0-9_.:-]*)$")

Find = Callable[["Reply"], list[Any]]


class Missing(Exception):  # internal to this package: users get an ExpectFailed
    """No value was found, or its type is wrong; the message says which."""


def pick_from(reply: Reply, path: str, kind: Any) -> Any:
    """Return the value at `path` of an answer, converted to the type `kind`: the first match, or all matches if `kind`
    is a list.

    Raises:
        Missing: no match, the body is not JSON, or the value has the wrong type.
        ValueError: `path` is invalid.
    """
    find, is_typed = _compile(path)
    found = find(reply)
    wants_all = kind is list or get_origin(kind) is list
    if wants_all and not (len(found) == 1 and isinstance(found[0], list)):
        value: Any = found
    elif found:
        value = found[0]
    else:
        raise Missing("no match")
    if type(value) is kind or kind is Any:
        return value
    try:
        # JSON values have types of their own; text from headers and pages is converted: "12" to 12.
        return msgspec.convert(value, kind, strict=is_typed)
    except msgspec.ValidationError as error:
        raise Missing(str(error)) from error


def finder(path: str) -> Find:
    """Return the function that finds all values at `path` of an answer; for paths that are used many times.

    It raises Missing if the body is not JSON.

    Raises:
        ValueError: `path` is invalid.
    """
    check_path(path)
    return _compile(path)[0]


def check_path(path: object) -> None:
    """Raise ValueError unless `path` is a valid path for `pick`. The loader calls this for paths written literally."""
    if not isinstance(path, str):
        raise ValueError(
            f'invalid path {path!r}; write a text: "$.token", "css:input[name=csrf]@value" or "header:etag"'
        )
    _compile(path)


@lru_cache(maxsize=4096)
def _compile(path: str) -> tuple[Find, bool]:
    if path.startswith("$"):
        return _json_path(path), True
    kind, _, rest = path.partition(":")
    if kind == "header" and rest:
        return lambda reply: reply.headers.get_list(rest), False
    if kind == "css" and rest:
        return _css(rest), False
    if kind == "regex" and rest:
        return _regex(rest), False
    if _NAMES.fullmatch(path):
        raise ValueError(f'invalid path "{path}"; write "$.{path}" for a value of a JSON body')
    raise ValueError(
        f'invalid path "{path}"; write "$.token", "css:input[name=csrf]@value", "regex:id=([0-9]+)" or "header:etag"'
    )


def _json_path(path: str) -> Find:
    steps: list[str | int] = []
    at = 1
    while at < len(path) and (step := _STEP.match(path, at)):
        name = step[1] or step[3] or step[4]
        steps.append(name if name is not None else int(step[2]))
        at = step.end()
    if at == len(path):
        plain = tuple(steps)
        return lambda reply: _walk(_document(reply), plain)
    import jsonpath

    try:
        compiled = jsonpath.compile(path)
    except jsonpath.JSONPathError as error:
        reason = str(error).partition("\n")[0]  # the other lines show the position, for a terminal
        raise ValueError(f'invalid JSONPath "{path}": {reason}; write "$.items[0].id", for example') from error
    return lambda reply: list(compiled.findall(_document(reply)))


def _document(reply: Reply) -> Any:
    try:
        return reply.json()
    except ValueError as error:
        raise Missing(f"the body is not JSON: {error}") from error


def _walk(value: Any, steps: tuple[str | int, ...]) -> list[Any]:
    try:
        for step in steps:
            if type(step) is str and not isinstance(value, dict):
                return []
            if type(step) is int and not isinstance(value, list):
                return []
            value = value[step]
    except (KeyError, IndexError):
        return []
    return [value]


def _css(rest: str) -> Find:
    from selectolax.lexbor import LexborHTMLParser, SelectolaxError

    attribute = _CSS_ATTRIBUTE.search(rest)
    selector = rest[: attribute.start()] if attribute else rest
    try:
        LexborHTMLParser("<p>").css(selector)
    except SelectolaxError as error:
        reason = str(error).rstrip(".")
        fitting = f'"css:{rest.replace("/@", "@")}"' if "/@" in rest else '"css:input[name=csrf]@value", for example'
        raise ValueError(f'invalid CSS selector "{selector}": {reason}; write {fitting}') from error

    def find(reply: Reply) -> list[Any]:
        nodes = LexborHTMLParser(reply.text).css(selector)
        if attribute:
            values = [node.attributes.get(attribute[1], _ABSENT) for node in nodes]
            return [value or "" for value in values if value is not _ABSENT]
        return [node.text(strip=True) for node in nodes]

    return find


def _regex(pattern: str) -> Find:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f'invalid regular expression "{pattern}": {error}; {pattern_hint(pattern)}') from error
    if compiled.groups > 1:
        raise ValueError(
            f'the regular expression "{pattern}" has {compiled.groups} groups;'
            " write (...) once, around the value, and (?:...) for other groups"
        )
    group = compiled.groups  # 1: the group; 0: the whole match
    return lambda reply: [found[group] or "" for found in compiled.finditer(reply.text)]


def pattern_hint(pattern: str) -> str:
    """Return what to write instead of a regular expression that Python cannot compile."""
    if (group := _GROUP_ELSEWHERE.search(pattern)) is not None:
        return f"write (?P<{group[1]}>...), since Python has no (?<{group[1]}>...)"
    return 'put \\ before a literal "(", "[", "*" or "?"'


_ABSENT: Any = object()
