"""The messages between controller, agents and workers, as frozen values.

Every message between processes is one of these classes. `wire/codec.py` encodes and decodes them. Times
named `*_ns` are on the monotonic clock of the side that the field's text names.

    agent -> controller   Hello, ClockPing, BundleRequest, Ready, Refused, SetUpDone, Heartbeat, Delta, Waiting,
                          Steered, Fin, TornDown
    controller -> agent   Welcome, Rejected, Nack, ClockPong, Prepare, BundleChunk, SetUp, StartAt, Adjust, Reassign,
                          ReleaseAt, Steer, Ack, Stop, TearDown, Bye
    supervisor <-> worker the same Prepare, Ready, Refused, SetUp, SetUpDone, StartAt, Adjust, Reassign, Delta,
                          Heartbeat, Waiting, ReleaseAt, Steer, Steered, Stop, Fin, TearDown, TornDown over an inherited
                          socketpair
"""

from __future__ import annotations

from dataclasses import dataclass, field

from loadgen.errors import Fault
from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.deltas.load_counts import Ending
from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen.measure.objectives.steering_observation import Look
from loadgen.profiles.stage import Stage

__all__ = [
    "ADJUSTABLE_MINOR",
    "BEATS_MINOR",
    "CHUNK_BYTES",
    "COUNTED_MINOR",
    "FROM_AGENTS",
    "GUARDED_MINOR",
    "LOADS_MINOR",
    "OBJECTIVES_MINOR",
    "PROTOCOL_MAJOR",
    "PROTOCOL_MINOR",
    "REASSIGNABLE_MINOR",
    "ROWS_MINOR",
    "SIGNED_MINOR",
    "STEERED_MINOR",
    "STREAMS_MINOR",
    "Ack",
    "Adjust",
    "BundleChunk",
    "BundleRequest",
    "Bye",
    "ClockPing",
    "ClockPong",
    "Delta",
    "Fin",
    "Heartbeat",
    "Hello",
    "Message",
    "Nack",
    "Prepare",
    "Ready",
    "Reassign",
    "Refused",
    "Rejected",
    "ReleaseAt",
    "SetUp",
    "SetUpDone",
    "StartAt",
    "Steer",
    "Steered",
    "Stop",
    "TearDown",
    "TornDown",
    "Waiting",
    "WaitingAt",
    "Welcome",
]

PROTOCOL_MAJOR = 1
"""Peers with another major version are rejected. A controller reads messages of its own minor and of older ones."""
PROTOCOL_MINOR = 13
ADJUSTABLE_MINOR = 2
"""The first minor version whose agents follow Adjust."""
GUARDED_MINOR = 3
"""The first minor version whose agents check the allow-list."""
REASSIGNABLE_MINOR = 3
"""The first minor version whose agents follow Reassign."""
COUNTED_MINOR = 4
"""The first minor version whose agents count iterations by load and send why their share ended."""
SIGNED_MINOR = 4
"""The first minor version whose agents check a run's signed statement; older ones check the bundle's signed hash."""
LOADS_MINOR = 5
"""The first minor version whose agents follow `--load`; older ones would drive all loads of the plan."""
OBJECTIVES_MINOR = 5
"""The first minor version whose agents count objectives on any metric, and mark custom metrics of the warm-up."""
STREAMS_MINOR = 6
"""The first minor version whose agents time the tokens of AI models; older ones do not know `user.llm`."""
STEERED_MINOR = 9
"""The first minor version whose agents replace a load by a search or a constant rate; older ones drive the plan's."""
BEATS_MINOR = 10
"""The first minor version whose controllers read heartbeats within deltas, and answer them with acknowledgements."""
ROWS_MINOR = 13
"""The first minor version whose controllers read deltas as rows (`loadgen/wire/delta_rows.py`)."""
CHUNK_BYTES = 64 * 1024
"""Length of each BundleChunk, except for a shorter last one."""


@dataclass(frozen=True, slots=True)
class Hello:
    """An agent registers with the controller, also after each reconnection."""

    agent: str
    region: str
    major: int
    minor: int
    pid: int
    host: str
    cpus: int
    weight: float = 1.0
    """Relative capacity among the agents of its region: its number of workers."""
    epoch: int = -1
    """The agent's present epoch when it registers again; -1 for a new process."""
    instance_type: str = ""
    """EC2 instance type such as "c7i.xlarge"; empty outside of EC2, and from older agents."""
    python: str = ""
    """The build of the Python that runs the agent and its workers ("CPython 3.13.5 with PGO and LTO"); empty from
    older agents."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The controller accepts the agent; `epoch` counts the processes of this agent name."""

    epoch: int
    lease_s: float
    run_id: str = ""
    """The controller's run with this agent. An agent that is busy with another run drops that run."""
    minor: int = 0
    """The minor version of the controller's protocol; 0 from controllers before 1.10."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The controller does not accept the agent, with the reason (another major version, another key for the id)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Nack:
    """A message of the agent was invalid, with the reason. After too many of them the agent is in quarantine."""

    reason: str


@dataclass(frozen=True, slots=True)
class ClockPing:
    """The agent asks for the controller's clock, to measure the offset."""

    agent_ns: int


