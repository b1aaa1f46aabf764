"""`loadgen check`: does the scenario work at all? Each journey once, each request shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from loadgen.bundle import pack
from loadgen.dsl.loader import Scenario, load, split_plan
from loadgen.errors import ExitCode
from loadgen.report.tables import Table
from loadgen.units import format_count, format_duration
from loadgen_controller.guard import check_target
from loadgen_controller.options import Wrongs, overrides_of
from loadgen_controller.printed import print_table
from loadgen_controller.rehearsal import Rehearsed, rehearse

NAME = "check"
EXAMPLES = """[bold]Examples[/bold]

loadgen check scenarios/checkout.py --target http://127.0.0.1:8080

loadgen check scenarios/search_mix.py:spike"""


def main(
    file: Annotated[str, typer.Argument(metavar="FILE[:PLAN]", help="The scenario, and which of its plans.")],
    target: Annotated[str | None, typer.Option(metavar="URL", help="Instead of the plan's target.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("-P", metavar="NAME=VALUE", help="Set a param() of the scenario; repeat it.")
    ] = None,
    i_may_load: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="A public host that you may send requests to.")
    ] = None,
) -> int:
    """Run each journey of a plan once, for real, and show every request: step, status, outcome, times.

    One user, the first row of each feed, and think times of at most 100 ms. Nothing is kept. The exit code is 1 when a
    journey fails, 2 when the scenario is wrong.
    """
    wrongs = Wrongs()
    overrides = overrides_of(
        wrongs, target=target, rate=None, users=None, duration=None, regions=None, params=param or ()
    )
    path, plan = split_plan(file)
    scenario = wrongs.catch(lambda: load(path, plan, overrides))
    if scenario is not None:
        wrongs.catch(lambda: check_target(scenario.plan.target, i_may_load or ()))
    wrongs.check()
    assert scenario is not None
    for warning in scenario.warnings:
        typer.echo(f"warning: {warning}", err=True)
    pack(scenario)  # what cannot travel to an agent is found here, and not at the first run
    return asyncio.run(_check(scenario, Console(highlight=False)))


async def _check(scenario: Scenario, console: Console) -> int:
    failed = 0
    async for done in rehearse(scenario):
        failed += not done.has_passed
        print_table(console, Table(done.journey, _HEAD, tuple(_rows(done)), words=4))
        word = "ok" if done.has_passed else f"failed: {done.outcome}"
        line = f"{done.journey}: {word} after {_count(len(done.requests))} in {format_duration(done.response_ns)}"
        console.print(Text(line, style="green" if done.has_passed else "bold red"), soft_wrap=True)
        if done.detail:
            console.print(Text(f"  {done.detail}"), soft_wrap=True)
        console.print()
    return ExitCode.FAILED if failed else ExitCode.PASSED


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


def _count(n: int) -> str:
    return f"{format_count(n)} request{'' if n == 1 else 's'}"
