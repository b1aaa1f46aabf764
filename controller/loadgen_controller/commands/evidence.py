"""`loadgen evidence`: what a number of a page was computed from, and whether it comes out again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadgen.errors import ExitCode, IncompleteError, UsageError
from loadgen.history.store.write_once_storage import place_of
from loadgen.outside_text import one_line
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import EnvOption, ExplainOption, StoreOption
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.console_output import echo, echo_json, echo_wrapped

if TYPE_CHECKING:
    from loadgen.programme.evidence.find import EvidenceFinder

NAME = "evidence"
EXAMPLES = """[bold]Examples[/bold]

loadgen evidence S-4f1a2b9c

loadgen evidence G-88 D-207 C-12 --store s3://perf/history --explain

loadgen evidence --check 2026-W30

loadgen evidence --check w30-4f1a --format json

[bold]Exit codes[/bold]

0 all ids resolve and nothing differs, 1 an id does not resolve or differs, 3 a file cannot be read; 2 usage error"""
_MOST_BYTES = 16 << 20


class Format(StrEnum):
    """Output formats of `loadgen evidence`."""

    TEXT = "text"
    JSON = "json"


def main(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID...", help="Ids as pages print them: S-4f1a2b9c, G-88, D-207, C-12, or a run's id."),
    ] = None,
    store: StoreOption = None,
    env: EnvOption = None,
    check: Annotated[
        str | None,
        typer.Option(
            "--check",
            metavar="WEEK|PAGE|FILE.json",
            help="Check all ids of a page: the newest of a week such as 2026-W30 (of all teams, if there is one), "
            "a page by its id, or a JSON file.",
        ),
    ] = None,
    explain: ExplainOption = False,
    format_: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.TEXT,
) -> int:
    """Show what a number was computed from: inputs, formula, query, revisions and runs. Compute it again.

    The ledger is read once with the revisions that were known when the page was made, and once with today's. It changes
    nothing. Only pages that were recorded in the history are known.
    """
    errors = CollectedErrors()
    if bool(ids) == bool(check):
        errors.add("give either ids or --check", "loadgen evidence S-4f1a2b9c, or loadgen evidence --check 2026-W30")
    where = store_of(errors, store, env)
    place = errors.catch(lambda: place_of(where))
    errors.check()
    assert place is not None
    with needing_analysis("loadgen evidence"):
        from loadgen.programme.evidence.find import EvidenceFinder
    finder = EvidenceFinder(place)
    if check is not None:
        return _check(check, finder, format_)
    return _show(ids or [], finder, format_, is_explained=explain)


def _show(ids: list[str], finder: EvidenceFinder, format_: Format, *, is_explained: bool) -> int:
    from loadgen.programme.evidence.find import NotFound
    from loadgen.programme.evidence.recompute import Recomputer
    from loadgen.programme.evidence.shown import (
        FORMAT,
        evidence_document,
        evidence_lines,
        missing_document,
        missing_line,
    )

    recomputer = Recomputer(finder.place, finder.store)
    documents: list[dict[str, Any]] = []
    is_wrong = is_unreadable = False
    for text in dict.fromkeys(ids):
        found = finder.find(text)
        if isinstance(found, NotFound):
            documents.append(missing_document(found))
            is_wrong, is_unreadable = is_wrong or not found.is_unreadable, is_unreadable or found.is_unreadable
            if format_ is Format.TEXT:
                echo(missing_line(found), err=True)
            continue
        again = recomputer.again(found.entry, found.on_page)
        documents.append(evidence_document(found, again))
        is_wrong, is_unreadable = is_wrong or again.state == "differs", is_unreadable or again.state == "unreadable"
        for indent, line in evidence_lines(found, again, is_explained=is_explained) if format_ is Format.TEXT else ():
            echo_wrapped(line, indent=indent)
    if format_ is Format.JSON:
        document = {"format": FORMAT, "evidence": documents, "unreadable": list(finder.unreadable)}
        echo_json(json.dumps(document, indent=2, ensure_ascii=False))
    _say_unreadable(finder)
    return _exit_code(is_wrong=is_wrong, is_unreadable=is_unreadable)


def _check(which: str, finder: EvidenceFinder, format_: Format) -> int:
    from loadgen.programme.evidence.recompute import Recomputer
    from loadgen.programme.evidence.shown import check_document, check_lines
    from loadgen.programme.evidence.walk import check_page

    name, document = _page(which, finder)
    found = check_page(document, finder, Recomputer(finder.place, finder.store))
    if format_ is Format.JSON:
        echo_json(json.dumps(check_document(name, found), indent=2, ensure_ascii=False))
    else:
        for line in check_lines(name, found):
            echo(line)
    _say_unreadable(finder)
    is_wrong = bool(found.unresolved or found.bare or found.of_state("differs"))
    return _exit_code(is_wrong=is_wrong, is_unreadable=bool(found.of_state("unreadable")))


def _page(which: str, finder: EvidenceFinder) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the document of a page.

    Raises:
        UsageError: there is no such page, or the file is not a page.
    """
    if which.endswith(".json"):
        return which, _page_in(Path(which))
    about = [one for one in finder.weeks.found if which in (one.week, one.page)]
    if about:
        from loadgen.programme.evidence.weeks import fullest

        page = fullest(about)
        limited = f" {page.scope}" if page.scope else ""
        return f"{page.week}, page {page.page}{limited}", page.document
    if lost := [text for text in finder.weeks.unreadable if which in text]:
        raise IncompleteError(
            f"the page of {one_line(which, 40)} cannot be read: {lost[-1]}",
            hint="restore the file from a copy of the history, or record the page again: loadgen slo report",
        )
    weeks = list(dict.fromkeys(one.week for one in finder.weeks.found))[-5:]
    raise UsageError(
        f"no page of {one_line(which, 40)} is recorded in {finder.store}",
        hint=f"the newest are {', '.join(weeks)}" if weeks else "loadgen slo report records one",
    )


def _page_in(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB")
        document = json.loads(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="check the path") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not the JSON of a page: {one_line(str(error), 200)}",
            hint="write one with: loadgen slo report -o page.json",
        ) from None
    if isinstance(document, dict) and isinstance(document.get("document"), dict):
        document = document["document"]  # a file of the history
    if not isinstance(document, dict) or "evidence" not in document:
        raise UsageError(
            f'{path} is not the JSON of a page: it has no "evidence"',
            hint="write one with: loadgen slo report -o page.json",
        )
    return document


def _say_unreadable(finder: EvidenceFinder) -> None:
    for text in finder.unreadable:
        echo(f"note: {one_line(text, 400)}", err=True)


def _exit_code(*, is_wrong: bool, is_unreadable: bool) -> int:
    if is_wrong:
        return ExitCode.FAILED
    return ExitCode.INCOMPLETE if is_unreadable else ExitCode.PASSED
