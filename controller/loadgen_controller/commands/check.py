"""`loadgen check`: runs each journey of a scenario once and shows every request, or repeats one iteration of a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from loadgen.bundle import pack
from loadgen.dsl.find_settings import find_settings
from loadgen.dsl.loading.loader import Scenario, split_plan
from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.errors import ExitCode, ScenarioError, UsageError
from loadgen.measure.deltas.exemplar import Failure
from loadgen.measure.deltas.series_key import PHASES
from loadgen.report.report_tables import Table
from loadgen.units import format_count, format_duration, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.checking.watch import Spacing, Watch, spaced
from loadgen_controller.commands.checking.ws_messages import ws_messages
from loadgen_controller.commands.shared_options import (
    AllowHostOption,
    EnvOption,
    ParamOption,
    ResolveOption,
    TargetOption,
)
from loadgen_controller.console_output import RichText, Text, text_block
from loadgen_controller.planning.private_targets import PRIVATE_ONLY, check_private
from loadgen_controller.planning.rehearsal import Rehearsed, rehearse, rehearse_arrival
from loadgen_controller.planning.rerun import Earlier, arrival_of, arrival_text, earlier_run
from loadgen_controller.planning.scenario import load_scenario
from loadgen_controller.planning.team_policy_check import violations
from loadgen_controller.print_errors import report
from loadgen_controller.screen.stream_tables import stream_tables
from loadgen_controller.screen.terminal_report import Output, print_table

NAME = "check"
EXAMPLES = """[bold]Examples[/bold]

loadgen check scenarios/checkout.py --target http://127.0.0.1:8080

loadgen check scenarios/search_mix.py:spike --env staging

loadgen check --arrival 4711 --from last

loadgen check scenarios/checkout.py --arrival 4711 --from runs/20261124-101500-checkout-3f2a

loadgen check scenarios/checkout.py --watch

