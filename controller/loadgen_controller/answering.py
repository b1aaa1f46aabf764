"""What a run answers when it is asked to pause, resume, scale, skip or stop."""

from __future__ import annotations

from loadgen.measure.objective import time_text
from loadgen.units import NS_PER_S, format_count
from loadgen_controller.adjusting import Adjustment, Wish
from loadgen_controller.conductor import Conductor
from loadgen_controller.control import Ask, Told

__all__ = ["answer"]


def answer(conductor: Conductor, asked: Ask, by: str) -> Told:
    """Do it, and say what was done.

    Raises:
        UsageError, FleetError: it makes no sense now, or an agent cannot be told.
    """
    if asked.do == "stop":
        conductor.request_stop(f"stopped by loadgen stop ({by})", asked.now)
        how = "at once" if asked.now else "draining; loadgen stop --now stops it at once"
        return Told(lines=(f"stopping {conductor.run_id}: {how}",))
    wish = Wish(asked.do, asked.load, asked.factor, asked.rate, asked.users, by)
    return Told(lines=tuple(_lines(conductor, conductor.adjust(wish))))


def _lines(conductor: Conductor, made: tuple[Adjustment, ...]) -> list[str]:
    """ "paused 20260101-...: at 0:31, 12,345 arrivals were due"; of several loads a line for each below it."""
    first = made[0]
    at = time_text(first.at_ns / NS_PER_S)
    due = conductor.due_before(first.at_ns)
    verb = {"pause": "paused", "resume": "resumed", "scale": "scaled", "skip": "skipped a stage of"}.get(first.kind, "")
    line = f"{verb} {conductor.run_id} at {at}"
    if due is not None:
        line += f": {format_count(due)} arrivals were due"
    lines = [line]
    if len(made) > 1 or first.load or first.kind not in ("pause", "resume"):
        lines += [f"  load {one.load}: {one.text}" if one.load else f"  {one.text}" for one in made]
    end_ns = conductor.end_ns
    if end_ns is not None:
        lines.append(f"  it ends at {time_text(end_ns / NS_PER_S)}")
    elif first.kind == "pause":
        lines.append("  it has no end until it is resumed")
    return lines
