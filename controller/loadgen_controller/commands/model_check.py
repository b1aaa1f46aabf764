"""`loadgen model check`: compares a scenario, a run, or the target's log of a run with the log of the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from loadgen.dsl.loading.loader import load, split_plan
from loadgen.errors import ExitCode, UsageError
from loadgen.report.run_as_dataframes import open_run
from loadgen.traffic.fidelity.of_log import checked_log, options_of_test
from loadgen.traffic.fidelity.of_model import QUERIES_MATTER
from loadgen.traffic.fidelity.of_plan import checked_plan
from loadgen.traffic.fidelity.of_run import checked_run
from loadgen.traffic.fidelity.reference import reference_from
from loadgen.traffic.model_page.check_page import Against, CheckFacts, check_page
from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.scenario.model_file import read_model
from loadgen_controller.console_output import echo, echo_json, echo_warning, echo_wrapped
from loadgen_controller.past_runs.run_traffic import lanes_of_run, run_traffic
from loadgen_controller.screen.fidelity_table import print_verdict
from loadgen_controller.screen.output_file import write

EXAMPLES = """[bold]Examples[/bold]

loadgen model check shop/shop.py

loadgen model check shop/shop.py --run last

loadgen model check shop/shop.py --run last --log staging-access.log

loadgen model check shop/shop.py --log staging-access.log --html check.html

[bold]Exit codes[/bold]

0 faithful, 1 partly or not faithful, 2 usage error"""


def main(
    scenario: Annotated[
        str, typer.Argument(metavar="FILE.py[:PLAN]", help="A scenario that `loadgen model` wrote, as it is now.")
    ],
    run: Annotated[
        str,
        typer.Option(
            metavar="RUN", help="A run of the scenario: an id, the beginning of an id, `last`, or its folder."
        ),
    ] = "",
    logs: Annotated[
        list[Path] | None,
        typer.Option("--log", metavar="LOG", help="Log of the target during the test: a file or folder. Repeatable."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the verdict with its table as one HTML file.")
    ] = None,
    output_format: Annotated[str, typer.Option("--format", metavar="NAME", help="text or json.")] = "text",
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> int:
    """Compare a scenario with the log that it was made from: how faithful is its traffic?

    Without options, the scenario is simulated as it is now, with your changes and without a target. With --run, the
    figures are those that agents recorded. With --log, they come from the log that the target wrote during the test,
    which is read like the log of the model: this is the strongest evidence.

    Each property has its distance from the log and a limit. The limit is 1.25 times what chance alone makes, or a
    small distance that always passes. Exit code 0 if all properties pass.
    """
    from importlib.metadata import version  # slow to import

    if output_format not in ("text", "json"):
        raise UsageError(f'--format: unknown format "{output_format}"', hint="write text or json")
    path, plan_name = split_plan(scenario)
    model = read_model(path)
    reference = reference_from(model.facts, str(path.parent / "traffic.json"))
    against: Against = "simulation"
    unknown, traffic = tuple[str, ...](), None
    past = open_run(run, runs_dir) if run else None
    if logs:
        traffic = read_logs(logs, options_of_test(model.options, model.facts))
        for text in traffic.limits:
            echo_warning(text)
        lanes = () if past is None else lanes_of_run(past, path, plan_name)
        verdict, against = checked_log(traffic, model.facts, reference, lanes), "log"
    elif past is not None:
        lanes = lanes_of_run(past, path, plan_name)
        verdict, against = checked_run(run_traffic(past), lanes, model.facts, reference), "run"
    else:
        checked = checked_plan(load(path, plan_name).plan.lanes, model.facts, reference)
        verdict, unknown = checked.verdict, checked.unknown
    missing = f"traffic.json does not have the requests of {', '.join(unknown)}" if unknown else ""
    without = [name for name, share in model.facts.get("queries", {}).items() if share >= QUERIES_MATTER]
    if html is not None:
        notes = [f"{missing}; they count as other requests"] if missing else []
        given = [
            *(() if past is None else ("--run", past.id)),
            *(word for log in logs or () for word in ("--log", str(log))),
        ]
        limits = [] if traffic is None else traffic.limits
        page = check_page(
            CheckFacts(verdict, against, path.name, version("loadgen"), given, traffic, (*notes, *limits))
        )
        write(html, page.encode())
    if output_format == "json":
        found = {
            "scenario": str(path),
            "against": against,
            **verdict.as_json(),
            "unknown_nodes": list(unknown),
            "without_bytes": without,
        }
        echo_json(json.dumps(found, indent=2))
    else:
        if missing:
            echo_warning(missing, "they count as other requests")
        print_verdict(verdict)
        if without and against == "log":
            echo_wrapped(f"bytes are compared without {', '.join(without)}: the model sends no queries")
        if against == "run":
            echo("a run records no pauses, answers and values; add the target's log of the test with --log")
    return ExitCode.PASSED if verdict.word == "faithful" else ExitCode.FAILED
