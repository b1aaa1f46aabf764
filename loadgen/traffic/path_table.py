"""Numbers of paths: each path has one of its own, so that the values of parameters can be counted.

The tree of paths merges values into places such as `/products/{id}`. This table keeps the paths themselves, in memory
only: the first `MOST_PATHS` different ones. All further paths of a place share a number without a text.

For a replay, the table can keep targets, which are paths with their queries. Then each target has a number of its own,
until half of the table is full. Further targets have the number of their path, so that queries cannot crowd out paths.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.path_segments import path_of
from loadgen.traffic.path_tree import PathTree

__all__ = ["MOST_PATHS", "PathTable"]

MOST_PATHS: Final = 500_000
"""About 200 bytes each."""


class PathTable:
    """Gives numbers to the paths of requests."""

    def __init__(self, tree: PathTree, most: int = MOST_PATHS, *, keeps_queries: bool = False) -> None:
        self.tree = tree
        self.keeps_queries = keeps_queries
        self.numbers: dict[bytes, int] = {}
        """The number of each path that has one of its own. Paths have no query, unless the table keeps queries."""
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
        if self.keeps_queries and (query := target.partition(b"#")[0].partition(b"?")[2]):
            return self._number_of_query(path, path + b"?" + query)
        found = self.numbers.get(path)
        if found is not None:
            return found
        place = self.tree.number(path)
        if len(self.numbers) < self._most:
            found = self.numbers[path] = len(self._places)
            self._places.append(place)
        elif place in self._shared:
            found = self._shared[place]
        else:
            found = self._shared[place] = len(self._places)
            self._places.append(place)
        return found

    def _number_of_query(self, path: bytes, target: bytes) -> int:
        found = self.numbers.get(target)
        if found is None:
            if len(self.numbers) >= self._most // 2:
                self._lost_queries = True
                return self.number(path)
            found = self.numbers[target] = len(self._places)
            self._places.append(self.tree.number(path))
        return found

    @property
    def size(self) -> int:
        """Numbers given out so far."""
        return len(self._places)

    def places(self) -> NDArray[np.int64]:
        """Return for each number the number of its place in the tree."""
        numbers = self.tree.numbers().astype(np.int64)
        return numbers[np.array(self._places, np.int64)] if self._places else np.zeros(0, np.int64)
