"""Feeds: the data rows that journeys run with.

    feed.csv("data/shoppers.csv", Shopper).unique()              no row twice in the whole fleet; then iterations fail
    feed.jsonl("data/orders.jsonl", Order).shuffle(seed=7)       each row once in a fixed random order, then again
    feed.rows([Item("a"), Item("b")]).random(seed=3)             a random row each time
    feed.mooncake("data/trace.jsonl")                            requests of AI inference; also sharegpt, openai_batch

The row of a use depends only on the use's number: in open loads the arrival's number in
the whole fleet, in closed loads the user's number. So agents need no communication, and
iteration 4711 gets the same row in a repeated run. Shuffling and drawing use loadgen's
own arithmetic, not a library's, so they are the same in every version.

The schema is a dataclass or a `msgspec.Struct`. The header and every row are checked when
the feed is opened; all errors have file and line. The file stays in memory unchanged
(1,000,000 rows of 46 bytes: 62 MB), and each use creates its row in 2 to 3 µs. So each
user has its own object, and can change it without affecting others. Files above 16 MiB
are mapped, and only some rows are checked, with a warning (see `rowfile.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast, overload

import numpy as np

from loadgen.dsl.data.inference_rows import (
    BLOCK_TOKENS,
    BatchRow,
    MooncakeRow,
    Turn,
    read_batch,
    read_conversations,
    read_mooncake,
)
from loadgen.dsl.data.rowfile import Given, Table, read_table, schema_faults
from loadgen.dsl.data.scaled_rows import scaled_rows, wrong_scale
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError
from loadgen.splitmix import GOLDEN, MASK, mixed, mixed_each

__all__ = ["Feed", "Rows", "csv", "jsonl", "mooncake", "open_feed", "openai_batch", "rows", "sharegpt"]

Row = TypeVar("Row")


@dataclass(frozen=True, eq=False)
class Feed(Generic[Row]):
    """Rows, and the order in which they are used. Created by `feed.csv`, `feed.jsonl` or `feed.rows`.

    By default rows are used in the order of the file, and start again at the end.
    """

    origin: Origin
    path: Path | None = None
    """The file, which travels with the scenario. None: the rows are written in the scenario."""
    schema: type[Row] | None = None
    given: tuple[Row, ...] = ()
    kind: Literal["csv", "jsonl", "rows", "trace"] = "rows"
    delimiter: str = ","
    order: Literal["file", "shuffle", "random"] = "file"
    seed: int = 0
    is_unique: bool = False
    when_out: Literal["stop", "cycle"] = "cycle"
    factor: float = 1.0
    """Average number of occurrences of each row."""
    reader: Callable[[Path, Origin], Table[Row]] | None = None
    """Reads a file of the kind "trace"."""
    errors: tuple[Fault, ...] = ()
    _opened: list[Rows[Row]] = field(default_factory=list, init=False, repr=False)

    def unique(self, *, when_out: Literal["stop", "cycle"] = "stop") -> Feed[Row]:
        """Return this feed with each row used only once in the whole fleet. Journeys with this same feed share rows.

        when_out: "stop" makes each iteration without a row fail as a script error, and the loader reports missing rows
            before the run; "cycle" starts again when all rows have been used.
        """
        if when_out not in ("stop", "cycle"):
            return self._faulty(f'when_out={when_out!r} must be "stop" or "cycle"; write unique(when_out="cycle")')
        return self._with(is_unique=True, when_out=when_out)

    def cycle(self) -> Feed[Row]:
        """Return this feed changed so that it starts again at its first row when all rows have been used."""
        return self._with(when_out="cycle")

    def shuffle(self, *, seed: int = 0) -> Feed[Row]:
        """Return this feed with its rows in a random order, which depends only on `seed`.

        The order is the same on all agents and each time that the feed starts again.
        """
        return self._with(order="shuffle", seed=seed)

    def random(self, *, seed: int = 0) -> Feed[Row]:
        """Return this feed changed to give a random row at each use. The row of use n depends only on `seed` and n.

        The same row may be given more than once.
        """
        return self._with(order="random", seed=seed)

    def scale(self, scale: float) -> Feed[Row]:
        """Return this feed with its rows left out or repeated as `replay.timestamps(..., scale=)` does to arrivals.

        So with the same file and the same scale, each arrival has the row that was recorded with it.

        scale: above 0; 0.5 keeps about half of the rows, 2 has each row twice.
        """
        problem = wrong_scale(scale)
        if problem:
            message, _, hint = problem.partition(" | ")
            return replace(self, errors=(*self.errors, here().fault(message, hint)))
        return replace(self, factor=float(scale))

    def needs_rows(self, uses: int) -> int:
        """Return the minimum number of rows for `uses` row requests: `uses` if no row may be used twice, else 1."""
        return max(1, uses) if self.is_unique and self.when_out == "stop" else 1

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return the errors in this feed's arguments. Errors in its file are reported by `open_feed`."""
        if self.is_unique and self.order == "random":
            return (
                *self.errors,
                self.origin.fault("unique() and random() exclude each other", "write unique().shuffle()"),
            )
        return self.errors

    def _with(self, **changes: Any) -> Feed[Row]:
        seed = changes.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool):
            return self._faulty(f"seed={seed!r} must be a whole number; write seed=1")
        return replace(self, **changes)

    def _faulty(self, message: str) -> Feed[Row]:
        return replace(self, errors=(*self.errors, here().fault(message)))


