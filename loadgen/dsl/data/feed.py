"""Feeds: the data rows that journeys run with.

    feed.csv("data/shoppers.csv", Shopper).unique()              no row twice in the whole fleet; at the end it stops
    feed.jsonl("data/orders.jsonl", Order).shuffle(seed=7)       each row in turn, in an order of its own, then again
    feed.rows([Item("a"), Item("b")]).random(seed=3)             any row, drawn anew each time

Which row a use gets follows from the use's number alone (in open loads its place
among the fleet's arrivals, in closed ones the user's number), so agents need not
speak to each other, and iteration 4711 gets the same row when it is run again.
The order of rows and the numbers that are drawn are our own arithmetic and not a
library's, so they stay the same from version to version.

The schema is a dataclass or a `msgspec.Struct`. The header and every row are
checked when the feed is opened: all faults with file and line. After that the
file stays in memory as it is (1,000,000 rows of 46 bytes: 62 MB) and a row is
made when it is used, in 2 to 3 µs: each user has an instance of its own, and one
who changes it does not change another's. Files beyond 16 MiB are mapped, and only
some of their rows are checked, which the loader says (see `rowfile.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import numpy as np

from loadgen.dsl.data.rowfile import Given, Table, read_table, schema_faults
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError
from loadgen.splitmix import GOLDEN, MASK, mixed, mixed_each

__all__ = ["Feed", "Rows", "csv", "jsonl", "open_feed", "rows"]

Row = TypeVar("Row")


@dataclass(frozen=True, eq=False)
class Feed(Generic[Row]):
    """Rows and the way they are dealt out. Made by `csv`, `jsonl` or `rows`.

    By default rows come in the order of the file and start again when they run out.
    """

    origin: Origin
    path: Path | None = None
    """The file, to travel with the scenario. None: the rows stand in the scenario."""
    schema: type[Row] | None = None
    given: tuple[Row, ...] = ()
    kind: Literal["csv", "jsonl", "rows"] = "rows"
    delimiter: str = ","
    order: Literal["file", "shuffle", "random"] = "file"
    seed: int = 0
    is_unique: bool = False
    when_out: Literal["stop", "cycle"] = "cycle"
    said: tuple[Fault, ...] = ()
    _opened: list[Rows[Row]] = field(default_factory=list, init=False, repr=False)

    def unique(self, *, when_out: Literal["stop", "cycle"] = "stop") -> Feed[Row]:
        """No row twice in the whole fleet. Journeys that are given this same value share its rows.

        when_out: "stop" ends each further iteration as a fault of the scenario, and the loader says beforehand
            how many rows are missing; "cycle" starts again when all have been used.
        """
        if when_out not in ("stop", "cycle"):
            return self._faulty(f'when_out={when_out!r} is neither "stop" nor "cycle"')
        return self._with(is_unique=True, when_out=when_out)

    def cycle(self) -> Feed[Row]:
        """Start again from the first row when they run out."""
        return self._with(when_out="cycle")

    def shuffle(self, *, seed: int = 0) -> Feed[Row]:
        """Each row once, in an order that follows from `seed`, the same on every agent and in every round."""
        return self._with(order="shuffle", seed=seed)

    def random(self, *, seed: int = 0) -> Feed[Row]:
        """Any row each time: the n-th draw follows from `seed` and n. Rows repeat and never run out."""
        return self._with(order="random", seed=seed)

    def needs_rows(self, uses: int) -> int:
        """How many rows must be there for `uses` uses: as many when each may be used once, otherwise 1."""
        return max(1, uses) if self.is_unique and self.when_out == "stop" else 1

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with how it is said; the file's own faults come from `open_feed`."""
        if self.is_unique and self.order == "random":
            return (*self.said, self.origin.fault("unique() and random() exclude each other", "unique().shuffle()"))
        return self.said

    def _with(self, **changes: Any) -> Feed[Row]:
        seed = changes.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool):
            return self._faulty(f"seed={seed!r} is no whole number")
        return replace(self, **changes)

    def _faulty(self, message: str) -> Feed[Row]:
        return replace(self, said=(*self.said, here().fault(message)))


