"""Where each agent of a run stands, for who watches it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from loadgen_controller.core.lifecycle import Phase, Run
from loadgen_controller.core.registry import Member
from loadgen_controller.run.view import AgentState, AgentView

__all__ = ["roster"]


def roster(
    run: Run,
    members: Mapping[str, Member],
    shares: Sequence[str],
    expected: Mapping[str, str],
    lost: Mapping[str, str],
    now_ns: int,
) -> Iterator[AgentView]:
    """Those that have a share; before anybody has, those that are here or will be.

    Args:
        members: who is registered, by id, and does not work for another run.
        shares: who has a share, in order.
        expected: region by id of the agents that this controller has started.
        lost: why an agent is lost.
    """
    for agent in shares or dict.fromkeys((*expected, *sorted(members))):
        member = members.get(agent)
        region = member.region if member is not None else expected[agent]
        note = lost.get(agent, "") if agent in run.lost else ""
        silent_s = member.silent_s(now_ns) if member is not None else 0.0
        yield AgentView(agent, region, _state(run, agent, member is not None), silent_s, note)


def _state(run: Run, agent: str, is_here: bool) -> AgentState:
    if not is_here:
        return "expected"
    if agent in run.lost:
        return "lost"
    if agent in run.merged:
        return "finished"
    match run.phase:
        case Phase.WAITING:
            return "registered"
        case Phase.PREPARING:
            return "ready" if agent in run.ready else "preparing"
        case Phase.SETTING_UP | Phase.STARTING:
            return "ready"
        case Phase.RUNNING:
            return "running"
        case Phase.DRAINING | Phase.FINISHING:
            return "draining"
    return "finished"
