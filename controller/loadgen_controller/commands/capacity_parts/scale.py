"""`loadgen capacity scale`: replays a curve of rates against an autoscaling policy, and finds the cheapest target."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.analysis.scaling.fleet_replay import Instances, Lag
from loadgen.capacity.scaling.fields import MOST_INSTANCES
from loadgen.capacity.scaling.plan import ScalePlan, scale
from loadgen.capacity.scaling.policy import ScalingPolicy, Units
from loadgen.capacity.scaling.policy_file import read_policy
from loadgen.capacity.scaling.policy_text import check_form, policy_text
from loadgen.capacity.scaling.rate_curve import RateCurve, read_rate_curve
from loadgen.capacity.scaling.run_curve import run_curve
from loadgen.capacity.scaling.seconds_file import seconds_csv
from loadgen.capacity.scaling.study import policy_comments, scale_study
from loadgen.capacity.sizing.capacity_source import capacity_of
from loadgen.errors import UsageError
from loadgen.history.store.store import Store
from loadgen.measure.run_folder.rundir import find_run
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_S, parse_duration, parse_rate, parse_ratio
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.bucket import RUNS, RunsDir
from loadgen_controller.commands.capacity_parts.study_output import (
    CsvOption,
    HtmlOption,
    JsonOption,
    StudyStoreOption,
    check_different,
    end_study,
    study_output_of,
)
from loadgen_controller.commands.cloudwatch_metrics import span_of
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.screen.output_file import opened, write

__all__ = ["SCALE", "scale_policy"]

SCALE: Final = """[bold]Examples[/bold]

loadgen capacity scale --rate peak.csv --policy hpa.yaml --capacity 230/s --start 60s --html scale.html

loadgen capacity scale --rate last --policy asg.json --capacity 230/s --min 2 --max 40 --zones 3

loadgen capacity scale --rate peak.csv --policy hpa.yaml --capacity C-12 --write-policy new-hpa.yaml"""

_STUDY_ID: Final = re.compile(r"C-\d+")
_DEFAULT_AT: Final = 0.85
_MOST_S: Final = 86400
_MOST_TARGETS: Final = 100
_AWS_AVERAGE_S: Final = 60


def scale_policy(
    rate: Annotated[
        str, typer.Option("--rate", metavar="FILE|RUN", help="The curve: a CSV file with time,rate, or a run's id.")
    ],
    policy: Annotated[
        Path,
        typer.Option(
            "--policy", metavar="FILE", help="An HPA (autoscaling/v2) as YAML or JSON, or policies of AWS as JSON."
        ),
    ],
    capacity: Annotated[
        str,
        typer.Option(
            "--capacity", metavar="RATE|C-N", help="Requests/s of one instance within the promise, or a stored study."
        ),
    ],
    start: Annotated[
        str, typer.Option("--start", metavar="TIME", help="From a decision to the first request of a new instance.")
    ] = "60s",
    delay: Annotated[
        str, typer.Option("--delay", metavar="TIME", help="The age of the newest metric that the controller sees.")
    ] = "30s",
    average: Annotated[
        str | None,
        typer.Option("--average", metavar="TIME", help="The time over which the metric is a mean. Default: 60s."),
    ] = None,
    settle: Annotated[
        str,
        typer.Option(
            "--settle",
            metavar="TIME",
            help="Time for which an HPA leaves out a pod that became ready: one metrics window.",
        ),
    ] = "0s",
    utilization: Annotated[
        str | None,
        typer.Option(
            "--utilization", metavar="SHARE", help="Utilisation of an instance at its capacity. Default: 85%, assumed."
        ),
    ] = None,
    zones: Annotated[
        int, typer.Option("--zones", min=1, max=20, metavar="N", help="Zones; from 2 on, one is lost near the peak.")
    ] = 3,
    least: Annotated[
        int | None, typer.Option("--min", min=1, max=MOST_INSTANCES, metavar="N", help="The least number of instances.")
    ] = None,
    most: Annotated[
        int | None,
        typer.Option("--max", min=1, max=MOST_INSTANCES, metavar="N", help="The highest number of instances."),
    ] = None,
    allow: Annotated[
        str, typer.Option("--allow", metavar="TIME", help="Overload in each case that still keeps the promise.")
    ] = "10s",
    targets: Annotated[
        str | None,
        typer.Option("--targets", metavar="LIST", help="Targets to try: 50%,60%. Default: each 5% up to the capacity."),
    ] = None,
    write_policy: Annotated[
        Path | None,
        typer.Option(
            "--write-policy", metavar="FILE", help="Write the policy with the cheapest target: FILE.yaml or FILE.tf."
        ),
    ] = None,
    seconds: Annotated[
        Path | None,
        typer.Option("--seconds", metavar="FILE", help="Write the replay of the policy second by second as CSV."),
    ] = None,
    html: HtmlOption = None,
    json: JsonOption = None,
    csv: CsvOption = None,
    store: StudyStoreOption = None,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Replay a curve of rates against an autoscaling policy, second by second, and try other targets.

    The replays are of the curve as recorded, of 1.5 times its rate, and of one zone lost near its peak. The result has
    overload, utilisation, backlog, instance hours, actions, and the cheapest target that keeps the promise in all.
    """
    errors = CollectedErrors()
    output = study_output_of(errors, html=html, json=json, csv=csv, store=store)
    for option, path in (("--write-policy", write_policy), ("--seconds", seconds)):
        errors.check_file(option, path)
    inputs = {"--rate": Path(rate) if Path(rate).is_file() else None, "--policy": policy}
    outputs = {"--write-policy": write_policy, "--seconds": seconds, "--html": html, "--json": json, "--csv": csv}
    check_different(errors, inputs | outputs)
    at = errors.parse("--utilization", utilization, _share) if utilization is not None else _DEFAULT_AT
    of_one = _capacity(errors, capacity, store)
    times = [
        errors.parse(option, text, _seconds(low))
        for option, text, low in (
            ("--start", start, 0),
            ("--delay", delay, 0),
            ("--average", average or "60s", 1),
            ("--settle", settle, 0),
            ("--allow", allow, 0),
        )
    ]
    tried = errors.parse("--targets", targets, _targets) if targets is not None else ()
    if least is not None and most is not None and most < least:
        errors.add(f"--max {most} is below --min {least}", "give a larger --max")
    found = errors.catch(lambda: _curve(rate, runs_dir))
    units = Units(of_one.per_s if of_one is not None else 1.0, at or _DEFAULT_AT)
    read = errors.catch(lambda: read_policy(policy, units, least, most))
    if read is not None:
        _check_average(errors, read, average)
        if read.target is None and targets is not None:
            errors.add(
                "--targets: step scaling has no target to try", "leave it out, or give target tracking or an HPA"
            )
        if write_policy is not None:
            errors.catch(lambda: check_form(write_policy.suffix, read))
    errors.check()
    assert found is not None
    assert read is not None
    assert of_one is not None
    assert at is not None
    start_s, delay_s, average_s, settle_s, allowed_s = (one or 0 for one in times)
    plan = ScalePlan(
        curve=found.curve,
        policy=read,
        instances=Instances(of_one.per_s, at, start_s),
        lag=Lag(delay_s, average_s, settle_s),
        zones=zones,
        allowed_s=allowed_s,
        targets=tried or (),
        is_at_assumed=utilization is None,
        warnings=of_one.warnings,
    )
    scaled = scale(plan)
    code = end_study(output, scale_study(scaled, policy_file=policy.name, run_ids=found.run_ids))
    if seconds is not None:
        with opened(seconds) as file:
            file.writelines(seconds_csv(scaled))
    if write_policy is not None:
        if scaled.best is None:
            output.console.print("no target keeps the promise, so no policy was written", soft_wrap=True)
        else:
            write(write_policy, policy_text(read, scaled.best.target, policy_comments(scaled)).encode())
            output.console.print(f"policy written: {write_policy}", soft_wrap=True)
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True)
class _Found:
    curve: RateCurve
    run_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Capacity:
    per_s: float
    warnings: tuple[str, ...] = ()


