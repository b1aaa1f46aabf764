"""Numbers of paths: each path has one of its own, so that the values of parameters can be counted.

The tree of paths merges values into places such as `/products/{id}`. This table keeps the paths themselves, in memory
only: the first `MOST_PATHS` different ones. All further paths of a place share a number without a text.

For a replay, the table can keep targets, which are paths with their queries. Then each target has a number of its own,
until half of the table is full. Further targets have the number of their path, so that queries cannot crowd out paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.names.path_segments import path_of, target_of
from loadgen.traffic.names.path_tree import PathTree

__all__ = ["MOST_PATHS", "PathTable"]

MOST_PATHS: Final = 500_000
"""About 200 bytes each."""
LONGEST_PATH: Final = 200
"""Longer paths are kept as a hash: they are never shown (`path_values`), and hostile ones would take much memory."""


class PathTable:
    """Gives numbers to the paths of requests."""

    def __init__(self, tree: PathTree, most: int = MOST_PATHS, *, keeps_queries: bool = False) -> None:
        self.tree = tree
        self.keeps_queries = keeps_queries
        self.numbers: dict[bytes, int] = {}
        """The number of each path that has one of its own. Paths have no query, unless the table keeps queries. A key
        with NUL is a path's hash.
        """
        self._most = most
        self._places: list[int] = []
        self._shared: dict[int, int] = {}
        self._lost_queries = False

    @property
    def is_complete(self) -> bool:
        """Whether every path, and every query that is kept, has a number of its own.

        If not, which ones have depends on the order of the lines.
        """
        return not self._shared and not self._lost_queries

    def number(self, target: bytes) -> int:
        """Return the number of the path of a request's target."""
        path = path_of(target)
        if self.keeps_queries and (with_query := target_of(target)) != path:
            return self._number_of_query(path, with_query)
        key = _key(path)
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

    def _number_of_query(self, path: bytes, target: bytes) -> int:
        if len(target) > LONGEST_PATH:
            return self.number(path)
        found = self.numbers.get(target)
        if found is None:
            if len(self.numbers) >= self._most // 2:
                self._lost_queries = True
                return self.number(path)
            found = self.numbers[target] = len(self._places)
            self._places.append(self.tree.number(path))
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


def _key(path: bytes) -> bytes:
    """Return the key of a path: itself, or a hash of a long one."""
    return path if len(path) <= LONGEST_PATH else b"\0" + hashlib.blake2b(path, digest_size=16).digest()
