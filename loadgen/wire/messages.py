"""What controller, agents and workers say to each other, as values.

Everything that crosses a process is one of these; `wire/codec.py` turns them
into protobuf and back, and nothing else of the program touches protobuf. Times
named `*_ns` are monotonic clocks of the side that the name says.

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
    "CHUNK_BYTES",
    "COUNTED_MINOR",
    "FROM_AGENTS",
    "GUARDED_MINOR",
    "PROTOCOL_MAJOR",
    "PROTOCOL_MINOR",
    "REASSIGNABLE_MINOR",
    "SIGNED_MINOR",
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
"""Peers of another major are refused by name. A controller reads agents of its own minor and of older ones."""
PROTOCOL_MINOR = 4
ADJUSTABLE_MINOR = 2
"""The first that knows Adjust."""
GUARDED_MINOR = 3
"""The first that keeps to an allow-list."""
REASSIGNABLE_MINOR = 3
"""The first that knows Reassign."""
COUNTED_MINOR = 4
"""The first that counts iterations by load and says why its share ended."""
SIGNED_MINOR = 4
"""The first whose agents check the signed statement of a run; older ones check a signature of the bundle's hash."""
CHUNK_BYTES = 64 * 1024
"""Length of each BundleChunk but the last one of a bundle, which is shorter."""


@dataclass(frozen=True, slots=True)
class Hello:
    """An agent registers, also again after it lost the connection."""

    agent: str
    region: str
    major: int
    minor: int
    pid: int
    host: str
    cpus: int
    weight: float = 1.0
    """Its capacity beside the others of its region: how many workers it has."""
    epoch: int = -1
    """The epoch it has, when it registers again; -1 for an agent that was just started."""
    instance_type: str = ""
    """On EC2: "c7i.xlarge". Empty: elsewhere, or an agent that does not say it."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The controller took the agent in; `epoch` counts its registrations."""

    epoch: int
    lease_s: float
    run_id: str = ""
    """The run that this controller conducts: an agent still busy with another one drops that."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The controller does not take the agent in, and why (another major, another key for the id)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Nack:
    """Something that the agent sent was no use, and why. Sent too often, it is in quarantine."""

    reason: str


@dataclass(frozen=True, slots=True)
class ClockPing:
    agent_ns: int


@dataclass(frozen=True, slots=True)
class ClockPong:
    agent_ns: int
    controller_ns: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Get ready for a run: fetch the bundle, load the plan, take your share."""

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
    """This agent's place in `weights`."""
    weights: tuple[float, ...]
    """The shares of all agents, in the order of their indices; they need not sum to 1."""
    interval_ns: int
    bundle_dir: str = ""
    """Supervisor to worker only: where the bundle was unpacked."""
    worker: int = 0
    workers: int = 1
    """Supervisor to worker only: which of the agent's workers it is."""
    life: int = 0
    """Supervisor to worker only: how many processes have had this place before."""
    digests: tuple[str, ...] = ()
    """Of each load what its own times were told by where the run was ordered (`loadgen.profiles.steps.digest_of`);
    empty for loads without any. A worker that comes to others refuses."""
    allow_json: bytes = b""
    """What may be loaded: `loadgen.allowlist.AllowList` as JSON. Empty: no list is demanded."""
    control_plane: tuple[str, ...] = ()
    """Never targets: HOST:PORT of the controller's sockets. An agent adds where it reaches it."""
    signature: bytes = b""
    """Of `statement`, by the signing key of the person who launched the run; empty where there is none."""
    statement: bytes = b""
    """What is signed: `loadgen.signed.statement.Statement`. Empty without a signature."""


@dataclass(frozen=True, slots=True)
class BundleRequest:
    sha256: str
    offset: int


@dataclass(frozen=True, slots=True)
class BundleChunk:
    sha256: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ready:
    run_id: str
    generation: int
    bundle_sha256: str
    clock_error_ns: int = 0
    """Half of the smallest round trip: how far off the agent's idea of the controller's clock may be."""
    left_out: str = ""
    """Worker to supervisor only: what it cannot take over of the worker before it, and why."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The agent cannot take part (bundle, faults of the scenario, a dead worker), and why."""

    run_id: str
    reason: str
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class SetUp:
    """To one agent, before the start: run the plan's set-up once."""

    run_id: str


@dataclass(frozen=True, slots=True)
class SetUpDone:
    run_id: str
    value_json: bytes
    error: str = ""
    """Not empty: it raised; file, line and text."""


@dataclass(frozen=True, slots=True)
class StartAt:
    """T0 for all. Controller to agent on the controller's clock; supervisor to worker on the agent's."""

    run_id: str
    t0_ns: int
    shared_json: bytes = b"null"
    """The value of the plan's set-up, for `user.shared`."""
    from_ns: int = 0
    """Above 0: the load goes on already; take part from here on, from T0. What is due before it is not yours."""
    since_ns: int = 0
    """Above 0: the share is yours since then, from T0. Arrivals that were due between then and `from_ns` are missed."""


