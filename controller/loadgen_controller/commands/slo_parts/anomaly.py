"""`loadgen slo anomaly`: unusual hours of production, and what people answer to them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from loadgen.errors import ExitCode, ScenarioError, UsageError
from loadgen.history.store.write_once_storage import place_of
from loadgen.outside_text import one_line
from loadgen.programme.anomalies.answers import Answer, Find, answer, answers, errors_in, finds, silenced
from loadgen.programme.anomalies.blocks import first_of, search_back
from loadgen.programme.anomalies.by_id import find_by_id, is_id
from loadgen.programme.anomalies.find import FORMULA, Anomaly, Past, Search
from loadgen.programme.anomalies.said import sentence
from loadgen.programme.ledger.exclusions import exclusions
from loadgen.programme.ledger.ledger import Ledger, Reading
from loadgen.programme.programme_toml import FILE_NAME, read_programme_toml
from loadgen.programme.status import time_text
from loadgen.programme.weekly.programme_table import read_zone
from loadgen.similar_names import did_you_mean
from loadgen.units import quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import AsOfOption, ByOption, EnvOption, StoreOption
from loadgen_controller.commands.slo_parts.files import FilesArgument, FormatOption, check_format, read_slos
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.commands.time_options import parse_as_of, parse_time
from loadgen_controller.console_output import echo, echo_json
from loadgen_controller.past_runs.listing import parse_since

__all__ = ["app"]

_WEEK: Final = timedelta(weeks=1)
_MOST_WEEKS: Final = 26
_WEEKS: Final = re.compile(r"(\d{1,3})w")

LIST = """[bold]Examples[/bold]

loadgen slo anomaly list

loadgen slo anomaly list slos/checkout.yaml --from 8w --explain

loadgen slo anomaly list --as-of 2026-07-27T06:00Z --format json"""
ACCEPT = """[bold]Examples[/bold]

loadgen slo anomaly accept A-5f0c1d2e --because "Black Friday" --until 2026-12-01

loadgen slo anomaly accept A-5f0c1d2e --because "load of the migration" --until 2026-12-01 --by maria --explain"""
EXPLAIN = """[bold]Examples[/bold]

loadgen slo anomaly explain A-5f0c1d2e --link https://wiki.example/incidents/88 --because "the cache was cold" """
FALSE = """[bold]Examples[/bold]

loadgen slo anomaly false A-5f0c1d2e --because "the exporter counted twice" """

app = typer.Typer(
    help="List unusual hours of production, and answer them: accept, explain, or call one false.",
    epilog=LIST,
    rich_markup_mode="rich",
    no_args_is_help=True,
)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the find, such as A-5f0c1d2e.")]
BecauseOption = Annotated[str, typer.Option(metavar="TEXT", help="The reason; it is stored.")]
AnswerAsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="Look the find up as it was known then, as with list. The answer itself is recorded now. Default: now.",
    ),
]
AnswerExplainOption = Annotated[bool, typer.Option("--explain", help="Show how the find was computed.")]
BackOption = Annotated[
    str, typer.Option("--from", metavar="TIME", help="Look back to here: 4w (before now), or a day. At most 26w.")
]


