"""Reads a weekly page as leadership does: only the text of its first screen, line by line, with regular expressions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Final

__all__ = ["QUESTIONS", "answers", "lines_of"]

QUESTIONS: Final = (
    "Which promise was not kept?",
    "By how much?",
    "What is the cause?",
    "What became slower, by how much, since which commit?",
    "Is the launch safe?",
    "What is missing for it?",
    "Whom do I call for checkout?",
    "How much budget is left for checkout?",
    "Which data are missing?",
    "Are all other promises kept?",
)


class _Lines(HTMLParser):
    """Collects the text of a page up to its charts: a line for each paragraph and heading, and for each row of a
    table, whose cells have "|" between them.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self.is_over = False
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.is_over = self.is_over or dict(attrs).get("class") == "charts"
        self._is_style = tag in ("style", "title")
        if tag in ("p", "h1", "tr"):
            self.lines.append("")
        elif tag in ("td", "th") and self.lines and self.lines[-1]:
            self.lines[-1] += " | "

    def handle_endtag(self, tag: str) -> None:
        self._is_style = False

    def handle_data(self, data: str) -> None:
        if not self.is_over and not self._is_style and self.lines:
            self.lines[-1] += data.replace("\n", " ")


def lines_of(html: bytes) -> list[str]:
    """Return the text of header, first sentences and table."""
    reader = _Lines()
    reader.feed(html.decode())
    return [line.strip() for line in reader.lines if line.strip()]


def answers(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the answer to each of the questions; "" where the text has none."""
    text = "\n".join(lines)
    checkout = next((line.split(" | ") for line in lines if line.startswith("checkout | ")), [""] * 12)
    heads = next((line.split(" | ") for line in lines if line.startswith("journey | ")), [""] * 12)
    column = dict(zip(heads, checkout, strict=False))
    count = re.search(r"(\d+) of (\d+) promises were kept(?:; (not decided: [^.]+))?", text)
    others = ""
    if count:
        others = "yes" if int(count[1]) == int(count[2]) - 1 else f"no; {count[3] or 'others are broken'}"
    return (
        _found(r"([A-Z][\w-]*)'s was not", text),
        _found(r"was not: (\d+\.?\d* % against \d+\.?\d* %)", text),
        _found(r"from (the incident of \w+)", text),
        _found(r"([A-Z][\w-]* became slower .*?commit [0-9a-f]{7,})", text),
        _found(r"Launch of \S+: (GO|NO-GO|INCONCLUSIVE)", text),
        _found(r"Launch of \S+: INCONCLUSIVE, (?:missing: )?(.*?) \(D-", text),
        column.get("owner", ""),
        column.get("budget left", ""),
        _found(r"\d+ of \d+ sources? (?:is |are )?late: (.*?)(?: ·|\.$)", text),
        others,
    )


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""
