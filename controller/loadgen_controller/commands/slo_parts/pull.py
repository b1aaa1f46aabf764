"""`loadgen slo pull`: reads counts of production into the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from loadgen.dsl.secret import missing_secrets, secret_value
from loadgen.errors import ExitCode, ScenarioError
from loadgen.outside_text import one_line
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.ledger_file import Revision
from loadgen.programme.load_tests.said import LoadTests, load_tests_of
from loadgen.programme.programme_toml import FILE_NAME
from loadgen.programme.pulling.pull import Done, Job, Planned, more_calls, planned, pulled
from loadgen.programme.pulling.source_kinds import KINDS
from loadgen.programme.pulling.source_settings import Source, read_sources
from loadgen.programme.sources.asked import Asker
from loadgen.programme.status import time_text
from loadgen.units import NS_PER_S, format_duration, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import EnvOption, StoreOption
from loadgen_controller.commands.slo_parts.files import FilesArgument, FormatOption, check_format, read_slos
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.commands.time_options import in_known_years
from loadgen_controller.console_output import echo, echo_json
from loadgen_controller.past_runs.listing import parse_since

__all__ = ["PULL", "FromOption", "ToOption", "opened_source", "parse_past", "pull", "secrets_of"]

PULL = """[bold]Examples[/bold]

loadgen slo pull

loadgen slo pull --plan

loadgen slo pull slos/checkout.yaml --from 2026-07-20 --to 2026-07-27 --store s3://perf/history"""

FromOption = Annotated[
    str,
    typer.Option("--from", metavar="TIME", help="Beginning: 7d (before now), 2026-07-20 or 2026-07-20T06:00 (UTC)."),
]
ToOption = Annotated[str, typer.Option("--to", metavar="TIME", help="End, in the same forms. Default: now.")]


def pull(
    files: FilesArgument = None,
    store: StoreOption = None,
    env: EnvOption = None,
    since: FromOption = "7d",
    until: ToOption = "0s",
    plan: Annotated[bool, typer.Option("--plan", help="Print the calls and their points, and send nothing.")] = False,
    because: Annotated[
        str, typer.Option(metavar="TEXT", help="Reason of revisions that change known slices; it is stored.")
    ] = "",
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show which slices the ledger has, which are read and why, and the queries that are sent."
        ),
    ] = False,
    output_format: FormatOption = "text",
) -> int:
    """Read good and all requests of production by slices of 5 minutes into the ledger, from each promise's source.

    Known slices are not read again, except the newest ones, which may still change. Changed counts are a new revision.
    Counts that cannot be read are missing, and never zero errors.

    Exit code 0: all was read. 3: counts are missing. 2: an option or a file is wrong.
    5: the history cannot be written; what was written before is whole, and the same command again finishes.
    """
    errors, now = CollectedErrors(), datetime.now(UTC)
    errors.catch(lambda: check_format(output_format))
    start = errors.parse("--from", since, lambda text: parse_past(text, now))
    end = errors.parse("--to", until, lambda text: min(now, parse_past(text, now)))
    if start is not None and end is not None and start >= end:
        errors.add("--from must be before --to", "write --from 7d")
    where = store_of(errors, store, env)
    ledger = errors.catch(lambda: Ledger.open(where))
    sources = errors.catch(lambda: read_sources(Path(FILE_NAME)))
    reading = errors.catch(lambda: read_slos(files))
    slos = None if reading is None else errors.catch(reading.check)
    errors.check()
    assert start is not None
    assert end is not None
    assert ledger is not None
    assert sources is not None
    assert slos is not None
    first, last, at = (int(one.timestamp()) for one in (start, end, now))
    todo = planned(slos.objectives, sources, slos.sources, ledger, first, last, at)
    for text in todo.unreadable:
        echo(f"note: {one_line(text, 400)}", err=True)
    if plan:
        left_out = load_tests_of(slos.objectives, sources, slos.sources)
        _print_plan(todo, output_format, left_out, is_explained=explain)
        return ExitCode.PASSED
    secrets = secrets_of(job.source for job in todo.jobs if job.source is not None and job.asked)
    with ExitStack() as opened:
        done, revisions = pulled(todo, ledger, lambda source: opened_source(source, secrets, opened), because)
    _print(todo, done, revisions, ledger, output_format, is_explained=explain)
    return ExitCode.INCOMPLETE if any(one.faults for one in done) else ExitCode.PASSED


def parse_past(text: str, now: datetime) -> datetime:
    """Parse a time of the ledger: 7d before now, a day, or a time.

    Raises:
        ValueError: the text has another form, or the year is not from 2000 to 2999.
    """
    return in_known_years(parse_since(text, now), text)


def secrets_of(sources: Iterable[Source]) -> dict[str, str]:
    """Return the values of the secrets of sources, by name.

    Raises:
        ScenarioError: some are missing; all of them are named.
    """
    names = list(dict.fromkeys(name for source in sources for name in source.secrets))
    if faults := missing_secrets(names):
        raise ScenarioError(faults)
    return {name: secret_value(name) or "" for name in names}


