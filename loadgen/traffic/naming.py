"""Names of requests: finds parameters by their number, then keeps the busiest names.

A name is a method and a template, such as `GET /products/{slug}`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from math import fsum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.path_segments import is_parameter
from loadgen.traffic.path_tree import Node, PathTree
from loadgen.traffic.rows import METHODS

__all__ = ["OTHER", "Name", "NameRules", "Names", "infer_parameters", "names_within_budget"]

OTHER: Final = "other"
"""The name of all requests beyond the budget."""


@dataclass(frozen=True)
class NameRules:
    """When a place is a parameter, and how many names there are."""

    pins: tuple[str, ...] = ()
    least_children: int = 50
    """A place with more literal children may be a parameter."""
    most_share: float = 0.01
    """Children with at least this share of all requests keep their text."""
    least_alike: float = 0.5
    most_names: int = 200
    coverage: float = 0.99
    least_users: int = 5
    """Names that fewer users sent are not shown, because they may contain personal data."""


@dataclass(frozen=True)
class Name:
    """A name with its counts. is_rare: fewer than `least_users` users sent it, so its text must not be shown."""

    name: str
    count: int
    users: int


@dataclass(frozen=True)
class Names:
    """The names that were kept, and what happened to the others."""

    kept: tuple[Name, ...]
    """The busiest first; `other` is not among them."""
    other_names: int
    other_count: int
    rare_names: int
    """Names in `other` that are there because too few users sent them."""
    index: NDArray[np.int64]
    """For each name before the budget its place in `kept`, or `len(kept)` for other."""


def infer_parameters(tree: PathTree, counts: NDArray[np.int64], rules: NameRules) -> None:
    """Merge the literal children of places that are parameters.

    counts: requests by number of the tree. A place is a parameter if it has more than `least_children` literal children
    with the same suffix (`.png`), each with less than `most_share` of all requests, that are alike: the mean Jaccard
    similarity of their next segments to the usual ones is at least `least_alike`.
    """
    total = int(counts.sum())
    weights: dict[int, int] = {}
    _weigh(tree.root, _merged_counts(tree, counts), weights)
    _infer(tree, tree.root, weights, rules, total)


def _merged_counts(tree: PathTree, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    merged = np.zeros(tree.size, np.int64)
    np.add.at(merged, tree.numbers()[: len(counts)], counts)
    return merged


def _weigh(node: Node, counts: NDArray[np.int64], weights: dict[int, int]) -> int:
    weight = int(counts[node.number]) if node.number >= 0 else 0
    for child in node.children.values():
        weight += _weigh(child, counts, weights)
    weights[id(node)] = weight
    return weight


def _infer(tree: PathTree, node: Node, weights: dict[int, int], rules: NameRules, total: int) -> None:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    if node.literals > rules.least_children:
        for name, child in node.children.items():
            if name and not is_parameter(name) and weights[id(child)] < rules.most_share * total:
                groups[_suffix(name)].append(name)
    for suffix, names in groups.items():
        if len(names) > rules.least_children and _alike([node.children[name] for name in names]) >= rules.least_alike:
            tree.merge_children(node, names, "{slug}" + suffix)
            _reweigh(node.children["{slug}" + suffix], weights)
    for child in node.children.values():
        _infer(tree, child, weights, rules, total)


def _reweigh(node: Node, weights: dict[int, int]) -> None:
    """Give places without a weight, and merged ones, the weight 0: inside a parameter every text is rare."""
    weights[id(node)] = 0
    for child in node.children.values():
        _reweigh(child, weights)


def _alike(nodes: list[Node]) -> float:
    """Return the mean Jaccard similarity of the next segments of some places to those that at least half of them have.
    Segments that only one place has count as one unnamed segment.
    """
    seen = Counter(name for node in nodes for name in node.children)
    shapes = []
    for node in nodes:
        shape = {name if seen[name] > 1 or is_parameter(name) else "*" for name in node.children}
        shapes.append(shape | ({"."} if node.number >= 0 else set()))
    common = Counter(part for shape in shapes for part in shape)
    usual = {part for part, count in common.items() if 2 * count >= len(nodes)}
    # fsum: the result must not depend on the order of the places.
    return fsum(len(shape & usual) / len(shape | usual) for shape in shapes) / len(nodes)


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix}" if stem and dot and suffix.isalnum() and not suffix.isdigit() and len(suffix) <= 6 else ""


def names_within_budget(
    templates: list[str], counts: NDArray[np.int64], users: NDArray[np.int64], rules: NameRules
) -> Names:
    """Keep the busiest names: at most `most_names`, as many as `coverage` of the requests need, without rare ones.

    templates: sorted. counts, users: by template and method, `len(METHODS)` entries a template.
    """
    used = np.flatnonzero(counts)
    texts = {int(at): f"{METHODS[at % len(METHODS)]} {templates[at // len(METHODS)]}" for at in used}
    order = sorted(texts, key=lambda at: (-int(counts[at]), texts[at]))
    total, covered = int(counts.sum()), 0
    kept: list[Name] = []
    rare = 0
    index = np.full(len(counts), -1, np.int64)
    for at in order:
        count = int(counts[at])
        if users[at] < rules.least_users:
            rare += 1
        elif len(kept) < rules.most_names and covered < rules.coverage * total:
            index[at] = len(kept)
            kept.append(Name(texts[at], count, int(users[at])))
        covered += count
    index[index < 0] = len(kept)
    return Names(tuple(kept), len(order) - len(kept), total - sum(name.count for name in kept), rare, index)