@dataclass(frozen=True, slots=True)
class ClockPong:
    """The answer to a ClockPing or a heartbeat: the time from it, and the controller's clock."""

    agent_ns: int
    controller_ns: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """The order to prepare a run: fetch the bundle, load the plan and compute the share."""

    run_id: str
    generation: int
    bundle_sha256: str
    bundle_bytes: int
    scenario: str
    """Path of the scenario file within the bundle."""
    plan: str
    overrides_json: bytes
    """`loadgen.dsl.plans.spec.Overrides` as JSON: target, peak, duration, regions, params."""
    seed: int
    index: int
    """Index of this agent in `weights`."""
    weights: tuple[float, ...]
    """Relative shares of all agents, by index; they need not sum to 1."""
    interval_ns: int
    bundle_dir: str = ""
    """Supervisor to worker only: the folder of the unpacked bundle."""
    worker: int = 0
    """Supervisor to worker only: number of the worker slot."""
    workers: int = 1
    """Supervisor to worker only: number of the agent's workers."""
    life: int = 0
    """Supervisor to worker only: number of earlier processes of this slot."""
    digests: tuple[str, ...] = ()
    """Digest of each load's own arrival times, as computed where the run was launched
    (`loadgen.profiles.given_arrival_times.digest_of`); "" for a load without own times. A worker with another digest
    refuses."""
    allow_json: bytes = b""
    """Allowed targets: `loadgen.allowlist.AllowList` as JSON. Empty: the run needs no allow-list."""
    control_plane: tuple[str, ...] = ()
    """HOST:PORT of the controller's sockets, which are never targets. An agent adds the address that it connects to."""
    signature: bytes = b""
    """Signature of `statement` by the operator's signing key; empty for an unsigned run."""
    statement: bytes = b""
    """The signed statement of the run (`loadgen.signed.launch_statement.Statement`); empty for an unsigned run."""


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """The agent requests one chunk of a bundle."""

    sha256: str
    offset: int


@dataclass(frozen=True, slots=True)
class BundleChunk:
    """The controller sends one chunk of a bundle."""

    sha256: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ready:
    """The agent or worker is ready to start its share."""

    run_id: str
    generation: int
    bundle_sha256: str
    clock_error_ns: int = 0
    """Largest possible error of the agent's clock offset: half of the shortest round trip."""
    left_out: str = ""
    """Worker to supervisor only: the part of the share that a replacement cannot continue, and why; else empty."""
    busy_wait_ns: int = 0
    """The longest busy wait, as the worker measured it; of an agent, the longest of its workers. 0: no busy waiting, or
    an agent of an older version."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The agent cannot take part, with the reason: the bundle, errors in the scenario, or a dead worker."""

    run_id: str
    reason: str
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class SetUp:
    """The order to one agent, before the start, to run the plan's set-up once."""

    run_id: str


@dataclass(frozen=True, slots=True)
class SetUpDone:
    """The set-up has ended, with its value as JSON."""

    run_id: str
    value_json: bytes
    error: str = ""
    """File, line and text of the exception that the set-up raised; empty if it succeeded."""


@dataclass(frozen=True, slots=True)
class StartAt:
    """The start of the load at T0. From controller to agent T0 is on the controller's clock, then on the agent's."""

    run_id: str
    t0_ns: int
    shared_json: bytes = b"null"
    """The value of the plan's set-up, for `user.shared`."""
    from_ns: int = 0
    """Time after T0 from which to take part in a running load; 0 for the whole load."""
    since_ns: int = 0
    """Time after T0 since which the share belongs to the receiver; 0 for `from_ns`. Arrivals that were due between it
    and `from_ns` count as missed."""


@dataclass(frozen=True, slots=True)
class Adjust:
    """A load change in a running run: from `at_ns` after T0 on, load `load` follows these stages.

    Arrivals keep their numbers and only their due times change, so each is started once, whenever an agent receives
    the change. A receiver follows a change only directly after the change `number - 1`. So the controller can repeat
    changes, and none is followed twice or out of order.
    """

    run_id: str
    number: int
    """Number of the change within the run, from 1. Adjust and Reassign share the numbers."""
    load: int
    """Index of the load within the plan."""
    at_ns: int
    """Time after T0; not before the load's beginning, nor before the load's previous change."""
    stages: tuple[Stage, ...]
    """Stages of rate, users or speed, as in the load's profile. Empty: the load ends at `at_ns`."""


@dataclass(frozen=True, slots=True)
class Reassign:
    """A share change in a running run: from `at_ns` after T0 on, the agents have these weights (`share_changes.py`).

    Adjusts and Reassigns of a run share their numbers, and agents follow them in that order.
    """

    run_id: str
    number: int
    """Number of the change within the run, from 1."""
    generation: int
    """Generation of the shares, from 2; the shares of Prepare are the first."""
    at_ns: int
    weights: tuple[float, ...]
    """Weights by index of all agents that ever took part; 0 for lost ones. Users that cannot move to another agent
    stay with a lost agent and are not driven."""