def opened_source(source: Source, secrets: Mapping[str, str], opened: ExitStack) -> Asker:
    """Return a source that `opened` closes at its end."""
    made = KINDS[source.kind].open(source, secrets)
    opened.callback(made.close)
    return made


def _explained(job: Job) -> Iterator[str]:
    """Yield why these slices are read, and the queries."""
    if job.why or job.source is None:
        return
    if job.is_file:
        yield "  a file is read as a whole, and only slices that are new or changed become a revision"
        return
    yield (
        f"  {quantity(job.wanted, 'slice')} in this time; the ledger has {job.stored:,}, of which {job.unsettled:,}"
        f" are newer than late = {format_duration(job.source.late_s * NS_PER_S)} and may still change"
    )
    if not job.asked:
        return
    asked = sum(len(one.edges) - 1 for one in job.asked)
    yield f"  {quantity(asked, 'slice')} asked for, from the first to the last that is missing or may change"
    for role, query in job.asked[0].roles:
        yield f"  {role}: {one_line(query, 500)}"


def _explained_document(job: Job) -> dict[str, Any]:
    queries = dict(job.asked[0].roles) if job.asked and not job.is_file else {}
    return {"wanted": job.wanted, "stored": job.stored, "unsettled": job.unsettled, "queries": queries}


def _print_plan(plan: Planned, output_format: str, left_out: Mapping[str, LoadTests], *, is_explained: bool) -> None:
    calls = sum(job.calls for job in plan.jobs)
    if output_format == "json":
        document = {
            "from": time_text(plan.start),
            "to": time_text(plan.end),
            "calls": calls,
            "objectives": [
                {
                    "slo": job.slo,
                    "source": job.source.name if job.source else None,
                    "calls": job.calls,
                    "points": job.points,
                    "why_not": job.why or None,
                    "gone": job.gone or None,
                    "known": job.is_known,
                    "load_tests": {"state": left_out[job.slo].state, "by": left_out[job.slo].text},
                    **(_explained_document(job) if is_explained else {}),
                }
                for job in plan.jobs
            ],
        }
        echo_json(json.dumps(document, indent=2))
        return
    for job in plan.jobs:
        if job.why:
            echo(f"{job.slo}: nothing is asked: {job.why}")
        elif job.is_known:
            echo(f"{job.slo}: known")
        elif job.source is not None and job.is_file:
            echo(f"{job.slo}: {one_line(KINDS[job.source.kind].where(job.source), 120)}")
        elif job.source is not None:
            span = f"{time_text(job.asked[0].start)} to {time_text(job.asked[-1].end)}"
            points = f"{quantity(job.points, 'point')} of each series"
            where = one_line(KINDS[job.source.kind].where(job.source), 120)
            echo(f"{job.slo}: {quantity(job.calls, 'call')}, {points}, {span}, {where}")
        if job.gone:
            echo(f"  missing: {job.gone}")
        for line in _explained(job) if is_explained else ():
            echo(line)
    for text, names in groupby(sorted(left_out, key=lambda one: left_out[one].says), lambda one: left_out[one].says):
        echo(f"{one_line(', '.join(sorted(names)), 200)}: {text}")
    more = more_calls(plan)
    echo(f"{quantity(calls, 'call')}{f', and {more}' if more else ''}; nothing was sent")


def _print(
    plan: Planned,
    done: list[Done],
    revisions: list[Revision],
    ledger: Ledger,
    output_format: str,
    *,
    is_explained: bool,
) -> None:
    if output_format == "json":
        document: dict[str, Any] = {
            "objectives": [
                {
                    "slo": one.slo,
                    "slices": one.slices,
                    "partial": one.partial,
                    "calls": one.calls,
                    "faults": list(one.faults),
                    "notes": list(one.notes),
                    **(_explained_document(job) if is_explained else {}),
                }
                for job, one in zip(plan.jobs, done, strict=True)
            ],
            "revisions": [{"name": one.name, "because": one.because} for one in revisions],
        }
        echo_json(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for job, one in zip(plan.jobs, done, strict=True):
        partial = f", {one.partial} of them partial" if one.partial else ""
        echo(f"{one.slo}: {quantity(one.slices, 'slice')} read{partial}")
        for text in one.faults:
            echo(f"  missing: {one_line(text, 500)}")
        for text in one.notes:
            echo(f"  note: {one_line(text, 500)}")
        for line in _explained(job) if is_explained else ():
            echo(line)
    for because, same in groupby(revisions, key=lambda one: one.because):
        names = [one.name for one in same]
        first = f"{names[0]} to {names[-1]}, {len(names):,} revisions" if len(names) > 2 else " and ".join(names)
        echo(f"{first}: {one_line(because, 300)}")
    if not revisions:
        echo(f"nothing new for {ledger}")
