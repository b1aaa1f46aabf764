"""Finds the requests that scenarios send, in their source: nothing is run.

A request is a call of `user.http` or `user.to(...)`, in any function of the files. Its endpoint follows from its URL: a
text, an f-string, texts joined by `+`, a constant, a name in a loop over texts, or `user.draw(...)` of `choices` with
whole paths. Otherwise it follows from its `name=`, if that is a path. All other calls are listed with their places.
A request whose URL or name is an argument of its function counts once for each call of the function in the file.

Why the source, and not a run: docs/decisions/103-coverage-from-source-and-rows.md.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen.dsl.loading.receivers import VERBS, Receivers
from loadgen.dsl.loading.source_analysis import UNKNOWN, Source, last_name, read_source, short_text
from loadgen.errors import UsageError
from loadgen.traffic.coverage.endpoints import ANYTHING, Endpoint, endpoint_of_name
from loadgen.traffic.coverage.helper_calls import each_use
from loadgen.traffic.names.path_segments import path_of

__all__ = ["SourceCall", "calls_of", "scenario_files"]

_WITH_METHOD: Final = frozenset({"request", "stream"})
_MOST_DRAWN: Final = 10_000
_MOST_LINKS: Final = 20
"""The constants that are followed one after the other."""


@dataclass(frozen=True)
class SourceCall:
    """A request in the source.

    endpoints: usually one; several if the URL is drawn from a file or a loop; none if it cannot be known.
    row: the name of its row in reports, with `{}` for computed parts; "" if the name is computed as a whole.
    expected: the statuses that `expect=` and `accept=` list; None: `expect=` is absent or computed.
    """

    file: str
    line: int
    text: str
    endpoints: tuple[Endpoint, ...]
    row: str
    expected: frozenset[int] | None
    accepted: frozenset[int] = frozenset()

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"

    def expects(self, status: int) -> bool:
        """Whether a status is not a failure of this request."""
        if status in self.accepted:
            return True
        return status < 400 if self.expected is None else status in self.expected


def scenario_files(paths: Iterable[Path]) -> list[Path]:
    """Return the Python files of some paths, sorted. A folder means all its files, except hidden ones and caches.

    Raises:
        UsageError: a path does not exist, or has no Python file.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = [
                one
                for one in sorted(path.rglob("*.py"))
                if one.is_file()
                and not any(part.startswith((".", "__pycache__")) for part in one.relative_to(path).parts)
            ]
            if not inside:
                raise UsageError(f"{path}: the folder has no Python files", hint="give a folder with scenarios")
        elif path.exists():
            inside = [path]
        else:
            raise UsageError(
                f"{path}: file not found", hint="check the path: it must be a scenario, or a folder with scenarios"
            )
        for one in inside:
            found.setdefault(one.resolve(), one)
    return sorted(found.values(), key=str)


def calls_of(path: Path) -> list[SourceCall]:
    """Return the requests in a file, in order.

    Raises:
        ScenarioError: the file cannot be read, or is not valid Python.
    """
    source = read_source(path)
    found: dict[tuple[int, int, int, int], SourceCall] = {}
    for function, receivers in source.receivers:
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and _is_request(node, receivers):
                # An inner function is walked with the outer one, too; its own receivers come last and know more.
                for one in each_use(source.tree, function, node):
                    found[node.lineno, node.col_offset, one.lineno, one.col_offset] = _call(source, one, path)
    return [found[place] for place in sorted(found)]


def _is_request(call: ast.Call, receivers: Receivers) -> bool:
    func = call.func
    return isinstance(func, ast.Attribute) and func.attr in VERBS | {"stream"} and receivers.is_client(func)


