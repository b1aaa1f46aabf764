"""Find the faults that `terraform validate` would find, from the provider's schema and our declarations.

It finds unknown and missing types, arguments and blocks of the AWS provider; attributes that cannot be read; names of
variables, locals, modules, resources and outputs that are not declared; and module calls with missing or unknown
variables. It does not check the types of values.

The schema is the committed extract of one provider version (extract.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.deploy.hcl import Block
from tools.deploy.module import Fault, Module, named

__all__ = ["check", "schema"]

_META = {"count", "for_each", "provider", "depends_on", "lifecycle", "provisioner", "connection"}
_META_BLOCKS = {"lifecycle", "timeouts"}


def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("aws-schema.json").read_text())
    return loaded


def check(modules: list[Module], known: dict[str, Any]) -> Iterator[Fault]:
    """Yield all faults of the modules. `known` is the result of `schema`."""
    by_folder = {module.folder.resolve(): module for module in modules}
    for module in modules:
        for block in module.all("resource", "data"):
            yield from _typed(block, known)
        yield from _names(module, by_folder, known)
        for call in module.all("module"):
            yield from _call(call, module, by_folder)


def _typed(block: Block, known: dict[str, Any]) -> Iterator[Fault]:
    kind = block.labels[0]
    if not kind.startswith("aws_"):
        return
    shape = known[block.kind].get(kind)
    if shape is None:
        yield Fault(block.path, block.line, "type", f"{block.kind} {kind} is not in the extract of the schema")
        return
    yield from _shaped(block, shape, _META, block.name)


def _shaped(block: Block, shape: dict[str, Any], meta: set[str], name: str) -> Iterator[Fault]:
    blocks, seen = shape["blocks"], set()
    for argument in block.attributes.values():
        if argument.name not in shape["arguments"] and argument.name not in meta:
            yield Fault(block.path, argument.line, "argument", f"{name} has no argument {argument.name}")
    for inner in block.blocks:
        dynamic = inner.kind == "dynamic"
        kind = inner.labels[0] if dynamic else inner.kind
        if meta and kind in _META_BLOCKS:
            continue
        if kind not in blocks:
            yield Fault(block.path, inner.line, "block", f"{name} has no block {kind}")
            continue
        if kind in seen and blocks[kind]["one"]:
            yield Fault(block.path, inner.line, "block", f"{name} may have {kind} only once")
        seen.add(kind)
        for body in inner.of("content") if dynamic else (inner,):
            yield from _shaped(body, blocks[kind], set(), f"{name}.{kind}")
    for wanted in [
        argument for argument, needed in shape["arguments"].items() if needed and argument not in block.attributes
    ]:
        yield Fault(block.path, block.line, "argument", f"{name} needs {wanted}")
    for wanted in [kind for kind, one in blocks.items() if one["required"] and kind not in seen]:
        yield Fault(block.path, block.line, "block", f"{name} needs a block {wanted}")


def _names(module: Module, by_folder: dict[Path, Module], known: dict[str, Any]) -> Iterator[Fault]:
    declared: dict[str, Any] = {kind: module.declared(kind) for kind in ("variable", "module", "resource", "data")}
    locals_ = module.locals()
    for block, attribute in module.attributes():
        for parts in named(attribute.text):
            if what := _wrong(parts, declared, locals_, module, by_folder, known):
                yield Fault(block.path, attribute.line, "name", what)


def _wrong(
    parts: tuple[str, ...],
    declared: dict[str, Any],
    locals_: dict[str, Any],
    module: Module,
    by_folder: dict[Path, Module],
    known: dict[str, Any],
) -> str:
    match parts:
        case ("var", name, *_):
            return "" if name in declared["variable"] else f"there is no variable {name}"
        case ("local", name, *_):
            return "" if name in locals_ else f"there is no local {name}"
        case ("module", name, *rest):
            call = declared["module"].get(name)
            if call is None:
                return f"there is no module {name}"
            called = by_folder.get(_source(call, module))
            if rest and called is not None and rest[0] not in called.declared("output"):
                return f"module {name} has no output {rest[0]}"
            return ""
        case ("data", kind, name, *rest):
            return _read("data", kind, name, rest, declared["data"], known)
        case (kind, name, *rest):
            return _read("resource", kind, name, rest, declared["resource"], known)
    return ""


def _read(sort: str, kind: str, name: str, rest: list[str], declared: dict[str, Block], known: dict[str, Any]) -> str:
    if f"{kind}.{name}" not in declared:
        return f"there is no {sort} {kind}.{name}"
    shape = known[sort].get(kind)
    if shape is None or not rest or rest[0] == "id":
        return ""
    readable = {*shape["arguments"], *shape["blocks"], *shape["read"]}
    return "" if rest[0] in readable else f"{kind} has no attribute {rest[0]}"


def _source(call: Block, module: Module) -> Path:
    source = call.attributes.get("source")
    return (module.folder / source.literal).resolve() if source is not None else module.folder


def _call(call: Block, module: Module, by_folder: dict[Path, Module]) -> Iterator[Fault]:
    called = by_folder.get(_source(call, module))
    if called is None:
        yield Fault(call.path, call.line, "module", f"module {call.labels[0]}: its source has no module")
        return
    variables = called.declared("variable")
    for argument in call.attributes.values():
        if argument.name not in variables and argument.name not in {"source", "version", "providers", *_META}:
            yield Fault(call.path, argument.line, "module", f"module {call.labels[0]} has no variable {argument.name}")
    for name, variable in variables.items():
        if "default" not in variable.attributes and name not in call.attributes:
            yield Fault(call.path, call.line, "module", f"module {call.labels[0]} needs {name}")
