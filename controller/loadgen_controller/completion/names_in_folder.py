"""The names that a command line can have from files: runs, plans, loads, environments, paths.

Scenarios are parsed and never run: the TAB key must not start anything. A file that cannot be read has no names.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

__all__ = ["environments", "loads_of_run", "loads_of_scenario", "paths", "plans", "runs"]

MOST: Final = 200
"""Most runs or paths that are proposed, the newest runs first."""
_LONGEST_BYTES: Final = 1 << 20


def runs(runs_dir: Path) -> Iterator[str]:
    """Yield `last` and the ids of the runs in a folder, newest first."""
    names = sorted((name for name in _names(runs_dir) if _is_run(runs_dir / name)), reverse=True)
    if names:
        yield "last"
    yield from names[:MOST]


def plans(scenario: Path) -> Iterator[str]:
    """Yield the names of the plans of a scenario: module-level variables that `Plan(...)` is assigned to."""
    for name, _ in _plans(scenario):
        yield name


def loads_of_scenario(scenario: Path, plan: str | None) -> Iterator[str]:
    """Yield the names given to the loads of a plan, `Load(..., name="spike")`. plan: None stands for all plans."""
    for name, call in _plans(scenario):
        if plan in (None, name):
            yield from (found for node in ast.walk(call) if (found := _name_of_load(node)))


def loads_of_run(runs_dir: Path, run: str | None) -> Iterator[str]:
    """Yield the names of a run's loads. run: an id, the beginning of it, or a folder; None or `last`: the newest."""
    if run is not None and (Path(run) / "manifest.json").exists():
        folder = Path(run)
    else:
        prefix = "" if run in (None, "last") else str(run)
        found = [name for name in runs(runs_dir) if name != "last" and name.startswith(prefix)]
        if not found:
            return
        folder = runs_dir / found[0]
    try:
        spec = json.loads(_text(folder / "manifest.json") or "{}").get("spec", {})
        names = [lane["name"] for lane in spec.get("lanes") or ()]
    except (ValueError, AttributeError, KeyError, TypeError):
        return
    yield from (name for name in names if isinstance(name, str) and name)


def environments(folder: Path) -> Iterator[str]:
    """Yield the environments, `[env.NAME]`, of the nearest `loadgen.toml` in a folder or above it."""
    import tomllib

    for place in (folder, *folder.parents):
        if (place / "loadgen.toml").is_file():
            try:
                found: Any = tomllib.loads(_text(place / "loadgen.toml")).get("env", {})
            except ValueError:
                return
            if isinstance(found, dict):
                yield from found
            return
        if (place / ".git").exists():
            return


def paths(text: str, *, only_folders: bool = False, suffix: str = "") -> Iterator[str]:
    """Yield the paths that begin with `text`, sorted. Folders end in "/". suffix: only files with this ending."""
    head, slash, start = text.rpartition("/")
    folder = Path(head + slash or ".").expanduser()
    found = 0
    for name in sorted(_names(folder)):
        if not name.startswith(start) or (name.startswith(".") and not start) or found >= MOST:
            continue
        is_folder = (folder / name).is_dir()
        if is_folder or (not only_folders and name.endswith(suffix)):
            found += 1
            yield f"{head}{slash}{name}" + "/" * is_folder


def _plans(scenario: Path) -> Iterator[tuple[str, ast.Call]]:
    try:
        tree = ast.parse(_text(scenario))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if _called(call) == "Plan":
                yield name, call
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call() as call) if _called(call) == "Plan":
                yield name, call


def _name_of_load(node: ast.AST) -> str:
    if isinstance(node, ast.Call) and _called(node) == "Load":
        for keyword in node.keywords:
            match keyword:
                case ast.keyword(arg="name", value=ast.Constant(value=str(name))):
                    return name
    return ""


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_run(path: Path) -> bool:
    try:
        return (path / "manifest.json").is_file()
    except OSError:
        return False


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  the names are wanted, and paths of them cost twice the time
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LONGEST_BYTES:
            return ""
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
