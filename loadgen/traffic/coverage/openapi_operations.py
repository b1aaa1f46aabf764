"""Reads the operations of an OpenAPI document: methods and paths, of versions 2.0, 3.0 and 3.1, as JSON or YAML.

Nothing is fetched from the network: a path that is defined by a `$ref` to a URL is left out and counted. A `$ref` to
another file is followed within the folder of the document. Bodies and schemas are not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from loadgen.errors import UsageError
from loadgen.traffic.coverage.endpoints import Endpoint
from loadgen.yaml_file import parse_yaml

__all__ = ["Operation", "Operations", "read_openapi"]

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_MOST_BYTES: Final = 64 << 20
_MOST_REFERENCES: Final = 20
"""The references that are followed one after the other. A longer chain is a loop, or as good as one."""
_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Operation:
    """An operation. endpoint: with the path of the first server. others: with those of other servers, and without."""

    endpoint: Endpoint
    others: tuple[Endpoint, ...] = ()


@dataclass(frozen=True)
class Operations:
    """The operations of a document. left_out: paths by the reason for which they could not be read."""

    operations: tuple[Operation, ...]
    left_out: tuple[str, ...]


def read_openapi(path: Path) -> Operations:
    """Return the operations of a document.

    Raises:
        UsageError: the file cannot be read, is not an OpenAPI document, or has no operation.
    """
    reader = _Reader(path)
    document = reader.document(path)
    version = str(document.get("openapi") or document.get("swagger") or "")
    if not re.match(r"(2\.0|3\.\d)", version):
        found = f"version {version!r}" if version else "neither openapi nor swagger"
        raise UsageError(f"{path} is not an OpenAPI document: it has {found}", hint="use OpenAPI 2.0, 3.0 or 3.1")
    paths = document.get("paths", {})
    if not isinstance(paths, dict):
        raise UsageError(f"{path}: paths must be an object", hint="correct the document")
    operations = tuple(sorted(reader.operations(document, paths), key=lambda one: one.endpoint))
    if not operations:
        raise UsageError(f"{path} has no operations", hint="use a document with methods, such as get, under its paths")
    return Operations(operations, tuple(reader.left_out))


class _Reader:
    """Reads a document and the files that it refers to."""

    def __init__(self, path: Path) -> None:
        self._root = path.resolve().parent
        self._documents: dict[Path, Any] = {}
        self.left_out: list[str] = []

    def document(self, path: Path) -> dict[str, Any]:
        found = self._parsed(path)
        if not isinstance(found, dict):
            raise UsageError(
                f"{path} is not an OpenAPI document: it must be an object", hint="use OpenAPI 2.0, 3.0 or 3.1"
            )
        return found

    def _parsed(self, path: Path) -> Any:
        key = path.resolve()
        if key not in self._documents:
            self._documents[key] = _parse(path)
        return self._documents[key]

    def operations(self, document: dict[str, Any], paths: dict[str, Any]) -> Iterator[Operation]:
        """Yield each operation of the document."""
        bases = _bases(document)
        for name, item in paths.items():
            if not isinstance(name, str) or not name.startswith("/"):
                continue  # an extension, x-...
            found = self._resolved(item, document, name)
            if found is None:
                continue
            for method in _METHODS:
                operation = found.get(method)
                if isinstance(operation, dict):
                    own = _bases(operation) or _bases(found) or bases or [""]
                    endpoints = [Endpoint(method.upper(), base + name) for base in own]
                    if "" not in own:
                        endpoints.append(Endpoint(method.upper(), name))
                    yield Operation(endpoints[0], tuple(endpoints[1:]))

    def _resolved(self, item: Any, document: Any, name: str) -> dict[str, Any] | None:
        """Return a path item after its references; None if it is left out."""
        folder = self._root
        for _ in range(_MOST_REFERENCES):
            if not isinstance(item, dict):
                self.left_out.append(f"{name}: it must be an object")
                return None
            reference = item.get("$ref")
            if reference is None:
                return item
            file, _, pointer = str(reference).partition("#")
            if urlsplit(file).scheme or file.startswith("//"):
                self.left_out.append(f"{name}: its $ref is a URL, and loadgen reads local files only")
                return None
            if file:
                path = (folder / unquote(file)).resolve()
                if not path.is_relative_to(self._root):
                    self.left_out.append(f"{name}: its $ref points outside of the folder of the document")
                    return None
                document, folder = self._parsed(path), path.parent
            try:
                item = _at(document, pointer)
            except LookupError:
                self.left_out.append(f"{name}: its $ref points to a missing part of the document")
                return None
        self.left_out.append(f"{name}: its references form a circle")
        return None


def _parse(path: Path) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(
                f"{path} is larger than {_MOST_BYTES >> 20} MiB, the limit for an OpenAPI document",
                hint="check the path, or split the document with $ref",
            )
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}", hint="check the path") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8", hint="save the file as UTF-8") from None
    if path.suffix.lower() not in (".yaml", ".yml") and text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}:{error.lineno}: invalid JSON: {error.msg}", hint="correct this line") from None
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}: invalid JSON: {error}", hint="use a document with less nesting") from None
    return parse_yaml(text, str(path))


def _at(document: Any, pointer: str) -> Any:
    """Return the value at a JSON pointer."""
    for part in pointer.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(document, list) and key.isdecimal():
            document = document[int(key)]
        elif isinstance(document, dict):
            document = document[key]
        else:
            raise LookupError(pointer)
    return document


def _bases(holder: dict[str, Any]) -> list[str]:
    """Return the paths of the servers of a document, a path or an operation, without `/` at the end."""
    if isinstance(holder.get("basePath"), str):
        return [holder["basePath"].rstrip("/")]
    servers = holder.get("servers")
    found: list[str] = []
    for server in servers if isinstance(servers, list) else ():
        if isinstance(server, dict) and isinstance(server.get("url"), str):
            try:
                base = "/" + urlsplit(_with_defaults(server)).path.strip("/")
            except ValueError:
                continue
            found.append(base.rstrip("/"))
    return list(dict.fromkeys(found))


def _with_defaults(server: dict[str, Any]) -> str:
    variables = server.get("variables")
    known = variables if isinstance(variables, dict) else {}

    def default(found: re.Match[str]) -> str:
        variable = known.get(found[1])
        return str(variable.get("default", "")) if isinstance(variable, dict) else ""

    return _VARIABLE.sub(default, server["url"])
