"""`loadgen model update`: puts the figures of newer logs into a scenario that was made from logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen.traffic.fidelity.of_model import fidelity_of
from loadgen.traffic.model_page.facts import PageFacts
from loadgen.traffic.model_page.page import model_page
from loadgen.traffic.read_logs import Traffic, read_logs
from loadgen.traffic.rows.period import ALL_TIMES
from loadgen.traffic.scenario.draft_of_logs import arrivals_of, draft_of
from loadgen.traffic.scenario.model_file import ModelFile, read_model
from loadgen.traffic.scenario.scenario_files import changed_files, facts_of, replace_files
from loadgen.traffic.scenario.scenario_update import Take, updated_scenario
from loadgen.traffic.scenario.traffic_json import traffic_json
from loadgen.units import format_count, quantity
from loadgen_controller.console_output import echo, echo_warning

EXAMPLES = """[bold]Examples[/bold]

loadgen model update shop/shop.py access.log.2.gz

loadgen model update shop/shop.py

loadgen model update shop/shop.py logs/2026-11-27/ --take-theirs"""


def main(
    scenario: Annotated[Path, typer.Argument(metavar="FILE.py", help="A scenario that `loadgen model` wrote.")],
    logs: Annotated[
        list[str] | None, typer.Argument(metavar="[LOG...]", help="Newer logs. Default: the logs of the scenario.")
    ] = None,
    take_mine: Annotated[
        bool, typer.Option("--take-mine", help="Keep lines between the marks and data files that you changed.")
    ] = False,
    take_theirs: Annotated[
        bool, typer.Option("--take-theirs", help="Overwrite lines between the marks and data files that you changed.")
    ] = False,
) -> None:
    """Put the figures of newer logs into a scenario that `loadgen model` wrote.

    The logs are read with the options that the scenario was made with; they are in its traffic.json. The command writes
    the lines between the marks `# traffic: begin` and `# traffic: end`, the data files, traffic.json and report.html.
    It changes no other line. Functions for new names of requests are added before the marks.

    If you changed lines between the marks, the command shows the difference and writes nothing. Data files that you
    changed are kept. Exit code 2: a file cannot be read, or was changed.
    """
    from importlib.metadata import version  # slow to import

    if take_mine and take_theirs:
        raise UsageError("--take-mine and --take-theirs exclude each other", hint="leave one of them out")
    take: Take = "mine" if take_mine else "theirs" if take_theirs else ""
    model = read_model(scenario)
    inputs = logs or list(model.inputs)
    # Newer logs are of another day than the one that --day or --from and --to chose.
    options = replace(model.options, period=ALL_TIMES) if logs else model.options
    traffic = read_logs(inputs, options)
    for text in traffic.limits:
        echo_warning(text)
    arrivals = arrivals_of(traffic)
    names = " ".join(Path(log).name for log in logs or ())
    command = f"loadgen model update {scenario.name} {names}".rstrip()
    draft = draft_of(traffic, arrivals, target="http://127.0.0.1:1", command=command, known=model.known)
    updated = updated_scenario(model.text, str(scenario), draft, take)
    data = changed_files(draft, scenario.parent, model.files, overwrite=take == "theirs")
    fidelity = fidelity_of(traffic, draft, options)
    facts = fidelity.added_to(traffic_json(traffic, arrivals, draft, options))
    page = model_page(
        PageFacts(
            traffic,
            arrivals,
            draft,
            options,
            facts,
            version("loadgen"),
            scenario.name,
            fidelity.verdict,
            notes=_notes(updated.kept, data.kept),
        )
    )
    rejects = traffic.accounting.rejects_jsonl()
    replace_files({**data.new, **facts_of(scenario.parent, facts, page, rejects), scenario: updated.text})
    _print(traffic, model, updated.kept, updated.added, [path.name for path in data.kept])
    echo(f"  fidelity of the new figures: {fidelity.verdict.word}")
    echo(f"  check the scenario with your changes: loadgen model check {scenario}")
    gone = [node for node, name in model.known_nodes.items() if name not in {one.of for one in draft.nodes}]
    if gone:
        echo_warning(
            f"the new logs have no requests for {quantity(len(gone), 'function')}: {', '.join(gone)}",
            "no session reaches them; delete them if you like",
        )


def _notes(is_block_kept: bool, kept: Sequence[Path]) -> tuple[str, ...]:
    """Return sentences for the page about parts of the scenario that differ from these logs."""
    found = (
        ["The scenario keeps its own graphs and loads (--take-mine), not those of this page."] if is_block_kept else []
    )
    if kept:
        found.append(
            f"Data files with figures of your own, not those of this page: {', '.join(one.name for one in kept)}."
        )
    return tuple(found)


def _print(traffic: Traffic, model: ModelFile, is_kept: bool, added: tuple[str, ...], kept: list[str]) -> None:
    sessions, requests = format_count(traffic.sessions.count), format_count(traffic.accounting.taken)
    echo(f"updated {model.path}: {sessions} sessions, {requests} requests")
    if added:
        echo(f"  new functions before the marks: {', '.join(added)}")
    if is_kept:
        echo("  the lines between the marks are still yours (--take-mine)")
    if kept:
        echo(f"  data files that you changed were kept: {', '.join(kept)}")