class Rows(Generic[Row]):
    """The rows of an opened feed.

    `row` is HOT, once an iteration.
    """

    __slots__ = ("_at", "_count", "_order", "_seed", "_stops", "skipped", "unchecked")

    def __init__(self, feed: Feed[Row], table: Table[Row]) -> None:
        self.unchecked = table.unchecked
        """Number of rows of a large file whose types were not checked."""
        self.skipped = table.skipped
        """Number of rows of the file that were left out, because they cannot be used."""
        self._at = table.at
        self._count = len(table)
        self._stops = feed.when_out == "stop"
        scaled = scaled_rows(self._count, feed.factor) if feed.factor != 1 else None
        if scaled is not None:
            if not len(scaled):
                message = f"scale={feed.factor:g} leaves none of the {self._count} rows"
                raise ScenarioError([feed.origin.fault(message, "write a larger scale")])
            self._count = len(scaled)
        self._order = _permutation(self._count, feed.seed) if feed.order == "shuffle" else None
        if scaled is not None:
            if feed.order == "random":
                self._at = lambda i: table.at(int(scaled[i]))
            else:
                self._order = scaled if self._order is None else scaled[self._order]
        self._seed = feed.seed if feed.order == "random" else None

    def __len__(self) -> int:
        return self._count

    def row(self, n: int) -> Row | None:
        """Return the row for use number `n` (from 0) of the whole fleet.

        Returns None if all rows have been used and the feed does not start again.
        """
        count = self._count
        if self._seed is not None:
            # The upper half of the product maps 64 bits to row numbers without a division; its bias is below count /
            # 2^64.
            return self._at(mixed(self._seed + (n + 1) * GOLDEN) * count >> 64)
        if n >= count:
            if self._stops:
                return None
            n %= count
        return self._at(n if self._order is None else int(self._order[n]))


def csv(path: str | PathLike[str], schema: type[Row], *, delimiter: str = ",") -> Feed[Row]:
    """Return a feed of the rows of a CSV file (UTF-8, with a header). The path is relative to the calling file.

    Columns are matched to the schema's fields by name; other columns are ignored. Cells are converted to the fields'
    types ("12" to int, "true" to bool, "2026-01-31" to date). An empty cell of an optional field becomes None.

    Args:
        path: the file, in the scenario's folder or below. An archive whose name ends in .gz or .zst is unpacked once.
        schema: a dataclass or `msgspec.Struct`, the type of the rows.
        delimiter: one character.
    """
    origin = here()
    errors = [*_path_faults(path, origin), *schema_faults(schema, origin)]
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"':
        errors.append(origin.fault(f"delimiter={delimiter!r} must be one character", 'write delimiter=";"'))
    return Feed(origin, origin.beside(path), schema, (), "csv", delimiter, errors=tuple(errors))


def jsonl(path: str | PathLike[str], schema: type[Row]) -> Feed[Row]:
    """Return a feed of the rows of a file with one JSON object per line. The path is relative to the calling file.

    schema: a dataclass or `msgspec.Struct`, the type of the rows. Keys without a field are ignored.
    """
    origin = here()
    errors = (*_path_faults(path, origin), *schema_faults(schema, origin))
    return Feed(origin, origin.beside(path), schema, (), "jsonl", errors=errors)


def rows(given: Iterable[Row]) -> Feed[Row]:
    """Return a feed of row objects written in the scenario.

    The objects are not copied, so a journey that changes its row changes it for all later uses.
    """
    origin = here()
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        return Feed(
            origin,
            errors=(
                origin.fault(
                    f"feed.rows needs a list, got {type(given).__name__}", "write feed.rows([Item(...), ...])"
                ),
            ),
        )
    kept = tuple(given)
    return Feed(
        origin, given=kept, errors=() if kept else (origin.fault("feed.rows got no rows", "pass at least one row"),)
    )


