"""Turns the lines of logs into rows, and counts every line. HOT: 2 µs a line, 3.5 µs with the parsing of the format."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, TypeVar

from loadgen.traffic.filters.exclusions import REASONS, Exclusions
from loadgen.traffic.formats.detect import FORMATS
from loadgen.traffic.formats.log_format import NO_REQUEST, LogFormat
from loadgen.traffic.inputs.line_blocks import MOST_LINE_BYTES, Block
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.reading.row_batches import BatchBuilder, RowBatch
from loadgen.traffic.rows.accounting import Accounting, Excluded, Rejected
from loadgen.traffic.rows.rows import FORMAT_SHIFT, HAS_QUERY, METHOD_NUMBERS, MOST_SIZE, pack_row, rows_of

__all__ = ["Intake", "split_request"]

T = TypeVar("T")

_MOST_CACHED: Final = 100_000
_ROWS: Final = 1 << 16
_OTHER_TIME: Final = "not in the period"
_NO_USER: Final = (b"", b"-")
_LETTERS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_")
_KEPT_BYTES: Final = 4 << 10
"""Texts longer than this are not cached, so that the caches have at most a few hundred MB even for hostile logs."""


class Intake:
    """Takes lines, and passes batches of rows on.

    accounting: of the lines since it was last replaced; `parse_input` replaces it for each input.
    send: gets each batch.
    salt: the key of the hashes of users. It must not be stored: without it, the hashes reveal nothing about users.
    """

    def __init__(self, send: Callable[[RowBatch], None], salt: bytes, options: LogOptions) -> None:
        self.accounting = Accounting()
        self._exclusions = Exclusions(options.exclusions)
        self._send, self._queries = send, options.queries
        self._batch = BatchBuilder(queries=options.queries)
        self._salt, self._by_user, self._period = salt, options.by_user, options.period
        self._users: dict[bytes, int] = {}
        self._paths: dict[bytes, int] = {}
        self._requests: dict[bytes, tuple[int, int, int] | None] = {}
        self._packed: list[bytes] = []

    def take(self, block: Block, reader: LogFormat, file: str, first_line: int) -> None:
        """Take the lines of a block. first_line: number of its first line in the file, from 1."""
        packed = self._packed
        before = len(packed)
        parse, requests, users, by_user = reader.parse, self._requests, self._users, self._by_user
        begin_us, end_us = self._period.begin_us, self._period.end_us
        excluded = self.accounting.excluded
        format_flags = list(FORMATS).index(reader.name) << FORMAT_SHIFT
        add = packed.append
        for number, line in enumerate(block.lines, first_line):
            try:
                if not line or line[0] == 35:
                    self.accounting.directives += 1
                    reader.directive(line)
                    continue
                if block.is_odd:
                    _check(line)
                start, took, client, name, agent, request, status, size = parse(line)
                if status > 999:
                    raise Rejected("a number of bytes or a status is invalid")
                if not begin_us <= start < end_us:
                    raise Excluded(_OTHER_TIME)
                key = b"\0" + name + b"\0" + agent if by_user and name not in _NO_USER else client + b" " + agent
                user = users.get(key)
                if user is None:
                    user = self._user(key, name, agent)
                if user < 0:
                    excluded[REASONS[~user]] += 1
                    continue
                try:
                    found = requests[request]
                except KeyError:
                    found = self._request(request)
                if found is None:
                    raise Excluded(NO_REQUEST)
                path, method, flags = found
                if path < 0:
                    excluded[REASONS[~path]] += 1
                    continue
                flags |= format_flags
                add(pack_row(user, start, took, path, size if size < MOST_SIZE else MOST_SIZE, status, method, flags))
            except Rejected as error:
                self._account_for_rejected(line, error.args[0], file, number)
            except Excluded as error:
                self.accounting.exclude(error.args[0], file, number, line)
            except ValueError:
                self._account_for_rejected(line, "a number or a time stamp is invalid", file, number)
        taken = len(packed) - before
        self.accounting.read += len(block.lines)
        self.accounting.taken += taken
        self.accounting.taken_by_format[reader.name] += taken
        if len(packed) >= _ROWS or self._batch.is_full:
            self._add_rows()
            if self._batch.is_full:
                self.end_batch()

    def end_batch(self) -> None:
        """Send the rows. If the numbers of paths begin again, the caches with such numbers are emptied."""
        self._add_rows()
        batch = self._batch.take()
        if self._batch.restarts:
            self._requests.clear()
            self._paths.clear()
        if batch is not None:
            self._send(batch)

    def _add_rows(self) -> None:
        if self._packed:
            self._batch.add(rows_of(self._packed))
            self._packed.clear()

    def _account_for_rejected(self, line: bytes, reason: str, file: str, number: int) -> None:
        if line.strip():
            self.accounting.reject(reason, file, number, line)
        else:
            self.accounting.directives += 1

    def _request(self, request: bytes) -> tuple[int, int, int] | None:
        """Return path, method and flags of a request line; None if it is not a valid request.

        The path of an excluded request is below 0: ~path is the place of the reason in `REASONS`. A number, because
        comparing it costs less than checking a type.
        """
        parts = split_request(request)
        found = None
        if parts is not None:
            method, target = parts
            reason = self._exclusions.of_request(method, target)
            if reason:
                found = ~REASONS.index(reason), 0, 0
            else:
                path, mark, _ = target.partition(b"?")
                if self._queries:
                    path = target
                number = self._paths.get(path)
                if number is None:
                    number = self._batch.number(path)
                    _remember(self._paths, path, number)
                found = number, METHOD_NUMBERS.get(method, 0), HAS_QUERY if mark else 0
        _remember(self._requests, request, found)
        return found

    def _user(self, key: bytes, name: bytes, agent: bytes) -> int:
        """Return the hash of a user. For an excluded agent it is below 0: ~user is the place of the reason."""
        if reason := self._exclusions.of_agent(agent):
            user = ~REASONS.index(reason)
        else:
            hashed = b"\0" + name if self._by_user and name not in _NO_USER else key
            user = int.from_bytes(hashlib.blake2b(hashed, digest_size=8, key=self._salt).digest(), "little")
        _remember(self._users, key, user)
        return user


def _remember(cache: dict[bytes, T], key: bytes, value: T) -> None:
    """Put a value into a cache, which is emptied when it is full."""
    if len(key) < _KEPT_BYTES:
        if len(cache) >= _MOST_CACHED:
            cache.clear()
        cache[key] = value


def split_request(request: bytes) -> tuple[bytes, bytes] | None:
    """Return method and target of `GET /a b HTTP/1.1`; None for other texts, such as `-` or bytes of TLS."""
    method, _, target = request.partition(b" ")
    if not method or not target or not _LETTERS.issuperset(method):
        return None
    before, _, version = target.rpartition(b" ")
    if before and version.startswith(b"HTTP/"):
        target = before
    target = target.strip()
    if target.startswith(b"HTTP/") or not target:
        return None
    return method, target


def _check(line: bytes) -> None:
    if len(line) > MOST_LINE_BYTES:
        raise Rejected(f"longer than {MOST_LINE_BYTES >> 10} KiB")
    if b"\0" in line:
        raise Rejected("NUL bytes; the log was cut while the server was writing")
