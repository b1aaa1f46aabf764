"""The checklist of a launch: what people confirm with their names, as evidence. Pure.

GO if every item is signed. NO-GO if one is refused. Otherwise open. The newest answer to an item counts, and only for
its release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from loadgen.history.store.stored_run import Event
from loadgen.programme.recommending.facts import time_of
from loadgen.programme.recommending.recommendation import Evidence, Missing
from loadgen.programme.recommending.rows import Row
from loadgen.units import quantity

__all__ = ["CHECKED", "CHECKLIST", "DONE", "REFUSED", "Check", "checklist_row", "checks_of"]

CHECKLIST: Final = "checklist"
"""The kind of the row."""
CHECKED: Final = "checked"
"""The kind of the events: answers to items. Versions that do not know it pass over them."""
DONE: Final = "done"
REFUSED: Final = "refused"
_MINUTES: Final = 5.0
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Check:
    """An item with its answer. by, at: who answered and when, RFC 3339; "" while it is open. because: their reason."""

    item: str
    text: str
    answer: Literal["open", "done", "refused"] = "open"
    by: str = ""
    at: str = ""
    because: str = ""


def checks_of(items: Mapping[str, str], events: Iterable[Event], release: str, now: datetime) -> tuple[Check, ...]:
    """Return the checklist with the newest answer to each item.

    Args:
        items: name -> text of each item, in their order.
        events: answers, oldest first. Those of other releases, and those dated in the future, do not count.
    """
    found = {item: Check(item, text) for item, text in items.items()}
    for event in events:
        item, answer = event.details.get("item", ""), event.details.get("answer", "")
        if event.kind != CHECKED or item not in found or event.details.get("release") != release:
            continue
        if answer in (DONE, REFUSED) and _is_past(event.at, now):
            found[item] = Check(
                item, items[item], "done" if answer == DONE else "refused", event.by, event.at, event.because
            )
    return tuple(found.values())


def checklist_row(release: str, checks: Sequence[Check]) -> Row:
    """Return the row of the checklist and the commands that answer its open items."""
    refused = [one for one in checks if one.answer == "refused"]
    open_ = [one for one in checks if one.answer == "open"]
    times = [time_of(one.at) for one in checks if one.at]
    count = f"{len(checks) - len(refused) - len(open_)} of {quantity(len(checks), 'item')} signed"
    if refused:
        first = refused[0]
        says = f"{count}; {first.item} was refused by {first.by}{f', because {first.because}' if first.because else ''}"
    elif open_:
        names = ", ".join(one.item for one in open_[:_SHOWN])
        says = f"{count}; open: {names}{f' and {len(open_) - _SHOWN} more' if len(open_) > _SHOWN else ''}"
    else:
        says = f"{count}, the last one by {max(checks, key=lambda one: one.at).by}"
    state = "no-go" if refused else "open" if open_ else "go"
    missing = tuple(
        Missing(f"loadgen decide --check {one.item} --release {release} --by NAME", _MINUTES, one.text) for one in open_
    )
    arithmetic = "; ".join(f"{one.item}: {one.answer}{f' by {one.by}' if one.by else ''}" for one in checks)
    row = Evidence(
        CHECKLIST,
        ", ".join(f"{one.item} by {one.by}" for one in checks if one.by),
        state,  # type: ignore[arg-type]
        says,
        max(times, default=None),
        release,
        arithmetic=arithmetic,
    )
    return row, missing


def _is_past(text: str, now: datetime) -> bool:
    try:
        return time_of(text) <= now
    except ValueError:
        return False
