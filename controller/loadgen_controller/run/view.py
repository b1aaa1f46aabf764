"""The live view of a run, as values. The package `live` renders it as figures and lines.

A `ViewState` is cheap to create, because it copies no histogram; four are created per
second. It must be read on the event loop that merges, so that nothing changes meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from loadgen.dsl.plans.spec import PlanSpec
    from loadgen.measure.merging.merge import Merge
    from loadgen.measure.objectives.terms import SloResult
    from loadgen_controller.core.lifecycle import Phase

__all__ = ["AgentState", "AgentView", "PointView", "SteeringView", "ViewState", "title"]

AgentState = Literal["expected", "registered", "preparing", "ready", "running", "draining", "finished", "lost"]


@dataclass(frozen=True, slots=True)
class AgentView:
    """The state of one agent in the controller. Its figures are in the merge, under its id."""

    id: str
    region: str
    state: AgentState
    silent_s: float = 0.0
    """The time since its last message of any kind, in seconds."""
    note: str = ""
    """Why it is lost; empty otherwise."""


@dataclass(frozen=True, slots=True)
class SteeringView:
    """The state of a steered load. Rates are iterations/s."""

    load: str
    """The load's name; empty if it has none in the plan."""
    executor: str
    rate_per_s: float
    why: str
    trouble: str
    """Why no decision can be made at the moment; empty when nothing is wrong."""
    is_over: bool


@dataclass(frozen=True, slots=True)
class PointView:
    """The state of a rendez-vous of one load."""

    load: str
    """The load's name; empty if it has none in the plan."""
    name: str
    waiting: int
    """Users that wait now."""
    users: int
    """The size of a group."""
    groups: int
    """The number of groups that were released."""


@dataclass(frozen=True, slots=True)
class ViewState:
    """The state of a run at one moment."""

    run_id: str
    phase: Phase
    clock_ns: int
    """The time after T0 in ns; negative before T0, and 0 before T0 is fixed."""
    spec: PlanSpec
    """The plan with all load changes so far."""
    merge: Merge
    agents: tuple[AgentView, ...]
    """The agents that take part, also lost ones, in the order of their indices; empty if the
    caller asked for no rows and all agents have reported."""
    live: frozenset[str]
    """The names of agents that are not lost and still report."""
    agents_wanted: int
    """The number of agents for which the run waits before it starts."""
    is_embedded: bool = True
    """Whether all agents are on this machine, so that regions are simulated."""
    run_dir: Path | None = None
    notices: tuple[str, ...] = ()
    """Notices for the operator, newest last: an agent was lost, a line of the scenario blocked the loop."""
    is_paused: bool = False
    """Whether all loads that are not over are paused."""
    steering: tuple[SteeringView, ...] = ()
    points: tuple[PointView, ...] = ()
    of_probes: tuple[SloResult, ...] = ()
    """The objectives on probes so far."""


def title(spec: PlanSpec) -> str:
    """Return the run's title: the scenario's name, and the plan's if it has one: "checkout", "checkout:spike"."""
    scenario = spec.scenario.removesuffix(".py")
    return scenario if spec.name in ("", "plan") else f"{scenario}:{spec.name}"
