"""`loadgen failures`: shows what failed in a run: kinds with counts, and single failures with their exchange."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Final

import msgspec
import typer

from loadgen.errors import UsageError
from loadgen.measure.deltas.exemplar import KeptFailure
from loadgen.measure.deltas.series_key import OK, SKIPPED
from loadgen.measure.run_folder.rundir import find_run
from loadgen.report.report_tables import Table
from loadgen.report.run_as_dataframes import Run, open_run
from loadgen.report.verdict_words import deciding_reasons, lead_reason
from loadgen.units import NS_PER_S, format_count, format_duration
from loadgen_controller.console_output import RichText, Text, echo_json, text_block
from loadgen_controller.planning.rerun import arrival_of, arrival_text
from loadgen_controller.screen.terminal_report import Output, print_table

NAME = "failures"
EXAMPLES = """[bold]Examples[/bold]

loadgen failures last

loadgen failures last 3

loadgen failures 20261124-170312 --request "POST /cart" --outcome "http 503"

loadgen failures last --json"""

_KINDS: Final = 20
_DETAIL: Final = 160
_ITERATION: Final = "(iteration)"
_Kind = tuple[str, str, str]
"""A kind of failure: outcome, request or "(iteration)", journey."""


def main(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run's id, the beginning of it, `last`, or its folder.")
    ],
    number: Annotated[
        int | None,
        typer.Argument(metavar="[NUMBER]", min=1, help="Show this failure in full: headers, body, row, traceback."),
    ] = None,
    request: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only failures of requests whose name contains this.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only failures whose outcome contains this.")
    ] = None,
    arrival: Annotated[
        str | None, typer.Option(metavar="N", help="Only failures of this iteration; for a closed load, USER.I.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Longest list to print.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the failures in full, as JSON.")] = False,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> None:
    """Show what failed in a run: the kinds of failures with their counts, and the first failures of each, numbered.

    With a NUMBER, that failure is shown in full: what was expected, the line of the scenario, the data row, and the
    exchange with headers and body. The agents have removed secrets from it.

    All failures are counted. For each request and outcome, an agent keeps the first five in full.
    """
    opened = open_run(find_run(run, runs_dir))
    wanted_n = None if arrival is None else arrival_of(arrival)
    found = [
        kept
        for kept in opened.failures
        if (request is None or request.lower() in kept.failure.request.lower())
        and (outcome is None or outcome.lower() in kept.failure.outcome.lower())
        and wanted_n in (None, kept.failure.n)
    ]
    if number is not None:
        found = [_numbered(opened, number)]
    if as_json:
        echo_json(json.dumps([_as_json(kept) for kept in found[: None if number else limit]], indent=2))
        return
    console = Output()
    again = _named(run, opened, runs_dir)
    lines = _whole(opened, found[0], again) if number is not None else _listed(opened, found, again, limit)
    for line in lines:
        if isinstance(line, Table):
            print_table(console, line)
        else:
            console.print(line, soft_wrap=True)


def _named(given: str, run: Run, runs_dir: Path) -> tuple[str, str]:
    """Return the name of this run for printed commands, and the --runs-dir option that they need.

    The name is an id or a path, never "last". The option is empty if they need none.
    """
    if run.path.parent != runs_dir:
        return quote(given), ""  # it was given as a path
    return run.path.name, "" if str(runs_dir) == "runs" else f" --runs-dir {quote(str(runs_dir))}"


def _numbered(run: Run, number: int) -> KeptFailure:
    for kept in run.failures:
        if kept.number == number:
            return kept
    have = f"choose one of 1 to {len(run.failures)}" if run.failures else "the run kept no failures"
    raise UsageError(f"no failure {number} in {run.id}", hint=have)


# -- the list -------------------------------------------------------------------------------------


def _listed(run: Run, found: Sequence[KeptFailure], name: tuple[str, str], limit: int) -> Iterator[RichText | Table]:
    kinds = list(_kinds(run))
    numbers: dict[_Kind, list[int]] = {}
    ranked = []
    for kept in found:
        of_kind = numbers.setdefault(_kind(kept), [])
        ranked.append((len(of_kind), kept.number, kept))
        of_kind.append(kept.number)
    if kinds:
        rows = tuple((*kind, _some(numbers.get(kind, ())), format_count(count)) for count, kind in kinds[:_KINDS])
        yield Table("What failed", ("outcome", "request", "journey", "kept in full", "count"), rows, words=4)
        if len(kinds) > _KINDS:
            yield Text(f"and {format_count(len(kinds) - _KINDS)} more kinds, in summary.json", style="dim")
        yield Text()
    if not found:
        yield Text(_why_none(run, is_any=bool(kinds)))
    if doubt := _doubt(run):
        yield Text(doubt, style="yellow")
    if not found:
        return
    shown = [
        kept for _, _, kept in sorted(ranked, key=lambda one: one[:2])[:limit]
    ]  # one of each kind first, then the second of each
    yield Text("Failures kept in full, the first of each kind first", style="bold")
    width = len(str(max(kept.number for kept in shown)))
    for kept in shown:
        yield from _entry(kept, width)
    if len(found) > limit:
        yield Text(
            f"and {format_count(len(found) - limit)} more; choose with --limit, --request, --outcome", style="dim"
        )
    first = shown[0]
    yield Text()
    yield _hint("Show one in full:", f"loadgen failures {name[0]} {first.number}{name[1]}")
    yield _hint("Repeat its iteration:", _repeat_command(run, first, name))


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:4])) + ("..." if len(numbers) > 4 else "") if numbers else "-"


def _kind(kept: KeptFailure) -> _Kind:
    failure = kept.failure
    return failure.outcome, failure.request or _ITERATION, failure.journey


def _entry(kept: KeptFailure, width: int) -> Iterator[RichText]:
    outcome, request, journey = _kind(kept)
    failure = kept.failure
    what = Text.assemble((f"{kept.number:>{width}}  ", "bold"), (outcome, "red"), f": {request}, journey {journey}")
    when = f"at {format_duration(max(0, failure.at_ns))} after {format_duration(failure.response_ns)}"
    yield what.append(f", arrival {arrival_text(failure.n)}, {kept.region}, {when}")
    if detail := " ".join((failure.detail or failure.where).split()):
        yield Text(f"{' ' * width}  {detail if len(detail) <= _DETAIL else detail[: _DETAIL - 3] + '...'}", style="dim")


def _why_none(run: Run, *, is_any: bool) -> str:
    if run.failures:
        return f"none of the {format_count(len(run.failures))} kept failures matches"
    return "no failure was kept in full" if is_any else "nothing failed"


def _doubt(run: Run) -> str:
    """Return why the run has another result than its failures suggest; "" if it passed without doubt."""
    summary = run.summary
    if summary is None or (summary.result == "passed" and summary.validity.verdict == "valid"):
        return ""
    if summary.result in ("passed", "failed") and summary.validity.verdict == "suspect":
        return f"the run is suspect: {lead_reason(summary)}"
    words = {"failed": "failed", "interrupted": "was interrupted", "error": "ended with an error"}
    return f"the run {words.get(summary.result, f'is {summary.result}')}: {deciding_reasons(summary)[0]}"


def _kinds(run: Run) -> Iterator[tuple[int, _Kind]]:
    """Yield (count, kind) for each kind of failure in a run, the most frequent first.

    A kind is an outcome of one request or journey. Failures in the warm-up are not counted.
    """
    counts: dict[_Kind, int] = {}
    if run.summary is not None:
        found: Iterator[tuple[str, str | None, str, str, int]] = (
            (row.kind, row.request, row.outcome, row.journey, row.count)
            for row in run.summary.series
            if row.region == "*" and row.outcome != "*"
        )
    else:
        merge = run.merge
        found = (
            (key.kind, key.request, key.outcome, key.journey, histogram.total)
            for key in merge.keys()  # noqa: SIM118  # not a mapping
            if key.metric == "response" and not key.warmup and (histogram := merge.histogram(key)) is not None
        )
    for kind, request, outcome, journey, count in found:
        if kind in ("request", "journey") and outcome not in (OK, SKIPPED):
            of = (outcome, request or _ITERATION, journey)
            counts[of] = counts.get(of, 0) + count
    for of, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        yield count, of


# -- one of them ----------------------------------------------------------------------------------


def _whole(run: Run, kept: KeptFailure, name: tuple[str, str]) -> Iterator[RichText]:
    failure = kept.failure
    yield Text(
        f"{kept.number} of {len(run.failures)}: {failure.request or 'iteration'}: {failure.outcome}",
        style="bold red",
    )
    place = f"journey {failure.journey}" + (f", step {failure.step}" if failure.step else "")
    load = _load_name(run, failure.load)
    yield Text(f"{place}; arrival {arrival_text(failure.n)}{f' of load {load}' if load else ''}")
    took = f"after {format_duration(failure.response_ns)}"
    yield Text(f"agent {kept.agent} in {kept.region}; at {failure.at_ns / NS_PER_S:.3f} s, {took}")
    if failure.trace:
        yield Text(f"trace {failure.trace}{_trace_link(run, failure.trace)}")
    if failure.detail:
        yield Text()
        yield Text(failure.detail, style="bold")
    if failure.where:
        yield Text(f"at {failure.where}")
    for title, text in (
        ("Row", failure.row),
        ("Note", failure.note),
        ("Traceback", failure.traceback),
        ("Sent" if failure.request else "Last request before it", failure.sent),
        ("Received", failure.received),
    ):
        if text:
            yield Text()
            yield Text(title, style="bold cyan")
            yield text_block(text.rstrip("\n"))
    if failure.sent and not failure.received:
        yield Text()
        yield Text("No answer was received.", style="bold cyan")
    yield Text()
    yield _hint("Repeat this iteration:", _repeat_command(run, kept, name))


def _repeat_command(run: Run, kept: KeptFailure, name: tuple[str, str]) -> str:
    load = _load_name(run, kept.failure.load)
    option = f" --load {quote(load)}" if load else ""
    return f"loadgen check --arrival {arrival_text(kept.failure.n)} --from {name[0]}{option}{name[1]}"


def _load_name(run: Run, load: int) -> str:
    lanes: Any = run.manifest.get("spec", {}).get("lanes") or ()
    return str(lanes[load].get("name", "")) if 0 <= load < len(lanes) else ""


def _trace_link(run: Run, trace: str) -> str:
    from loadgen.clients.request.tracing import Trace

    spec: Any = run.manifest.get("spec", {}).get("trace")
    link = spec.get("link", "") if isinstance(spec, dict) else ""
    if not link:
        return ""
    if not Trace(sample=float(spec.get("sample", 1))).samples(trace):
        return " (not sampled by the plan)"
    return f": {link.replace('{trace_id}', trace)}"


def _hint(what: str, command: str) -> RichText:
    return Text.assemble((what, "dim"), " ", command)


def _as_json(kept: KeptFailure) -> dict[str, Any]:
    failure: dict[str, Any] = msgspec.to_builtins(kept.failure)
    return {"number": kept.number, "agent": kept.agent, "region": kept.region, **failure}
