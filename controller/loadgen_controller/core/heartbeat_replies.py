"""Decides what to send or to do when an agent's heartbeat shows that it has missed something.

Messages can be lost with a connection. So the controller repeats them whenever the phase
in a heartbeat does not fit the phase of the run; agents ignore repetitions. Pure: a run
and a heartbeat in, reactions out.
"""

from __future__ import annotations

from dataclasses import dataclass

from loadgen.wire.messages import Heartbeat
from loadgen_controller.core.events import AgentLeaving
from loadgen_controller.core.lifecycle import Phase, Run

__all__ = ["Reaction", "RepeatLoad", "RepeatPrepare", "RepeatStop", "reactions"]


@dataclass(frozen=True, slots=True)
class RepeatPrepare:
    """Send Prepare again."""


@dataclass(frozen=True, slots=True)
class RepeatLoad:
    """Send the start or the load changes that the agent has missed; load control knows which."""


@dataclass(frozen=True, slots=True)
class RepeatStop:
    """Send Stop again. now: cut off running iterations."""

    text: str
    now: bool


Reaction = RepeatPrepare | RepeatLoad | RepeatStop | AgentLeaving
"""A message to repeat, or the event that the agent leaves on its own."""


def reactions(run: Run, agent: str, heartbeat: Heartbeat, *, is_live: bool) -> tuple[Reaction, ...]:
    """HOT, once per heartbeat. Return the reactions to a heartbeat, in the order in which to perform them.

    agent's phase  | run                       | reaction
    idle, ready    | the agent is joining      | RepeatPrepare, nothing else
    any            | not live, or a joiner     | nothing
    any            | any                       | RepeatLoad first, and then at most one of:
    any, leaves    | under load                | AgentLeaving at the announced time
    idle           | preparing                 | RepeatPrepare
    stopping       | running                   | AgentLeaving now
    running        | finishing                 | RepeatStop, now
    running        | draining because of a stop| RepeatStop

    is_live: whether the agent is in `run.live`. The caller passes it, because a search there takes too long for each
        heartbeat of each agent.
    """
    phase = heartbeat.phase
    is_joining = agent in run.joining
    if is_joining or not is_live or agent in run.arrived:
        return (RepeatPrepare(),) if is_joining and phase in ("idle", "ready") else ()
    # `run.drivers` costs as much as there are agents, so it is the last condition.
    if heartbeat.leaves_ns > 0 and run.phase.has_load and not run.ends and agent in run.drivers:
        return RepeatLoad(), AgentLeaving(agent, heartbeat.leaves_ns)
    if phase == "idle" and run.phase is Phase.PREPARING:
        return RepeatLoad(), RepeatPrepare()
    if phase == "stopping" and run.phase is Phase.RUNNING and not run.ends and agent in run.drivers:
        return RepeatLoad(), AgentLeaving(agent)
    if phase == "running" and (run.phase is Phase.FINISHING or (run.phase is Phase.DRAINING and run.ends)):
        text = run.ends[-1].detail if run.ends else "the run is over"
        return RepeatLoad(), RepeatStop(text, run.phase is Phase.FINISHING)
    return (RepeatLoad(),)
