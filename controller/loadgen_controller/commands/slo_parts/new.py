"""`loadgen slo new`: writes a file of promises to start from, or one for the objectives of a scenario."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from loadgen.errors import ExitCode, UsageError
from loadgen.programme.openslo.read import read_text
from loadgen.programme.openslo.write import as_openslo
from loadgen.programme.promises.new_promise import DEFAULT_WINDOW, new_promise
from loadgen.programme.promises.objectives import Objective, RollingWindow, Threshold
from loadgen.programme.promises.slo_set import Service, SloSet
from loadgen.programme.slo_files.fields import NAME, parse_threshold, quoted, read_number, split_duration
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.new import write_new
from loadgen_controller.commands.slo_parts.files import FormatOption, check_format
from loadgen_controller.commands.slo_parts.shown import explain, print_document, sentence, written_document
from loadgen_controller.console_output import ask_text_on_stderr, echo

if TYPE_CHECKING:
    from loadgen.programme.promises.from_scenario import Promise

__all__ = ["NEW", "new"]

NEW = """[bold]Examples[/bold]

loadgen slo new checkout

loadgen slo new checkout --target 99.5% --threshold 300ms --owner payments@shop.example --journey checkout

loadgen slo new refund --good 'refunds_total{state="ok"}' --total refunds_total --target 99.9%