def _call(source: Source, call: ast.Call, path: Path) -> SourceCall:
    assert isinstance(call.func, ast.Attribute)
    given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
    at = int(call.func.attr in _WITH_METHOD)
    method = call.func.attr.upper()
    if at:
        value = source.value_of(call.args[0]) if call.args else source.value_of(given.get("method", ast.Constant(None)))
        method = value.upper() if isinstance(value, str) else ""
    url = call.args[at] if len(call.args) > at else given.get("url")
    name = _text(source, given["name"]) if "name" in given else ""
    endpoints = _endpoints(source, url, method, path.parent) if url is not None and method else ()
    if not endpoints and name is not None and (named := endpoint_of_name(name, method or "GET")) is not None:
        endpoints = (named,)
    row = name if "name" in given else str(endpoints[0]) if len(endpoints) == 1 else ""
    expected = _statuses(source, given.get("expect"))
    accepted = _statuses(source, given.get("accept")) or frozenset()
    return SourceCall(str(path), call.lineno, short_text(call), endpoints, row or "", expected, accepted)


def _endpoints(source: Source, url: ast.expr, method: str, folder: Path) -> tuple[Endpoint, ...]:
    drawn = _drawn(source, url, folder)
    texts = drawn if drawn is not None else [_text(source, one) for one in source.alternatives(url)]
    paths = [_path(text) for text in texts if text is not None]
    if len(paths) < len(texts) or None in paths:
        return ()
    return tuple(dict.fromkeys(Endpoint(method, path) for path in paths if path is not None))


def _path(url: str) -> str | None:
    """Return the path of a URL; None if its beginning is computed."""
    if url.startswith(ANYTHING):
        # The beginning may be the address of the target, as in f"{BASE}/cart".
        url = url[len(ANYTHING) :]
        if not re.match(r"/[^{]", url):
            return None
    if not url.startswith(("/", "http://", "https://")):
        return None if ANYTHING in url.partition("/")[0] or not url else f"/{url.partition('?')[0].partition('#')[0]}"
    return path_of(url.encode()).decode()


def _text(source: Source, node: ast.expr, links: int = _MOST_LINKS) -> str | None:
    """Return an expression as a text with `{}` for its computed parts; None if all of it is computed."""
    value = source.value_of(node)
    if value is not UNKNOWN:
        return value if isinstance(value, str) else None
    if isinstance(node, ast.Name) and links:
        last = source.last_value(node)
        return None if last is node else _text(source, last, links - 1)
    if isinstance(node, ast.JoinedStr):
        parts = [
            _text(source, part.value, links) if isinstance(part, ast.FormattedValue) else None for part in node.values
        ]
        joined = "".join(
            str(one.value) if isinstance(one, ast.Constant) else part if part is not None else ANYTHING
            for one, part in zip(node.values, parts, strict=True)
        )
        return None if joined == ANYTHING else joined
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(source, node.left, links), _text(source, node.right, links)
        return None if left is right is None else (left or ANYTHING) + (right or ANYTHING)
    return None


def _drawn(source: Source, url: ast.expr, folder: Path) -> list[str | None] | None:
    """Return the paths of `user.draw(PATHS)`, where `PATHS = choices("data/paths.csv", value="path")`; None for another
    expression.
    """
    if not (isinstance(url, ast.Call) and last_name(url.func) == "draw" and url.args):
        return None
    made = source.last_value(url.args[0])
    if not (isinstance(made, ast.Call) and last_name(made.func) == "choices" and made.args):
        return None
    given = {keyword.arg: source.value_of(keyword.value) for keyword in made.keywords}
    file = source.value_of(made.args[0])
    column: Any = given.get("value", source.value_of(made.args[1]) if len(made.args) > 1 else UNKNOWN)
    if not isinstance(file, str) or not isinstance(column, str):
        return [None]
    try:
        with (folder / file).open(encoding="utf-8-sig", newline="") as rows:
            found = [row.get(column) for row, _ in zip(csv.DictReader(rows), range(_MOST_DRAWN), strict=False)]
    except (OSError, ValueError, csv.Error):
        return [None]  # the loader reports such files
    return found or [None]


def _statuses(source: Source, node: ast.expr | None) -> frozenset[int] | None:
    """Return the statuses that an argument lists; None if it is absent or computed."""
    value = None if node is None else source.value_of(node)
    if type(value) is int:
        return frozenset({value})
    if isinstance(value, set | frozenset | tuple | list | range) and all(type(one) is int for one in value):
        return frozenset(value)
    return None
