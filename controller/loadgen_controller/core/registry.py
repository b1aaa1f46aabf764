"""Who is registered, and who is still there.

Anything an agent says counts as a sign of life. The clock is handed in, so all
of this is tested without waiting. Times are ns of the controller's monotonic clock.
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
    "process_of",
]

SUSPECTED_AFTER_NS = 3 * NS_PER_S
LOST_AFTER_NS = 10 * NS_PER_S
"""Longer than the agents' lease (8 s) and a second: a lost agent has stopped its load itself."""
OWN_PAUSE_NS = NS_PER_S
"""Two ticks further apart than this: it was us who slept, and what agents said meanwhile is still to be read."""

MAX_AGENTS = 20_000
"""More than a controller can hold; a key of a group could make up names without end."""
_REPLACED = 1_000

FleetEvent = AgentJoined | AgentReturned | AgentLost


class Presence(Enum):
    HERE = "here"
    SUSPECTED = "suspected"
    LOST = "lost"


@dataclass(slots=True)
class Member:
    """One agent, as it introduced itself."""

    id: str
    identity: bytes
    """Of its connection; one for each process, kept over reconnects."""
    region: str
    epoch: int
    """Counts its processes, from 1; a delta of another epoch is another process's."""
    pid: int
    host: str
    cpus: int
    weight: float
    heard_ns: int
    minor: int = PROTOCOL_MINOR
    """Of the protocol that it speaks."""
    presence: Presence = Presence.HERE
    lost_because: str = ""
    process: str = ""
    """`process_of` its identity."""
    instance_type: str = ""
    """Of EC2, where it said one."""
    unheard_because: str = ""
    """Why nothing that it says is taken in: its key was revoked, or it is in quarantine."""

    def silent_s(self, now_ns: int) -> float:
        return (now_ns - self.heard_ns) / NS_PER_S


class Fleet:
    """All agents that ever registered. Each call returns what it means for the run."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._replaced: deque[bytes] = deque(maxlen=_REPLACED)
        self._ticked_ns: int | None = None

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def get(self, agent: str) -> Member | None:
        return self._members.get(agent)

    @property
    def is_full(self) -> bool:
        return len(self._members) >= MAX_AGENTS

    def is_replaced(self, agent: str, identity: bytes, epoch: int = -1) -> bool:
        """Whether a newer process has the name: it stays the newest, whatever the older one says."""
        member = self._members.get(agent)
        if member is None or member.identity == identity:
            return False
        return identity in self._replaced or 0 <= epoch < member.epoch

    def unheard(self, agent: str, because: str) -> None:
        """Nothing of what the agent says is taken in from now on; it will be lost when that has lasted long enough."""
        member = self._members.get(agent)
        if member is not None:
            member.unheard_because = because

    def restore(self, members: Iterable[Member], now_ns: int) -> None:
        """Those of before this controller was started anew: they have the time of a silent agent to come back."""
        for member in members:
            known = self._members.get(member.id)
            if known is None or known.epoch < member.epoch:
                self._members[member.id] = replace(member, heard_ns=now_ns)

    def hello(self, hello: Hello, identity: bytes, now_ns: int) -> tuple[FleetEvent, ...]:
        """An agent registers. The same process gets its old epoch again: what it measured is still good.

        Another process under the same id is a restart, or a second one by mistake: the newest
        counts, and the epoch before is over without Fin.
        """
        known = self._members.get(hello.agent)
        if known is not None and not known.identity and known.process == process_of(identity):
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
            process=process_of(identity),
            instance_type=hello.instance_type,
        )
        joined = AgentJoined(hello.agent, hello.region)
        if known is None or known.presence is Presence.LOST:
            return (joined,)
        free_ns = known.heard_ns + LOST_AFTER_NS
        return AgentLost(hello.agent, f"its process {known.pid} was replaced by {hello.pid}", free_ns), joined

    def heard(self, agent: str, now_ns: int) -> tuple[FleetEvent, ...]:
        """A sign of life. Of an agent that was lost: it is back."""
        member = self._members.get(agent)
        if member is None:
            return ()
        was_lost = member.presence is Presence.LOST
        member.heard_ns, member.presence, member.lost_because, member.unheard_because = now_ns, Presence.HERE, "", ""
        return (AgentReturned(agent, member.region),) if was_lost else ()

    def tick(self, now_ns: int) -> tuple[FleetEvent, ...]:
        """Who has been silent for too long. Call it at least twice a second."""
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
        """The agent is known to be gone, e.g. its process exited; or it is silent, and nothing else is known."""
        member = self._members.get(agent)
        if member is None or member.presence is Presence.LOST:
            return ()
        member.presence, member.lost_because = Presence.LOST, because
        return (AgentLost(agent, because, is_silent=is_silent),)


def process_of(identity: bytes) -> str:
    """What a process is known by where it is written down: its identity itself is between it and us."""
    return sha256(identity).hexdigest()[:32]