loadgen check scenarios/checkout.py --policy"""


def main(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE[:PLAN]", help="The scenario file, and which of its plans to use.")
    ] = None,
    target: TargetOption = None,
    param: ParamOption = None,
    env: EnvOption = None,
    resolve: ResolveOption = None,
    i_may_load: AllowHostOption = None,
    arrival: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Repeat this iteration of an earlier run. N is its number; for a closed load, USER.I."
        ),
    ] = None,
    from_run: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="RUN", help="The run of --arrival: its id, the beginning of it, its folder, or `last`."
        ),
    ] = None,
    load: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The load of the plan that --arrival belongs to. Default: the first."),
    ] = None,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder in which --from finds the run.")] = Path("runs"),
    policy: Annotated[
        bool,
        typer.Option(
            "--policy", help="Check the scenario against the policy in loadgen.toml instead; nothing is sent."
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Check again whenever a file is saved, until Ctrl-C. Only for private targets."),
    ] = False,
) -> int:
    """Run each journey of a plan once, for real, and show every request: step, status, outcome, times.

    Errors of the scenario are shown before anything is sent. For a request that failed, the request and the response
    are shown.

    A single user takes the first row of each feed, thinks for at most 100 ms, and does not wait at a rendez-vous. For a
    graph, as many sessions run as are needed to visit every node. Nothing is stored.

    With --arrival and --from, one iteration of an earlier run is repeated with its row and its random numbers. Without
    FILE, the scenario is the one of that run. With --policy nothing runs: the scenario is checked against the policy in
    loadgen.toml.

    With --watch, the check is repeated whenever a file in the scenario's folder is saved: it shows the errors, or runs
    each journey once, at most one iteration a second. It sends only to loopback and private addresses.

    The exit code is 1 if a journey fails or the policy is violated, and 2 if the scenario is invalid.
    """
    errors = CollectedErrors()
    _check_options(errors, file, arrival, from_run, load, policy=policy, watch=watch)
    errors.check()
    console = Output()
    if watch and file is not None:
        options = _Options(target, tuple(param or ()), env, tuple(resolve or ()), tuple(i_may_load or ()))
        return _watch(file, options, console)
    with ExitStack() as stack:
        earlier = None
        if arrival is not None and from_run is not None:
            earlier = stack.enter_context(earlier_run(from_run, runs_dir))
            file = file or earlier.file
        assert file is not None
        scenario = load_scenario(
            errors,
            file,
            target=target,
            params=param or (),
            env=env,
            resolve=resolve or (),
            allowed=i_may_load or (),
            is_sending=not policy,
            base=earlier.overrides if earlier is not None else None,
            seed=earlier.seed if earlier is not None else None,
        )
        if policy:
            return _policy(scenario, console)
        pack(scenario)  # finds files that cannot be sent to an agent, before the first real run does
        if earlier is None or arrival is None:
            return asyncio.run(_check(rehearse(scenario), console))
        return asyncio.run(_check(_repeat(scenario, earlier, arrival, load), console, is_whole=True))


def _check_options(
    errors: CollectedErrors,
    file: str | None,
    arrival: str | None,
    from_run: str | None,
    load: str | None,
    *,
    policy: bool,
    watch: bool,
) -> None:
    """Add an error for each combination of options that has no meaning."""
    if (arrival is None) != (from_run is None):
        errors.add(
            "--arrival and --from must be given together", "for example: loadgen check --arrival 4711 --from last"
        )
    elif file is None and arrival is None:
        errors.add("no scenario was given", "loadgen check FILE, or loadgen check --arrival N --from RUN")
    if load is not None and arrival is None:
        errors.add("--load needs --arrival", "add --arrival N --from RUN, or leave --load out")
    if policy and arrival is not None:
        errors.add("--policy and --arrival exclude each other: --policy runs nothing", "leave one of them out")
    if watch and (policy or arrival is not None):
        errors.add("--watch repeats the plain check, without --policy and --arrival", "leave --watch out")


@dataclass(frozen=True, slots=True)
class _Options:
    """The options with which `--watch` loads the scenario in each round, unparsed."""

    target: str | None
    params: tuple[str, ...]
    env: str | None
    resolve: tuple[str, ...]
    allowed: tuple[str, ...]


def _watch(file: str, options: _Options, console: Output) -> int:
    """Repeat the check until Ctrl-C.

    Raises:
        LoadgenError, ExceptionGroup: an option is wrong, the file is missing, or the target is not private.
    """

    def load() -> Scenario:
        errors = CollectedErrors()
        scenario = load_scenario(
            errors,
            file,
            target=options.target,
            params=options.params,
            env=options.env,
            resolve=options.resolve,
            allowed=options.allowed,
        )
        check_private(scenario.plan)
        pack(scenario)
        return scenario

    async def run(scenario: Scenario, spacing: Spacing) -> None:
        async with aclosing(rehearse(scenario, PRIVATE_ONLY)) as rehearsed:
            await _check(spaced(rehearsed, spacing), console)

    path, _ = split_plan(file)
    try:
        load()
    except ScenarioError:
        if not path.is_file():
            raise
        # The watch shows the errors of a broken file again, and waits for it to be saved.
    with suppress(KeyboardInterrupt):  # the usual end of a watch, so it is no error
        asyncio.run(Watch(path, load, run, report, console).forever())
    return ExitCode.INTERRUPTED


def _repeat(scenario: Scenario, earlier: Earlier, arrival: str, load: str | None) -> AsyncIterator[Rehearsed]:
    names = [lane.name for lane in scenario.plan.lanes]
    if load is not None and load not in names:
        raise UsageError(f'the plan has no load "{load}"', hint="it has " + ", ".join(n or "(no name)" for n in names))
    index = names.index(load) if load is not None else 0
    return rehearse_arrival(scenario, earlier.seed, index, arrival_of(arrival))


def _policy(scenario: Scenario, console: Console) -> int:
    settings = read_settings(find_settings(scenario.path))
    if settings.policy is None:
        raise UsageError(
            "loadgen.toml has no [policy]",
            hint="add [policy] to the loadgen.toml in the scenario's folder or above it: slos = true, names = true",
        )
    found = violations(scenario, settings.policy)
    for fault in sorted(found):
        console.print(Text(f"{fault.where}: {fault.message}"), soft_wrap=True)
        if fault.hint:
            console.print(Text(f"    {fault.hint}"), soft_wrap=True)
    kept = "meets" if not found else f"violates {format_count(len(found))} point(s) of"
    where = settings.path.name if settings.path is not None else "loadgen.toml"
    console.print(
        Text(f"{scenario.path.name}: {kept} the policy in {where}", style="green" if not found else "bold red"),
        soft_wrap=True,
    )
    return ExitCode.FAILED if found else ExitCode.PASSED


async def _check(rehearsed: AsyncIterator[Rehearsed], console: Console, *, is_whole: bool = False) -> int:
    """Print the result of each journey when it has ended; return exit code 1 if one of them failed, else 0.

    is_whole: also show the number of the iteration and its row, because a repeated iteration is for that.
    """
    failed = 0
    async for done in rehearsed:
        failed += not done.has_passed
        print_table(console, Table(done.title, _HEAD, tuple(_rows(done)), words=4))
        if (phases := _phases(done)).rows:
            print_table(console, phases)
        for table in _streams(done):
            print_table(console, table)
        word = done.outcome if done.has_passed or done.outcome == "failed" else f"failed: {done.outcome}"
        requests = quantity(len(done.requests), "request")
        line = f"{done.title}: {word} after {requests} in {format_duration(done.response_ns)}"
        console.print(Text(line, style="green" if done.has_passed else "bold red"), soft_wrap=True)
        if done.detail:
            console.print(text_block(done.detail), soft_wrap=True)
        for name, users in done.rendezvous:
            text = f"  rendez-vous {name}: in a run, {format_count(users)} users meet here; this one did not wait"
            console.print(Text(text), soft_wrap=True)
        for note in done.notes:
            console.print(text_block(f"note: {note}"), soft_wrap=True)
        for failure in done.failures:
            for shown in _shown(failure, done.detail, is_whole=is_whole):
                console.print(shown, soft_wrap=True)
        console.print()
    return ExitCode.FAILED if failed else ExitCode.PASSED


def _shown(failure: Failure, reported: str, *, is_whole: bool) -> Iterator[RichText]:
    """Yield the printed lines of a failure: where it happened and why, then the request and the response.

    reported: what was printed already about this journey. With `is_whole` the iteration's number and row are shown.
    """
    # The text of an error in the scenario begins with its place.
    has_place = failure.where and failure.detail.startswith(failure.where)
    parts = (failure.detail,) if has_place else (failure.where, failure.detail)
    reason = ": ".join(text for text in parts if text)
    if reason and reason not in reported:
        yield text_block(reason)
    if is_whole:
        yield Text(f"  iteration {arrival_text(failure.n)}")
    sent = "sent" if failure.request else "last request before it"
    for title, text in (
        ("row", failure.row if is_whole else ""),
        ("note", failure.note if is_whole else ""),
        (sent, failure.sent),
        ("received", failure.received),
    ):
        if text:
            yield Text()
            yield Text(f"  {title}:")
            yield text_block(text.rstrip("\n"), "    ")
    if failure.sent and not failure.received:
        yield Text()
        yield Text("  received: no answer")


_STREAMS = 3
_HEAD = ("request", "step", "status", "outcome", "response", "service", "bytes")


def _rows(done: Rehearsed) -> Iterator[tuple[str, ...]]:
    for seen in done.requests:
        yield (
            seen.name,
            seen.step or "-",
            "-" if seen.status is None else str(seen.status),
            seen.outcome,
            format_duration(seen.response_ns),
            format_duration(seen.service_ns) if seen.service_ns else "-",
            format_count(seen.size_bytes),
        )


def _streams(done: Rehearsed) -> Iterator[Table]:
    """Yield the tables of the first streamed answer or WebSocket of each request name, of at most `_STREAMS` names.

    Requests before the load, such as the calibration of prompts, have no tables.
    """
    if done.journey.startswith("("):
        return
    shown = set[str]()
    for seen in done.requests:
        if seen.events is not None and seen.name not in shown and len(shown) < _STREAMS:
            shown.add(seen.name)
            yield from stream_tables(f"{done.title}: {seen.name}", seen.events, seen.asked_ns)
        if seen.messages and seen.name not in shown and len(shown) < _STREAMS:
            shown.add(seen.name)
            yield ws_messages(f"{done.title}: {seen.name}", seen.messages, seen.asked_ns)


def _phases(done: Rehearsed) -> Table:
    """Return a table with the time of each phase, such as connect and TLS, of each request of the journey."""
    had = [phase for phase in PHASES if any(phase in seen.phases_ns for seen in done.requests)]
    rows = (
        (seen.name, *(format_duration(seen.phases_ns[p]) if p in seen.phases_ns else "-" for p in had))
        for seen in done.requests
        if seen.phases_ns
    )
    return Table(f"{done.title}: phases", ("request", *had), tuple(rows))
