"""The values of a study. A study answers a question from several runs, or from data: a fit, a search, a sweep.

The modules of this room turn it into text (`report`), a page (`page`), JSON and CSV (`files`), and a frame in a
notebook (`read_study`). A study contains everything that they show, so they calculate nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from loadgen.errors import ExitCode
from loadgen.report.report_parts import Table

__all__ = ["Drawing", "Study", "StudyResult", "exit_code_of"]

StudyResult = Literal["decided", "not decided", "failed", "invalid"]
"""Whether the question has an answer: "not decided" if the data do not say, "failed" if an objective was never met, and
"invalid" if nothing valid was measured."""

_EXIT_CODES: Final[Mapping[str, ExitCode]] = {
    "decided": ExitCode.PASSED,
    "not decided": ExitCode.INCOMPLETE,
    "failed": ExitCode.FAILED,
    "invalid": ExitCode.INVALID,
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart of the page."""

    title: str
    html: str
    """SVG or HTML that loads nothing, with all outside texts escaped."""
    text: str
    """A description of the chart in one or two sentences, for people who do not see it, and for a print in grey."""


@dataclass(frozen=True, slots=True)
class Study:
    """The answer to a question, with all that is shown of it."""

    kind: str
    """The command without "loadgen": "capacity fit", "sweep"."""
    title: str
    """The subject of the study: "checkout.py:peak at shop.example"."""
    headline: str
    """The answer in one sentence, with its unit and interval, without a stop at the end."""
    result: StudyResult
    lines: tuple[str, ...] = ()
    """Sentences that follow the headline, the most important first."""
    tables: tuple[Table, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    foot: tuple[str, ...] = ()
    """The next commands, folders, and how the study was made."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The result for programs: texts, numbers, lists and mappings. A value that does not exist is None, never NaN."""
    rows: tuple[Mapping[str, str | float | int | bool | None], ...] = ()
    """The rows of the CSV file and of the frame, with the same names in each."""
    run_ids: tuple[str, ...] = ()
    """The runs that the study is based on."""


def exit_code_of(result: StudyResult) -> ExitCode:
    """Return the exit code of a result: 0 decided, 3 not decided, 1 failed, 4 invalid."""
    return _EXIT_CODES[result]
