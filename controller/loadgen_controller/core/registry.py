"""The registry: the list of registered agents, and whether each one is alive.

Every message of an agent counts as a sign of life. The caller passes the time, so all
of this can be tested without waiting. Times are ns of the controller's monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import sha256

from loadgen.units import NS_PER_S
from loadgen.wire.messages import PROTOCOL_MINOR, Hello
from loadgen_controller.core.events import AgentJoined, AgentLost, AgentReturned

__all__ = [
    "LOST_AFTER_NS",
    "MAX_AGENTS",
    "OWN_PAUSE_NS",
    "SUSPECTED_AFTER_NS",
    "Fleet",
    "Member",
    "Presence",
]

SUSPECTED_AFTER_NS = 3 * NS_PER_S
"""An agent that is silent for longer is suspected to be lost; this is shown, and changes nothing else."""
LOST_AFTER_NS = 10 * NS_PER_S
"""An agent that is silent for longer is lost. The time exceeds the agents' lease (8 s) by more than a second, so a
lost agent has already stopped its load itself."""
OWN_PAUSE_NS = NS_PER_S
"""If two ticks are further apart, the controller itself was suspended. Agents' messages of that time are still in the
sockets, so the pause does not count as silence of agents."""

MAX_AGENTS = 20_000
"""The most agents that register; more than a controller can serve. The limit exists because a holder of a group key
could invent any number of names."""
_REPLACED = 1_000
"""The number of connection identities of replaced processes that are remembered."""

FleetEvent = AgentJoined | AgentReturned | AgentLost


class Presence(Enum):
    """Whether an agent is heard: yes, not for 3 s (suspected), or not for 10 s (lost)."""

    HERE = "here"
    SUSPECTED = "suspected"
    LOST = "lost"


@dataclass(slots=True)
class Member:
    """One registered agent: the fields of its Hello, and whether it is alive."""

    id: str
    identity: bytes
    """The identity of its connection: one for each process, and kept over reconnects."""
    region: str
    epoch: int
    """The number of its process, from 1; deltas of another epoch belong to another process."""
    pid: int
    host: str
    cpus: int
    weight: float
    heard_ns: int
    minor: int = PROTOCOL_MINOR
    """The minor version of its protocol."""
    presence: Presence = Presence.HERE
    lost_because: str = ""
    process: str = ""
    """The result of `_process_of` for its identity."""
    instance_type: str = ""
    """The EC2 instance type, if the agent reported one."""
    python: str = ""
    """The build of its and its workers' Python; empty: an older agent."""
    unheard_because: str = ""
    """Why its messages are ignored: its key was revoked, or it is in quarantine. Empty if they are processed."""
    unanswered_ns: int = 0
    """`sent_ns` of its newest heartbeat that came within a delta and is not answered yet; 0: every one is answered."""

    def take_unanswered(self) -> int:
        """Return `unanswered_ns`, and set it to 0, because the caller answers this heartbeat now."""
        answered_ns, self.unanswered_ns = self.unanswered_ns, 0
        return answered_ns

    def silent_s(self, now_ns: int) -> float:
        """Return for how many seconds the agent has been silent."""
        return (now_ns - self.heard_ns) / NS_PER_S