class Rows(Generic[Row]):
    """The rows of an opened feed.

    `row` is HOT, once an iteration.
    """

    __slots__ = ("_at", "_count", "_order", "_seed", "_stops", "unchecked")

    def __init__(self, feed: Feed[Row], table: Table[Row]) -> None:
        self.unchecked = table.unchecked
        """Rows of a large file whose types were not looked at."""
        self._at = table.at
        self._count = len(table)
        self._stops = feed.when_out == "stop"
        self._order = _permutation(self._count, feed.seed) if feed.order == "shuffle" else None
        self._seed = feed.seed if feed.order == "random" else None

    def __len__(self) -> int:
        return self._count

    def row(self, n: int) -> Row | None:
        """The row of the n-th use, from 0; None when the rows ran out."""
        count = self._count
        if self._seed is not None:
            return self._at(mixed(self._seed + (n + 1) * GOLDEN) * count >> 64)
        if n >= count:
            if self._stops:
                return None
            n %= count
        return self._at(n if self._order is None else int(self._order[n]))


def csv(path: str | PathLike[str], schema: type[Row], *, delimiter: str = ",") -> Feed[Row]:
    """The rows of a CSV file (UTF-8, with a header), beside the file that says so.

    Columns are found by the names of the schema's fields; others are ignored. Cells become the fields' types
    ("12" an int, "true" a bool, "2026-01-31" a date); an empty one of an optional field is None.
    """
    origin = here()
    said = [*_path_faults(path, origin), *schema_faults(schema, origin)]
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"':
        said.append(origin.fault(f"delimiter={delimiter!r} is not one character"))
    return Feed(origin, _beside(origin, path), schema, (), "csv", delimiter, said=tuple(said))


def jsonl(path: str | PathLike[str], schema: type[Row]) -> Feed[Row]:
    """The rows of a file with one JSON object a line, beside the file that says so. Unknown keys are ignored."""
    origin = here()
    said = (*_path_faults(path, origin), *schema_faults(schema, origin))
    return Feed(origin, _beside(origin, path), schema, (), "jsonl", said=said)


def rows(given: Iterable[Row]) -> Feed[Row]:
    """Rows that stand in the scenario. They are not copied: what a journey changes in one, others see."""
    origin = here()
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        return Feed(origin, said=(origin.fault(f"rows of a {type(given).__name__}", "feed.rows([Item(...), ...])"),))
    kept = tuple(given)
    return Feed(origin, given=kept, said=() if kept else (origin.fault("a feed without rows"),))


def open_feed(feed: Feed[Row]) -> Rows[Row]:
    """Read and check all rows. The second time it costs nothing.

    Raises:
        ScenarioError: with the feed's own faults, or the file's.
    Cost: 1.8 s of CPU for 1,000,000 CSV rows of three columns. A large file is mapped: 10,000,000 rows of 43 bytes
        took 2.8 s of CPU (8.4 s with a quoted column) and 80 MB beside the file's own pages; then 4 to 6 µs a row.
    """
    if feed.faults:
        raise ScenarioError(feed.faults)
    if not feed._opened:
        feed._opened.append(Rows(feed, _table(feed)))
    return feed._opened[0]


def _table(feed: Feed[Row]) -> Table[Row]:
    if feed.path is None or feed.schema is None or feed.kind == "rows":
        return Given(feed.given)
    return read_table(feed.path, feed.schema, feed.kind, feed.delimiter, feed.origin)


def _path_faults(path: object, origin: Origin) -> list[Fault]:
    if not isinstance(path, str | PathLike) or not fspath(path):
        return [origin.fault(f"{path!r} is no path of a file")]
    return []


def _beside(origin: Origin, path: object) -> Path | None:
    """The path seen from the file that names it: so it is found wherever the scenario is unpacked."""
    if not isinstance(path, str | PathLike):
        return None
    return Path(origin.file).parent / cast("str", fspath(path))


# -- chance ---------------------------------------------------------------------------------------


def _permutation(count: int, seed: int) -> np.ndarray:
    """(count,) int64, each of 0 to count - 1 once: sorted by what chance has for each."""
    z = np.uint64(seed & MASK) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return np.argsort(mixed_each(z), kind="stable")
