"""Gives names to requests: turns places with many different texts into parameters, then keeps the busiest names.

A name is a method and a template, such as `GET /products/{slug}`. A place is a node of the `PathTree`; its children
are the different next segments.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from math import fsum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.names.path_segments import is_parameter
from loadgen.traffic.names.path_tree import Node, PathTree
from loadgen.traffic.rows.rows import METHODS

__all__ = ["OTHER", "Name", "NameRules", "Names", "infer_parameters", "names_within_budget"]

OTHER: Final = "other"
"""The name of all requests whose own name is not kept."""


_NUMBERED: Final = re.compile(r"([A-Za-z][A-Za-z_-]{0,20}?[_-]?)\d{2,}((?:\.[A-Za-z][A-Za-z0-9]{0,5})?)")


@dataclass(frozen=True)
class NameRules:
    """The rules by which segments become parameters, and names are kept."""

    pins: tuple[str, ...] = ()
    """Templates that the user gave (`--name`), such as `/products/{sku}`. Templates go before all other rules."""
    found: tuple[str, ...] = ()
    """Templates that another log has, such as the log of a model. They go before all rules but `pins`, and fit exactly
    the paths that have them in that log."""
    least_children: int = 50
    """The children of a place may become a parameter only if more than this many are texts."""
    most_share: float = 0.01
    """A child with at least this share of all requests keeps its text."""
    least_numbered: int = 5
    """This many children that differ only in a number, such as `sku-0042`, become a parameter, even busy ones."""
    least_alike: float = 0.5
    """The children become a parameter only if the segments after them are at least this similar: 0 to 1, where 1 means
    that all children have the same next segments. See `infer_parameters`."""
    most_names: int = 200
    """The largest number of names that are kept. All other requests have the name `other`."""
    coverage: float = 0.99
    """Names are kept, the busiest first, until this share of all requests is reached. Rare names count here."""
    least_users: int = 5
    """Names that fewer users sent are not shown, because they may contain personal data."""


@dataclass(frozen=True)
class Name:
    """A name, with the numbers of its requests and of the users that sent them."""

    name: str
    count: int
    users: int


@dataclass(frozen=True)
class Names:
    """The names that were kept, and the number of the others."""

    kept: tuple[Name, ...]
    """The busiest first, without `other`."""
    other_names: int
    other_count: int
    rare_names: int
    """Names in `other` that are there because too few users sent them."""
    index: NDArray[np.int64]
    """For each template and method: the index of its name in `kept`, or `len(kept)` for `other`."""


def infer_parameters(tree: PathTree, counts: NDArray[np.int64], rules: NameRules) -> None:
    """Merge the children of places into parameters, where the rules permit it.

    Children of a place become one parameter if more than `least_children` of them are texts with the same suffix
    (`.png`, or none), each has less than `most_share` of all requests, and they are alike: the mean Jaccard similarity
    of their next segments to the usual next segments is at least `least_alike`.

    So do children that differ only in a number at the end, at least `least_numbered` of them, if they are alike.

    counts: requests by number of the tree.
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
    for (_, suffix), names in _numbered(node).items():
        if len(names) >= rules.least_numbered and _alike([node.children[name] for name in names]) >= rules.least_alike:
            tree.merge_children(node, names, "{slug}" + suffix)
            _reweigh(node.children["{slug}" + suffix], weights)
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


def _numbered(node: Node) -> dict[tuple[str, str], list[str]]:
    """Return the children that differ only in a number at the end, such as `sku-0042`, by the texts around it."""
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in node.children:
        if match := _NUMBERED.fullmatch(name):
            found[match[1], match[2]].append(name)
    return found


def _reweigh(node: Node, weights: dict[int, int]) -> None:
    """Set the weights of a merged place and of all places below it to 0: inside a parameter every text is rare."""
    weights[id(node)] = 0
    for child in node.children.values():
        _reweigh(child, weights)


def _alike(nodes: list[Node]) -> float:
    """Return the mean Jaccard similarity of the next segments of some places to the usual next segments.

    A next segment is usual if at least half of the places have it. Segments that only one place has count as one
    unnamed segment.
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
    """Keep the busiest names: at most `most_names`, and no more than `coverage` of the requests needs.

    Names that fewer than `least_users` users sent are not kept.

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
