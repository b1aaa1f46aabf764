"""What lives longer than a run: the socket, the fleet, and which agent works for which run.

Several runs may be here, one after another or at once. An agent works for one of
them at a time: a run claims it when it is given a share, and lets it go when the
run is over. An agent that is idle belongs to nobody and is offered to all runs;
the first that claims it has it, and the others hear that it is gone.

What an agent says is routed by the id of the run that it names. What concerns
no run is answered here: Hello, the clock, and whoever works for a run that is over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import zip_longest
from typing import Protocol, Self

from loadgen.errors import BugError, FleetError, LimitExceeded, WireError
from loadgen.units import NS_PER_S
from loadgen.wire import codec
from loadgen.wire.keys import ControllerKeys, may_speak_for
from loadgen.wire.messages import (
    FROM_AGENTS,
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    BundleRequest,
    Bye,
    ClockPing,
    ClockPong,
    Heartbeat,
    Hello,
    Message,
    Nack,
    Rejected,
    Welcome,
)
from loadgen.wire.sockets import Router
from loadgen_controller.agents.key_watcher import Doorkeeper, KeysChanged
from loadgen_controller.agents.memory_guard import Memory, Relief, give_back, limit_bytes, used_bytes
from loadgen_controller.core.events import AgentJoined, AgentLost
from loadgen_controller.core.quarantine import BAD_MESSAGES, WITHIN_NS, Quarantine
from loadgen_controller.core.registry import Fleet, FleetEvent, Member, Presence
from loadgen_controller.core.rejected_input import OVER_LIMIT, Troubles, plain

__all__ = ["LEASE_S", "AgentHub", "RunPort"]

log = logging.getLogger(__name__)

LEASE_S = 8.0
"""An agent that is not acknowledged for so long stops its load; shorter than `fleet.LOST_AFTER_NS`."""
_TICK_S = 0.05
_NO_RUN = "none"
"""Told to an agent that works for nobody instead of a run's id: what it may still hold is of a run that is over."""


class RunPort(Protocol):
    """A run, as its station sees it."""

    @property
    def run_id(self) -> str: ...

    def tell(self, event: FleetEvent) -> None:
        """An agent has come, is lost, or is back."""

    def take(self, agent: str, data: bytes, message: Message) -> None:
        """What an agent says about this run; `data` is the message as it came."""

    def greeted(self, agent: str) -> None:
        """An agent of this run has said Hello again: its connection was lost, and perhaps what was sent last."""

    def trouble(self, kind: str, text: str) -> None:
        """Something came in that is no use."""

    def decided(self, kind: str, text: str, **fields: object) -> None:
        """The station decided something about agents: an event, and `text` for the person who watches."""

    def fail(self, error: Exception) -> None:
        """A call of the above raised this."""