@app.command("list", epilog=LIST)
def list_finds(
    files: FilesArgument = None,
    since: BackOption = "4w",
    store: StoreOption = None,
    env: EnvOption = None,
    as_of: AsOfOption = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show how each find was computed.")] = False,
    output_format: FormatOption = "text",
) -> int:
    """List hours with unusually many or few requests, or unusually many bad ones. Reads only the ledger.

    Exit code 0: none is new. 1: a find has no answer. 3: a promise has too few counts, or a file of the history cannot
    be read, or the clock is behind the counts. 2: an option or a file is wrong.
    """
    errors = CollectedErrors()
    errors.catch(lambda: check_format(output_format))
    now = datetime.now(UTC) if as_of is None else errors.parse("--as-of", as_of, parse_as_of)
    start = None if now is None else errors.parse("--from", since, lambda text: _since(text, now))
    where = store_of(errors, store, env)
    place = errors.catch(lambda: place_of(where))
    zone = errors.catch(_zone)
    reading = errors.catch(lambda: read_slos(files))
    slos = None if reading is None else errors.catch(reading.check)
    errors.check()
    assert now is not None
    assert start is not None
    assert place is not None
    assert zone is not None
    assert slos is not None
    if not slos.objectives:
        raise UsageError("the files have no promise", hint="write one with: loadgen slo new checkout")
    until = "" if as_of is None else now.isoformat()
    ledger = Ledger(place)
    found = _read(ledger, start, now, until, [one.name for one in slos.objectives])
    ahead = ledger.ahead(_unix(now)) if as_of is None else ""
    excluded, troubles = exclusions(place, until)
    given, more = answers(place, until)
    left_out = (*filter(None, [ahead]), *found.unreadable, *found.clashes, *troubles, *more)
    _print_notes(left_out)
    names = [one.name for one in found.revisions]
    with needing_analysis("loadgen slo anomaly"):
        searches = [
            search_back(found.by_slo.get(one.name), one.name, zone, excluded, names, since=_unix(start), end=_unix(now))
            for one in slos.objectives
        ]
    inside = [one for each in searches for one in each.found]
    listed = finds(sorted(inside, key=lambda one: (one.start, one.slo, one.what)), given, now)
    if output_format == "json":
        owners = {one.name: one.owner for one in slos.objectives}
        echo_json(json.dumps(_document(listed, searches, owners, start, now, zone), indent=2, ensure_ascii=False))
    else:
        for line in _lines(listed, searches, start, now, zone, explain):
            echo(line)
    if any(one.state == "new" for one in listed):
        return ExitCode.FAILED
    is_whole = not left_out and not any(one.why for one in searches)
    return ExitCode.PASSED if is_whole else ExitCode.INCOMPLETE


@app.command("accept", epilog=ACCEPT)
def accept(
    id_: IdArgument,
    because: BecauseOption = "",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="The find is new again from then on.")] = None,
    by: ByOption = "",
    since: BackOption = "4w",
    store: StoreOption = None,
    env: EnvOption = None,
    as_of: AnswerAsOfOption = None,
    explain: AnswerExplainOption = False,
    output_format: FormatOption = "text",
) -> int:
    """Accept a find until a day, because it is known and wanted. Author and reason are stored."""
    return _answer(
        "accepted", id_, because, by, since, store, env, as_of, output_format, until=until, is_explained=explain
    )


@app.command("explain", epilog=EXPLAIN)
def explain_find(
    id_: IdArgument,
    because: BecauseOption = "",
    link: Annotated[str, typer.Option(metavar="URL", help="Page with the cause, such as an incident.")] = "",
    by: ByOption = "",
    since: BackOption = "4w",
    store: StoreOption = None,
    env: EnvOption = None,
    as_of: AnswerAsOfOption = None,
    explain: AnswerExplainOption = False,
    output_format: FormatOption = "text",
) -> int:
    """Store the cause of a find, with a link. The find is then no longer new."""
    return _answer(
        "explained", id_, because, by, since, store, env, as_of, output_format, link=link, is_explained=explain
    )


@app.command("false", epilog=FALSE)
def false_find(
    id_: IdArgument,
    because: BecauseOption = "",
    by: ByOption = "",
    since: BackOption = "4w",
    store: StoreOption = None,
    env: EnvOption = None,
    as_of: AnswerAsOfOption = None,
    explain: AnswerExplainOption = False,
    output_format: FormatOption = "text",
) -> int:
    """Store that nothing happened at the time of a find. The find is then no longer new, and counts as false."""
    return _answer("false", id_, because, by, since, store, env, as_of, output_format, is_explained=explain)


