"""Turns the decision of a gate into an event for notifications. Pure, except for the time."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import Final

from loadgen.dsl.secret import secret_values
from loadgen.history.gate.gate_result import Decision
from loadgen.notify.event import Event, EventKind, Figure
from loadgen.units import format_change
from loadgen_controller.commands.gating.text import headline
from loadgen_controller.notifying.run_events import now

__all__ = ["gate_event"]

_FIGURES: Final = 3


def gate_event(decision: Decision) -> Event:
    """Return the event of a decision: verdict, the three largest slow-downs with their numbers of runs, and reasons."""
    first = decision.new[0] if decision.new else None
    return Event.of(
        EventKind.GATE,
        f"gate of {first.key.target}" if first is not None else "gate",
        headline(decision).rstrip("."),
        now(),
        run=first.run_id if first is not None and len(decision.new) == 1 else "",
        result=str(decision.verdict),
        exit_code=decision.verdict.exit_code,
        figures=_figures(decision),
        reasons=(*decision.reasons, *decision.warnings),
        secrets=secret_values().values(),
    )


def _figures(decision: Decision) -> Iterator[Figure]:
    tested = [one for one in decision.compared if not isnan(one.change)]
    for one in sorted(tested, key=lambda one: -one.change)[:_FIGURES]:
        name = f"{decision.settings.percentile} of {one.name}"
        yield Figure(name, format_change(one.change), one.new, f"new runs, against {one.history}")
