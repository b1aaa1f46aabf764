"""Which changes of promises deserve a message: a condition that begins, a recovery, a state that flaps. Pure.

condition of a promise    "not kept", "burning", both, or none
a condition begins        a message
the last condition ends   one message: recovered. Only if the promise is surely kept: missing data are no recovery
more than 3 changes/hour  one message in place of the next ones, until an hour passes without a change
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from loadgen.programme.status import PromiseState

__all__ = ["FLAPS_WITHIN_S", "MOST_CHANGES", "Notice", "Remembered", "changes"]

MOST_CHANGES: Final = 3
"""Changes within `FLAPS_WITHIN_S` that are sent one by one."""
FLAPS_WITHIN_S: Final = 3_600
NOT_KEPT: Final = "not kept"
BURNING: Final = "burning"


@dataclass(frozen=True, slots=True)
class Remembered:
    """The state of a promise, as the runs before left it.

    conditions: the present ones. changed: Unix times of the changes within the last hour, s. said: the conditions of
    the last message. is_flapping: whether changes are not sent now.
    """

    conditions: tuple[str, ...] = ()
    changed: tuple[int, ...] = ()
    said: tuple[str, ...] = ()
    is_flapping: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """One row of a message."""

    slo: str
    change: Literal["begins", "recovered", "flaps"]
    text: str


def changes(
    before: Mapping[str, Remembered], states: Iterable[PromiseState], now: int, sentence: Callable[[PromiseState], str]
) -> tuple[dict[str, Remembered], list[Notice]]:
    """Return what to remember about each promise, and what to send: what begins first.

    before: by the names of promises. Promises that are not among the states are forgotten. now: Unix time, s.
    """
    after: dict[str, Remembered] = {}
    notices: list[Notice] = []
    for one in states:
        name = one.objective.name
        after[name], notice = _step(before.get(name, Remembered()), one, now, sentence(one))
        if notice is not None:
            notices.append(notice)
    order = ("begins", "flaps", "recovered")
    return after, sorted(notices, key=lambda one: (order.index(one.change), one.slo))


def _step(old: Remembered, one: PromiseState, now: int, text: str) -> tuple[Remembered, Notice | None]:
    name = one.objective.name
    conditions = _conditions(old, one)
    recent = tuple(at for at in old.changed if at > now - FLAPS_WITHIN_S)
    if conditions != old.conditions:
        recent = (*recent, now)
    new = replace(old, conditions=conditions, changed=recent)
    if old.is_flapping and recent:
        return new, None
    new = replace(new, is_flapping=False)
    if conditions == old.said:
        return new, None
    if len(recent) > MOST_CHANGES:
        new = replace(new, said=conditions, is_flapping=True)
        count = f"{name} changed {len(recent)} times within an hour"
        return new, Notice(
            name, "flaps", f"{count}; no further message until it stays the same for an hour. Now: {text}"
        )
    new = replace(new, said=conditions)
    if not conditions:
        return new, Notice(name, "recovered", f"recovered: {text}")
    begins = [condition for condition in conditions if condition not in old.said]
    # "Not kept" remains while the burn ends: no message, the worse condition was sent.
    return new, Notice(name, "begins", text) if begins else None


def _conditions(old: Remembered, one: PromiseState) -> tuple[str, ...]:
    """Return the conditions of a promise. Without a fact, the old ones stay."""
    burning = (BURNING,) if one.fires else ()
    if one.word == "kept":
        return burning
    if one.word == "not kept":
        return (NOT_KEPT, *burning)
    return tuple(dict.fromkeys((*old.conditions, *burning)))
