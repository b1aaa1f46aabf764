"""`loadgen capacity ceilings`: at which rate each resource of the target meets its policy, from probes or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from loadgen.errors import Fault, ScenarioError, UsageError
from loadgen.outside_text import one_line
from loadgen.probes.limits.limit_text import Bound, limit_wrong, parse_bound
from loadgen.probes.limits.row_names import belongs
from loadgen.report.run_as_dataframes import open_run
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.capacity_parts.input_file import read_bytes
from loadgen_controller.commands.capacity_parts.study_output import (
    CsvOption,
    HtmlOption,
    JsonOption,
    StudyStoreOption,
    end_study,
    study_output_of,
)
from loadgen_controller.commands.control_request import RunsDirOption
from loadgen_controller.commands.missing_extra import needing_analysis

if TYPE_CHECKING:
    from loadgen.capacity.ceilings.ceilings_study import Resource
    from loadgen.capacity.ceilings.samples import Samples

__all__ = ["EXAMPLES", "ceilings"]

EXAMPLES: Final = """[bold]Examples[/bold]

loadgen capacity ceilings last

loadgen capacity ceilings last --resource 'machines.cpu_busy<60%' --resource 'shopdb.connections<80%'

loadgen capacity ceilings samples.csv --policy 70%"""

_RESOURCES_MOST: Final = 50


def ceilings(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...|FILE.csv", help="Runs with probes, or a CSV file with rate and resources."),
    ],
    policy: Annotated[
        str, typer.Option(metavar="SHARE", help="The highest allowed use of each resource in %.")
    ] = "70%",
    resource: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[<LIMIT]",
            help="Only this resource, PROBE.ROW or a column; with a limit of its own: 'shopdb.connections<80%'.",
        ),
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Also show ceilings beyond 1.2 times the largest rate, marked.")
    ] = False,
    runs_dir: RunsDirOption = Path("runs"),
    html: HtmlOption = None,
    json: JsonOption = None,
    csv: CsvOption = None,
    store: StudyStoreOption = None,
) -> int:
    """Find the rate at which each resource of the target reaches its limit.

    The use of a resource is a line by rate. Its ceiling is the rate at which the upper end of the 95 % prediction
    interval meets the policy. The smallest ceiling is named first.
    """
    with needing_analysis("loadgen capacity ceilings"):
        from loadgen.capacity.ceilings.ceilings_study import ceilings_study
    errors = CollectedErrors()
    output = study_output_of(errors, html=html, json=json, csv=csv, store=store)
    general = errors.parse("--policy", policy, parse_bound)
    if general is not None and general.unit != "%":
        errors.add(f"--policy: {policy} is not a percentage", "write --policy 70%, and other limits with --resource")
    wanted = [found for text in resource or () if (found := _wanted(errors, text)) is not None]
    errors.check()
    assert general is not None
    ids, samples = _samples(runs, runs_dir)
    chosen = _chosen(errors, samples, wanted, general)
    errors.check()
    if not chosen:
        raise UsageError(
            f"{one_line(' '.join(runs), 200)}: {'no probe has a row' if ids else 'no column is'} in %",
            hint="name rows with a limit: --resource 'PROBE.ROW<20'; docs/probes.md has how to add a probe"
            if ids
            else "end the name of a column in percent with %: cpu %; or name columns with a limit: --resource 'cpu<20'",
        )
    title = ", ".join(ids) if ids else runs[0]
    return end_study(output, ceilings_study(title, chosen, run_ids=ids, extrapolate=extrapolate))


def _wanted(errors: CollectedErrors, text: str) -> tuple[str, Bound | None] | None:
    """Return the name and the limit of --resource."""
    name, less, limit = text.partition("<")
    if not name.strip() or (less and not limit.strip()):
        errors.add(f"--resource: {text!r} is not NAME or NAME<LIMIT", "for example --resource 'shopdb.connections<80%'")
        return None
    if not less:
        return name.strip(), None
    bound = errors.parse("--resource", limit, parse_bound)
    return None if bound is None else (name.strip(), bound)


def _samples(runs: Sequence[str], runs_dir: Path) -> tuple[list[str], list[Samples]]:
    """Return the ids of the runs, and the samples of each resource; those of several runs are put together.

    Raises:
        ScenarioError, StorageError, UsageError: a run or a file cannot be read.
    """
    from loadgen.capacity.ceilings.csv_samples import MOST_BYTES, read_samples
    from loadgen.capacity.ceilings.samples import samples_of_run, together

    if any(name.endswith(".csv") for name in runs):
        if len(runs) > 1:
            raise UsageError("a CSV file cannot be combined with other files or runs", hint="name the CSV file alone")
        try:
            text = read_bytes(Path(runs[0]), MOST_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ScenarioError([Fault(runs[0], 0, "is not UTF-8", "save it as CSV in UTF-8")]) from None
        return [], read_samples(text, runs[0])
    opened = [open_run(name, runs_dir) for name in dict.fromkeys(runs)]
    ids = list(dict.fromkeys(run.id for run in opened))
    return ids, together([samples_of_run(run) for run in opened])


def _chosen(
    errors: CollectedErrors, samples: Sequence[Samples], wanted: Sequence[tuple[str, Bound | None]], policy: Bound
) -> list[Resource]:
    """Return the resources with their limits: the wanted ones, or all in % that are not shares of hits."""
    from loadgen.capacity.ceilings.ceilings_study import Resource

    if not wanted:
        found = [one for one in samples if one.unit == "%" and "hit" not in one.name.casefold()]
        return [Resource(one, policy.value) for one in found[:_RESOURCES_MOST]]
    chosen: dict[str, Resource] = {}
    for name, limit in wanted:
        matching = [one for one in samples if belongs(one.name, name)]
        if not matching:
            names = ", ".join(one.name for one in samples[:20]) or "none"
            errors.add(f"--resource: no samples of {one_line(name, 80)}", f"there are: {names}")
        for one in matching:
            bound = limit or policy
            if wrong := limit_wrong(bound, one.unit, one.name):
                errors.add(f"--resource: {wrong[0]}", wrong[1])
            elif one.name in chosen:
                errors.add(f"--resource: {one_line(one.name, 80)} is named twice", "give each resource one limit")
            else:
                chosen[one.name] = Resource(one, bound.in_unit(one.unit) or 0.0)
    return list(chosen.values())