def _answer(
    state: Any,
    id_: str,
    because: str,
    by: str,
    since: str,
    store: str | None,
    env: str | None,
    as_of: str | None,
    output_format: str,
    *,
    until: str | None = None,
    link: str = "",
    is_explained: bool,
) -> int:
    errors, now = CollectedErrors(), datetime.now(UTC)
    errors.catch(lambda: check_format(output_format))
    end = errors.parse("--until", until, parse_time)
    seen = now if as_of is None else errors.parse("--as-of", as_of, parse_as_of)
    start = None if seen is None else errors.parse("--from", since, lambda text: _since(text, seen))
    is_unreadable = until is not None and end is None
    for message, hint in errors_in(state, because, until=now + _WEEK if is_unreadable else end, link=link, now=now):
        errors.add(message, hint)
    if not is_id(id_):
        errors.add(
            f'"{one_line(id_, 40)}" is not an id of a find',
            "write it as A-5f0c1d2e; loadgen slo anomaly list prints the ids",
        )
    where = store_of(errors, store, env)
    place = errors.catch(lambda: place_of(where))
    zone = errors.catch(_zone)
    errors.check()
    assert start is not None
    assert place is not None
    assert zone is not None
    assert seen is not None
    known = "" if as_of is None else seen.isoformat()
    reading = _read(Ledger(place), start, seen, known, [])
    excluded, troubles = exclusions(place, known)
    _print_notes((*reading.unreadable, *reading.clashes, *troubles))
    with needing_analysis("loadgen slo anomaly"):
        revisions = [one.name for one in reading.revisions]
        found, is_flagged = find_by_id(reading, id_, zone, excluded, revisions)
        if found is None:
            ids = [
                one.id
                for slo, counts in reading.by_slo.items()
                for one in search_back(counts, slo, zone, excluded, since=_unix(start), end=_unix(seen)).found
            ]
            nearest = did_you_mean(id_, ids)
            hint = nearest or "loadgen slo anomaly list has the ids; --from looks back further"
            raise UsageError(f"no find {id_} since {time_text(int(start.timestamp()))}", hint=hint)
    from loadgen_controller.past_runs.read_run_for_history import who  # slow to import

    made = answer(place, found, state, because, by=who(by), now=now, until=end, link=link)
    if output_format == "json":
        computed = _computed(found) | ({"formula": FORMULA} if is_explained else {}) if is_flagged else {}
        document = {**_answer_document(made), "is_flagged": is_flagged, **computed}
        echo_json(json.dumps(document, indent=2, ensure_ascii=False))
        return ExitCode.PASSED
    text = sentence(Find(found), zone) if is_flagged else f"{one_line(found.slo, 80)}, {time_text(found.start)}"
    ends = f" until {time_text(int(end.timestamp()))}" if end is not None else ""
    echo(f"{id_} is {state}{ends}: {text}; because {one_line(made.because, 300)}")
    for line in (*_arithmetic(found), f"a find: {FORMULA}") if is_explained and is_flagged else ():
        echo(line)
    if not is_flagged:
        echo(f"note: the present counts no longer flag {id_}", err=True)
    return ExitCode.PASSED


def _print_notes(texts: Sequence[str]) -> None:
    for text in texts:
        echo(f"note: {one_line(text, 400)}", err=True)


def _read(ledger: Ledger, start: datetime, now: datetime, until: str, names: Sequence[str]) -> Reading:
    return ledger.read(first_of(_unix(start), _unix(now)), _unix(now), until, names)


def _unix(at: datetime) -> int:
    return int(at.timestamp())


def _lines(
    listed: Sequence[Find], searches: Sequence[Search], start: datetime, now: datetime, zone: str, is_explained: bool
) -> Iterator[str]:
    for one in listed:
        yield f"{one.anomaly.id} {one.state}: {sentence(one, zone)}"
        if one.answer is not None:
            until = f" until {one.answer.until[:10]}" if one.answer.until else ""
            link = f" {one.answer.link}" if one.answer.link else ""
            yield f"  {one.answer.state}{until} by {one.answer.by or 'nobody'}, because {one.answer.because}{link}"
        yield from _arithmetic(one.anomaly) if is_explained else ()
    for one_search in searches:
        if one_search.why:
            yield f"{one_line(one_search.slo, 80)}: not searched: {one_line(one_search.why, 300)}"
        if one_search.partly:
            yield f"{one_line(one_search.slo, 80)}: {one_line(one_search.partly, 300)}"
    if is_explained:
        yield f"a find: {FORMULA}"
    new = sum(one.state == "new" for one in listed)
    quiet = silenced(listed)
    parts = ", ".join(f"{number} {state}" for state, number in quiet.items())
    hidden = f", {sum(quiet.values())} silenced ({parts})" if quiet else ""
    searched = quantity(sum(not one.why for one in searches), "promise")
    times = f"{time_text(int(start.timestamp()))} to {time_text(int(now.timestamp()))}"
    first_read = min((one.start for one in searches if not one.why), default=0)
    read = f", with the counts since {time_text(first_read)}" if first_read else ""
    yield f"{quantity(new, 'new find')}{hidden}; {searched} searched from {times}{read}"
    if new:
        first = next(one.anomaly.id for one in listed if one.state == "new")
        yield f"answer one with: loadgen slo anomaly accept|explain|false {first} --because TEXT"


