"""Counts every line of the logs: taken, excluded, rejected or a directive. The parts add up to the lines read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["EXAMPLES", "Accounting", "Example", "Excluded", "Gap", "Rejected", "outline"]

EXAMPLES: Final = 20
"""The number of example lines that are kept for each reason."""
_OUTLINE_BYTES: Final = 160
_OUTLINE: Final = bytes(
    ord("0")
    if 48 <= n <= 57
    else ord("A")
    if 65 <= n <= 90
    else ord("a")
    if 97 <= n <= 122
    else n
    if 32 <= n < 127
    else 63
    for n in range(256)
)


class Rejected(Exception):
    """A line that its format cannot read. The text is the reason."""


class Excluded(Exception):
    """A valid line without a request of a user. The text is the reason."""


@dataclass(frozen=True, order=True)
class Gap:
    """An input of which only the beginning was read, or nothing. reason: the error of S3."""

    input: str
    reason: str


@dataclass(frozen=True, order=True)
class Example:
    """A line that was not taken, in outline. Its text is never kept, because lines contain secrets."""

    file: str
    line: int
    outline: str


@dataclass
class Accounting:
    """The lines of all logs by their result. read = taken + excluded + rejected + directives."""

    read: int = 0
    taken: int = 0
    directives: int = 0
    """Blank lines, comments, and header lines such as `#Fields:`."""
    excluded: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    taken_by_format: Counter[str] = field(default_factory=Counter)
    gaps: list[Gap] = field(default_factory=list)
    """Inputs that could not be read to their ends. Their lines so far count."""
    _examples: dict[str, list[Example]] = field(default_factory=dict)

    def reject(self, reason: str, file: str, line: int, text: bytes) -> None:
        """Count a rejected line, and keep it as an example if it is among the first ones of its reason."""
        self.rejected[reason] += 1
        self._keep(reason, file, line, text)

    def exclude(self, reason: str, file: str, line: int, text: bytes) -> None:
        """Count an excluded line, and keep it as an example if it is among the first ones of its reason."""
        self.excluded[reason] += 1
        self._keep(reason, file, line, text)

    def add(self, other: Accounting, lines_before: int = 0) -> None:
        """Add the lines of another input, or of a later part of the same file.

        lines_before: the lines of the file before that part. They are added to the numbers of its examples.
        """
        self.read += other.read
        self.taken += other.taken
        self.directives += other.directives
        self.excluded.update(other.excluded)
        self.rejected.update(other.rejected)
        self.taken_by_format.update(other.taken_by_format)
        self.gaps += other.gaps
        for reason, kept in other._examples.items():
            mine = self._examples.setdefault(reason, [])
            mine += [Example(one.file, one.line + lines_before, one.outline) for one in kept]
            mine.sort()
            del mine[EXAMPLES:]

    def exclude_taken(self, reason: str, taken_by_format: Mapping[str, int]) -> None:
        """Count lines as excluded that were counted as taken before. taken_by_format: their numbers."""
        count = sum(taken_by_format.values())
        if count:
            self.taken -= count
            self.taken_by_format -= Counter(taken_by_format)
            self.excluded[reason] += count

    @property
    def adds_up(self) -> bool:
        """Whether every line is in exactly one part. False would be a bug."""
        return self.read == self.taken + self.directives + self.excluded.total() + self.rejected.total()

    @property
    def rejected_share(self) -> float:
        """Rejected lines as a share of all lines except directives."""
        lines = self.read - self.directives
        return self.rejected.total() / lines if lines else 0.0

    def examples(self) -> dict[str, list[Example]]:
        """Return the first examples of each reason, by file and line."""
        return {reason: sorted(kept)[:EXAMPLES] for reason, kept in sorted(self._examples.items())}

    def rejects_jsonl(self) -> str:
        """Return the first rejected lines of each reason, in outline: a JSON object a line; empty if there are none."""
        return "".join(
            json.dumps({"reason": reason, "file": one.file, "line": one.line, "outline": one.outline}) + "\n"
            for reason, kept in self.examples().items()
            if reason in self.rejected
            for one in kept
        )

    def as_json(self) -> dict[str, object]:
        """Return the block `accounting` of `traffic.json`."""
        return {
            "read": self.read,
            "taken": self.taken,
            "excluded": dict(sorted(self.excluded.items())),
            "rejected": self.rejected.total(),
            "rejected_by_reason": dict(sorted(self.rejected.items())),
            "directives": self.directives,
            "taken_by_format": dict(sorted(self.taken_by_format.items())),
            "incomplete": [{"input": gap.input, "reason": gap.reason} for gap in sorted(self.gaps)],
        }

    def _keep(self, reason: str, file: str, line: int, text: bytes) -> None:
        kept = self._examples.setdefault(reason, [])
        if len(kept) >= 2 * EXAMPLES:
            # Keep the smallest places instead of the first seen, so that the order of the files makes no difference.
            kept.sort()
            del kept[EXAMPLES:]
        if len(kept) < EXAMPLES or (file, line) < (kept[-1].file, kept[-1].line) or len(kept) > EXAMPLES:
            kept.append(Example(file, line, outline(text)))


def outline(text: bytes) -> str:
    """Return the beginning of a line with each letter as `a` or `A` and each digit as `0`.

    The outline shows where a line differs from its format, but no values:
    `00.0.0.0 - - [00/Aaa/0000:00:00:00 +0000] "AAA /aaa`.
    """
    shown = text[:_OUTLINE_BYTES].translate(_OUTLINE).decode("ascii")
    return shown + "..." if len(text) > _OUTLINE_BYTES else shown
