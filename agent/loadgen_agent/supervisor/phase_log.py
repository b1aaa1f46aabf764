"""The line that an agent logs when its phase changes: which run, of which scenario, and what happens now. Pure."""

from __future__ import annotations

import msgspec

from loadgen.units import format_ratio
from loadgen.wire.messages import Prepare
from loadgen_agent.supervisor.lifecycle import Agent, Phase

__all__ = ["phase_text"]


class _Overrides(msgspec.Struct):
    target: str | None = None


def phase_text(before: Agent, after: Agent) -> str:
    """Return the line for the log of an agent whose phase has changed from that of `before` to that of `after`."""
    prepare = after.prepare or before.prepare
    run = f"run {prepare.run_id}: " if prepare is not None else ""
    match after.phase:
        case Phase.JOINING:
            return f"{run}registering at the controller again"
        case Phase.IDLE if before.phase is Phase.JOINING:
            return "registered at the controller; waiting for a run"
        case Phase.IDLE:
            return f"{run}the agent has left the run and waits for the next one"
        case Phase.FETCHING:
            return f"{run}fetching the scenario from the controller"
        case Phase.LOADING:
            return f"{run}the workers load the scenario"
        case Phase.READY:
            return f"ready for {run}{_what(prepare)}" if prepare is not None else "ready"
        case Phase.RUNNING:
            return f"{run}the load begins"
        case Phase.STOPPING:
            return f"{run}no more iterations are started{_because(after)}"
        case Phase.FINISHED:
            return f"{run}the load has ended{_because(after)}; delivering measurements"
        case Phase.GONE:
            return f"{run}the agent exits{_because(after)}"


def _because(agent: Agent) -> str:
    return f": {agent.reason}" if agent.reason else ""


def _what(prepare: Prepare) -> str:
    """Return "checkout.py, plan plan, target http://shop.test, 50.0 % of the load".

    The target is only known here if it was given for this run; otherwise it is in the plan, which the workers load.
    """
    parts = [prepare.scenario, f"plan {prepare.plan}"]
    try:
        target = msgspec.json.decode(prepare.overrides_json or b"{}", type=_Overrides).target
    except msgspec.MsgspecError:
        target = None  # the worker, which reads all of it, refuses it with a reason
    if target:
        parts.append(f"target {target}")
    if whole := sum(prepare.weights):
        parts.append(f"{format_ratio(prepare.weights[prepare.index] / whole)} of the load")
    return ", ".join(parts)