def _arithmetic(one: Anomaly) -> Iterator[str]:
    """Yield how a find was computed, as lines."""
    past = one.past
    if past is None:
        return
    period = "168 h" if past.is_weekly else "24 h"
    read = f"{time_text(past.start)} to {time_text(past.end)}"
    yield f"  {one.deviations:+.1f} robust standard deviations; season of {period}"
    yield f"  from {quantity(past.hours, 'hour')} with counts, {quantity(past.gaps, 'gap')}, {read}"
    yield f"  revisions {', '.join(one.revisions)}"


def _computed(one: Anomaly) -> dict[str, Any]:
    """Return the figures of a find, as JSON values."""
    return {
        "observed": one.observed,
        "expected": one.expected,
        "deviations": one.deviations,
        "past": _past(one.past),
        "revisions": list(one.revisions),
    }


def _document(
    listed: Sequence[Find],
    searches: Sequence[Search],
    owners: dict[str, str],
    start: datetime,
    now: datetime,
    zone: str,
) -> dict[str, Any]:
    return {
        "at": time_text(int(now.timestamp())),
        "from": time_text(int(start.timestamp())),
        "zone": zone,
        "finds": [
            {
                "id": one.anomaly.id,
                "state": one.state,
                "slo": one.anomaly.slo,
                "owner": owners.get(one.anomaly.slo) or None,
                "what": one.anomaly.what,
                "direction": one.anomaly.direction,
                "from": time_text(one.anomaly.start),
                "to": time_text(one.anomaly.end),
                **_computed(one.anomaly),
                "answer": None if one.answer is None else _said(one.answer),
            }
            for one in listed
        ],
        "silenced": dict(silenced(listed)),
        "searches": [
            {
                "slo": one.slo,
                "from": time_text(one.start) if one.start else None,
                "to": time_text(one.end) if one.end else None,
                "hours": one.hours,
                "gaps": one.gaps,
                "is_weekly": one.is_weekly,
                "why": one.why or None,
                "partly": one.partly or None,
            }
            for one in searches
        ],
    }


def _said(one: Answer) -> dict[str, Any]:
    return {
        "state": one.state,
        "because": one.because,
        "by": one.by,
        "at": one.at,
        "until": one.until or None,
        "link": one.link or None,
    }


def _answer_document(one: Answer) -> dict[str, Any]:
    of = {"slo": one.slo, "what": one.what, "direction": one.direction}
    return {"id": one.id, **of, "from": time_text(one.start), "to": time_text(one.end), **_said(one)}


def _past(one: Past | None) -> dict[str, Any] | None:
    """Return the counts that a find rests on."""
    if one is None:
        return None
    return {
        "from": time_text(one.start),
        "to": time_text(one.end),
        "hours": one.hours,
        "gaps": one.gaps,
        "is_weekly": one.is_weekly,
    }


def _since(text: str, now: datetime) -> datetime:
    weeks = _WEEKS.fullmatch(text)
    start = parse_since(text, now) if weeks is None else now - int(weeks[1]) * _WEEK
    if start >= now:
        raise ValueError(f"{one_line(text, 60)} is not in the past; write 4w")
    if now - start > _MOST_WEEKS * _WEEK:
        raise ValueError(f"{one_line(text, 60)} is more than {_MOST_WEEKS} weeks back; write {_MOST_WEEKS}w")
    return start


def _zone() -> str:
    """Return the zone of `[programme]`, whose wall clock traffic follows; UTC without one.

    Raises:
        ScenarioError: `programme.toml` has errors, or the zone is unknown.
    """
    path = Path(FILE_NAME)
    if not path.exists():
        return "UTC"
    document, faults = read_programme_toml(path)
    zone, wrong = read_zone(document)
    if faults := [*faults, *wrong]:
        raise ScenarioError(faults)
    return zone
