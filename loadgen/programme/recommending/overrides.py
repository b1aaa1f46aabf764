"""Overrides and signatures of recommendations: events beside them. The recommendation itself stays as it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from loadgen.errors import UsageError
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.outside_text import one_line
from loadgen.programme.recommending.facts import time_of
from loadgen.programme.recommending.recommendation import CLOCK_ERROR, GO, OF_ANY_RELEASE, Evidence, Recommendation
from loadgen.programme.recommending.record import RECOMMENDED, document_of
from loadgen.programme.recommending.shown import as_document

__all__ = [
    "OVERRIDDEN",
    "SIGNED",
    "evidence_hash",
    "notes_about",
    "override",
    "override_in_force",
    "sign",
    "signers_said",
]

OVERRIDDEN: Final = "overridden"
SIGNED: Final = "signed"
"""The kinds of the events. Versions that do not know them pass over them."""


def override(
    store: Store, id_: str, because: str, by: str, until: datetime, now: datetime, *, two_people: bool = False
) -> Event:
    """Record that a person overrides a recommendation until a time, with the reason. Return the event.

    two_people: who signed the recommendation cannot override it.

    Raises:
        UsageError: there is no such recommendation, it is a GO, nothing valid was measured, there is no reason, the
            time is over, or this person signed it.
    """
    event = _recommendation(store, id_)
    document = document_of(event)
    if event.details.get("recommendation") == GO:
        raise UsageError(f"{id_} is a GO, which needs no override", hint="sign it: loadgen decide --sign " + id_)
    if document.get("is_valid") is not True:
        raise UsageError(
            f"{id_} cannot be overridden: no valid run of the release was found, so there is nothing to override",
            hint="measure the release first",
        )
    if not because.strip():
        raise UsageError("an override needs a reason", hint='add --because "..."; it is recorded and shown')
    if until <= now:
        raise UsageError(f"--until of the override of {id_} is in the past", hint="give a later date: --until")
    if two_people:
        _check_other(store, SIGNED, id_, by, "signed", "override")
    details = {"id": id_, "release": event.details.get("release", ""), "until": utc_text(until)}
    return store.note(Event(OVERRIDDEN, utc_text(now), by, because=because.strip(), details=details))


def sign(
    store: Store, id_: str, by: str, now: datetime, *, role: str = "", two_people: bool = False
) -> tuple[Event, str]:
    """Record that a person signs a recommendation with the evidence that it had.

    role: of this person, such as "head of payments"; it is shown beside the name. two_people: who overrode the
    recommendation cannot sign it.

    Returns:
        The event, and a warning if the recommendation is not GO; "" otherwise.
    Raises:
        UsageError: there is no such recommendation, this person signed it already, or this person overrode it.
    """
    event = _recommendation(store, id_)
    if two_people:
        _check_other(store, OVERRIDDEN, id_, by, "overrode", "sign")
    if any(one.by == by and one.details.get("id") == id_ for one in store.events(SIGNED)):
        raise UsageError(f"{by} signed {id_} already", hint="another person can sign it with --by NAME")
    of = hash_of(document_of(event).get("evidence") or [])
    details = {"id": id_, "release": event.details.get("release", ""), "evidence": of}
    details |= {"role": one_line(role.strip(), 80)} if role.strip() else {}
    return store.note(Event(SIGNED, utc_text(now), by, details=details)), _warning(id_, event)


def _warning(id_: str, event: Event) -> str:
    """Return what speaks against a signature; "" for a GO."""
    answer = one_line(event.details.get("recommendation", "") or "unknown", 40)
    if answer == GO:
        return ""
    if document_of(event).get("is_valid") is not True:
        return f"{id_} has no valid run of the release: the signature confirms nothing that was measured"
    anyway = f"loadgen decide --override {id_} --because TEXT --until DATE"
    return f"{id_} is {answer}, and stays so; to release anyway: {anyway}"


def _check_other(store: Store, kind: str, id_: str, by: str, did: str, does: str) -> None:
    if any(one.by.strip().casefold() == by.strip().casefold() for one in store.events(kind) if _is_about(one, id_)):
        raise UsageError(
            f"{by} {did} {id_}, and cannot {does} it as well: [launch] has two_people = true",
            hint="another person does it, with --by NAME",
        )


def _is_about(event: Event, id_: str) -> bool:
    return event.details.get("id") == id_


def evidence_hash(found: Recommendation) -> str:
    """Return 16 hexadecimal digits of the evidence; equal evidence has equal digits."""
    return hash_of(as_document(found, "", ())["evidence"])


def hash_of(rows: Any) -> str:
    """Return the digits of the rows of a document. Rows that only inform, such as signatures, do not count.

    Production and A/A controls go on after a signature: of these rows only the state counts, not each new figure.
    """
    counted = [
        {name: row.get(name) for name in ("kind", "journey", "state")} if row.get("kind") in OF_ANY_RELEASE else row
        for row in rows
        if isinstance(row, dict) and row.get("required") is True
    ]
    text = json.dumps(counted, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def notes_about(
    events: Iterable[Event],
    found: Recommendation,
    release: str,
    journeys: Sequence[str],
    now: datetime,
    after: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> Iterator[Evidence]:
    """Yield rows that inform: overrides of this release and these journeys, and who signed on which evidence.

    events: recommendations, overrides and signatures, oldest first. after: what happened after an override, by the id
    of its recommendation and its time.
    """
    events = list(events)
    ids = _ids_about(events, release, journeys)
    digits = evidence_hash(found)
    for n, one in enumerate(one for one in events if one.details.get("id", "") in ids and one.kind != RECOMMENDED):
        id_ = one.details["id"]
        if one.kind == OVERRIDDEN:
            until = _until(one)
            state = "in force until" if until is not None and until > now else "ended on"
            state = state if _is_begun(one, now) else "dated in the future, until"
            day = "an unknown day" if until is None else f"{until:%Y-%m-%d}"
            says = f"{id_} was overridden by {one.by}, {state} {day}, because {one.because}"
            happened = after.get((id_, one.at), "")
            says += f"; {happened}" if happened else ""
            yield Evidence(f"override {n + 1}", id_, "open", says, release=release, required=False)
        elif one.kind == SIGNED:
            on = "this evidence" if one.details.get("evidence") == digits else "other evidence"
            role = f" ({one.details['role']})" if one.details.get("role") else ""
            says = f"{id_} was signed by {one.by}{role} on {one.at[:16].replace('T', ' ')}, on {on}"
            says += f" ({one.details.get('evidence') or 'without a hash'})"
            yield Evidence(f"signature {n + 1}", id_, "open", says, release=release, required=False)


def signers_said(
    events: Iterable[Event], release: str, journeys: Sequence[str], authors: Iterable[str]
) -> Evidence | None:
    """Return a row that informs, if only the author of a release signed it; None otherwise.

    authors: the names in the label `author` of the release's runs.
    """
    events = list(events)
    ids = _ids_about(events, release, journeys)
    signers = {one.by.strip() for one in events if one.kind == SIGNED and one.details.get("id") in ids}
    known = {one.strip().casefold() for one in authors}
    if not signers or not all(one.casefold() in known for one in signers):
        return None
    says = f"only {', '.join(sorted(signers))} signed, the author of the release: another person must sign"
    return Evidence("signers", "", "open", says, release=release, required=False)


def override_in_force(events: Iterable[Event], release: str, journeys: Sequence[str], now: datetime) -> str:
    """Return a sentence about the newest override of this release and these journeys that is in force; "" without one.

    events: recommendations and overrides, oldest first.
    """
    events = list(events)
    ids = _ids_about(events, release, journeys)
    found = ""
    for one in events:
        until = _until(one) if one.kind == OVERRIDDEN and one.details.get("id") in ids else None
        if until is not None and until > now and _is_begun(one, now):
            found = f"{one.details['id']} is overridden by {one.by} until {until:%Y-%m-%d}"
    return found


def _is_begun(event: Event, now: datetime) -> bool:
    try:
        return time_of(event.at) <= now + CLOCK_ERROR
    except ValueError:
        return False


def _ids_about(events: Iterable[Event], release: str, journeys: Sequence[str]) -> set[str]:
    """Return the ids of the recommendations of this release and these journeys."""
    wanted = json.dumps(list(journeys))
    return {
        one.details.get("id", "")
        for one in events
        if one.kind == RECOMMENDED and one.details.get("release") == release and one.details.get("journeys") == wanted
    }


def _until(event: Event) -> datetime | None:
    try:
        return time_of(event.details.get("until", ""))
    except ValueError:
        return None


def _recommendation(store: Store, id_: str) -> Event:
    events = store.events(RECOMMENDED)
    found = [one for one in events if one.details.get("id") == id_]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{len(found)} recommendations have the id {id_}: two people asked at the same time",
            hint="ask again with loadgen decide, and use the new id",
        )
    ids = [one.details.get("id", "") for one in events[-5:]]
    hint = f"the newest are {', '.join(ids)}" if ids else "loadgen decide JOURNEY --release NAME records one"
    raise UsageError(f"no recommendation {id_} in {store}", hint=hint)
