"""Rebuilds the state of a run from the events in its journal.

The conductor writes a line for every event that changed the run, with its time.
Ticks that changed only the time are left out, because every line has its own time.
Replaying the lines through `lifecycle.step` gives exactly the state that the
conductor had, on any machine. So one can also find out step by step why a run stopped.

Pure: lines in, a state out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, get_args

import msgspec

from loadgen.errors import StorageError
from loadgen_controller.core.events import Event, FinReceived, Tick
from loadgen_controller.core.lifecycle import Run, Terms, step

__all__ = ["BEGUN", "HAPPENED", "begun", "happened", "replay"]

BEGUN: Final = "begun"
HAPPENED: Final = "event"
"""The kinds of lines in events.jsonl that hold the start of a run and one event."""

_EVENTS: Final[Mapping[str, Any]] = {kind.__name__: kind for kind in get_args(Event)}


def begun(run: Run) -> dict[str, object]:
    """Return the fields of the first line about a run in the journal: its terms and its start time."""
    return {"terms": run.terms, "now_ns": run.now_ns}


def happened(before: Run, event: Event, after: Run) -> dict[str, object] | None:
    """Return the fields of the journal's line for an event, or None if nothing must be recorded.

    None: a tick or a repeated Fin that changed only the time.
    """
    if isinstance(event, (Tick, FinReceived)) and replace(before, now_ns=after.now_ns) == after:
        return None
    return {"name": type(event).__name__, "event": event, "phase": before.phase.value, "now_ns": after.now_ns}


def replay(lines: Iterable[Mapping[str, object]]) -> Run:
    """Return the state of a run after all events in `lines`; other kinds of lines are ignored.

    Raises:
        StorageError: the start of the run is missing, or another version of loadgen wrote the lines.
    """
    run: Run | None = None
    for line in lines:
        match line.get("kind"):
            case kind if kind == BEGUN and run is None:
                run = _begun(line)
            case kind if kind == HAPPENED and run is not None:
                event, now_ns = _event(line), line.get("now_ns")
                if not isinstance(event, Tick) and isinstance(now_ns, int):
                    run = replace(run, now_ns=max(run.now_ns, now_ns))  # the effect of ticks that were not recorded
                run, _ = step(run, event)
    if run is None:
        raise StorageError(
            "events.jsonl: the line with the start of the run is missing",
            hint="use the version of loadgen that made the run",
        )
    return run


def _begun(line: Mapping[str, object]) -> Run:
    try:
        terms, now_ns = msgspec.convert(line.get("terms"), Terms), msgspec.convert(line.get("now_ns"), int)
    except msgspec.ValidationError as error:
        raise StorageError(
            f"events.jsonl: the line with the start of the run is invalid: {error}",
            hint="use the version of loadgen that made the run",
        ) from error
    return Run.begin(terms, now_ns)


def _event(line: Mapping[str, object]) -> Event:
    kind = _EVENTS.get(str(line.get("name")))
    if kind is None:
        raise StorageError(
            f"events.jsonl: unknown event {line.get('name')}", hint="use the version of loadgen that made the run"
        )
    try:
        event: Event = msgspec.convert(line.get("event"), kind)
    except msgspec.ValidationError as error:
        raise StorageError(
            f"events.jsonl: invalid event {line.get('name')}: {error}",
            hint="use the version of loadgen that made the run",
        ) from error
    return event