class AgentHub:
    """Make it within the running loop; `async with` serves it, and closes it.

    Raises:
        PortBusy, UsageError: it cannot listen there.
    """

    def __init__(
        self,
        keys: ControllerKeys,
        listen: str = "127.0.0.1:0",
        clock: Callable[[], int] = time.perf_counter_ns,
        memory_bytes: int | None = None,
    ) -> None:
        """`memory_bytes`: how much the process may use; four fifths of what there is where nothing is said."""
        self.clock = clock
        self._memory = Memory(memory_bytes or limit_bytes())
        self.fleet = Fleet()
        self._router = Router(listen, keys, self._on_message, self._on_refused)
        self._doorkeeper = Doorkeeper(keys, self._on_keys, partial(self._on_refused, "keys folder"))
        self._runs: dict[str, RunPort] = {}
        self._claims: dict[str, RunPort] = {}
        """Which run an agent works for."""
        self._troubles = Troubles(lambda kind, text, _: log.warning("%s: %s", kind, text), clock)
        self._quarantine = Quarantine(clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._said: Message | None = None
        self._said_data = b""

    @property
    def address(self) -> str:
        """Where agents reach it, with the real port."""
        return self._router.address

    # -- its own life -----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._router.serve(), name="router"),
            asyncio.create_task(self._tick_for_ever(), name="fleet"),
            asyncio.create_task(self._doorkeeper.serve(), name="doorkeeper"),
        ]

    def check(self) -> None:
        """Raises what has ended it, if something has."""
        for task in self._tasks:
            if task.done():
                task.result()
                raise BugError(f"the {task.get_name()} ended before the run")

    async def close(self) -> None:
        """Takes up to a second to hand over what was sent last."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._router.close()

    # -- for runs ---------------------------------------------------------------------------------

    def enter(self, run: RunPort) -> None:
        """The run begins: it hears of all agents that are idle."""
        self._runs[run.run_id] = run
        for member in self._idle():
            if member.id not in self._claims:  # the run claims those that it has been told of when they are enough
                self._tell(run, AgentJoined(member.id, member.region, is_new=False))

    def claim(self, run: RunPort, agents: Iterable[str]) -> None:
        """These work for the run from now on; the other runs hear that they are not to be had."""
        for agent in agents:
            self._claims[agent] = run
            for other in self._others(run):
                self._tell(other, AgentLost(agent, f"it works for run {run.run_id}"))

    def claimant(self, agent: str) -> str:
        """The id of the run that it works for; empty where it is idle."""
        run = self._claims.get(agent)
        return "" if run is None else run.run_id

    def leave(self, run: RunPort) -> None:
        """The run is over, and its agents are idle again. Safe to call again."""
        self._runs.pop(run.run_id, None)
        freed = [agent for agent, claimant in self._claims.items() if claimant is run]
        for agent in freed:
            del self._claims[agent]
        for member in self._idle():
            if member.id in freed:
                self._offer(AgentJoined(member.id, member.region, is_new=False))

    def lose(self, agent: str, because: str) -> None:
        """The agent is known to be gone, e.g. its process exited."""
        self._happened(self.fleet.lose(agent, because))

    def bad(self, agent: str, kind: str, text: str) -> None:
        """The agent sent what no sound agent sends. Too much of it, and it is not listened to for a while."""
        self._trouble(agent, kind, text)
        member = self.fleet.get(agent)
        why = ""
        if kind == OVER_LIMIT:
            self._quarantine.begin(agent)
            why = f"a message that no sound agent sends: {plain(text)}"
        elif self._quarantine.bad(agent):
            why = f"{BAD_MESSAGES} bad messages within {WITHIN_NS // NS_PER_S} s, the last {plain(text)}"
        if why:
            self._decided("quarantined", f"agent {agent} is not listened to for a while: {why}", agent=agent, why=why)
            self.fleet.unheard(agent, f"in quarantine after {why}")
            if member is not None:
                self.send(member.identity, Rejected(f"quarantine after {why}"))
        elif member is not None:
            self.send(member.identity, Nack(plain(f"{kind}: {text}")))

    def send(self, identity: bytes, message: Message) -> bool:
        if message is not self._said:  # what all are told is encoded once: a change of 1,000 shares takes 0.1 ms
            self._said, self._said_data = message, codec.encode(message)
        return self._router.send(identity, self._said_data)

    # -- what comes in ----------------------------------------------------------------------------

    def _on_message(self, identity: bytes, agent: str, data: bytes) -> None:
        """HOT, once a message: the peer's key may speak for `agent`."""
        if self._quarantine.holds(agent):
            self._trouble(agent, "quarantine", f"a message of {agent}, which is in quarantine")
            self.send(identity, Rejected("in quarantine: it sent too much that was bad; try again in a minute"))
            return
        try:
            message = codec.decode(data, from_agent=True)
        except WireError as error:
            self.bad(agent, OVER_LIMIT if isinstance(error, LimitExceeded) else "unreadable", f"from {agent}: {error}")
            # Also the way in which one of another major version hears why it is not taken in.
            if self.fleet.get(agent) is None:
                hint = f": {error.hint}" if error.hint else ""
                self.send(identity, Rejected(f"the controller cannot read it: {error}{hint}"))
            return
        if type(message) not in FROM_AGENTS:
            self.bad(agent, "not an agent's", f"{type(message).__name__} of {agent}, which only a controller may say")
            return
        if isinstance(message, Hello):
            self._hello(identity, agent, message)
            return
        member = self.fleet.get(agent)
        if member is None or member.identity != identity:
            # One that was replaced by a newer process of its name, or that we never met.
            self._trouble(agent, "stranger", f"{type(message).__name__} of {agent}, which is not registered")
            if member is not None and self.fleet.is_replaced(agent, identity):
                self.send(identity, Rejected(_replaced_by(member)))
            return
        if member.unheard_because:  # it has to register anew
            self._trouble(agent, "unheard", f"{type(message).__name__} of {agent}: {member.unheard_because}")
            return
        if isinstance(message, ClockPing):  # first of all: each microsecond here is an error of its clock
            self.send(identity, ClockPong(message.agent_ns, self.clock()))
        elif isinstance(message, Heartbeat) and message.sent_ns:  # the agent's lease counts from it
            self.send(identity, ClockPong(message.sent_ns, self.clock()))
        self._happened(self.fleet.heard(agent, self.clock()))
        if not isinstance(message, ClockPing):
            self._route(member, data, message)

    def _route(self, member: Member, data: bytes, message: Message) -> None:
        agent = member.id
        match message:
            case BundleRequest() | Heartbeat(run_id=""):  # about the run that it works for, or none
                run = self._claims.get(agent)
                is_stray = run is None and not isinstance(message, Heartbeat)
            case _:
                run = self._runs.get(getattr(message, "run_id", ""))
                is_stray = run is None
        if run is not None:
            self._guarded(run, lambda: run.take(agent, data, message))
        if is_stray:
            self._trouble(agent, "other run", f"{type(message).__name__} of {agent}")
        if is_stray and isinstance(message, Heartbeat):  # it still works for one that is over
            self.send(member.identity, Bye(message.run_id))

    def _hello(self, identity: bytes, agent: str, hello: Hello) -> None:
        if reason := self._unwelcome(identity, agent, hello):
            self._trouble(agent, "rejected", f"{agent}: {reason}")
            self.send(identity, Rejected(reason))
            return
        before = self.fleet.get(agent)
        older = before.identity if before is not None else identity
        events = self.fleet.hello(hello, identity, self.clock())
        is_new = any(isinstance(event, AgentJoined) for event in events)
        run = self._claims.pop(agent, None) if is_new else self._claims.get(agent)  # a new process works for nobody yet
        member = self.fleet.get(agent)
        assert member is not None
        if older and older != identity:
            self.send(older, Rejected(_replaced_by(member)))
        self.send(identity, Welcome(member.epoch, LEASE_S, self.claimant(agent) or _NO_RUN))
        if run is not None and not events:
            self._guarded(run, lambda: run.greeted(agent))
        for event in events:
            if run is not None and isinstance(event, AgentLost):
                self._tell(run, event)
            else:
                self._happened((event,))

    def _unwelcome(self, identity: bytes, agent: str, hello: Hello) -> str:
        if reason := _unfit(agent, hello):
            return reason
        member = self.fleet.get(agent)
        if member is None:
            return "this controller has as many agents as it can hold" if self.fleet.is_full else ""
        return _replaced_by(member) if self.fleet.is_replaced(agent, identity, hello.epoch) else ""

    # -- who is heard -----------------------------------------------------------------------------

    def _on_refused(self, kind: str, text: str) -> None:
        """Of a peer, so of no agent in particular: all runs note it."""
        self._trouble("", kind, text)

    def _on_keys(self, changed: KeysChanged) -> None:
        """Agents whose key was revoked are told to go, and are not heard whether they do or not."""
        self._router.admit(changed.agents)
        for mark, name in changed.came.items():
            self._decided("key admitted", f"the key {mark} of {name} is good from now on", name=name, fingerprint=mark)
        for mark, name in changed.revoked.items():
            mine = [member for member in self.fleet if may_speak_for(name, member.id)]
            text = f"the key {mark} of {name} was revoked: its agents are not heard any more"
            self._decided("key revoked", text, name=name, fingerprint=mark, agents=[member.id for member in mine])
            for member in mine:
                self.fleet.unheard(member.id, f"the key of {name} was revoked")
                self.send(member.identity, Rejected(f"the key of {name} was revoked"))

    def _mind_memory(self) -> None:
        used = used_bytes()
        relief = self._memory.check(used, self.clock())
        if relief is Relief.NONE:
            return
        said = f"{used >> 20} MiB in use, of {self._memory.limit_bytes >> 20}"
        self._router.drop_all()
        give_back()
        self._decided("connections dropped", f"out of memory: {said}; all agents connect anew", used_bytes=used)
        if relief is Relief.END:
            error = FleetError(f"out of memory: {said}", hint="revoke the key of an agent that floods, or give it more")
            for run in tuple(self._runs.values()):
                run.fail(error)

    def _decided(self, kind: str, text: str, **fields: object) -> None:
        log.warning("%s", text)
        for run in tuple(self._runs.values()):
            run.decided(kind, text, **fields)

    # -- who hears of it --------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        while True:
            self._happened(self.fleet.tick(self.clock()))
            self._mind_memory()
            await asyncio.sleep(_TICK_S)

    def _happened(self, events: Iterable[FleetEvent]) -> None:
        for event in events:
            if (run := self._claims.get(event.agent)) is not None:
                self._tell(run, event)
            else:
                self._offer(event)

    def _offer(self, event: FleetEvent) -> None:
        """Of an idle agent: to all runs, until one has claimed it."""
        for run in tuple(self._runs.values()):
            if event.agent in self._claims:
                return
            self._tell(run, event)

    def _tell(self, run: RunPort, event: FleetEvent) -> None:
        self._guarded(run, lambda: run.tell(event))

    @staticmethod
    def _guarded(run: RunPort, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  handed to the run, which ends with it; other runs go on
            run.fail(error)

    def _trouble(self, agent: str, kind: str, text: str) -> None:
        """Noted by the run that the agent works for, else by all that could have it."""
        run = self._claims.get(agent)
        concerned = tuple(self._runs.values()) if run is None else (run,)
        for one in concerned:
            one.trouble(kind, text)
        if not concerned:
            self._troubles.add(kind, text)

    def _others(self, run: RunPort) -> tuple[RunPort, ...]:
        return tuple(other for other in self._runs.values() if other is not run)

    def _idle(self) -> Iterator[Member]:
        """Agents without a run, a region after the other by turns, so that few are enough for all regions."""
        regions: dict[str, list[Member]] = {}
        for member in self.fleet:
            if member.id not in self._claims and member.presence is not Presence.LOST:
                regions.setdefault(member.region, []).append(member)
        for turn in list(zip_longest(*regions.values())):
            yield from filter(None, turn)


def _replaced_by(member: Member) -> str:
    """For the older of two processes of one name."""
    return f"process {member.pid} on {member.host} has registered as {member.id} after it: one name, one process"


def _unfit(agent: str, hello: Hello) -> str:
    if hello.agent != agent:
        return f"the key and connection are those of {agent}, not of {hello.agent}"
    if hello.major != PROTOCOL_MAJOR:
        return (
            f"it speaks protocol {hello.major}.{hello.minor} and the controller {PROTOCOL_MAJOR}.{PROTOCOL_MINOR}:"
            " run the same version of loadgen on both"
        )
    if not all(text.isprintable() for text in (hello.region, hello.host, hello.instance_type)):
        return "the name of its region, host or instance type is none"
    return ""