@dataclass(frozen=True, slots=True)
class Steer:
    """The request for the next rate of a steered load, to one worker of one agent, with new observations.

    A worker that misses observations before `first` answers with its number of observations, and gets the rest.
    """

    run_id: str
    load: int
    """Index of the load within the plan."""
    first: int
    """Index of the first observation in `looks`, counted from the load's beginning."""
    count: int
    """Number of all observations so far. The decision must be based on all of them."""
    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True)
class Steered:
    """A rate decision of the load's executor after `known` observations.

    Without rate, end and error, the worker requests the observations from index `known` on.
    """

    run_id: str
    load: int
    known: int
    rate_per_s: float | None = None
    ends: bool = False
    why: str = ""
    error: str = ""
    """Why there is no decision: the executor raised, or returned an invalid value. Otherwise empty."""
    finding_json: bytes = b""
    """`loadgen.dsl.executors.steering_executor.Finding` as JSON; empty without a finding."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life, with the numbers of sent and acknowledged deltas, so that gaps show while idle.

    It travels by itself, or within the envelope of a delta (`codec.with_beat`).
    """

    run_id: str
    phase: str
    last_seq_sent: int = -1
    last_seq_acked: int = -1
    note: str = ""
    """A warning for the operator, e.g. that the scenario blocks a worker's loop; else empty."""
    adjusted: int = 0
    """Number of the last Adjust or Reassign that the sender follows; 0 for none."""
    sent_ns: int = 0
    """Agent's clock. If not 0, the controller answers with a ClockPong, or within another message, which extends the
    lease from this time."""
    leaves_ns: int = 0
    """Time after T0 from which a leaving agent leaves arrivals to others, even without an answer; 0: it stays."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The counts of a worker's users at its rendez-vous, sent after each change. Each message contains all counts."""

    run_id: str
    worker: int = 0
    """Number of the worker slot; the supervisor fills it in."""
    life: int = 0
    """Number of the slot's process; the supervisor fills it in."""
    points: tuple[WaitingAt, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseAt:
    """The order to one worker to release its first `upto` arrived users of one rendez-vous at `at_ns`.

    From controller to agent `at_ns` is on the controller's clock, from supervisor to worker on the agent's.
    """

    run_id: str
    worker: int
    life: int
    load: int
    point: str
    upto: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Ack:
    """The controller has stored and merged every delta of `epoch` up to `seq`."""

    run_id: str
    epoch: int
    seq: int
    interval_ns: int = 0
    """Requested interval of future deltas; 0 for the plan's interval."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The order to start no more iterations. With `now`, iterations in flight are interrupted; otherwise they drain."""

    run_id: str
    reason: str
    now: bool = False
    kill: bool = False
    """With `now`: kill a worker that has not ended within a moment."""
    at_ns: int = 0
    """Supervisor to worker only: stop at this time after T0 and start earlier arrivals as usual; 0: stop now."""


@dataclass(frozen=True, slots=True)
class Fin:
    """The last message of an agent or worker in a run, with the totals of all its deltas."""

    run_id: str
    epoch: int
    last_seq: int
    """Number of its last delta; -1 if it sent none."""
    totals: Counters = field(default_factory=Counters)
    recorded: int = 0
    """Sum of all bucket counts in its deltas."""
    started_at_ns: int = 0
    """Start skew: the time from T0 until the load really began."""
    reason: str = ""
    """Why the load ended early; empty if it did not."""
    ending: Ending = Ending.UNSAID
    """Why the load ended, as one of the known kinds."""


@dataclass(frozen=True, slots=True)
class TearDown:
    """The order to one agent, after the load, to run the plan's tear-down once."""

    run_id: str
    shared_json: bytes = b"null"


@dataclass(frozen=True, slots=True)
class TornDown:
    """The tear-down has ended; `error` is what it raised, or empty."""

    run_id: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Bye:
    """The controller releases the agent from this run; with `leave` the agent exits."""

    run_id: str
    leave: bool = False


FROM_AGENTS = frozenset(
    {
        Hello,
        ClockPing,
        BundleRequest,
        Ready,
        Refused,
        SetUpDone,
        Heartbeat,
        Delta,
        Waiting,
        Steered,
        Fin,
        TornDown,
    }
)
"""Messages that an agent may send to its controller; only the controller sends the others."""

Message = (
    Hello
    | Welcome
    | Rejected
    | Nack
    | ClockPing
    | ClockPong
    | Prepare
    | BundleRequest
    | BundleChunk
    | Ready
    | Refused
    | SetUp
    | SetUpDone
    | StartAt
    | Adjust
    | Reassign
    | Steer
    | Steered
    | Heartbeat
    | Delta
    | Waiting
    | ReleaseAt
    | Ack
    | Stop
    | Fin
    | TearDown
    | TornDown
    | Bye
)
