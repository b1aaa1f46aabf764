"""`loadgen trace RUN`: reads the traces of slow and of fast requests, and shows in which spans the difference lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from math import ceil
from pathlib import Path
from typing import Annotated, Final
from zlib import crc32

import msgspec
import typer

from loadgen.backends.kept_traces import kept_traces
from loadgen.dsl.plans.loadgen_toml import Settings
from loadgen.errors import ExitCode, IncompleteError, UsageError
from loadgen.measure.objectives.terms import Objective
from loadgen.measure.run_folder.rundir import find_run, utc_text
from loadgen.report.report_parts import milliseconds
from loadgen.report.run_as_dataframes import Run, open_run
from loadgen.report.summary_reader import Summary
from loadgen.report.why_slow.cause_file import encoded, write_causes
from loadgen.report.why_slow.choice import Chosen, Wanted, chosen_of, narrowed
from loadgen.report.why_slow.goes_away import goes_away_lines
from loadgen.report.why_slow.in_one_sentence import in_one_sentence
from loadgen.report.why_slow.joined import Joined, joined_compact
from loadgen.report.why_slow.requests import Asked, asked_for, sampled_of
from loadgen.traces.cohorts import LEAST_SLOW
from loadgen.traces.compact_trace import CompactTrace
from loadgen.traces.path_table import folded_text, path_table
from loadgen.units import NS_PER_MS, NS_PER_S, parse_duration, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.bucket import RUNS, RunArgument, RunsDir
from loadgen_controller.commands.cloudwatch_metrics import span_of
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import AllowHostOption, EnvOption
from loadgen_controller.commands.tracing.goes_with import show_goes_with
from loadgen_controller.commands.tracing.index_advice import NO_ADVICE, advisers_of
from loadgen_controller.commands.tracing.read_traces import TraceReading, reading_of
from loadgen_controller.console_output import Output
from loadgen_controller.past_runs.listing import is_running
from loadgen_controller.planning.option_parsing import trace_settings_of
from loadgen_controller.screen.cause_lines import print_causes, print_conclusions
from loadgen_controller.screen.output_file import write
from loadgen_controller.screen.result_explanation import called

__all__ = ["EXAMPLES", "main"]

EXAMPLES = """[bold]Examples[/bold]

loadgen trace last --file traces.json

loadgen trace last --backend staging

loadgen trace last --request "POST /cart" --region eu-west-1 --dry-run

loadgen trace 20261125 --against 20261124

loadgen trace last --advise

[bold]Exit codes[/bold]

