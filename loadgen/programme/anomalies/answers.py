"""Answers of people to anomalies: audited events of the history. Nothing is deleted, and the newest answer counts.

    accepted     known and wanted, such as a sale, until a day; then the find is new again
    explained    its cause is found, with a link
    false        nothing happened

A find is the one that was answered if promise, kind and direction are equal and their times overlap. Ids alone would
not do: later counts can move the first hour of a find, and with it the id.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from loadgen.errors import UsageError
from loadgen.history.store.audit_trail import put_event, read_kind, time_in, time_text
from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import Place
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.outside_text import one_line
from loadgen.programme.anomalies.find import Anomaly

__all__ = ["ANOMALY", "Answer", "AnswerWord", "Find", "answer", "answers", "errors_in", "finds", "silenced"]

ANOMALY: Final = "anomaly"
"""The kind of the events. Versions that do not know it pass over it."""
AnswerWord = Literal["accepted", "explained", "false"]
_WORDS: Final[tuple[AnswerWord, ...]] = ("accepted", "explained", "false")
_LINK: Final = re.compile(r"https?://[^\s/]+\S*")
_LONGEST: Final = 2_000


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to the find `id`. start, end: of the find as it was then, Unix time in s.

    until: of an acceptance, RFC 3339; else "". link: of an explanation, else "". at: when it was given, RFC 3339.
    """

    id: str
    slo: str
    start: int
    end: int
    what: str
    direction: str
    state: AnswerWord
    because: str
    by: str = ""
    at: str = ""
    until: str = ""
    link: str = ""

    def is_about(self, one: Anomaly) -> bool:
        """Return whether a find is the one that was answered."""
        is_same = (self.slo, self.what, self.direction) == (one.slo, one.what, one.direction)
        return is_same and self.start < one.end and one.start < self.end

    def is_in_force(self, now: datetime) -> bool:
        """Return whether the answer holds: acceptances end."""
        return not self.until or datetime.fromisoformat(self.until) > now


@dataclass(frozen=True, slots=True)
class Find:
    """An anomaly with its state. answer: the newest one, also if it has ended and the state is "new" again."""

    anomaly: Anomaly
    state: Literal["new", "accepted", "explained", "false"] = "new"
    answer: Answer | None = None


def errors_in(
    state: AnswerWord, because: str, *, until: datetime | None = None, link: str = "", now: datetime
) -> list[tuple[str, str]]:
    """Return all errors of an answer, each with its hint."""
    found = []
    if not because.strip():
        found.append(("an answer needs a reason", "give --because TEXT, which is stored"))
    if len(because) > _LONGEST:
        found.append((f"the reason is longer than {_LONGEST:,} characters", "put the details behind a link"))
    if state == "accepted" and until is None:
        found.append(("an acceptance needs an end", "give --until 2026-12-01"))
    if until is not None and until <= now:
        found.append((f"--until is in the past: {until:%Y-%m-%d %H:%M} UTC", "give a later --until"))
    if state == "explained" and (not _LINK.fullmatch(link) or len(link) > _LONGEST):
        found.append(
            (f'invalid link "{one_line(link, 80)}"', "give --link URL, such as https://wiki.example/incidents/88")
        )
    return found


def answer(
    place: Place,
    one: Anomaly,
    state: AnswerWord,
    because: str,
    *,
    by: str,
    now: datetime,
    until: datetime | None = None,
    link: str = "",
) -> Answer:
    """Record the answer of a person to a find, and return it as it was written.

    Raises:
        ExceptionGroup: the answer has errors, all of them (`UsageError`).
        StorageError, CloudError: it cannot be written.
    """
    if wrong := errors_in(state, because, until=until, link=link, now=now):
        raise ExceptionGroup("the answer has errors", [UsageError(message, hint=hint) for message, hint in wrong])
    details = {
        "id": one.id,
        "state": state,
        "slo": one.slo,
        "what": one.what,
        "direction": one.direction,
        "from": time_text(one.start),
        "to": time_text(one.end),
    }
    details |= {"until": utc_text(until)} if until is not None else {}
    details |= {"link": link} if link else {}
    event = Event(ANOMALY, utc_text(now), by, (), because.strip(), details)
    put_event(place, event)
    return _answer_in(event)


def answers(place: Place, as_of: str = "") -> tuple[tuple[Answer, ...], tuple[str, ...]]:
    """Return (the answers, oldest first, a sentence for each event that is not readable).

    as_of: only those that were given until then, RFC 3339; "": all.
    """
    return read_kind(place, ANOMALY, _answer_in, as_of)


def finds(anomalies: Iterable[Anomaly], given: Sequence[Answer], now: datetime) -> tuple[Find, ...]:
    """Return the state of each anomaly. given: answers, oldest first."""
    found = []
    for one in anomalies:
        last = next((each for each in reversed(given) if each.is_about(one)), None)
        state = last.state if last is not None and last.is_in_force(now) else "new"
        found.append(Find(one, state, last))
    return tuple(found)


def silenced(found: Iterable[Find]) -> Mapping[str, int]:
    """Return how many finds are accepted, explained and false; states without any are left out."""
    counts = Counter(one.state for one in found)
    return {state: counts[state] for state in _WORDS if counts[state]}


def _answer_in(event: Event) -> Answer:
    """Raises ValueError or KeyError if a part is missing or invalid."""
    of = event.details
    state = next((one for one in _WORDS if one == of["state"]), None)
    if state is None:
        raise ValueError(f'unknown state "{one_line(of["state"], 40)}"')
    until = utc_text(time_in(of["until"])) if of.get("until") else ""
    if state == "accepted" and not until:
        raise ValueError("an acceptance without an end")
    time_in(event.at)
    start, end = (round(time_in(of[key]).timestamp()) for key in ("from", "to"))
    return Answer(
        one_line(of["id"], 20),
        of["slo"],
        start,
        end,
        of["what"],
        of["direction"],
        state,
        one_line(event.because, 300),
        one_line(event.by, 100),
        event.at,
        until,
        one_line(of.get("link", ""), _LONGEST),
    )
