"""The state of each agent of a run, as rows of the live view."""

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
    """Yield a row for each agent with a share; before shares exist, for each agent that is registered or expected.

    Args:
        members: registered agents by id, without those that work for another run.
        shares: the agents with a share, in order.
        expected: region by id, of the agents that this controller has started.
        lost: for each lost agent, why it is lost.
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
