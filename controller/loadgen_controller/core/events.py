"""What happens to a run, and what is to be done about it: the events and effects of `run.step`, as values.

Events stand in the journal by their names, so those names do not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from loadgen.errors import Fault

__all__ = [
    "Adjusted",
    "AgentJoined",
    "AgentLeaving",
    "AgentLost",
    "AgentReady",
    "AgentRefused",
    "AgentReturned",
    "Effect",
    "End",
    "Event",
    "FinReceived",
    "Merged",
    "Reason",
    "Reassign",
    "Resumed",
    "SendPrepare",
    "SendSetUp",
    "SendStart",
    "SendStop",
    "SendTearDown",
    "SetUpEnded",
    "StopRequested",
    "StorageFailed",
    "TakeIn",
    "TearDownEnded",
    "Tick",
    "WindUp",
]


class Reason(Enum):
    """Why a run ends. Closed: whatever else happens is one of these."""

    FINISHED = "finished"
    """Every agent did its share and all of it was merged, or is accounted for as lost."""
    STOPPED = "stopped"
    """Somebody asked for it."""
    KILLED = "killed"
    """Somebody wanted nothing more to be sent: nothing drains, and nothing is torn down."""
    SLO_BREACHED = "slo breached"
    """An objective that says so (`abort=True`) was broken while the run went on."""
    AGENT_LOST = "agent lost"
    """Under load, and the run was to end then: a figure of fewer agents is of no use to who started it."""
    ERROR_FUSE = "error fuse"
    """Most requests failed for too long."""
    NOT_ALLOWED = "not allowed"
    """The allow-list lets nothing of it through."""
    SCRIPT_FAULTS = "script faults"
    """The scenario raised in too many iterations."""
    TOO_FEW_AGENTS = "too few agents"
    NOT_READY = "not ready"
    REFUSED = "refused"
    """An agent cannot take part: bundle, faults of the scenario, a dead worker."""
    SET_UP_FAILED = "set-up failed"
    TEAR_DOWN_FAILED = "tear-down failed"
    LOST_BEFORE_START = "agent lost before the start"
    ALL_LOST = "all agents lost"
    OVERDUE = "overdue"
    """Agents still owed data when the time for it was over."""
    STORAGE_FAILED = "storage failed"


@dataclass(frozen=True, slots=True)
class End:
    reason: Reason
    detail: str
    """A plain sentence for people."""
    agents: tuple[str, ...] = ()
    """Whom it is about, where it is about agents."""
    faults: tuple[Fault, ...] = ()


# -- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """The time.

    is_turn: a turn of the caller's loop begins. Shares are moved then, all that became free in the last one together.
    """

    now_ns: int
    is_turn: bool = True


@dataclass(frozen=True, slots=True)
class AgentJoined:
    """An agent registered, with an epoch of its own; or it is idle and could be had.

    is_new: it has just come. Agents that another run lets go are left to the runs that still wait for theirs.
    """

    agent: str
    region: str
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class AgentReturned:
    """An agent that was lost is heard again, in the same epoch: it never stopped, we only did not hear it."""

    agent: str
    region: str


@dataclass(frozen=True, slots=True)
class AgentReady:
    agent: str


@dataclass(frozen=True, slots=True)
class AgentRefused:
    agent: str
    text: str
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentLost:
    """Silent for too long, its process exited, or it came back as another process.

    free_ns: before this it may still drive its share: its lease is not over.
    is_silent: all that is known is that it is not heard: it may come back.
    """

    agent: str
    text: str
    free_ns: int = 0
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class AgentLeaving:
    """It starts nothing more, and nobody has asked it for that.

    at_ns: after T0; not 0: it starts all that is due before. What is due from then on can be another's, whoever hears
    of it when.
    """

    agent: str
    at_ns: int = 0


@dataclass(frozen=True, slots=True)
class FinReceived:
    agent: str
    text: str = ""
    """Not empty: it ended early, and why."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Everything up to the agent's Fin is durable and merged."""

    agent: str


@dataclass(frozen=True, slots=True)
class SetUpEnded:
    error: str = ""


@dataclass(frozen=True, slots=True)
class TearDownEnded:
    error: str = ""


@dataclass(frozen=True, slots=True)
class StopRequested:
    text: str
    now: bool = False
    reason: Reason = Reason.STOPPED


@dataclass(frozen=True, slots=True)
class Adjusted:
    """The load was changed, and with it the planned end."""

    duration_ns: int | None
    """From T0; None while it is not known: a pause, or a load that ends by count."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The controller was started anew, and took the run up from its folder."""

    grace_until_ns: int


@dataclass(frozen=True, slots=True)
class StorageFailed:
    text: str


Event = (
    Tick
    | AgentJoined
    | AgentReturned
    | AgentReady
    | AgentRefused
    | AgentLost
    | AgentLeaving
    | FinReceived
    | Merged
    | SetUpEnded
    | TearDownEnded
    | StopRequested
    | Adjusted
    | Resumed
    | StorageFailed
)


# -- effects -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendPrepare:
    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendSetUp:
    agent: str


@dataclass(frozen=True, slots=True)
class SendStart:
    agents: tuple[str, ...]
    t0_ns: int


@dataclass(frozen=True, slots=True)
class TakeIn:
    """`agents` get their part of the load; `drivers` have as much less."""

    agents: tuple[str, ...]
    drivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reassign:
    """What `agents` had of the load is driven by `drivers`.

    at_ns: from so long after T0 on; 0: from as soon as can be.
    """

    agents: tuple[str, ...]
    drivers: tuple[str, ...]
    at_ns: int = 0


@dataclass(frozen=True, slots=True)
class SendStop:
    agents: tuple[str, ...]
    text: str
    now: bool


@dataclass(frozen=True, slots=True)
class SendTearDown:
    agent: str


@dataclass(frozen=True, slots=True)
class WindUp:
    """The run is done: seal the folder and let everybody go."""


Effect = SendPrepare | SendSetUp | SendStart | Reassign | TakeIn | SendStop | SendTearDown | WindUp
