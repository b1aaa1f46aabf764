"""Finds the format of a file from its first lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from loadgen.errors import UsageError
from loadgen.traffic.formats.alb import Alb
from loadgen.traffic.formats.cloudfront import CloudFront
from loadgen.traffic.formats.combined import Combined
from loadgen.traffic.formats.json_lines import JsonLines
from loadgen.traffic.formats.log_format import FormatOptions, LogFormat
from loadgen.traffic.formats.s3_access import S3Access
from loadgen.traffic.rows.accounting import Excluded, Rejected, outline
from loadgen.traffic.rows.timestamps import Timestamps

__all__ = ["FORMATS", "SAMPLE_LINES", "check_format", "format_of"]

FORMATS: Final[dict[str, Callable[[FormatOptions, Timestamps], LogFormat]]] = {
    "alb": Alb,
    "cloudfront": CloudFront,
    "s3": S3Access,
    "json": JsonLines,
    "combined": Combined,
}
"""Formats by name. CLF is read by `combined`."""
SAMPLE_LINES: Final = 1_000
"""The number of first lines of each file that decide its format."""
_TWO_FORMATS: Final = 0.05
_HINT: Final = f"name the format with --format: {', '.join(sorted(FORMATS))}"


def check_format(name: str) -> None:
    """Refuse a format that loadgen cannot read; "" stands for any.

    Raises:
        UsageError: with the names of the formats.
    """
    if name and name not in FORMATS:
        raise UsageError(f'unknown format "{name}"', hint=_HINT)


def format_of(
    file: str, lines: Sequence[bytes], options: FormatOptions, times: Timestamps, given: str = ""
) -> LogFormat:
    """Return the reader for a file, from its first lines.

    file: for messages. given: the name of a format, if the operator chose one.

    Raises:
        UsageError: no format fits, the lines have two formats, or the given one is unknown.
    """
    if given:
        check_format(given)
        return _made(given, lines, options, times)
    sample = [line for line in lines if line.strip() and not line.startswith(b"#")]
    directives = [line for line in lines if line.startswith(b"#")]
    found = []
    for name in FORMATS:
        reader = _made(name, lines, options, times)
        for line in directives:
            reader.directive(line)
        parsed = sum(_parses(reader, line) for line in sample)
        if parsed:
            found.append((parsed, reader))
    found.sort(key=lambda pair: -pair[0])
    if not found:
        if not sample and any(line.startswith(b"#Fields:") for line in directives):
            return _made("cloudfront", lines, options, times)
        raise _unknown(file, lines, sample, directives, options, times)
    if len(found) > 1 and found[1][0] >= max(2, _TWO_FORMATS * len(sample)):
        names = f"{found[0][1].name} ({found[0][0]} lines) and {found[1][1].name} ({found[1][0]} lines)"
        raise UsageError(
            f"{file}: the first {len(lines)} lines have two formats, {names}",
            hint="split the file; or name one format, and the lines of the other are rejected and counted",
        )
    return found[0][1]


def _unknown(
    file: str,
    lines: Sequence[bytes],
    sample: Sequence[bytes],
    directives: Sequence[bytes],
    options: FormatOptions,
    times: Timestamps,
) -> UsageError:
    """Return the error for lines that no format fits, with what they lack if they are nearly in a format."""
    columns = CloudFront(options, times)
    for line in directives:
        columns.directive(line)
    if columns.lacks and any(b"\t" in line for line in sample):
        return UsageError(
            f"{file}: the line #Fields does not have {columns.lacks}",
            hint="loadgen needs these columns of CloudFront; add them to the fields of its log",
        )
    members = JsonLines(options, times)
    members.guess_from(lines)
    missing = members.missing
    if sample and missing:
        return UsageError(
            f"{file}: the lines are JSON, and no member is known for {' and '.join(missing)}",
            hint=f"name the members: {' '.join(f'--field {name}=MEMBER' for name in missing)}",
        )
    shown = outline(sample[0]) if sample else ""
    return UsageError(
        f"{file}: unknown log format; no line of the first {len(lines)} fits. The first line looks like: {shown}",
        hint=_HINT,
    )


def _made(name: str, lines: Sequence[bytes], options: FormatOptions, times: Timestamps) -> LogFormat:
    reader = FORMATS[name](options, times)
    if isinstance(reader, JsonLines):
        reader.guess_from(lines)
    return reader


def _parses(reader: LogFormat, line: bytes) -> bool:
    try:
        reader.parse(line)
    except Excluded:
        return True
    except (Rejected, ValueError):
        return False
    return True
