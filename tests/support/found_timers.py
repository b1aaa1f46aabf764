"""The times in our packages, found by reading their source: constants, defaults of terms, options of sockets."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import zmq

__all__ = ["PACKAGES", "found_timers"]

PACKAGES: Final = ("loadgen_controller", "loadgen_agent", "loadgen.wire")
_UNITS: Final = {"ns": 1e9, "ms": 1e3, "s": 1.0}
_NAME: Final = re.compile(r"_(ns|ms|s)$", re.IGNORECASE)
_NOT_TIMES: Final = re.compile(r"_per_s$", re.IGNORECASE)
_SOCKET_TIMES: Final = frozenset(
    {"HEARTBEAT_IVL", "HEARTBEAT_TIMEOUT", "TCP_MAXRT", "LINGER", "HANDSHAKE_IVL", "RECONNECT_IVL"}
    | {"RECONNECT_IVL_MAX", "CONNECT_TIMEOUT"}
)
"""Options of ZeroMQ that are times in ms."""
_SOCKET_SECONDS: Final = frozenset({"TCP_KEEPALIVE_IDLE", "TCP_KEEPALIVE_INTVL"})
"""Options of ZeroMQ that are times in s."""


def found_timers() -> dict[tuple[str, str], tuple[float, ...]]:
    """(module, name) -> seconds; several of a name that holds a range.

    Found are constants of modules and classes whose names end in _NS, _MS or _S, defaults of such fields of classes
    named Terms, and dictionaries of socket options. What is 0 is no time.
    """
    found: dict[tuple[str, str], tuple[float, ...]] = {}
    for package in PACKAGES:
        root = importlib.import_module(package)
        assert root.__file__ is not None
        folder = Path(root.__file__).parent
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            for place, seconds in _times_in(name, ast.parse(path.read_text())):
                found[name, place] = seconds
    return found


def _times_in(name: str, tree: ast.Module) -> Iterator[tuple[str, tuple[float, ...]]]:
    module: ModuleType | None = None
    for owner, node in _assignments(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        (target,) = targets if len(targets) == 1 else (None,)
        if not isinstance(target, ast.Name) or node.value is None:
            continue
        is_dictionary = not owner and _mentions(node.value, "zmq")
        is_time = _NAME.search(target.id) and not _NOT_TIMES.search(target.id)
        is_constant = target.id.upper() == target.id
        if not is_dictionary and not (is_time and (is_constant or owner == "Terms")):
            continue
        module = module or importlib.import_module(name)
        value = _value(module, owner, target.id)
        if is_dictionary and isinstance(value, dict):
            yield from _options(target.id, value)
        elif is_time and (seconds := _seconds(target.id, value)):
            yield f"{owner}.{target.id}".lstrip("."), seconds


def _value(module: ModuleType, owner: str, name: str) -> object:
    if not owner:
        return getattr(module, name, None)
    of_class = getattr(module, owner)
    if dataclasses.is_dataclass(of_class):  # with slots the class has no defaults
        return next((field.default for field in dataclasses.fields(of_class) if field.name == name), None)
    return getattr(of_class, name, None)


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.Assign | ast.AnnAssign]]:
    """Of the module itself and of the bodies of its classes, with the class's name."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            yield "", node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.Assign | ast.AnnAssign):
                    yield node.name, inner


def _mentions(node: ast.expr, name: str) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node))


def _options(name: str, options: dict[Any, Any]) -> Iterator[tuple[str, tuple[float, ...]]]:
    for option, value in options.items():
        label = zmq.SocketOption(option).name
        if label in _SOCKET_TIMES and value > 0:
            yield f"{name}[{label}]", (value / 1e3,)
        elif label in _SOCKET_SECONDS:
            yield f"{name}[{label}]", (float(value),)


def _seconds(name: str, value: object) -> tuple[float, ...]:
    match = _NAME.search(name)
    assert match is not None
    values = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(one, int | float) for one in values):
        return ()
    return tuple(one / _UNITS[match[1].lower()] for one in values if one)
