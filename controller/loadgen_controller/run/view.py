"""What the conductor shows of a run that is going on; `live` turns it into figures and lines.

A `ViewState` is cheap to make (it copies no histogram) and is asked for four
times a second. It is read on the loop that merges, so nothing changes meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from loadgen.dsl.plans.spec import PlanSpec
    from loadgen.measure.merging.merge import Merge
    from loadgen_controller.core.lifecycle import Phase

__all__ = ["AgentState", "AgentView", "PointView", "SteeringView", "ViewState", "title"]

AgentState = Literal["expected", "registered", "preparing", "ready", "running", "draining", "finished", "lost"]


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent as the controller sees it. Its figures are in the merge, under its id."""

    id: str
    region: str
    state: AgentState
    silent_s: float = 0.0
    """Since its last message of any kind."""
    note: str = ""
    """Why it is lost or what it complains about; empty when all is well."""


@dataclass(frozen=True, slots=True)
class SteeringView:
    """A load whose rate follows what is seen."""

    load: str
    """Its name; empty where the plan gives none."""
    executor: str
    rate_per_s: float
    why: str
    trouble: str
    """Why there is no decision at the moment; empty when there is one."""
    is_over: bool


@dataclass(frozen=True, slots=True)
class PointView:
    """A rendez-vous of one of the plan's loads."""

    load: str
    """Its name; empty where the plan gives none."""
    name: str
    waiting: int
    users: int
    """How many make a group."""
    groups: int
    """How many have gone on."""


@dataclass(frozen=True, slots=True)
class ViewState:
    """A run at one instant."""

    run_id: str
    phase: Phase
    clock_ns: int
    """On the run's clock: 0 = T0, negative while the start is being waited for."""
    spec: PlanSpec
    """With its loads as they are now, where they were changed."""
    merge: Merge
    agents: tuple[AgentView, ...]
    """Those that take part, in the order of their indices; also the lost ones."""
    agents_wanted: int
    """How many the run waits for before it starts."""
    is_embedded: bool = True
    """Regions are simulated: all agents are on this machine."""
    run_dir: Path | None = None
    notices: tuple[str, ...] = ()
    """What a person should know now, newest last: an agent was lost, a line blocked the loop."""
    stop_reason: str = ""
    is_paused: bool = False
    """Somebody paused the load, all of it."""
    steering: tuple[SteeringView, ...] = ()
    points: tuple[PointView, ...] = ()


def title(spec: PlanSpec) -> str:
    """ "checkout", or "checkout:spike" where the plan has a name of its own."""
    scenario = spec.scenario.removesuffix(".py")
    return scenario if spec.name in ("", "plan") else f"{scenario}:{spec.name}"
