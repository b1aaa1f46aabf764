"""Numbers of paths: each path has one of its own, so that the values of parameters can be counted.

The tree of paths merges values into places such as `/products/{id}`. This table keeps the paths themselves, in memory
only: the first `MOST_PATHS` different ones. All further paths of a place share a number without a text.

For a replay, the table can keep targets, which are paths with their queries. Then each target has a number of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.path_segments import kept_part
from loadgen.traffic.path_tree import PathTree

__all__ = ["MOST_PATHS", "PathTable"]

MOST_PATHS: Final = 500_000
"""About 200 bytes each."""
_LONGEST_PATH: Final = 200
_LONGEST_TARGET: Final = 2_000
"""Longer paths, or targets with queries, are kept as a hash, because hostile ones would take much memory. No output
has them."""


class PathTable:
    """Gives numbers to the paths of requests."""

    def __init__(self, tree: PathTree, most: int = MOST_PATHS, *, keeps_queries: bool = False) -> None:
        self.tree = tree
        self.keeps_queries = keeps_queries
        self.numbers: dict[bytes, int] = {}
        """The number of each path that has one of its own. Paths have no query, unless the table keeps queries. A key
        with NUL is the hash of a long path."""
        self._most = most
        self._longest = _LONGEST_TARGET if keeps_queries else _LONGEST_PATH
        self._places: list[int] = []
        self._shared: dict[int, int] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every path has a number of its own. If not, which ones have depends on the order of the lines."""
        return not self._shared

    def number(self, target: bytes) -> int:
        """Return the number of the path of a request's target."""
        path = kept_part(target, keeps_queries=self.keeps_queries)
        key = path if len(path) <= self._longest else b"\0" + hashlib.blake2b(path, digest_size=16).digest()
        found = self.numbers.get(key)
        if found is not None:
            return found
        place = self.tree.number(path)
        if len(self.numbers) < self._most:
            found = self.numbers[key] = len(self._places)
            self._places.append(place)
        elif place in self._shared:
            found = self._shared[place]
        else:
            found = self._shared[place] = len(self._places)
            self._places.append(place)
        return found

    def add(self, paths: Iterable[bytes]) -> NDArray[np.uint32]:
        """Return the numbers of several paths."""
        return np.fromiter(map(self.number, paths), np.uint32)

    @property
    def size(self) -> int:
        """Numbers given out so far."""
        return len(self._places)

    def places(self) -> NDArray[np.int64]:
        """Return for each number the number of its place in the tree."""
        numbers = self.tree.numbers().astype(np.int64)
        return numbers[np.array(self._places, np.int64)] if self._places else np.zeros(0, np.int64)
