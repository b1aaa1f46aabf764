"""Shows evidence: lines for the terminal, and JSON documents. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from loadgen.programme.evidence.find import Found, NotFound
from loadgen.programme.evidence.recompute import Again
from loadgen.programme.evidence.walk import PageCheck
from loadgen.units import quantity

__all__ = [
    "FORMAT",
    "check_document",
    "check_lines",
    "evidence_document",
    "evidence_lines",
    "missing_document",
    "missing_line",
]

FORMAT: Final = 1
_INDENT: Final = 2
_MOST_SHOWN: Final = 20
_MEANINGS: Final[Mapping[str, str]] = {
    "slices": "The number is a sum of counts, not an average of percentiles. The counts are those of the revisions"
    " of the ledger; each revision names its source and queries. To doubt it: run the query at the source for one"
    " slice, and compare.",
    "runs": "The number was measured by our own runs, under a load that we chose, and not by users. To doubt it: open"
    " the report of a run, or repeat the run with loadgen runs rerun.",
    "gate": "The gate compares new runs with accepted ones and with the noise between them. To doubt it: judge the same"
    " runs again with --explain.",
    "recommendation": "A recommendation joins the rows above by fixed rules, without a score. To doubt it: look at the"
    " evidence of the row that decides it. It never changes; overrides and signatures are events of their own.",
    "study": "This is one study under the conditions that it names: release, machines, plan. To doubt it: open the"
    " study, and look at the runs that it is based on.",
    "controls": "A/A controls are runs of the same code that the gate judges against each other. They show how often"
    " the gate is wrong. To doubt it: make one more with loadgen history control.",
    "anomaly": "The figure is unusual for its hour and day of the week. The cause is not known from it.",
    "facts": "This is a fact of the business that a person wrote into programme.toml, such as the value of a journey."
    " loadgen does not check it. To doubt it: ask the person that the file or its commit names.",
}
_STATES: Final[Mapping[str, str]] = {
    "same": "the same",
    "differs": "it differs",
    "unreadable": "not possible",
    "not computed": "not done",
}


_OF_FOLDERS: Final = ("loadgen gate ", "loadgen report ")
_NEEDS: Final = "the folders of these runs in --runs-dir, which may be gone: the history keeps only their figures"


def evidence_lines(found: Found, again: Again, *, is_explained: bool) -> Iterator[tuple[int, str]]:
    """Yield the lines that show one piece of evidence, each with the indent of its further lines if it is wrapped."""
    entry = found.entry
    yield _INDENT, f"{entry.id}: {entry.says}"
    rows = [("formula", entry.formula), *entry.inputs, ("revisions", _revisions(entry.revisions))]
    if entry.run_ids != (entry.id,):
        rows.append(("runs", ", ".join(entry.run_ids)))
    if found.where is not None:
        of = f"page {found.where.id} of {found.where.week}" if found.where.week else f"recommendation {found.where.id}"
        rows.append(("recorded", f"{of}, at {found.where.at}"))
    elif found.pages:
        rows.append(("on pages", ", ".join(found.pages)))
    rows.append(("computed again", f"{_STATES[again.state]}: {again.says}"))
    rows += [("note", note) for note in again.notes]
    rows.append(("more", entry.see))
    if entry.see.startswith(_OF_FOLDERS):
        rows.append(("needs", _NEEDS))
    width = max((len(name) for name, text in rows if text and len(name) <= _MOST_SHOWN), default=0)
    for name, text in rows:
        if text:
            yield width + 2 * _INDENT, f"{' ' * _INDENT}{name:<{width}}  {text}"
    if is_explained:
        yield _INDENT, f"{' ' * _INDENT}{_MEANINGS[entry.kind]}"


def missing_line(found: NotFound) -> str:
    """Return the line about an id that was not found."""
    nearest = f"; the nearest is {', '.join(found.nearest)}" if found.nearest else ""
    return f"{found.id}: not found: {found.why}{nearest}"


def missing_document(found: NotFound) -> dict[str, Any]:
    """Return an id that was not found for JSON."""
    return {"id": found.id, "found": False, "why": found.why, "nearest": list(found.nearest)}


def evidence_document(found: Found, again: Again) -> dict[str, Any]:
    """Return one piece of evidence for JSON."""
    where = found.where
    document = found.entry.as_document() | {
        "found": True,
        "recorded": None if where is None else {"week": where.week or None, "in": where.id, "at": where.at},
        "pages": list(found.pages),
        "computed_again": _again(again),
    }
    return {"id": document.pop("id"), **document}


def check_lines(name: str, found: PageCheck) -> Iterator[str]:
    """Yield the lines that show the walk over a page. name: of the page."""
    resolved = len(found.again)
    yield f"{name}: {resolved} of {quantity(len(found.ids), 'id')} of evidence resolve"
    same = len(found.of_state("same"))
    yield f"computed again: {same} the same, {len(found.of_state('differs'))} differ"
    for id_, one in found.again.items():
        if one.state in ("differs", "unreadable"):
            yield f"{id_}: {_STATES[one.state]}: {one.says}"
        for note in one.notes:
            yield f"{id_}: note: {note}"
    for text in found.unresolved:
        yield f"does not resolve: {text}"
    for at in found.bare[:_MOST_SHOWN]:
        yield f"a number without evidence: {at}"
    if len(found.bare) > _MOST_SHOWN:
        yield f"and {len(found.bare) - _MOST_SHOWN} more numbers without evidence"


def check_document(name: str, found: PageCheck) -> dict[str, Any]:
    """Return the walk over a page for JSON."""
    return {
        "format": FORMAT,
        "page": name,
        "is_whole": found.is_whole,
        "ids": list(found.ids),
        "computed_again": {id_: _again(one) for id_, one in found.again.items()},
        "unresolved": list(found.unresolved),
        "numbers_without_evidence": list(found.bare),
        "unreadable": list(found.unreadable),
    }


def _revisions(names: Sequence[str]) -> str:
    """Return names of revisions, with those of days that follow each other together: "prod-1 of 2026-07-01 to ..."."""
    runs: dict[str, list[list[str]]] = {}
    for name in sorted(names):
        day, _, of = name.partition("/")
        groups = runs.setdefault(of, [])
        if groups and _follows(groups[-1][-1], day):
            groups[-1].append(day)
        else:
            groups.append([day])
    texts = []
    for of, groups in runs.items():
        days = ", ".join(one[0] if len(one) == 1 else f"{one[0]} to {one[-1]}" for one in groups)
        texts.append(f"{of} of {days}" if of else days)
    return "; ".join(texts)


def _follows(before: str, day: str) -> bool:
    try:
        return date.fromisoformat(day) - date.fromisoformat(before) == timedelta(days=1)
    except ValueError:
        return False


def _again(one: Again) -> dict[str, Any]:
    return {"state": one.state, "says": one.says, "notes": list(one.notes)}