@overload
def mooncake(
    path: str | PathLike[str], rows: Literal["whole"] = "whole", *, block_tokens: int = BLOCK_TOKENS
) -> Feed[MooncakeRow]: ...
@overload
def mooncake(
    path: str | PathLike[str], rows: Literal["turn"], *, block_tokens: int = BLOCK_TOKENS
) -> Feed[tuple[MooncakeRow, ...]]: ...
def mooncake(
    path: str | PathLike[str], rows: Literal["whole", "turn"] = "whole", *, block_tokens: int = BLOCK_TOKENS
) -> Feed[MooncakeRow] | Feed[tuple[MooncakeRow, ...]]:
    """Return a feed of the requests of a Mooncake trace: JSON lines with `timestamp`, `input_length`, `output_length`
    and `hash_ids`. `row.prompt()` is the prompt of a row, which shares blocks of text with other rows by `hash_ids`.

    Args:
        path: the file, relative to the calling file. An archive whose name ends in .gz or .zst is unpacked once.
        rows: "whole": each row is a request with its whole prompt, earlier turns included, as in the traces that
            Mooncake published. "turn": each row has only the new text of a turn, and rows with the same `session_id`
            are the turns of a conversation, as AIPerf reads them. A row of the feed is then the tuple of all turns.
        block_tokens: tokens of a block of the trace.
    """
    origin = here()
    errors = _path_faults(path, origin)
    if rows not in ("whole", "turn"):
        errors.append(
            origin.fault(
                f"rows={rows!r} is unknown",
                'write rows="whole" if each row has the whole prompt, or rows="turn" if it has only its new text',
            )
        )
    if not isinstance(block_tokens, int) or isinstance(block_tokens, bool) or block_tokens < 1:
        errors.append(
            origin.fault(
                f"block_tokens={block_tokens!r} must be a whole number of at least 1", "write block_tokens=512"
            )
        )
    reader = partial(read_mooncake, is_whole=rows == "whole", block_tokens=block_tokens)
    return Feed[Any](origin, origin.beside(path), kind="trace", reader=reader, errors=tuple(errors))


def sharegpt(path: str | PathLike[str], *, short: Literal["refuse", "skip"] = "refuse") -> Feed[tuple[Turn, ...]]:
    """Return a feed of the conversations of a ShareGPT file, each with all its turns: `for role, text in row:`.

    The file is a JSON array, or has one JSON object per line. Roles are "system", "user", "assistant" and "tool".

    Args:
        path: the file, relative to the calling file. An archive whose name ends in .gz or .zst is unpacked once.
        short: "refuse" reports conversations with fewer than two turns or without a text as errors; "skip" leaves them
            out.
    """
    origin = here()
    errors = _path_faults(path, origin)
    if short not in ("refuse", "skip"):
        errors.append(origin.fault(f"short={short!r} is unknown", 'write short="refuse" or short="skip"'))
    reader = partial(read_conversations, is_skipping=short == "skip")
    return Feed(origin, origin.beside(path), kind="trace", reader=reader, errors=tuple(errors))


def openai_batch(path: str | PathLike[str]) -> Feed[BatchRow]:
    """Return a feed of the requests of an OpenAI batch file: `await user.http.post(row.url, json=row.body)`.

    path: JSON lines with `custom_id`, `url` and `body`, relative to the calling file. An archive whose name ends in .gz
        or .zst is unpacked once.
    """
    origin = here()
    errors = tuple(_path_faults(path, origin))
    return Feed(origin, origin.beside(path), kind="trace", reader=read_batch, errors=errors)


def open_feed(feed: Feed[Row]) -> Rows[Row]:
    """Read and check the feed's rows, and return them by number. Repeated calls return the same object at no cost.

    Raises:
        ScenarioError: with the errors in the feed's arguments, or in its file.
    Cost: 1.8 s of CPU for 1,000,000 CSV rows of three columns. A large file is mapped: 10,000,000 rows of 43 bytes
        took 2.8 s of CPU (8.4 s with a quoted column) and 80 MB in addition to the file's pages; then 4 to 6 µs per
        row.
    """
    if feed.faults:
        raise ScenarioError(feed.faults)
    if not feed._opened:
        feed._opened.append(Rows(feed, _table(feed)))
    return feed._opened[0]


def _table(feed: Feed[Row]) -> Table[Row]:
    if feed.path is not None and feed.reader is not None:
        return feed.reader(feed.path, feed.origin)
    if feed.path is None or feed.schema is None or feed.kind in ("rows", "trace"):
        return Given(feed.given)
    return read_table(feed.path, feed.schema, cast('Literal["csv", "jsonl"]', feed.kind), feed.delimiter, feed.origin)


def _path_faults(path: object, origin: Origin) -> list[Fault]:
    if origin.beside(path) is None:
        return [origin.fault(f"{path!r} is not a path of a file", 'write "data/shoppers.csv"')]
    return []


# -- random order ---------------------------------------------------------------------------------


def _permutation(count: int, seed: int) -> np.ndarray:
    """Return the row numbers 0 to count - 1 in a random order, (count,) int64: sorted by a hash of (seed, number)."""
    z = np.uint64(seed & MASK) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return np.argsort(mixed_each(z), kind="stable")