0 shown, with or without a ranking; 2 usage error; 3 too few traces, too many are missing, or a server refused"""
_LOOK: Final = "look at one of these traces in the tracing system"
_SEED_BITS: Final = 0x7FFFFFFF
_HOW_TO_SAMPLE: Final = 'add trace=Trace(sample="5%") to the plan, and repeat the run'


def main(
    run: RunArgument,
    request: Annotated[
        str, typer.Option(metavar="NAME", help="Explain this request. Default: the request of the broken objective.")
    ] = "",
    step: Annotated[str, typer.Option(metavar="NAME", help="Explain the requests of this step.")] = "",
    journey: Annotated[str, typer.Option(metavar="NAME", help="Explain the requests of this journey.")] = "",
    region: Annotated[str, typer.Option(metavar="NAME", help="Only requests that were sent from this region.")] = "",
    backend: Annotated[
        str, typer.Option(metavar="NAME", help=r"Read traces from this source: \[trace.NAME] of loadgen.toml.")
    ] = "",
    env: EnvOption = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Read traces from this file, or from all files of this folder."),
    ] = None,
    most: Annotated[
        int, typer.Option(metavar="N", min=2, max=20_000, help="Read at most this many traces, half of slow requests.")
    ] = 200,
    wait: Annotated[
        str, typer.Option(metavar="TIME", help="Wait at most this long for traces that have not arrived yet.")
    ] = "2m",
    against: Annotated[
        str, typer.Option(metavar="RUN", help="Compare with this run. Its traces are read from the same source.")
    ] = "",
    advise: Annotated[
        bool,
        typer.Option(
            "--advise",
            help="Try simulated indexes for the statements of ranked paths: connects to the databases of the run's"
            " probes, read-only.",
        ),
    ] = False,
    i_may_load: AllowHostOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the requests and the number of traces and calls. Read no traces.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Also write cause.json to this file; - is standard output.")
    ] = None,
    folded: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Also write folded stacks for flame graphs: x.folded gives x.slow.folded and x.fast.folded.",
        ),
    ] = None,
    runs_dir: RunsDir = RUNS,
) -> ExitCode:
    """Show in which spans of the target the time of slow requests lies, and what the slow have that the fast have not.

    Without a choice, the command explains the broken objective with the largest excess. If no objective is broken, it
    explains the slowest 5 % of the request with the most response time. It reads traces by their ids: those of slow
    requests and as many of fast ones. The traces stay in the run folder, so no trace is read twice. If the run had
    probes of databases, the statements and locks of the ranked paths are shown. The result is also in cause.json, and
    in the next report.
    """
    errors = CollectedErrors()
    path = errors.catch(lambda: find_run(run, runs_dir))
    behind = errors.catch(lambda: find_run(against, runs_dir)) if against else None
    wait_ns = errors.parse("--wait", wait, parse_duration)
    given = [name for name, value in (("--file", file), ("--backend", backend), ("--env", env)) if value]
    if len(given) > 1:
        errors.add(f"{given[0]} cannot be combined with {given[1]}", "leave out one of them")
    errors.check_file("--json", json)
    if folded is not None and str(folded) == "-":
        errors.add("--folded: two files cannot be written to standard output", "give a path, such as x.folded")
    elif folded is not None:
        for one in _folded_files(folded):
            errors.check_file("--folded", one)
    if path is not None and is_running(path):
        errors.add(f"run {path.name} is still going on", "wait until it ends")
    settings = trace_settings_of(errors)
    reading = None if path is None else errors.catch(lambda: reading_of(path, file, backend, env or "", settings))
    advisers = errors.catch(lambda: advisers_of(path, i_may_load or ())) if advise and path is not None else None
    if i_may_load and not advise:
        errors.add("--i-may-load needs --advise", "add --advise, or leave it out")
    errors.check()
    assert path is not None
    assert reading is not None
    with needing_analysis("loadgen trace"):
        from loadgen.report.why_slow.database.of_run import database_side_of_run
        from loadgen.report.why_slow.study import Facts, cost_of, told
    opened = open_run(path)
    wanted = Wanted(request=request, step=step, journey=journey, region=region)
    chosen = chosen_of(_summary(opened), wanted, _objectives(opened))
    seed = crc32(opened.id.encode()) & _SEED_BITS
    chosen, asked = _asked(opened, chosen, most, seed)
    console = Output(stderr=json is not None and str(json) == "-")
    console.print(_plan_text(opened, chosen, asked, reading))
    if advisers is not None:
        console.print(advisers.plan)
    if dry_run:
        return ExitCode.PASSED
    refusal = reading.read(asked.ids, (wait_ns or 0) / NS_PER_S, _ended_ago_s(opened))
    ours = _joined(path, asked)
    facts = Facts(
        run=opened.id,
        made_at=utc_text(datetime.now(UTC)),
        source=reading.name,
        seed=seed,
        called=called(path),
        refused=reading.refused,
        cost=cost_of(opened.decided, chosen),
        notes=(*ours.clocks, *_more_notes(asked)),
    )
    if not ours.found:
        raise refusal or _none_found(opened, asked, reading)
    result = told(
        chosen,
        ours,
        asked.observed,
        facts,
        against=_against(
            behind, chosen, most, seed, partial(_read_other, file, backend, env or "", settings, wait_ns or 0)
        ),
    )
    side = database_side_of_run(result, opened)
    advice = advisers.ask(side.wanted()) if advisers is not None else NO_ADVICE
    result = side.with_advice(advice.parts, advice.notes)
    write_causes(path, result.document)
    console.print()
    print_causes(console, result.causes)
    together = show_goes_with(console, opened, chosen)
    print_conclusions(console, in_one_sentence(result.causes, together), _gone(opened, behind))
    if json is not None:
        write(json, encoded(result.document))
    if folded is not None:
        for file, traces in zip(_folded_files(folded), (result.slow, result.fast), strict=True):
            write(file, folded_text(path_table(traces)).encode())
    if refusal is not None:
        raise refusal
    if advice.refused:
        raise IncompleteError(advice.refused, hint="the other lines do not depend on it; repeat the command later")
    return ExitCode.INCOMPLETE if result.is_refused else ExitCode.PASSED


def _gone(run: Run, behind: Path | None) -> tuple[str, ...]:
    """Return what became of the broken objectives of the run to compare with."""
    return () if behind is None else tuple(goes_away_lines(run, open_run(behind)))


def _summary(run: Run) -> Summary:
    if run.summary is None:
        raise UsageError(
            f"run {run.id} has no summary: its process was killed, or the file was deleted", hint="choose another run"
        )
    return run.summary


def _objectives(run: Run) -> list[Objective]:
    """Return the objectives of the run's plan; of a manifest that another version wrote, those that can be read."""
    found: list[Objective] = []
    for one in run.manifest.get("spec", {}).get("slos", ()):
        with suppress(msgspec.ValidationError):
            found.append(msgspec.convert(one, Objective))
    return found