class Fleet:
    """All agents that ever registered. Each method returns the events that runs must receive."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._replaced: deque[bytes] = deque(maxlen=_REPLACED)
        self._ticked_ns: int | None = None

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def get(self, agent: str) -> Member | None:
        """Return the registered agent with this name, or None."""
        return self._members.get(agent)

    @property
    def is_full(self) -> bool:
        """Return whether no further agent may register."""
        return len(self._members) >= MAX_AGENTS

    def is_replaced(self, agent: str, identity: bytes, epoch: int = -1) -> bool:
        """Return whether a newer process has registered under this name, so that messages of this one are refused."""
        member = self._members.get(agent)
        if member is None or member.identity == identity:
            return False
        return identity in self._replaced or 0 <= epoch < member.epoch

    def unheard(self, agent: str, because: str) -> None:
        """Ignore the agent's messages from now on, for the reason `because`.

        The agent thereby becomes silent, and is lost after `LOST_AFTER_NS`.
        """
        member = self._members.get(agent)
        if member is not None:
            member.unheard_because = because

    def restore(self, members: Iterable[Member], now_ns: int) -> None:
        """Register agents from before a restart of the controller; they count as lost if they stay silent."""
        for member in members:
            known = self._members.get(member.id)
            # Each restored run has its own list of agents, and the newest process of an agent counts.
            if known is None or known.epoch < member.epoch:
                self._members[member.id] = replace(member, heard_ns=now_ns)

    def hello(self, hello: Hello, identity: bytes, now_ns: int) -> tuple[FleetEvent, ...]:
        """Register an agent that sent a Hello, and return the events: it joined, has returned, or its older process is
        lost.

        A process that registers again keeps its epoch (the number of its registration), so its measurements stay valid.
        Another process under the same name is a restart, or a second process by mistake. The newest process replaces
        the older one, whose epoch ends without a Fin.
        """
        known = self._members.get(hello.agent)
        # A member from before a restart of the controller: only the hash of its secret identity was stored.
        if known is not None and not known.identity and known.process == _process_of(identity):
            known.identity = identity
        if known is not None and known.identity == identity:
            return self.heard(hello.agent, now_ns)
        epoch = 1 if known is None else known.epoch + 1
        if known is not None:
            self._replaced.append(known.identity)
        self._members[hello.agent] = Member(
            hello.agent,
            identity,
            hello.region,
            epoch,
            hello.pid,
            hello.host,
            hello.cpus,
            hello.weight,
            now_ns,
            hello.minor,
            process=_process_of(identity),
            instance_type=hello.instance_type,
            python=hello.python,
        )
        joined = AgentJoined(hello.agent, hello.region)
        if known is None or known.presence is Presence.LOST:
            return (joined,)
        # The older process may still drive the share until its lease is over.
        free_ns = known.heard_ns + LOST_AFTER_NS
        return AgentLost(
            hello.agent,
            f"its process {known.pid} was replaced by {hello.pid}: unless restarted, give each agent its own --id",
            free_ns,
        ), joined

    def heard(self, agent: str, now_ns: int) -> tuple[FleetEvent, ...]:
        """Record that an agent is alive. Return an AgentReturned event if the agent was lost, else nothing."""
        member = self._members.get(agent)
        if member is None:
            return ()
        was_lost = member.presence is Presence.LOST
        member.heard_ns, member.presence, member.lost_because, member.unheard_because = now_ns, Presence.HERE, "", ""
        return (AgentReturned(agent, member.region),) if was_lost else ()

    def tick(self, now_ns: int) -> tuple[FleetEvent, ...]:
        """Mark agents that were silent for too long as suspected or lost; return an event for each that is now lost.

        Call it at least twice a second.
        """
        before_ns, self._ticked_ns = self._ticked_ns, now_ns
        if before_ns is not None and (pause_ns := now_ns - before_ns) > OWN_PAUSE_NS:
            for member in self:
                member.heard_ns = min(now_ns, member.heard_ns + pause_ns)
        lost: list[FleetEvent] = []
        silent_since_ns = now_ns - SUSPECTED_AFTER_NS
        for member in self:
            if member.heard_ns >= silent_since_ns or member.presence is Presence.LOST:
                continue
            silent_ns = now_ns - member.heard_ns
            if silent_ns > LOST_AFTER_NS:
                text = member.unheard_because or f"silent for {silent_ns / NS_PER_S:.1f} s"
                lost += self.lose(member.id, text, is_silent=not member.unheard_because)
            else:
                member.presence = Presence.SUSPECTED
        return tuple(lost)

    def lose(self, agent: str, because: str, *, is_silent: bool = False) -> tuple[FleetEvent, ...]:
        """Mark the agent as lost, and return the event; nothing if it is unknown or was lost before.

        `is_silent`: its silence is the only sign, so it may come back.
        """
        member = self._members.get(agent)
        if member is None or member.presence is Presence.LOST:
            return ()
        member.presence, member.lost_because = Presence.LOST, because
        return (AgentLost(agent, because, is_silent=is_silent),)


def _process_of(identity: bytes) -> str:
    """Return a name for a process that is safe to write to files: a hash of its secret connection identity."""
    return sha256(identity).hexdigest()[:32]
