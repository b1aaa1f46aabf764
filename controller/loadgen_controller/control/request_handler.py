"""Carries out requests to pause, resume, scale, skip, stop or kill a run, in the same way for socket, API and page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from loadgen.errors import StorageError
from loadgen.measure.objectives.objective import time_text
from loadgen.units import NS_PER_S, format_count
from loadgen_controller.control.control_request import ControlReply, ControlRequest
from loadgen_controller.control.unix_socket import listening
from loadgen_controller.core.load_change_messages import Adjustment, LoadChange
from loadgen_controller.run.conductor import Conductor

__all__ = ["answer", "asked"]


@asynccontextmanager
async def asked(conductor: Conductor) -> AsyncIterator[None]:
    """Accept requests from other terminals of this machine inside the `with` block.

    If the socket cannot be created, the run continues without it and shows a notice.
    """
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(listening(conductor.run_dir, conductor.run_id, partial(answer, conductor)))
        except (OSError, StorageError) as error:
            conductor.notice(f"loadgen pause, stop and the like cannot reach this run: {error}")
        yield


def answer(conductor: Conductor, ask: ControlRequest, by: str) -> ControlReply:
    """Carry out a control request on the run, and return the reply that says what was done.

    by: who sent the request, for the journal: "root, process 4711".

    Raises:
        UsageError, FleetError: the request is invalid or impossible now, or an agent cannot carry it out.
    """
    ask.check()
    if ask.do == "kill":
        conductor.kill(f"killed by loadgen kill ({by})")
        return ControlReply(lines=(f"killed {conductor.run_id}: nothing more is sent",))
    if ask.do == "stop":
        conductor.request_stop(f"stopped by loadgen stop ({by})", ask.now)
        how = "at once" if ask.now else "draining; loadgen stop --now stops it at once"
        return ControlReply(lines=(f"stopping {conductor.run_id}: {how}",))
    change = LoadChange(ask.do, ask.load, ask.factor, ask.rate, ask.users, by)
    return ControlReply(lines=tuple(_lines(conductor, conductor.adjust(change))))


def _lines(conductor: Conductor, made: tuple[Adjustment, ...]) -> list[str]:
    """Return the lines of the reply to a load change: "paused 20260101-...

    at 0:31: 12,345 arrivals were due", then a line for each load.
    """
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