def _asked(run: Run, chosen: Chosen, most: int, seed: int) -> tuple[Chosen, Asked]:
    """Return the sampled requests whose traces are read.

    If a step or a journey was chosen and none of it has traces, one of its requests is chosen instead.

    Raises:
        IncompleteError: the run has none.
    """
    loads = [str(lane.get("name", "")) for lane in run.manifest.get("spec", {}).get("lanes", ())]
    asked = asked_for(sampled_of(run.exemplars, chosen, loads), chosen.limit_ns, most, seed)
    if asked.ids:
        return chosen, asked
    if (request := narrowed(_summary(run), chosen)) is not None:
        return _asked(run, request, most, seed)
    raise IncompleteError(f"run {run.id} has no sampled request of {chosen.name}", hint=_HOW_TO_SAMPLE)


def _plan_text(run: Run, chosen: Chosen, asked: Asked, reading: TraceReading) -> str:
    slow, fast = len(asked.slow), quantity(len(asked.fast), "fast request")
    limit = milliseconds(chosen.limit_ns / NS_PER_MS)
    text = f"{chosen.name}: traces of {slow} requests above {limit} ms, and of {fast}"
    plan = reading.plan(asked.ids)
    where = f"to read from {reading.name}: {plan}" if plan is not None else f"all read before: {reading.name}"
    return f"{text}; {where}"


def _folded_files(path: Path) -> tuple[Path, Path]:
    """Return the files with the stacks of slow and of fast requests: of x.folded, x.slow.folded and x.fast.folded."""
    slow, fast = (path.with_name(f"{path.stem}.{group}{path.suffix}") for group in ("slow", "fast"))
    return slow, fast


def _joined(path: Path, asked: Asked) -> Joined[CompactTrace]:
    """Return the requests whose traces are in the folder of a run."""
    read = partial(kept_traces, path)
    return joined_compact(read, asked.alternated, _t0_ns(path), lambda ids: kept_traces(path, only=ids))


def _more_notes(asked: Asked) -> Iterator[str]:
    """Yield how to read enough slow traces, if more were sampled than were asked for."""
    if len(asked.slow) < min(LEAST_SLOW, asked.slow_of):
        most = ceil(2 * LEAST_SLOW * asked.traces_each / 100) * 100
        yield f"{asked.slow_of:,} slow requests were sampled: read more of their traces with --most {most}"


def _ended_ago_s(run: Run) -> float:
    """Return the age of the run, s."""
    _, end = span_of(run.path)
    return max(0.0, (datetime.now(UTC) - end).total_seconds())


def _t0_ns(path: Path) -> int:
    """Return T0 of a run, ns since 1970."""
    return round(span_of(path)[0].timestamp() * NS_PER_S)


def _none_found(run: Run, asked: Asked, reading: TraceReading) -> IncompleteError:
    """Return the error for a source that has none of the traces, with the three usual reasons."""
    refused = "; ".join(f"{reason} ({count})" for reason, count in reading.refused.most_common(2))
    if refused:
        return IncompleteError(
            f"{reading.name} returned none of the {len(asked.ids)} requested traces: {refused}", hint=_LOOK
        )
    first = asked.ids[0]
    return IncompleteError(
        f"{reading.name} has none of the {len(asked.ids)} requested traces of run {run.id}; the first one is {first}",
        hint="check three things: a proxy or gateway must pass the trace header on to the target; the target must keep"
        " the traces that the header marks as sampled (OTEL_TRACES_SAMPLER=parentbased_always_on); the traces may not"
        " have arrived yet, so repeat the command in a minute",
    )


def _read_other(
    file: Path | None, backend: str, env: str, settings: Settings, wait_ns: int, run: Run, asked: Asked
) -> None:
    """Read the traces of the other run, if there is a source. Refused traces count as missing, as in the run itself."""
    with suppress(UsageError):
        reading = reading_of(run.path, file, backend, env, settings)
        reading.read(asked.ids, wait_ns / NS_PER_S, _ended_ago_s(run))


def _against(
    path: Path | None, chosen: Chosen, most: int, seed: int, read: Callable[[Run, Asked], None]
) -> tuple[str, Joined[CompactTrace]] | None:
    """Return the id and the requests of the run to compare with. Traces that are not in its folder yet are read.

    Raises:
        UsageError: there are no traces of these requests.
    """
    if path is None:
        return None
    other = open_run(path)
    _, asked = _asked(other, chosen, most, seed)
    found = _joined(path, asked)
    if not found.found:
        read(other, asked)
        found = _joined(path, asked)
    if not found.found:
        raise UsageError(
            f"--against: the folder of run {other.id} has no traces of {chosen.name}",
            hint=f"read them first: loadgen trace {called(path)}",
        )
    return other.id, found
