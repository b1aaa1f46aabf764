"""`loadgen slo check --live`: asks the sources of promises, and prints what they have."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from loadgen.errors import ExitCode
from loadgen.outside_text import one_line
from loadgen.programme.programme_toml import FILE_NAME
from loadgen.programme.promises.slo_set import SloSet
from loadgen.programme.pulling.live_check import Found, asked_live, jobs_with_load_tests, live_jobs
from loadgen.programme.pulling.source_settings import read_sources
from loadgen.units import quantity
from loadgen_controller.commands.slo_parts.pull import opened_source, secrets_of
from loadgen_controller.console_output import echo

__all__ = ["CALLS_MOST", "ask_sources", "live_exit_code", "print_answers"]

CALLS_MOST: Final = 60


def ask_sources(slos: SloSet, calls_most: int) -> list[Found]:
    """Return what the source of each promise has now.

    Raises:
        ScenarioError: programme.toml has errors, or secrets are missing.
    """
    sources = read_sources(Path(FILE_NAME))
    now = int(datetime.now(UTC).timestamp())
    jobs = live_jobs(slos.objectives, sources, slos.sources, now)
    with_load_tests = jobs_with_load_tests(slos.objectives, sources, slos.sources, now)
    secrets = secrets_of(job.source for job in jobs if job.source is not None and job.asked)
    with ExitStack() as opened:
        return asked_live(jobs, lambda source: opened_source(source, secrets, opened), calls_most, with_load_tests)


def print_answers(answers: Sequence[Found]) -> int:
    """Print what was found, and return the exit code."""
    for one in answers:
        echo(f"{one.slo}: {one_line(one.text, 300)}")
        for text in one.why:
            echo(f"  failed: {one_line(text, 500)}")
        for text in one.notes:
            echo(f"  note: {one_line(text, 500)}")
    failed = sum(bool(one.why) for one in answers)
    sent = quantity(sum(one.calls for one in answers), "call")
    echo(f"{quantity(len(answers), 'promise')} asked with {sent}, {failed} failed; nothing was stored")
    return live_exit_code(answers)


def live_exit_code(answers: Sequence[Found]) -> ExitCode:
    """Return 1 if a source failed."""
    return ExitCode.FAILED if any(one.why for one in answers) else ExitCode.PASSED
