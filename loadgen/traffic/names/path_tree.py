"""A tree of path segments that gives each path a number, and stays small.

A place is a node of the tree: the beginning of a path, such as `/products`. Its children are the different next
segments. A literal child is a text, and not a parameter such as `{id}`. If a place has more than `most_children`
literal children, they are merged into the parameter `{slug}` at once. Numbers that were given out before a merge stay
valid; `numbers` maps them.

Below `most_nodes`, the result does not depend on the order of the paths: the number of different children of a place
only grows, and merging two subtrees is commutative. Above it, more places are merged, and the result may depend on the
order (`is_approximate`).

A sketch that drops rare paths, such as space-saving, was not used, because its content always depends on the order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.names.path_segments import is_parameter, path_of, segments_of

__all__ = ["Node", "PathTree"]

MOST_CHILDREN: Final = 2_000
MOST_NODES: Final = 300_000
_LEAST_CHILDREN: Final = 50


class Node:
    """A place in the tree.

    number: the number of the path that ends here; -1 if no path does.
    merged: whether its literal children were merged into `{slug}`.
    """

    __slots__ = ("children", "literals", "merged", "number")

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        self.literals = 0
        self.merged = False
        self.number = -1


class PathTree:
    """Gives numbers to paths.

    pins: templates that the user gave (`--name`), such as `/products/{sku}`. Pins go before all other
        rules, and a path gets the first pin that fits it.
    found: templates that another log has. They go before all rules but pins. A path gets the one with the most fixed
        texts, so `/products/new` is not a request of `/products/{slug}` if both are templates.
    """

    def __init__(
        self,
        pins: Sequence[str] = (),
        found: Sequence[str] = (),
        *,
        most_children: int = MOST_CHILDREN,
        most_nodes: int = MOST_NODES,
    ) -> None:
        self.root = Node()
        self.is_approximate = False
        """Whether the tree exceeded `most_nodes` and merged more places. Names may then depend on the order."""
        self.pins = [(pin, pin.strip("/").split("/"), self._new(index)) for index, pin in enumerate(pins)]
        of_log = [(text, _segments_of_template(text), self._new(len(pins) + index)) for index, text in enumerate(found)]
        self.found = sorted(of_log, key=lambda one: (_least_fixed(one[1]), one[0]))
        self._parents: list[int] = list(range(len(pins) + len(found)))
        self._most_children = most_children
        self._most_nodes = most_nodes
        self._nodes = 1

    @staticmethod
    def _new(number: int) -> Node:
        node = Node()
        node.number = number
        return node

    def number(self, target: bytes) -> int:
        """Return the number of the path of a request's target."""
        if self.pins:
            raw = path_of(target).decode("utf-8", "replace").strip("/").split("/")
            for _, pin, node in self.pins:
                if len(pin) == len(raw) and all(is_parameter(p) or p == r for p, r in zip(pin, raw, strict=True)):
                    return node.number
        segments = segments_of(target)
        for _, template, node in self.found:
            if len(template) == len(segments) and all(map(_is_of, segments, template)):
                return node.number
        return self._number_of(segments)

    def _number_of(self, segments: list[str]) -> int:
        node = self.root
        for segment in segments:
            node = self._child(node, segment)
        if node.number < 0:
            node.number = len(self._parents)
            self._parents.append(node.number)
        number = node.number
        if self._nodes > self._most_nodes:
            self._shrink()
        return number

    def _child(self, node: Node, segment: str) -> Node:
        is_literal = not is_parameter(segment)
        if is_literal and node.merged:
            segment = "{slug}"
        child = node.children.get(segment)
        if child is not None:
            return child
        child = node.children[segment] = Node()
        self._nodes += 1
        if is_literal and not node.merged:
            node.literals += 1
            if node.literals > self._most_children:
                self.merge_children(node, [name for name in node.children if not is_parameter(name)], "{slug}")
                node.merged = True
                return node.children["{slug}"]
        return child

    def merge_children(self, node: Node, names: Sequence[str], into: str) -> None:
        """Merge some children of a place into one."""
        target = node.children.get(into)
        if target is None:
            target = node.children[into] = Node()
            self._nodes += 1
        for name in names:
            if name != into:
                node.literals -= not is_parameter(name)
                self._merge(target, node.children.pop(name))

    def _merge(self, into: Node, other: Node) -> None:
        self._nodes -= 1
        if other.number >= 0:
            if into.number < 0:
                into.number = other.number
            else:
                self._parents[other.number] = into.number
        for name, child in other.children.items():
            is_literal = not is_parameter(name)
            key = "{slug}" if is_literal and into.merged else name
            mine = into.children.get(key)
            if mine is None:
                into.children[key] = child
                into.literals += not is_parameter(key)
            else:
                self._merge(mine, child)
        if not into.merged and (other.merged or into.literals > self._most_children):
            into.merged = True
            self.merge_children(into, [name for name in into.children if not is_parameter(name)], "{slug}")

    def _shrink(self) -> None:
        """Merge more places until the tree has half of the allowed nodes."""
        self.is_approximate = True
        while self._nodes > self._most_nodes // 2 and self._most_children > _LEAST_CHILDREN:
            self._most_children = max(_LEAST_CHILDREN, self._most_children // 2)
            self._merge_large(self.root)
        if self._nodes > self._most_nodes // 2:
            # The paths are random: keep only their first segments.
            for child in list(self.root.children.values()):
                self._flatten(child)

    def _merge_large(self, node: Node) -> None:
        if not node.merged and node.literals > self._most_children:
            node.merged = True
            self.merge_children(node, [name for name in node.children if not is_parameter(name)], "{slug}")
        for child in node.children.values():
            self._merge_large(child)

    def _flatten(self, node: Node) -> None:
        node.merged = True
        for name in list(node.children):
            if name != "{slug}":
                self.merge_children(node, [name], "{slug}")
        for child in node.children.values():
            self._flatten(child)

    @property
    def size(self) -> int:
        """The number of numbers that were given out so far."""
        return len(self._parents)

    def numbers(self) -> NDArray[np.uint32]:
        """Return, for each number that was given out, the number of its present place."""
        parents = np.array(self._parents, np.uint32)
        while True:
            above = parents[parents]
            if np.array_equal(above, parents):
                return parents
            parents = above

    def templates(self) -> Iterator[tuple[str, int]]:
        """Yield each template with its number. A repeated parameter gets a digit: `/users/{id}/orders/{id2}`."""
        for text, _, node in (*self.pins, *self.found):
            yield text, node.number
        stack: list[tuple[Node, tuple[str, ...]]] = [(self.root, ())]
        while stack:
            node, above = stack.pop()
            if node.number >= 0:
                yield _template(above), node.number
            stack.extend((child, (*above, name)) for name, child in node.children.items())


_DIGITS: Final = re.compile(r"(?<=[a-z])\d+(?=\})")
"""Digits of a repeated parameter, such as the 2 of `{id2}`."""


def _segments_of_template(text: str) -> list[str]:
    """Return the segments of a template as `segments_of` would: without the digits of repeated parameters."""
    return [_DIGITS.sub("", segment) if is_parameter(segment) else segment for segment in text[1:].split("/")]


def _least_fixed(template: Sequence[str]) -> tuple[int, int]:
    """Return the order of a template: with fewer parameters first, then with longer fixed texts in them."""
    parameters = [segment for segment in template if is_parameter(segment)]
    return len(parameters), -sum(len(segment.partition("}")[2]) for segment in parameters)


def _is_of(segment: str, template: str) -> bool:
    """Return whether a segment of a path has the place of a template's segment. `{slug}.html` stands for texts with
    this suffix."""
    if segment == template:
        return True
    slug, mark, suffix = template.partition("{slug}")
    return bool(mark) and not slug and not is_parameter(segment) and segment.endswith(suffix) and segment != suffix


def _template(segments: tuple[str, ...]) -> str:
    counts: dict[str, int] = {}
    written = []
    for segment in segments:
        if is_parameter(segment):
            name, _, suffix = segment[1:].partition("}")
            counts[name] = counts.get(name, 0) + 1
            segment = "{" + name + (str(counts[name]) if counts[name] > 1 else "") + "}" + suffix
        written.append(segment)
    return "/" + "/".join(written)
