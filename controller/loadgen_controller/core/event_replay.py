"""A run's state told again from its events: the journal holds all that `run.step` was ever given.

Pure: lines in, a state out. The conductor writes a line for whatever changed the
run, with the time at which it did; ticks that changed nothing but the time are
left out, since each line has its own. So replaying a journal comes to the very
state that the conductor had, on whatever machine, and what one cannot see from
outside (why did it stop?) can be looked at step by step.
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
"""Kinds of lines in events.jsonl."""

_EVENTS: Final[Mapping[str, Any]] = {kind.__name__: kind for kind in get_args(Event)}


def begun(run: Run) -> dict[str, object]:
    """The fields of the first line."""
    return {"terms": run.terms, "now_ns": run.now_ns}


def happened(before: Run, event: Event, after: Run) -> dict[str, object] | None:
    """The fields of an event's line; None: it changed nothing but the time, as ticks and what is said again do."""
    if isinstance(event, (Tick, FinReceived)) and replace(before, now_ns=after.now_ns) == after:
        return None
    return {"name": type(event).__name__, "event": event, "phase": before.phase.value, "now_ns": after.now_ns}


def replay(lines: Iterable[Mapping[str, object]]) -> Run:
    """The state that a run's events came to; other lines of events.jsonl are passed over.

    Raises:
        StorageError: they do not begin a run, or are of another version.
    """
    run: Run | None = None
    for line in lines:
        match line.get("kind"):
            case kind if kind == BEGUN and run is None:
                run = _begun(line)
            case kind if kind == HAPPENED and run is not None:
                event, now_ns = _event(line), line.get("now_ns")
                if not isinstance(event, Tick) and isinstance(now_ns, int):
                    run = replace(run, now_ns=max(run.now_ns, now_ns))  # what a tick that is not here did
                run, _ = step(run, event)
    if run is None:
        raise StorageError("events.jsonl does not say how the run began", hint="was it made by an older loadgen?")
    return run


def _begun(line: Mapping[str, object]) -> Run:
    try:
        terms, now_ns = msgspec.convert(line.get("terms"), Terms), msgspec.convert(line.get("now_ns"), int)
    except msgspec.ValidationError as error:
        raise StorageError(f"events.jsonl: the run's beginning cannot be read: {error}") from error
    return Run.begin(terms, now_ns)


def _event(line: Mapping[str, object]) -> Event:
    kind = _EVENTS.get(str(line.get("name")))
    if kind is None:
        raise StorageError(f"events.jsonl: no event is called {line.get('name')}", hint="use the loadgen that made it")
    try:
        event: Event = msgspec.convert(line.get("event"), kind)
    except msgspec.ValidationError as error:
        raise StorageError(f"events.jsonl: {line.get('name')} cannot be read: {error}") from error
    return event
