"""`loadgen slo status`: whether promises are kept and budgets burn, once, for cron."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from loadgen.analysis.attainment.attain import Attainment
from loadgen.analysis.attainment.shown import NO_TRAFFIC
from loadgen.errors import ExitCode, LoadgenError, UsageError
from loadgen.history.store.write_once_storage import Place, place_of
from loadgen.notify.event import EventKind
from loadgen.outside_text import one_line
from loadgen.programme.composites.attained import CompositeState, composite_states
from loadgen.programme.estimates.sentences import minutes_text, undecided_text
from loadgen.programme.ledger.exclusions import exclusions
from loadgen.programme.ledger.ledger import Ledger, Reading
from loadgen.programme.load_tests.said import LoadTests, older_slices, older_text
from loadgen.programme.promises.objectives import RollingWindow
from loadgen.programme.publishing.publish_file import PublishSettings
from loadgen.programme.status import PromiseState, states_of, time_text, window_s
from loadgen.units import format_count, format_ratio, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import AsOfOption, EnvOption, StoreOption
from loadgen_controller.commands.slo_parts.files import FilesArgument, FormatOption, check_format, read_slos
from loadgen_controller.commands.slo_parts.load_tests import load_tests_said
from loadgen_controller.commands.slo_parts.publish_options import ProgrammeOption, publish_settings
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.commands.time_options import parse_as_of
from loadgen_controller.console_output import echo, echo_json

if TYPE_CHECKING:
    from loadgen.report.run_as_dataframes import Run

__all__ = ["STATUS", "status"]

_NOT_KEPT: Final = ("not kept", "undecided", "no data", "no traffic", "not judged")

STATUS = """[bold]Examples[/bold]

loadgen slo status

loadgen slo status slos/checkout.yaml --explain

loadgen slo status --notify

loadgen slo status --run last

