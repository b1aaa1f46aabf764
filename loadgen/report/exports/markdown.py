"""A run as Markdown, for a comment on a pull request: verdict, objectives, what it means; the rest is folded away.

Names come from scenarios and targets. Nothing in them becomes markup, an image, a
link, a mention of a person, or a reference to an issue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from loadgen.outside_text import one_line
from loadgen.report.report_tables import Report, Table, error_table, response_table, slo_table
from loadgen.report.story import Story
from loadgen.report.summary_reader import Summary

__all__ = ["code", "markdown", "report_lines", "text"]

SIGNS: Final = {"passed": "✅", "failed": "❌", "invalid": "⚠️", "incomplete": "⚠️", "interrupted": "⚠️", "error": "❌"}
MOST_ROWS: Final = 30
"""Of a table: a comment has an end."""
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()#|~])")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;&#8203;"}
_LINK: Final = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
"""GitHub makes links of bare addresses."""
_ISSUE: Final = re.compile(r"\\#(?=\w)")
"""GitHub looks for people and issues in the text that is left when all escapes are resolved. So an escape does not
help, and a space without width stands behind `@` and `#`."""


def markdown(summary: Summary, story: Story, in_history: Sequence[str] = ()) -> str:
    """The comment, ending with a newline.

    Args:
        story: of the same summary.
        in_history: sentences on how the run stands there.
    """
    return "\n".join(_lines(summary, story, in_history)) + "\n"


def _lines(summary: Summary, story: Story, in_history: Sequence[str]) -> Iterator[str]:
    yield f"### {SIGNS.get(summary.result, '⚠️')} {text(story.headline)}"
    yield ""
    yield from map(text, story.tested)
    yield from _table(slo_table(summary))
    yield from _list("In its history", in_history)
    yield from _list("What it means", story.means)
    yield from _list("What it does not say", story.excludes)
    yield from _list("Why", story.why)
    for table in (response_table(summary), error_table(summary)):
        if table.rows:
            yield from ("", f"<details><summary>{text(table.title)}</summary>")
            yield from _table(table)
            yield from ("", "</details>")
    yield from ("", f"Run {code(summary.run_id)}")


def report_lines(report: Report) -> Iterator[str]:
    """A report of words and tables: the first table is shown, the others are folded away."""
    yield f"### {text(report.headline)}"
    yield ""
    yield from (f"- {text(line)}" for line in report.lines)
    for n, table in enumerate(report.tables):
        if n:
            yield from ("", f"<details><summary>{text(table.title)}</summary>")
        yield from _table(table, "are left out")
        if table.note:
            yield from ("", text(table.note))
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
    """A row's name keeps its depth."""
    inner = cell.lstrip(" ")
    return "&nbsp;" * (len(cell) - len(inner)) + text(inner)


def _list(title: str, sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        yield from ("", f"**{title}**", "")
        yield from (f"- {text(sentence)}" for sentence in sentences)


def text(raw: str) -> str:
    """One line that looks like the text, whatever is in it."""
    line = _MARKUP.sub(r"\\\1", one_line(" ".join(raw.split())))
    line = re.sub("[&<>@]", lambda m: _ENTITIES[m[0]], _LINK.sub(r"\\\g<0>", line))
    return _ISSUE.sub(r"\g<0>&#8203;", line)


def code(run_id: str) -> str:
    """A run's id as code. An id has letters, digits, dots, dashes and underscores; anything else is left out."""
    return f"`{re.sub('[^A-Za-z0-9._-]', '', run_id)}`"
