"""Prints the story of a run: sentences below its tables that explain the result."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from rich.console import Console

from loadgen.errors import StorageError
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.report.executive_summary import Story, story_of, targets_of
from loadgen.report.summary_reader import Summary
from loadgen_controller.console_output import Text
from loadgen_controller.screen.terminal_report import STYLES

__all__ = ["called", "print_story", "story_in"]

DEFAULT = Path("runs")


def called(path: Path) -> str:
    """Return a run's folder as an argument for commands, which stays valid when there are newer runs."""
    return quote(path.name if path.parent == DEFAULT else str(path))


def story_in(path: Path, summary: Summary) -> Story:
    """Return the story of a run: what happened, for reports.

    If the manifest cannot be read, the story lacks the target's address.
    """
    try:
        targets = targets_of(RunDir(path).read_manifest())
    except StorageError:
        targets = ()
    return story_of(summary, called(path), targets)


def print_story(console: Console, story: Story) -> None:
    """Print the story in sections, each with a title."""
    parts = (
        ("What was tested", story.tested),
        ("The verdict", (story.headline, *story.objectives, *story.why)),
        ("What it means", story.means),
        ("What it does not say", story.excludes),
        ("Next", story.next),
    )
    for title, sentences in parts:
        if sentences:
            console.print()
            console.print(Text(title, style="bold"))
            for text in sentences:
                style = STYLES.get(story.result, "") if text == story.headline else ""
                console.print(Text(f"- {text}", style=style), soft_wrap=title == "Next")  # to be copied
