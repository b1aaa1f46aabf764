"""Parses one input: finds its format, and passes its lines to the intake."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Final

from loadgen.errors import CloudError, CredentialsError
from loadgen.traffic.formats.detect import SAMPLE_LINES, format_of
from loadgen.traffic.formats.json_lines import JsonLines
from loadgen.traffic.formats.log_format import LogFormat
from loadgen.traffic.inputs.line_blocks import Block, blocks
from loadgen.traffic.inputs.log_input import Buckets, LogInput
from loadgen.traffic.reading.intake import Intake
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.rows.accounting import Accounting, Gap
from loadgen.traffic.rows.timestamps import Timestamps

__all__ = ["InputParser", "ParsedInput", "first_lines"]

_COMPARED_LINES: Final = 20
"""Two logs that begin with the same lines, this many, are one log: rotated and packed, or copied while it grew."""
_NOT_SENT: Final = (CloudError, CredentialsError)
"""S3 refused an object, stopped sending it, or the credentials expired."""


@dataclass(frozen=True)
class ParsedInput:
    """The lines of an input, counted.

    mapping: of a JSON file, the member from which each field was read. beginning: a hash of the first lines, by which
    a file is found that is there twice; empty for a few lines, and for a later range of a file.
    """

    accounting: Accounting
    mapping: dict[str, str] = field(default_factory=dict)
    beginning: str = ""


class InputParser:
    """Parses inputs, one after the other. Their rows go to the intake."""

    def __init__(self, intake: Intake, options: LogOptions) -> None:
        self._intake, self._options = intake, options
        self._times, self._buckets = Timestamps(), Buckets()
        self._of_ranges: dict[str, LogFormat] = {}
        self._beginning = ""

    def parse(self, source: LogInput) -> ParsedInput:
        """Return the counts of an input. If S3 does not send all of it, the lines so far count, and a gap is noted.

        Raises:
            UsageError: the input cannot be read, or its format is unknown.
        """
        self._intake.accounting = accounting = Accounting()
        mapping: dict[str, str] = {}
        self._beginning = ""
        try:
            mapping = self._parsed(source)
        except _NOT_SENT as error:
            if source.kind != "s3":
                raise
            accounting.gaps.append(Gap(source.name, error.message))
        return ParsedInput(accounting, mapping, self._beginning)

    def _parsed(self, source: LogInput) -> dict[str, str]:
        line = 1
        if source.begin:
            reader, found = self._of_range(source), blocks(source, self._buckets)
        else:
            line, begin, found = _begin(blocks(source, self._buckets))
            self._intake.accounting.read = self._intake.accounting.directives = line - 1
            if not begin:
                return {}
            sample = _lines(begin)
            self._beginning = _hash_of(sample)
            reader = self._reader(source, sample)
        for block in found:
            self._intake.take(block, reader, source.name, line)
            line += len(block.lines)
        if isinstance(reader, JsonLines):
            return {name: str(member) for name, member in sorted(reader.mapping.items())}
        return {}

    def _of_range(self, source: LogInput) -> LogFormat:
        """Return the reader for a range, which has the format of the beginning of its file."""
        found = self._of_ranges.get(source.name)
        if found is None:
            found = self._of_ranges[source.name] = self._reader(source, first_lines(source))
        return found

    def _reader(self, source: LogInput, sample: list[bytes]) -> LogFormat:
        return format_of(source.name, sample, self._options.formats, self._times, self._options.format)


def _hash_of(lines: list[bytes]) -> str:
    """Return a hash of the first lines with requests; empty if they are so few that two logs may have the same."""
    compared = [line for line in lines if not line.startswith(b"#")][:_COMPARED_LINES]
    if len(compared) < _COMPARED_LINES:
        return ""
    return hashlib.blake2b(b"\n".join(compared), digest_size=16).hexdigest()


def first_lines(source: LogInput) -> list[bytes]:
    """Return the lines from the beginning of a file that decide its format. Blank lines before them are left out."""
    return _lines(_begin(blocks(replace(source, begin=0, end=None), Buckets()))[1])


def _begin(found: Iterator[Block]) -> tuple[int, list[Block], Iterator[Block]]:
    """Return the first blocks that have enough lines to decide the format, and an iterator over these and all others.

    Before them is the number of their first line. Blocks of blank lines before it are left out. If S3 stops sending,
    the iterator raises its error after these blocks, so that their lines count.
    """
    line, ahead = 1, list[Block]()
    count = 0
    try:
        for block in found:
            if not ahead and not any(map(bytes.strip, block.lines)):
                line += len(block.lines)
                continue
            ahead.append(block)
            count += len(block.lines)
            if count >= SAMPLE_LINES:
                break
    except _NOT_SENT as error:
        if not ahead:
            raise
        found = _raising(error)
    return line, ahead, chain(ahead, found)


def _raising(error: Exception) -> Iterator[Block]:
    yield from ()
    raise error


def _lines(begin: list[Block]) -> list[bytes]:
    return list(islice((line for block in begin for line in block.lines if line.strip()), SAMPLE_LINES))
