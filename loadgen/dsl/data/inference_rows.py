"""Rows of AI inference tests: traces of requests, and conversations.

    MooncakeRow     a request of a Mooncake trace: when, how many tokens, which blocks of 512 tokens it shares
    BatchRow        a line of an OpenAI batch file: a whole request
    Turn            one message of a ShareGPT conversation; a row is the tuple of all its turns

`feed.mooncake`, `feed.openai_batch` and `feed.sharegpt` read them. Each function here reads a whole file, checks
what a schema cannot express, such as times in order, and reports all errors with file and line.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from re import search
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import msgspec

from loadgen.dsl.data.rowfile import FileFaults, FileTable, Table, read_table, unreadable
from loadgen.dsl.data.unpack import plain_file
from loadgen.dsl.prompts.prompt import MOST_TOKENS, Prompt, blocks, prompt
from loadgen.dsl.source_location import Origin
from loadgen.errors import ScenarioError

__all__ = ["BLOCK_TOKENS", "BatchRow", "MooncakeRow", "Turn", "read_batch", "read_conversations", "read_mooncake"]

Row = TypeVar("Row")

BLOCK_TOKENS: Final = 512
"""Tokens of a block of the traces that Mooncake published."""


class MooncakeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a Mooncake trace. Rows with the same ids at their beginning have the same text there."""

    timestamp: float | None = None
    """When the request arrived, ms."""
    input_length: int
    """Tokens of the prompt."""
    output_length: int
    """Tokens of the answer."""
    hash_ids: tuple[int, ...] = ()
    """The id of each block of the prompt; () if no block is shared."""
    session_id: str | int | None = None
    """The conversation of the request."""
    delay: float | None = None
    """Time between the answer to the turn before and this request, ms."""
    block_tokens: int = BLOCK_TOKENS
    """Tokens of a block; set by `feed.mooncake`."""

    def prompt(self) -> Prompt:
        """Return the prompt of this row: `input_length` tokens, in blocks whose text follows from the run and their id.

        Without `hash_ids`, the text is another one in each request.
        """
        if not self.hash_ids:
            return prompt(tokens=self.input_length)
        return blocks(self.hash_ids, self.input_length, self.block_tokens)


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an OpenAI batch file: a request with its body."""

    custom_id: str
    method: Literal["POST"] = "POST"
    url: str
    """The path, such as "/v1/chat/completions"."""
    body: dict[str, Any]


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str
    """"system", "user", "assistant" or "tool"."""
    text: str


def _all_rows(table: FileTable[Row], faults: FileFaults) -> Iterator[tuple[int, Row]]:
    """Yield (index, row) of each row. An invalid one, which the sample of a large file missed, is an error."""
    for i in range(len(table)):
        try:
            yield i, table.at(i)
        except msgspec.DecodeError as error:
            faults.add(partial(table.line, i), str(error).replace("`", ""), "correct the row")


class _Checked(Generic[Row]):
    """The rows of a table, all of which were checked."""

    unchecked = skipped = 0

    def __init__(self, table: Table[Row]) -> None:
        self._table = table
        self.at = table.at

    def __len__(self) -> int:
        return len(self._table)


# -- Mooncake -------------------------------------------------------------------------------------


def read_mooncake(path: Path, origin: Origin, *, is_whole: bool, block_tokens: int) -> Table[Any]:
    """Return the rows of a Mooncake trace: a `MooncakeRow` each, or without `is_whole` the tuple of a conversation's.

    Raises:
        ScenarioError: the file cannot be read, or with all errors in its rows.
    """
    table = read_table(path, MooncakeRow, "jsonl", "", origin)
    faults = FileFaults(path)
    last_ms: float | None = None
    groups: dict[str | int, list[int]] = {}
    for i, row in _all_rows(table, faults):
        for message, hint in _wrong_lengths(row, block_tokens):
            faults.add(partial(table.line, i), message, hint)
        if row.timestamp is not None:
            if last_ms is not None and row.timestamp < last_ms:
                message = f"timestamp {row.timestamp:g} is earlier than {last_ms:g} of a row above it"
                faults.add(partial(table.line, i), message, "sort the file by timestamp")
            last_ms = row.timestamp if last_ms is None else max(last_ms, row.timestamp)
        if not is_whole:
            if row.session_id is None:
                faults.add(
                    partial(table.line, i),
                    "the row has no session_id, so its conversation is unknown",
                    'add one to each row, or write rows="whole" if each row has the whole prompt',
                )
            else:
                groups.setdefault(row.session_id, []).append(i)
    faults.refuse()
    return _Requests(table, block_tokens) if is_whole else _Sessions(table, tuple(groups.values()), block_tokens)


def _wrong_lengths(row: MooncakeRow, block_tokens: int) -> Iterator[tuple[str, str]]:
    for name, value in (("input_length", row.input_length), ("output_length", row.output_length)):
        if not 1 <= value <= MOST_TOKENS:
            yield f"{name} {value} must be 1 to {MOST_TOKENS:,}", "correct the row, or remove it"
    if row.delay is not None and row.delay < 0:
        yield f"delay {row.delay:g} must be at least 0", "correct the row"
    needed = -(-row.input_length // block_tokens)
    if row.hash_ids and len(row.hash_ids) < needed:
        yield (
            f"hash_ids has {len(row.hash_ids)} ids, but input_length {row.input_length:,} needs {needed} blocks of "
            f"{block_tokens} tokens",
            "correct the row, or write block_tokens= with the size of the trace's blocks",
        )


class _Requests:
    """The rows of a trace, with the size of its blocks."""

    def __init__(self, table: Table[MooncakeRow], block_tokens: int) -> None:
        self._table, self._block_tokens = table, block_tokens
        self.unchecked, self.skipped = 0, 0

    def at(self, i: int) -> MooncakeRow:
        return _sized(self._table.at(i), self._block_tokens)

    def __len__(self) -> int:
        return len(self._table)


class _Sessions:
    """The conversations of a trace: the rows of each, in order."""

    def __init__(self, table: Table[MooncakeRow], groups: Sequence[Sequence[int]], block_tokens: int) -> None:
        self._table, self._groups, self._block_tokens = table, groups, block_tokens
        self.unchecked, self.skipped = 0, 0

    def at(self, i: int) -> tuple[MooncakeRow, ...]:
        return tuple(_sized(self._table.at(k), self._block_tokens) for k in self._groups[i])

    def __len__(self) -> int:
        return len(self._groups)


def _sized(row: MooncakeRow, block_tokens: int) -> MooncakeRow:
    if row.block_tokens == block_tokens:
        return row
    return msgspec.structs.replace(row, block_tokens=block_tokens)


# -- OpenAI batch files ---------------------------------------------------------------------------


def read_batch(path: Path, origin: Origin) -> Table[BatchRow]:
    """Return the requests of an OpenAI batch file.

    Raises:
        ScenarioError: the file cannot be read, or with all errors in its rows.
    """
    table = read_table(path, BatchRow, "jsonl", "", origin)
    faults = FileFaults(path)
    lines: dict[str, int] = {}
    for i, row in _all_rows(table, faults):
        if not row.url.startswith("/"):
            faults.add(
                partial(table.line, i), f'url "{row.url}" is not a path', 'write the path: "/v1/chat/completions"'
            )
        if not row.body:
            faults.add(partial(table.line, i), "the body is empty", "write the request's JSON object")
        first = lines.setdefault(row.custom_id, i)
        if first != i:
            there = "" if faults.is_full else f", first in line {table.line(first)}"
            message = f'custom_id "{row.custom_id}" occurs again{there}'
            faults.add(partial(table.line, i), message, "give each request an id of its own")
    faults.refuse()
    return _Checked(table)


# -- ShareGPT -------------------------------------------------------------------------------------

_ROLES: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
}


class _Message(msgspec.Struct):
    sender: str | None = msgspec.field(default=None, name="from")
    value: str | None = None
    role: str | None = None
    content: str | None = None


class _Talk(msgspec.Struct):
    conversations: list[_Message | None] | None = None
    messages: list[_Message | None] | None = None


_TALK: Final = msgspec.json.Decoder(_Talk | None)


def read_conversations(path: Path, origin: Origin, *, is_skipping: bool) -> Table[tuple[Turn, ...]]:
    """Return the conversations of a ShareGPT file: a JSON array, or one JSON object per line; with all their turns.

    is_skipping: leave out conversations with fewer than two turns or without a text, instead of reporting them.

    Raises:
        ScenarioError: the file cannot be read, or with all errors in its conversations.
    """
    faults = FileFaults(path)
    try:
        plain = plain_file(path)
        if not plain.stat().st_size:
            faults.add(0, "the file is empty", "add conversations")
            faults.refuse()
        with plain.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ScenarioError([unreadable(origin, path, error)]) from None
    talks = list(_talks(data, faults))
    faults.refuse()
    place = _Place(data)
    kept: list[msgspec.Raw] = []
    for n, talk in enumerate(talks, 1):
        problem = _problem(talk)
        line = 0 if is_skipping else place.line(talk)
        if problem and not is_skipping:
            hint = "correct or remove it" if problem.endswith(")") else _SKIP_HINT
            faults.add(line, f"conversation {n}: {problem}", hint)
        if not problem:
            kept.append(talk)
    if not kept and not faults:
        faults.add(0, "no conversation has two turns", "add conversations")
    faults.refuse()
    return _Conversations(kept, len(talks) - len(kept))


_SKIP_HINT: Final = 'correct or remove it, or write short="skip" to leave such conversations out'


class _Conversations:
    """Conversations in a mapped file; each is decoded on use."""

    unchecked = 0

    def __init__(self, talks: Sequence[msgspec.Raw], skipped: int) -> None:
        self._talks, self.skipped = talks, skipped

    def at(self, i: int) -> tuple[Turn, ...]:
        return tuple(Turn(_ROLES[_sender(one)], _text(one)) for one in _messages(_TALK.decode(self._talks[i])))

    def __len__(self) -> int:
        return len(self._talks)


def _talks(data: mmap.mmap, faults: FileFaults) -> Iterator[msgspec.Raw]:
    start = 3 if data[:3] == b"\xef\xbb\xbf" else 0
    view = memoryview(data)[start:]
    try:
        if data[start : start + 64].lstrip()[:1] == b"[":
            yield from msgspec.json.decode(view, type=list[msgspec.Raw])
        else:
            yield from msgspec.json.Decoder(msgspec.Raw).decode_lines(view)
    except msgspec.DecodeError as error:
        at = search(r"\(byte (\d+)\)", str(error))
        line = data[: start + int(at[1])].count(b"\n") + 1 if at else 1
        faults.add(line, f"invalid JSON: {error}", "write a JSON array of conversations, or one JSON object per line")


class _Place:
    """Finds the line of each conversation; all must be passed in the order of the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at, self._end, self._line = data, 0, 0, 1

    def line(self, talk: msgspec.Raw) -> int:
        text = bytes(talk)
        at = self._data.find(text, self._end)
        self._line += self._data[self._at : at].count(b"\n")
        self._at, self._end = at, at + len(text)
        return self._line


def _problem(talk: msgspec.Raw) -> str:
    """Return what is wrong with a conversation; "" if it can be used."""
    try:
        decoded = _TALK.decode(talk)
    except msgspec.DecodeError as error:
        return f"it is not a conversation of ShareGPT ({error})".replace("`", "")
    if decoded is None:
        return "it is null"
    found = decoded.conversations if decoded.conversations is not None else decoded.messages
    if found is None:
        return 'it has no "conversations"'
    for k, one in enumerate(found, 1):
        if one is None or (one.value is None and one.content is None):
            return f"turn {k} has no text"
        if _sender(one) not in _ROLES:
            return f'turn {k} is from "{_sender(one)}" (known are {", ".join(_ROLES)})'
    if len(found) < 2:
        return f"it has {len(found)} turn{'s' * (len(found) != 1)}, but at least two are needed"
    return ""


def _messages(talk: _Talk | None) -> list[_Message]:
    assert talk is not None
    found = talk.conversations if talk.conversations is not None else talk.messages
    return [one for one in found or () if one is not None]


def _sender(one: _Message) -> str:
    return one.sender or one.role or ""


def _text(one: _Message) -> str:
    text = one.value if one.value is not None else one.content
    assert text is not None
    return text
