"""Checks the tags that a scenario's files set, in their text: also in branches that no trial enters.

    user.tag(tenant, "golden")                  the tag has no such value             error
    user.tag(zone, "a")                         it is read from a response header     error
    user.http.get("/", tags={"knid": "first"})  no plan declares such a tag           error
    user.step("pay", tags={kind: 3})            the value is not a text               error
    orders.add(tags={tenant: "golden"})         as above, for custom metrics          error

Only literals are checked. A computed value that is not declared is counted in `(other)`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

from loadgen.dsl.loading.receivers import VERBS, own_nodes
from loadgen.dsl.loading.source_analysis import Source, last_name, pairs
from loadgen.dsl.tag import Tag
from loadgen.engine.recording.tagging import TagSpec, looks_like_id
from loadgen.errors import Fault
from loadgen.similar_names import did_you_mean

__all__ = ["id_warnings", "tag_faults"]

_TAKING = VERBS | {"stream", "step"}
"""Methods with an argument `tags`, of clients and users."""
_RECORDING = {"counter": "add", "gauge": "set", "rate": "add", "trend": "add"}
"""The method of each kind of custom metric that records a value."""


def tag_faults(sources: Iterable[Source], declared: Iterable[Tag], specs: Iterable[TagSpec]) -> list[Fault]:
    """Return the errors in all calls that set tags.

    declared: all tags that the files declare. specs: those that the file's plans list.
    """
    files = list(sources)
    listed = {spec.name: spec for spec in specs}
    by_name = {one.name: one for one in declared}
    variables = {
        variable: by_name[name] for source in files for variable, name, _ in _assigned(source) if name in by_name
    }
    metrics = {
        (variable, _RECORDING[made_by])
        for source in files
        for variable, _, made_by in _assigned(source)
        if made_by in _RECORDING
    }
    return [fault for source in files for fault in _Reading(source, variables, listed, metrics).faults()]


def id_warnings(declared: Iterable[Tag]) -> Iterator[Fault]:
    """Yield a warning for each tag with a declared value that looks like an id."""
    for one in declared:
        value = next((value for value in one.values if looks_like_id(value)), None)
        if value is not None:
            yield one.origin.fault(
                f'tag "{one.name}": the value "{value}" looks like an id, and a tag is for few values',
                f"write user.note({one.name}=...), which takes any number of values",
            )


def _assigned(source: Source) -> Iterator[tuple[str, str, str]]:
    """Yield (variable, name, function) of each `variable = tag("name", ...)` at the top of a file."""
    for node in source.tree.body:
        for target, call in pairs(node):
            match target, call:
                case ast.Name(id=variable), ast.Call(func=function, args=[ast.Constant(value=str() as name), *_]):
                    yield variable, name, last_name(function)


@dataclass(frozen=True, slots=True)
class _Reading:
    source: Source
    variables: Mapping[str, Tag]
    listed: Mapping[str, TagSpec]
    metrics: Set[tuple[str, str]]
    """(variable, recording method) of each custom metric."""

    def faults(self) -> Iterator[Fault]:
        certain = {
            node
            for fn, receivers in self.source.receivers
            for node in own_nodes(fn)
            if isinstance(node, ast.Attribute) and receivers.kind_of_value(node.value) in ("user", "client")
        }
        """Methods of users and their clients. Others may be those of a library, whose tags are not the plan's."""
        for node in ast.walk(self.source.tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr == "tag":
                given = dict(zip(("tag", "value"), node.args, strict=False))
                given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
                if given.keys() == {"tag", "value"}:
                    yield from self._pair(given["tag"], given["value"], is_certain=node.func in certain)
            elif node.func.attr in _TAKING or self._is_of_metric(node.func):
                is_certain = node.func in certain or self._is_of_metric(node.func)
                for keyword in node.keywords:
                    if keyword.arg == "tags" and isinstance(keyword.value, ast.Dict):
                        for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                            if key is not None:  # `**others` has no key
                                yield from self._pair(key, value, is_certain=is_certain)

    def _is_of_metric(self, func: ast.Attribute) -> bool:
        """Return whether a called function records a value of a custom metric: `orders.add`."""
        return isinstance(func.value, ast.Name) and (func.value.id, func.attr) in self.metrics

    def _pair(self, key: ast.expr, value: ast.expr, *, is_certain: bool) -> Iterator[Fault]:
        """Yield the error of one pair. is_certain: the call sets a tag, even if the key is a text."""
        if isinstance(key, ast.Constant):
            if not is_certain:
                return
            if not isinstance(key.value, str):
                yield self.source.fault(
                    key, f"{key.value!r} is not the name of a tag", 'write a text, such as "tenant"'
                )
                return
            name, spec = key.value, self.listed.get(key.value)
            add = f'declare it: tag("{name}", ...), and add it to Plan(tags=[...])'
        elif isinstance(key, ast.Name) and (tag := self.variables.get(key.id)) is not None:
            name, spec = tag.name, self.listed.get(tag.name)
            add = f"add it: Plan(tags=[{key.id}])"
        else:
            return
        if spec is None:
            near = did_you_mean(name, self.listed) if isinstance(key, ast.Constant) else ""
            hint = near if near.startswith("did you mean") else add
            yield self.source.fault(key, f'no plan in this file has a tag "{name}"', hint)
            return
        if spec.header:
            read = "response headers of caches" if spec.values else f"the response header {spec.header}"
            message = f'tag "{name}" is read from {read}, so a journey cannot set it'
            yield self.source.fault(value, message, f'declare a tag with values: tag("{name}", "a", "b")')
        elif isinstance(value, ast.Constant):
            if not isinstance(value.value, str):
                yield self.source.fault(value, f'tag "{name}": {value.value!r} is not a text', "write a text")
            elif value.value not in spec.values:
                hint = did_you_mean(value.value, spec.values)
                yield self.source.fault(
                    value, f'tag "{name}" has no value "{value.value}"', hint or "declare the value"
                )