def _curve(text: str, runs_dir: Path) -> _Found:
    path = Path(text)
    if path.is_file():
        return _Found(read_rate_curve(path))
    if path.suffix.lower() == ".csv":
        raise UsageError(f"--rate: there is no file {path}", hint="name a CSV file with time,rate, or a run")
    folder = path if (path / "manifest.json").is_file() else find_run(text, runs_dir)
    return _Found(run_curve(open_run(folder), folder.name, span_of(folder)[0]), (folder.name,))


def _capacity(errors: CollectedErrors, text: str, store: str | None) -> _Capacity | None:
    if _STUDY_ID.fullmatch(text):
        url = store_of(errors, store, None)
        return errors.catch(lambda: _of_study(Store.open(url), text))
    per_s = errors.parse("--capacity", text, parse_rate)
    if per_s is not None and not 0 < per_s <= 1e9:
        errors.add(f"--capacity: {text} is not a rate above 0", "write requests/s of one instance: 230/s")
        return None
    return None if per_s is None else _Capacity(per_s)


def _of_study(store: Store, study_id: str) -> _Capacity:
    record = store.study(study_id)
    facts = record.study.get("facts")
    result = str(record.study.get("result", ""))
    found = capacity_of(record.kind, result, facts if isinstance(facts, dict) else {}, study_id)
    return _Capacity(found.range.low, found.warnings)


def _check_average(errors: CollectedErrors, policy: ScalingPolicy, average: str | None) -> None:
    if policy.kind != "hpa" and average is not None and parse_duration(average) != _AWS_AVERAGE_S * NS_PER_S:
        errors.add("--average: alarms of AWS are replayed with data points of 60s", "leave out --average")


def _seconds(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        ns = parse_duration(text)
        if ns % NS_PER_S or not low <= ns // NS_PER_S <= _MOST_S:
            raise ValueError(f"{text} is not a whole number of seconds from {low} to {_MOST_S}; write 60s")
        return ns // NS_PER_S

    return parse


def _share(text: str) -> float:
    share = parse_ratio(text)
    if not 0 < share <= 1:
        raise ValueError(f"{text} is not a share above 0 and up to 100%; write 85%")
    return share


def _targets(text: str) -> tuple[float, ...]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > _MOST_TARGETS:
        raise ValueError(f"{len(parts)} targets are more than {_MOST_TARGETS}; write 50%,60%")
    return tuple(sorted({_share(part) for part in parts}))
