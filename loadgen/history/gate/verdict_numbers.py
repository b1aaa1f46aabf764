"""Numbers the verdicts of the gate in a history: G-88 is the 88th, by time."""

from __future__ import annotations

from typing import Final

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event

__all__ = ["VERDICTS", "numbered_verdicts"]

VERDICTS: Final = ("verdict", "new level")
"""The kinds of events that have a verdict."""


def numbered_verdicts(store: Store) -> list[tuple[str, Event]]:
    """Return the verdicts of the gate with their ids, such as ("G-88", event), oldest first.

    A damaged file keeps its number. It is named in `store.unreadable`.

    Raises:
        StorageError, CloudError: the history cannot be read.
    """
    return [(f"G-{number}", event) for number, event in store.numbered_events(*VERDICTS)]
