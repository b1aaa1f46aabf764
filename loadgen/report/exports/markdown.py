"""Format a run as Markdown for a comment on a pull request.

It shows the verdict, the objectives and what they mean, and folds other tables away.
Names come from scenarios and targets, so they are escaped: nothing in them becomes
markup, an image, a link, a mention of a person or a reference to an issue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from loadgen.outside_text import one_line
from loadgen.report.executive_summary import Story
from loadgen.report.message_tables import message_tables
from loadgen.report.page_tables import page_tables
from loadgen.report.report_tables import Report, Table, error_table, response_table, slo_tables
from loadgen.report.stream_tables import stream_tables
from loadgen.report.summary_reader import Summary

__all__ = ["code", "markdown", "report_lines", "text"]

SIGNS: Final = {
    "passed": "✅",
    "suspect": "🟣",
    "failed": "❌",
    "invalid": "⚠️",
    "incomplete": "⚠️",
    "interrupted": "⚠️",
    "error": "❌",
}
"""The sign before the headline, by the shown result."""
MOST_ROWS: Final = 30
"""The most rows of a table. GitHub limits the length of a comment."""
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]#|~])")
"""Parentheses are markup only after a bracket, which is escaped, and read badly with backslashes."""
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;&#8203;"}
_LINK: Final = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
"""The ":" or "." in a bare URL, from which GitHub would make a link."""
_ISSUE: Final = re.compile(r"\\#(?=\w)")
"""An escaped "#" before a word, which GitHub would link to an issue.

GitHub resolves all escapes before it looks for people and issues, so an escape does
not help. A space without width after `@` and `#` does.
"""


def markdown(
    summary: Summary,
    story: Story,
    in_history: Sequence[str] = (),
    why_slow: Sequence[str] = (),
    databases: Iterable[Table] = (),
) -> str:
    """Return the comment on a run, with a newline at the end.

    Args:
        story: the sentences about the same summary.
        in_history: sentences that compare the run with its history.
        why_slow: what the traces of its slow requests show.
        databases: the tables of `target_side.database_tables`.
    """
    return "\n".join(_lines(summary, story, in_history, why_slow, databases)) + "\n"


def _lines(
    summary: Summary, story: Story, in_history: Sequence[str], why_slow: Sequence[str], databases: Iterable[Table]
) -> Iterator[str]:
    yield f"### {SIGNS.get(story.result, '⚠️')} {text(story.headline)}"
    yield ""
    yield from map(text, story.tested)
    for table in slo_tables(summary):
        yield from _table(table)
        for note in table.note.splitlines():
            yield from ("", text(note))
    yield from _list("Why slow", why_slow)
    yield from _list("In its history", in_history)
    yield from _list("What it means", story.means)
    yield from _list("What it does not say", story.excludes)
    yield from _list("Why", story.why)
    tables = (*stream_tables(summary), *message_tables(summary), *page_tables(summary))
    for table in (*tables, response_table(summary), error_table(summary)):
        yield from _folded(table)
    for table in databases:
        yield from _folded(table, table.note)
    yield from ("", f"Run {code(summary.run_id)}")


def _folded(table: Table, note: str = "") -> Iterator[str]:
    if table.rows:
        yield from ("", f"<details><summary>{text(table.title)}</summary>")
        yield from _table(table)
        for line in note.splitlines():
            yield from ("", text(line))
        yield from ("", "</details>")


def report_lines(report: Report) -> Iterator[str]:
    """Yield the lines of a report in Markdown, with all tables after the first folded away."""
    yield f"### {text(report.headline)}"
    yield ""
    yield from (f"- {text(line)}" for line in report.lines)
    for n, table in enumerate(report.tables):
        if n:
            yield from ("", f"<details><summary>{text(table.title)}</summary>")
        yield from _table(table, "are left out")
        for line in table.note.splitlines():
            yield from ("", text(line))
        if n:
            yield from ("", "</details>")


def _table(table: Table, rest: str = "are in summary.json") -> Iterator[str]:
    if not table.rows:
        return
    marks = ["---" if n < table.words else "---:" for n in range(len(table.columns))]
    yield ""
    yield _row(map(text, table.columns))
    yield _row(marks)
    for row in table.rows[:MOST_ROWS]:
        yield _row(_cell(cell) for cell in row)
    if more := max(0, len(table.rows) - MOST_ROWS):
        yield from ("", f"{more} more {rest}.")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: str) -> str:
    """Return a cell's text with its indent, which shows the depth of a row's name."""
    inner = cell.lstrip(" ")
    return "&nbsp;" * (len(cell) - len(inner)) + text(inner)


def _list(title: str, sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        yield from ("", f"**{title}**", "")
        yield from (f"- {text(sentence)}" for sentence in sentences)


def text(raw: str) -> str:
    """Return `raw` as one line of Markdown that shows exactly this text."""
    line = _MARKUP.sub(r"\\\1", one_line(" ".join(raw.split())))
    line = re.sub("[&<>@]", lambda m: _ENTITIES[m[0]], _LINK.sub(r"\\\g<0>", line))
    return _ISSUE.sub(r"\g<0>&#8203;", line)


def code(run_id: str) -> str:
    """Return a run's id as Markdown code, reduced to letters, digits, dots, dashes and underscores."""
    return f"`{re.sub('[^A-Za-z0-9._-]', '', run_id)}`"
