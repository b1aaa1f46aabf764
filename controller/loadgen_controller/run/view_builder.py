"""Builds the live view of a run (`view.py`) from the state of its conductor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.terms import SloResult
from loadgen_controller.core.lifecycle import Run
from loadgen_controller.core.registry import Fleet
from loadgen_controller.core.run_request import Order
from loadgen_controller.core.run_state import RunRecord
from loadgen_controller.run.agent_view_rows import roster
from loadgen_controller.run.load_control import LoadControl
from loadgen_controller.run.view import AgentView, PointView, SteeringView, ViewState

__all__ = ["build_view"]


def build_view(
    run: Run,
    order: Order,
    record: RunRecord,
    load_control: LoadControl,
    merge: Merge,
    points: tuple[PointView, ...],
    *,
    fleet: Fleet,
    claimant: Callable[[str], str],
    expected: Mapping[str, str],
    run_dir: Path,
    now_ns: int,
    of_probes: tuple[SloResult, ...] = (),
    with_agents: bool = True,
) -> ViewState:
    """Return the state of the run at this moment, for the live view and the page. It copies no histogram.

    Args:
        points: the rendez-vous.
        claimant: returns the id of the run for which an agent works; empty if the agent is idle.
        expected: region by id, of the agents that this controller has started.
        of_probes: the results of the objectives on probes so far.
        with_agents: False leaves out the rows of agents once all agents have reported; before that, they are always
            made. For 1,000 agents they take most of the time.
    """
    with_agents = with_agents or merge.agent_count < max(1, len(run.members))
    agents = tuple(_rows(run, record, fleet, claimant, expected, now_ns)) if with_agents else ()
    return ViewState(
        run_id=record.run_id,
        phase=run.phase,
        clock_ns=0 if run.t0_ns is None else now_ns - run.t0_ns,
        spec=load_control.spec,
        merge=merge,
        agents=agents,
        live=frozenset(run.members).difference(run.lost, run.merged),
        agents_wanted=order.agents,
        is_embedded=order.placement == "embedded",
        run_dir=run_dir,
        notices=(*record.notices, *load_control.changes),
        is_paused=load_control.is_paused,
        steering=tuple(
            SteeringView(
                steered.name,
                steered.steering.executor,
                steered.rate_per_s,
                steered.why,
                steered.trouble,
                steered.is_over,
            )
            for steered in load_control.steered_loads.steered_loads
        ),
        points=points,
        of_probes=of_probes,
    )


def _rows(
    run: Run,
    record: RunRecord,
    fleet: Fleet,
    claimant: Callable[[str], str],
    expected: Mapping[str, str],
    now_ns: int,
) -> Iterator[AgentView]:
    shares = record.assignment.agents if record.assignment is not None else ()
    sharing = frozenset(shares)
    own = ("", record.run_id)  # idle agents and those of this run, but not those of another run
    members = {member.id: member for member in fleet if member.id in sharing or claimant(member.id) in own}
    return roster(run, members, shares, expected, record.lost, now_ns)