@dataclass(frozen=True, slots=True)
class Adjust:
    """While a run goes on: from `at_ns` after T0 on, load `load` is these stages, whatever it was to be.

    Of arrivals n stay as they are; only when they are due changes, so each is started once whoever heard of it when.
    Whoever has heard `number` - 1 follows it; who has not, and who has heard it already, does not. So it can be said
    again, and none is followed out of turn.
    """

    run_id: str
    number: int
    """Within the run, of all loads and of every Reassign, from 1."""
    load: int
    """Index within the plan."""
    at_ns: int
    """Not before the load's beginning, and never before that of the load's Adjust before."""
    stages: tuple[Stage, ...]
    """Rates, users or speed, as the load's own are. None: the load ends at `at_ns`."""


@dataclass(frozen=True, slots=True)
class Reassign:
    """While a run goes on: from `at_ns` after T0 on, the agents have these weights (`share_changes.py`).

    It is followed in turn with the run's Adjusts, among which it is numbered.
    """

    run_id: str
    number: int
    generation: int
    """Of the shares, from 2; those of Prepare are the first."""
    at_ns: int
    weights: tuple[float, ...]
    """By index, of all agents that ever took part; 0 of those that are lost. What no weight can be given to stays
    with the lost, and nobody drives it."""


@dataclass(frozen=True, slots=True)
class Steer:
    """To one worker of one agent: which rate comes next for the whole fleet? With what was seen and it has not.

    Who has not what comes before `first` says so by what it knows, and gets that.
    """

    run_id: str
    load: int
    """Index within the plan."""
    first: int
    """Index of the first of these looks, counted from the load's beginning."""
    count: int
    """How many looks there are by now. Asked is after all of them."""
    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True)
class Steered:
    """What the load's executor decided after `known` looks; or, with neither rate nor end nor error, that it asks for
    the looks from there on."""

    run_id: str
    load: int
    known: int
    rate_per_s: float | None = None
    ends: bool = False
    why: str = ""
    error: str = ""
    """Why there is no decision: it raised, or answered what is none."""
    finding_json: bytes = b""
    """`loadgen.dsl.executors.steering.Finding` as JSON; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """I am alive; with what was sent and acknowledged, so that gaps show while idle."""

    run_id: str
    phase: str
    last_seq_sent: int = -1
    last_seq_acked: int = -1
    note: str = ""
    """What a person should know now: the worker has been silent, the scenario blocks its loop."""
    adjusted: int = 0
    """Number of the last Adjust or Reassign that it has heard; 0: none."""
    sent_ns: int = 0
    """Agent's clock. Not 0: to be acknowledged with a ClockPong, from which its lease counts."""
    leaves_ns: int = 0
    """Not 0: what is due from so long after T0 on it leaves to others, whether anybody answers or not."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A worker's users at its rendez-vous, each time that changed. All it says is said again with the next one."""

    run_id: str
    worker: int = 0
    """Which of the agent's, and which process of those that had its place; the supervisor fills both in."""
    life: int = 0
    points: tuple[WaitingAt, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseAt:
    """To one worker: its users at one rendez-vous, up to the `upto`-th that came, go on at `at_ns`.

    at_ns: controller to agent on the controller's clock, supervisor to worker on the agent's.
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
    """Every delta of `epoch` up to `seq` is durable and merged."""

    run_id: str
    epoch: int
    seq: int
    interval_ns: int = 0
    """From now on one delta for each interval of this length, please; 0: for each of the plan's."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Start nothing more. `now`: also cut off what is in flight; otherwise let it drain."""

    run_id: str
    reason: str
    now: bool = False
    kill: bool = False
    """With `now`: nobody is waited for. A worker that has not ended within a moment is killed."""
    at_ns: int = 0
    """Not 0, and from the supervisor only: what is due before so long after T0 is started all the same."""


@dataclass(frozen=True, slots=True)
class Fin:
    """The agent's last word on a run: what its deltas must add up to."""

    run_id: str
    epoch: int
    last_seq: int
    """-1 when it sent none."""
    totals: Counters = field(default_factory=Counters)
    recorded: int = 0
    """Sum of all bucket counts that it sent."""
    started_at_ns: int = 0
    """When the first iteration's T0 wake-up really happened, minus T0: the start skew."""
    reason: str = ""
    """Not empty: it ended early, and why."""
    ending: Ending = Ending.UNSAID
    """Why it ended."""


@dataclass(frozen=True, slots=True)
class TearDown:
    run_id: str
    shared_json: bytes = b"null"


@dataclass(frozen=True, slots=True)
class TornDown:
    run_id: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Bye:
    """The controller needs the agent no more for this run; `leave`: exit."""

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
"""What an agent may say to its controller; everything else is the controller's to say."""

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