loadgen slo new --from scenarios/checkout.py --service checkout"""

_TARGET: Final = "99.5%"
_DAYS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class _Common:
    """The common values of all promises of the file."""

    service: str
    window: RollingWindow
    owner: str
    source: str


def new(
    name: Annotated[str | None, typer.Argument(help="Name of the promise, and of the file slos/NAME.yaml.")] = None,
    from_scenario: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE[:PLAN]", help="Write one promise for each objective of this plan."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="SHARE", help=f"Good share, such as 99.5% or 0.995. Default: {_TARGET}.")
    ] = None,
    threshold: Annotated[
        str | None, typer.Option(metavar="TIME", help="Good requests are within this time, such as 300ms.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Rolling window, such as 30d. Default: 4w.")
    ] = None,
    service: Annotated[str | None, typer.Option(metavar="NAME", help="The service. Default: NAME.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="NAME", help="Who is called when the promise breaks.")] = None,
    journey: Annotated[str | None, typer.Option(metavar="NAME", help="The journey of scenarios that tests it.")] = None,
    source: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the source in programme.toml.")] = None,
    good: Annotated[str | None, typer.Option(metavar="QUERY", help="Query of the counter of good requests.")] = None,
    total: Annotated[str | None, typer.Option(metavar="QUERY", help="Query of the counter of all requests.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file. Default: slos/NAME.yaml.")
    ] = None,
    explained: Annotated[bool, typer.Option("--explain", help="Show the arithmetic of each promise.")] = False,
    output_format: FormatOption = "text",
) -> int:
    """Write a file of promises (OpenSLO v1) that `loadgen slo check` passes. An existing file is never overwritten.

    On a terminal, missing answers are asked for. Otherwise the defaults are used. The queries are those of an HTTP
    server with the usual metrics of Prometheus, unless --good and --total are given: check them.

    With --from, `p(99.5) < "300ms"` becomes the target 0.995 with the threshold 300 ms, and `error_ratio() < "0.1%"`
    the target 0.999. Objectives that production cannot have are named with the reason.
    """
    errors = CollectedErrors()
    errors.catch(lambda: check_format(output_format))
    if (name is None) == (from_scenario is None):
        errors.add("give either a name or --from", "loadgen slo new checkout, or loadgen slo new --from shop.py")
    if (good is None) != (total is None):
        errors.add("--good and --total must be given together", "add the other one")
    if from_scenario is not None and any((target, threshold, journey, good)):
        errors.add("--from takes target, threshold and journey from the scenario", "leave these options out")
    if name is not None and NAME.fullmatch(name) is None:
        errors.add(
            f"{quoted(name)} is not a name of RFC 1123", "use lower-case letters, digits and inner hyphens, at most 63"
        )
    if name is not None and _is_terminal():
        target = target or ask_text_on_stderr("Good share of requests", _TARGET)
        threshold = threshold or ask_text_on_stderr("Good requests are within, such as 300ms (empty: any time)") or None
        owner = owner or ask_text_on_stderr("Owner: who is called when it breaks (empty: nobody)")
    share = errors.parse("--target", target or _TARGET, _share)
    limit = errors.parse("--threshold", threshold, _time)
    length = errors.parse("--window", window, _length) or DEFAULT_WINDOW
    from loadgen.dsl.loading.loader import split_plan  # slow to import; `loadgen slo status` has 1.5 s

    called = service or name or (split_plan(from_scenario)[0].stem.lower().replace("_", "-") if from_scenario else "")
    if called and NAME.fullmatch(called) is None:
        errors.add(f"the service {quoted(called)} is not a name of RFC 1123", "give --service NAME, in lower case")
    common = _Common(called, length, owner or "", source or "")
    planned = errors.catch(lambda: _planned(from_scenario)) if from_scenario is not None else ()
    errors.check()
    if planned:
        objectives = [_of_promise(one, common) for one in planned]
    elif name is not None and share is not None:
        objectives = [
            new_promise(
                name,
                service=called,
                target=share,
                threshold=limit,
                window=length,
                owner=common.owner,
                journey=journey or "",
                source=common.source,
                good=good or "",
                total=total or "",
            )
        ]
    else:
        raise UsageError("no promise to write", hint="the lines above have the reasons")
    path = output or Path("slos") / f"{name or called}.yaml"
    return _write(SloSet.of(objectives, services=[Service(called)]), path, output_format, explained=explained)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _write(slos: SloSet, path: Path, output_format: str, *, explained: bool) -> int:
    text = as_openslo(slos)
    reading = read_text(text, str(path))
    reading.check(strict=True)
    write_new(path, text)
    if output_format == "json":
        print_document(written_document(reading, path, text, is_explained=explained))
        return ExitCode.PASSED
    for one in slos.objectives:
        echo(sentence(one))
        for line in explain(one) if explained else ():
            echo(f"  {line}")
    echo(f"wrote {path}. Check the queries in it, then: loadgen slo check {path}")
    return ExitCode.PASSED


def _planned(file: str) -> list[Promise]:
    """Return the promises of a scenario's plan, and print what is left out."""
    from loadgen.dsl.loading.loader import load, split_plan
    from loadgen.programme.promises.from_scenario import LeftOut, promises_of
    from loadgen_controller.planning import promise_reader  # noqa: F401  # lets scenarios read promises

    path, plan_name = split_plan(file)
    plan = load(path, plan_name).plan
    spec = plan.spec()
    found = []
    for one in promises_of(spec.slos, [journey.name for journey in spec.journeys]):
        if isinstance(one, LeftOut):
            echo(f"left out: {one.text}: {one.reason}", err=True)
        else:
            found.append(one)
    if not found:
        raise UsageError(
            f"{path}: the plan has no objective that production can promise",
            hint='add one to slos: p(99.5) < "300ms", or error_ratio() < "0.1%"',
        )
    return found


def _of_promise(one: Promise, common: _Common) -> Objective:
    return new_promise(
        one.name,
        service=common.service,
        target=one.target,
        threshold=one.threshold,
        window=common.window,
        owner=common.owner,
        journey=one.journey,
        source=common.source,
        description=f"From the load test: {one.text}",
    )


def _share(text: str) -> Decimal:
    value = read_number(text.strip().removesuffix("%").strip())
    share = None if value is None else value / 100 if text.strip().endswith("%") else value
    if share is None or not 0 < share < 1:
        raise ValueError(f"invalid share {quoted(text)}: must be above 0 and below 100 %; write 99.5% or 0.995")
    return share


def _time(text: str) -> Threshold:
    threshold = parse_threshold(text)
    if threshold.seconds is None:
        raise ValueError(f"threshold {quoted(text)} is not a time; write 300ms")
    return threshold


def _length(text: str) -> RollingWindow:
    found = split_duration(re.sub(r"\s", "", text))
    seconds = found[0] * _DAYS[found[1]] if found is not None and found[1] in _DAYS else 0
    if not 3_600 <= seconds <= 366 * 10 * 86_400:
        raise ValueError(f"invalid window {quoted(text)}: must be from 1h to 10 years; write 4w, 30d or 7d")
    return RollingWindow(seconds)
