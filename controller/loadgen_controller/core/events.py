"""The events that happen to a run, and the effects that the conductor performs, as values for `lifecycle.step`.

The journal stores events by their class names, so these names must not change.
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
    """Why a run ends. The list is closed: every end of a run has one of these reasons."""

    FINISHED = "finished"
    """Every agent drove its share, and all data was merged or is counted as lost."""
    STOPPED = "stopped"
    """An operator stopped the run."""
    KILLED = "killed"
    """An operator stopped the run at once: running iterations do not drain, and the tear-down does not run."""
    SLO_BREACHED = "slo breached"
    """An objective with `abort=True` was missed while the run went on."""
    TARGET_IN_DANGER = "target in danger"
    """The condition of a probe's `stop_when` held for its time."""
    TOKENS_USED = "tokens used"
    """Requests to an AI model have used the plan's budget of tokens."""
    SATURATED = "saturated"
    """A level of a sweep was saturated, and its plan does not run the levels above such a level."""
    AGENT_LOST = "agent lost"
    """An agent was lost under load, and the operator wants such a run to end."""
    ERROR_FUSE = "error fuse"
    """Most requests failed for too long."""
    NOT_ALLOWED = "not allowed"
    """The allow-list permits none of the run's targets."""
    SCRIPT_FAULTS = "script faults"
    """The scenario raised an exception in too many iterations."""
    TOO_FEW_AGENTS = "too few agents"
    """Too few agents joined in time."""
    NOT_READY = "not ready"
    """Some agents did not prepare in time."""
    REFUSED = "refused"
    """An agent cannot take part: a bad bundle, an error in the scenario, a dead worker."""
    SET_UP_FAILED = "set-up failed"
    """The plan's set-up raised or took too long."""
    TEAR_DOWN_FAILED = "tear-down failed"
    """The plan's tear-down raised, took too long, or had no agent left to run it."""
    LOST_BEFORE_START = "agent lost before the start"
    """An agent was lost before the load started."""
    ALL_LOST = "all agents lost"
    """No agent is left, and none can come back in time."""
    OVERDUE = "overdue"
    """Some data had not arrived when the time to wait for it was over."""
    STORAGE_FAILED = "storage failed"
    """The run folder could not be written."""


@dataclass(frozen=True, slots=True)
class End:
    """One reason for which a run ends, with its details."""

    reason: Reason
    detail: str
    """The reason as a sentence for the operator."""
    agents: tuple[str, ...] = ()
    """The agents concerned, if any."""
    faults: tuple[Fault, ...] = ()
    """The errors in the scenario, if they are the reason."""


# -- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed.

    is_turn: the caller's loop starts a new turn. Shares are moved only then, so that all shares that became free
    during one turn are moved together.
    """

    now_ns: int
    is_turn: bool = True


@dataclass(frozen=True, slots=True)
class AgentJoined:
    """An agent is available: it registered as a new process, or it has become idle.

    is_new: it has just registered. Agents that another run released only go to runs that still wait for agents.
    """

    agent: str
    region: str
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class AgentReturned:
    """A lost agent is heard again, in the same epoch: only the connection was interrupted."""

    agent: str
    region: str


@dataclass(frozen=True, slots=True)
class AgentReady:
    """An agent has prepared its share."""

    agent: str


@dataclass(frozen=True, slots=True)
class AgentRefused:
    """An agent reported that it cannot take part, and why."""

    agent: str
    text: str
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentLost:
    """An agent was silent for too long, its process exited, or it came back as another process.

    free_ns: when its lease ends; before that it may still drive its share.
    is_silent: its silence is the only sign, so it may come back.
    """

    agent: str
    text: str
    free_ns: int = 0
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class AgentLeaving:
    """An agent leaves on its own and starts no more arrivals.

    at_ns: ns after T0. If not 0, the agent starts all arrivals that are due before, and other agents can take over
    the later ones without waiting for a lease to end. If 0, it has stopped already.
    """

    agent: str
    at_ns: int = 0


@dataclass(frozen=True, slots=True)
class FinReceived:
    """An agent's Fin arrived: it has ended its load."""

    agent: str
    text: str = ""
    """Why it ended early; empty if it did not."""


@dataclass(frozen=True, slots=True)
class Merged:
    """All deltas before the agent's Fin are durable and merged."""

    agent: str


@dataclass(frozen=True, slots=True)
class SetUpEnded:
    """The plan's set-up ended; `error` is empty if it succeeded."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class TearDownEnded:
    """The plan's tear-down ended; `error` is empty if it succeeded."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The run must end. now: cut off running iterations instead of draining."""

    text: str
    now: bool = False
    reason: Reason = Reason.STOPPED


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A load change moved the planned end of the run."""

    duration_ns: int | None
    """From T0 to the planned end; None if that is unknown because of a pause or a load that ends by count."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A restarted controller continues the run from its folder; agents may reconnect until `grace_until_ns`."""

    grace_until_ns: int


@dataclass(frozen=True, slots=True)
class StorageFailed:
    """The run folder could not be written."""

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
    """Send Prepare to `agents`."""

    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendSetUp:
    """Request the plan's set-up from one agent."""

    agent: str


@dataclass(frozen=True, slots=True)
class SendStart:
    """Send the start time T0 to `agents`."""

    agents: tuple[str, ...]
    t0_ns: int


@dataclass(frozen=True, slots=True)
class TakeIn:
    """Give late joiners (`agents`) a share of the load; the shares of `drivers` shrink accordingly."""

    agents: tuple[str, ...]
    drivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reassign:
    """Move the shares of `agents` to `drivers`.

    at_ns: the time of the change in ns after T0; 0 for as soon as possible.
    """

    agents: tuple[str, ...]
    drivers: tuple[str, ...]
    at_ns: int = 0


@dataclass(frozen=True, slots=True)
class SendStop:
    """Send Stop to `agents`. now: cut off running iterations."""

    agents: tuple[str, ...]
    text: str
    now: bool


@dataclass(frozen=True, slots=True)
class SendTearDown:
    """Request the plan's tear-down from one agent."""

    agent: str


@dataclass(frozen=True, slots=True)
class WindUp:
    """The run is done: seal its folder and release its agents."""


Effect = SendPrepare | SendSetUp | SendStart | Reassign | TakeIn | SendStop | SendTearDown | WindUp
