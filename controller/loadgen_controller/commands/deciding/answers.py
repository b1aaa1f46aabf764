"""The answers of people: an override, a signature, an item of the checklist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from loadgen.errors import UsageError
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.outside_text import one_line
from loadgen.programme.launching.settings import Settings
from loadgen.programme.recommending import overrides
from loadgen.programme.recommending.checklist import CHECKED, DONE, REFUSED
from loadgen.similar_names import did_you_mean
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo, echo_warning

__all__ = ["Answer", "answer_of", "record_answer"]

_ACTIONS = ("--override", "--sign", "--check", "--refuse")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was given. about: "D-207", or the name of an item. until: the last moment of an override."""

    kind: Literal["--override", "--sign", "--check", "--refuse"]
    about: str
    release: str = ""
    because: str = ""
    role: str = ""
    until: datetime | None = None
    day: str = ""


def answer_of(
    errors: CollectedErrors,
    given: Mapping[str, str | None],
    journeys: Sequence[str],
    release: str,
    others: Mapping[str, str],
    until: datetime | None,
) -> Answer | None:
    """Return the answer that the options give, or None for a question. Wrong combinations are added to `errors`.

    Args:
        given: the texts of --override, --sign, --check and --refuse.
        others: the texts of --because, --until and --role; `until` is the parsed one.
    """
    actions = {option: text for option, text in given.items() if text is not None}
    if not actions:
        return None
    if len(actions) > 1:
        errors.add(f"{' and '.join(actions)} exclude each other", "give them one after the other")
    option, about = next(iter(actions.items()))
    is_item = option in ("--check", "--refuse")
    if journeys or (release and not is_item):
        hint = "an item is of a release: give --release" if is_item else "the recommendation has them: give only its id"
        what = "no journey" if is_item else "no journey and no --release"
        who = "--check and --refuse" if is_item else "--override and --sign"
        errors.add(f"{who} take {what}", hint)
    if is_item and not release:
        errors.add(f"{option} needs --release", "an item is confirmed for one release: --release v412")
    needs = {
        "--override": {"--because": 'add --because "..."; it is recorded', "--until": "add --until DATE, its last day"},
        "--refuse": {"--because": 'add --because "..."; it is recorded'},
    }.get(option, {})
    for name, hint in needs.items():
        if not others[name].strip():
            errors.add(f"{option} needs {name}", hint)
    allowed = {"--override": {"--because", "--until"}, "--sign": {"--role"}}.get(option, {"--because"})
    for name, text in others.items():
        if text and name not in allowed:
            where = {"--because": "--override, --check or --refuse", "--until": "--override", "--role": "--sign"}[name]
            errors.add(f"{name}: only with {where}", "leave it out")
    return Answer(
        option,  # type: ignore[arg-type]
        about,
        release,
        others["--because"].strip(),
        others["--role"].strip(),
        until,
        others["--until"],
    )


def record_answer(store: Store, answer: Answer, settings: Settings, by: str, now: datetime) -> None:
    """Record an answer, and print what was recorded.

    Raises:
        UsageError: the recommendation or the item does not exist, or this person must not give this answer.
        StorageError, CloudError: the history cannot be written.
    """
    two = settings.launch.two_people
    if answer.kind == "--override":
        assert answer.until is not None
        event = overrides.override(store, answer.about, answer.because, by, answer.until, now, two_people=two)
        echo(f"{answer.about} is overridden by {event.by} until {answer.day}; it stays as it was, and both are shown")
    elif answer.kind == "--sign":
        event, warning = overrides.sign(store, answer.about, by, now, role=answer.role, two_people=two)
        echo(f"{answer.about} is signed by {event.by}; hash of the evidence: {event.details['evidence']}")
        if warning:
            echo_warning(warning)
    else:
        _check(store, answer, settings, by, now)


def _check(store: Store, answer: Answer, settings: Settings, by: str, now: datetime) -> None:
    items = settings.launch.items
    if answer.about not in items:
        name = one_line(answer.about, 60)
        if not items:
            raise UsageError(
                f'no item "{name}": programme.toml has no checklist',
                hint='write items = "standard" below [launch] in programme.toml',
            )
        hint = did_you_mean(answer.about, tuple(items)) or f"use one of {', '.join(items)}"
        raise UsageError(f'no item "{name}" in the checklist', hint=hint)
    word = DONE if answer.kind == "--check" else REFUSED
    details = {"item": answer.about, "answer": word, "release": answer.release}
    event = store.note(Event(CHECKED, utc_text(now), by, (), answer.because, details))
    said = "confirmed" if word == DONE else "refused"
    echo(f"{answer.about} of {one_line(answer.release, 60)} is {said} by {event.by}: {items[answer.about]}")