loadgen slo status --as-of 2026-07-27T06:00Z --format json"""


def status(
    files: FilesArgument = None,
    store: StoreOption = None,
    env: EnvOption = None,
    as_of: AsOfOption = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the arithmetic of each promise.")] = False,
    notify: Annotated[
        bool,
        typer.Option(
            "--notify",
            help="Send the changes since the last --notify to the channels of the table publish in programme.toml: a "
            "promise is not kept, burns, or has recovered. The exit code stays the same.",
        ),
    ] = False,
    programme: ProgrammeOption = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Show the good share of a run for each promise whose journey it has, with the interval of the sample, "
            "beside production. The exit code is about the run. An id, the beginning of one, a folder, or `last`.",
        ),
    ] = None,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders, for --run.")] = Path("runs"),
    output_format: FormatOption = "text",
) -> int:
    """Show whether each promise is kept, the rest of its error budget, and whether it burns. Reads only the ledger.

    Exit code 0: all are kept. 1: one is not kept, or its budget burns. 3: one is undecided, or has no data. 2: an
    option or a file is wrong. Promises of a kind that is not judged are shown, and only count if all are of that kind.
    """
    errors = CollectedErrors()
    if run is not None and notify:
        errors.add("--run and --notify exclude each other", "messages are about production: leave one out")
    errors.catch(lambda: check_format(output_format))
    now = datetime.now(UTC) if as_of is None else errors.parse("--as-of", as_of, parse_as_of)
    where = store_of(errors, store, env)
    place = errors.catch(lambda: place_of(where))
    reading = errors.catch(lambda: read_slos(files))
    slos = None if reading is None else errors.catch(reading.check)
    channels = _channels(errors, programme, as_of) if notify else None
    opened = None if run is None else errors.catch(lambda: _opened(run, runs_dir))
    errors.check()
    assert now is not None
    assert place is not None
    assert slos is not None
    if not slos.objectives:
        raise UsageError("the files have no promise", hint="write one with: loadgen slo new checkout")
    until = "" if as_of is None else now.isoformat()
    at = int(now.timestamp())
    names = [one.name for one in slos.objectives]
    ledger = Ledger(place)
    found = ledger.read(at - window_s(slos.objectives), at, until, names)
    excluded, troubles = exclusions(place, until)
    if as_of is None and (ahead := ledger.ahead(at)):
        troubles = (ahead, *troubles)
    states = states_of(slos.objectives, found, excluded, at)
    composites = list(composite_states(slos.composites, states))
    left_out = load_tests_said(slos.objectives, slos.sources)
    for text in (*found.unreadable, *found.clashes, *troubles):
        echo(f"note: {one_line(text, 400)}", err=True)
    if opened is not None:
        return _of_run(opened, states, output_format, explain=explain)
    if output_format == "json":
        document = {
            "at": time_text(at),
            "promises": [
                _document(one) | _load_tests_document(one, left_out[one.objective.name], found) for one in states
            ],
            "composites": [_composite_document(one) for one in composites],
            "revisions": [one.name for one in found.revisions],
            "unreadable": [one_line(text, 400) for text in (*found.unreadable, *troubles)],
        }
        echo_json(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        echo(_summary(states))
        for one in sorted(states, key=_worst_first):
            echo(_sentence(one))
            for line in _explained(one) if explain else ():
                echo(f"  {line}")
            if explain:
                echo(f"  {_load_tests(one, left_out[one.objective.name], found)}")
        for composite in composites:
            echo(f"composite {one_line(composite.composite.name, 80)}: {one_line(composite.says, 600)}")
        if explain:
            echo(f"from {quantity(len(found.revisions), 'revision')} of the ledger")
    if channels is not None:
        _notify(states, *channels, place, now)
    return _exit_code(states, is_whole=not troubles)


def _opened(run: str, runs_dir: Path) -> Run:
    # Slow to import, and only for --run: `slo status` has 1.5 s.
    from loadgen.measure.run_folder.rundir import find_run
    from loadgen.report.run_as_dataframes import open_run

    return open_run(find_run(run, runs_dir))


def _of_run(run: Run, states: Sequence[PromiseState], output_format: str, *, explain: bool) -> ExitCode:
    """Print the samples of a run beside the states of production, and return the exit code of the run."""
    from loadgen_controller.commands.slo_parts.run_status import against, run_document, run_exit_code, run_lines

    found = against(run, [one.objective for one in states])
    by_name = {one.objective.name: one for one in states}
    if output_format == "json":
        echo_json(json.dumps(run_document(run, found, by_name), indent=2, ensure_ascii=False))
    else:
        for line in run_lines(run, found, by_name, explain=explain):
            echo(line)
    return run_exit_code(found)


def _channels(
    errors: CollectedErrors, programme: Path | None, as_of: str | None
) -> tuple[PublishSettings, dict[str, str]] | None:
    if as_of is not None:
        errors.add("--notify and --as-of exclude each other", "messages are about the present state: leave one out")
    found = publish_settings(errors, programme)
    if found is not None and not any(EventKind.STATUS in one.events for one in found[0].channels):
        hint = 'name one in [publish], and let its events contain "status"'
        errors.add("--notify: no channel of [publish] sends the event status", hint)
    return found


def _notify(
    states: Sequence[PromiseState], settings: PublishSettings, values: dict[str, str], place: Place, now: datetime
) -> None:
    """Send the changes. A failure is a note: it must not change the verdict of the promises."""
    # Here, because it imports httpx, which takes a tenth of a second, and most calls send nothing.
    from loadgen.programme.publishing.status_notices import notify_changes

    try:
        lines = notify_changes(states, _sentence, settings.channels, place, now, values)
    except LoadgenError as error:
        lines = [f"changes of promises not sent: {one_line(error.message, 300)}; {one_line(error.hint, 200)}"]
    for text in lines:
        echo(f"note: {text}", err=True)


def _exit_code(states: Sequence[PromiseState], *, is_whole: bool) -> ExitCode:
    """Return the verdict. A kind that is never judged must not fail cron for ever, and nothing judged is no pass.

    is_whole: False if an exclusion cannot be read, or the clock is behind: a broken promise may look kept.
    """
    judged = [one for one in states if one.is_judged]
    if any(one.is_broken for one in judged):
        return ExitCode.FAILED
    is_kept = bool(judged) and all(one.is_kept for one in judged)
    return ExitCode.PASSED if is_kept and is_whole else ExitCode.INCOMPLETE


def _worst_first(one: PromiseState) -> tuple[bool | str, ...]:
    """Return the place of a promise in the list: not kept, burning, open, kept, and last those that are not judged."""
    return one.word != "not kept", not one.fires, not one.is_judged, one.is_kept, one.objective.name


def _summary(states: Sequence[PromiseState]) -> str:
    """Return the answer in one line. A promise that is kept counts as kept even if its budget burns, as on the page."""
    words = Counter(one.word for one in states)
    judged = sum(one.is_judged for one in states)
    rest = [f"{words[word]} {word}" for word in _NOT_KEPT if words[word]]
    if burning := sum(bool(one.fires) for one in states):
        rest.append(f"{quantity(burning, 'budget')} {'burns' if burning == 1 else 'burn'}")
    return f"{words['kept']} of {quantity(judged, 'promise')} kept{''.join(f', {text}' for text in rest)}"


def _sentence(one: PromiseState) -> str:
    name = one_line(one.objective.name, 80)
    owner = f"; owner {one_line(one.objective.owner, 80)}" if one.objective.owner else ""
    if one.judgement is None or one.budget is None:
        return f"{name}: {one.word}: {one_line(one.why, 300)}{owner}"
    target = f"{(one.objective.target * 100).normalize():f} %"
    parts = [f"{one.figure} against {target}, {one.objective.window.text} to {time_text(one.end)}"]
    if why := undecided_text(one):
        parts.append(why)
    parts += _budget_parts(one)
    parts += [
        f"burns {fire.long_burn:.3g} times as fast as allowed over {RollingWindow(fire.rule.long_s).text}"
        f" ({fire.rule.severity} from {float(fire.rule.factor):.3g})"
        for fire in one.fires[:1]
        if fire.long_burn is not None
    ]
    if one.excluded:
        parts.append(f"{one.with_excluded} if {quantity(one.excluded, 'excluded slice')} counted, too")
    burns = ", but its budget burns" if one.fires and one.word == "kept" else ""
    return f"{name}: {one.word}{burns}: {'; '.join(parts)}{owner}"


def _budget_parts(one: PromiseState) -> Iterator[str]:
    assert one.budget is not None
    if one.calendar is None:
        yield f"error budget left: {one.budget_text}"
    else:
        # People mix these two up, so each is named in full: OpenSLO/slogen#36.
        yield f"spent of the budget earned so far: {_spent(one.calendar.earned.spent)}"
        low, high = one.calendar.spent_low, one.calendar.spent_high
        by_volume = "" if low is None or high is None else f" ({_spent(low)} to {_spent(high)} by the last 4 weeks)"
        yield f"of the budget of the whole window: {_spent(one.calendar.projected.spent)}{by_volume}"
    is_spent = one.gone is not None and one.gone.soonest_s is not None and one.gone.soonest_s <= 0
    if one.gone is not None and not is_spent:
        yield f"budget gone: {one.gone.text}"


def _spent(part: float | None) -> str:
    """Return a spent part of a budget in percent, rounded up, which is the bad side."""
    return NO_TRAFFIC if part is None else f"{ceil(round(part * 100, 9)):,} %"


def _explained(one: PromiseState) -> Iterator[str]:
    if one.judgement is None or one.budget is None:
        return
    found = one.judgement
    unit = "requests" if one.objective.method == "Occurrences" else "slices"
    good, of = (format_count(round(value)) for value in (found.observed.good, found.observed.of))
    yield f"{one.objective.method}: {good} good of {of} {unit} from {time_text(one.start)} to {time_text(one.end)}"
    if found.lower is not None and found.upper is not None:
        yield f"missing {minutes_text(found.missing_s)}: at least {found.lower:.6f}, at most {found.upper:.6f}"
    if one.interval:
        yield from _estimate(found.observed, one.interval)
    yield f"error budget: {one.budget.allowed:.6g} {unit} may be bad, {one.budget.bad:.6g} are"
    if one.calendar is not None:
        earned, projected = one.calendar.earned, one.calendar.projected
        yield f"so far {earned.bad:.6g} of {earned.allowed:.6g} {unit} that may be bad: {_spent(earned.spent)}"
        yield (
            f"at the usual volume, {projected.allowed:.6g} {unit} of the whole window may be bad: "
            f"{_spent(projected.spent)} of them are"
        )
    if one.gone is not None:
        burns = ", ".join(NO_TRAFFIC if b is None else f"{b:.3g}" for b in (one.gone.burn_6h, one.gone.burn_3d))
        yield f"budget gone: {one.gone.text}; burn of the last 6 h and 3 d: {burns}"
    for rule in one.burning:
        burns = ", ".join("no traffic" if b is None else f"{b:.3g}" for b in (rule.long_burn, rule.short_burn))
        windows = " and ".join(RollingWindow(s).text for s in (rule.rule.long_s, rule.rule.short_s))
        state = "fires" if rule.is_firing else f"held back: too few bad {unit}" if rule.is_held_back else "quiet"
        if rule.is_blind:
            state = "blind: the slices are longer than its short window"
        yield f"burn over {windows}: {burns}; {rule.rule.severity} from {float(rule.rule.factor):.4g}: {state}"


def _estimate(observed: Attainment, interval: str) -> Iterator[str]:
    """Explain the interval of estimated counts, and what it does not contain."""
    parts = []
    if observed.kept < 1:
        parts.append(f"the 95 % interval of sampling {format_ratio(observed.kept)} of the requests")
    if observed.is_interpolated:
        parts.append("the bounds of interpolated counts")
    if observed.unknown:
        parts.append(f"{format_count(round(observed.unknown))} requests about whose error nothing is known")
    yield f"{interval}: {', and '.join(parts) or 'its source states no error'}"


def _load_tests(one: PromiseState, left_out: LoadTests, found: Reading) -> str:
    """Return how load tests are left out of the counts, as a line."""
    older = older_text(older_slices(left_out, found.by_slo.get(one.objective.name), one.start, one.end))
    return f"{left_out.says}{f'; {older}' if older else ''}"


def _load_tests_document(one: PromiseState, left_out: LoadTests, found: Reading) -> dict[str, Any]:
    older = older_slices(left_out, found.by_slo.get(one.objective.name), one.start, one.end)
    return {"load_tests": {"state": left_out.state, "by": left_out.text, "older_slices": older}}


def _document(one: PromiseState) -> dict[str, Any]:
    document: dict[str, Any] = {
        "slo": one.objective.name,
        "owner": one.objective.owner or None,
        "state": one.word,
        "why": one.why or None,
        "target": float(one.objective.target),
        "method": str(one.objective.method),
        "attainment": None,
        "burns": [
            {"over_s": fire.rule.long_s, "burn": fire.long_burn, "severity": fire.rule.severity} for fire in one.fires
        ],
    }
    if one.judgement is None or one.budget is None:
        return document
    found = one.judgement
    return document | {
        "attainment": found.observed.ratio,
        "good": found.observed.good,
        "of": found.observed.of,
        "estimate": found.observed.is_estimate,
        "estimate_low": found.observed.low if found.observed.is_estimate else None,
        "estimate_high": found.observed.high if found.observed.is_estimate else None,
        "undecided_because": undecided_text(one) or None,
        "lower": found.lower,
        "upper": found.upper,
        "missing_s": found.missing_s,
        "minutes_if_good": found.minutes_if_good,
        "minutes_if_bad": found.minutes_if_bad,
        "from": time_text(one.start),
        "to": time_text(one.end),
        "budget_left": one.budget.left,
        "calendar": _calendar(one),
        "gone": None if one.gone is None else {"text": one.gone.text, **asdict(one.gone)},
        "excluded_slices": one.excluded,
        "attainment_with_excluded": one.with_excluded or None,
    }


def _composite_document(one: CompositeState) -> dict[str, Any]:
    ratio, lower, upper = (None if found is None else float(found) for found in (one.ratio, one.lower, one.upper))
    shares = zip(one.composite.shares, one.parts, strict=True)
    return {
        "composite": one.composite.name,
        "state": one.word,
        "why": one.why or None,
        "target": float(one.target),
        "attainment": ratio,
        "lower": lower,
        "upper": upper,
        "parts": [{"slo": part.objective.name, "share": float(share)} for share, part in shares],
        "note": one.note or None,
    }


def _calendar(one: PromiseState) -> dict[str, float | None] | None:
    if one.calendar is None:
        return None
    return {
        "spent_of_earned": one.calendar.earned.spent,
        "spent_of_projected": one.calendar.projected.spent,
        "spent_of_projected_low": one.calendar.spent_low,
        "spent_of_projected_high": one.calendar.spent_high,
    }
