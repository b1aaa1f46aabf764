"""The agent hub: the controller's socket, its registry of agents, and which agent works for which run.

The hub lives longer than a run. It serves several runs, one after another or at once.
An agent works for one run at a time: a run claims the agent when it gives it a share,
and releases it when the run is over. An idle agent is offered to all runs. The first run
that claims it gets it; the others receive AgentLost.

Messages from agents are routed by the run id in them. The hub itself answers messages
that concern no run: Hello, clock requests, and messages about runs that are over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import zip_longest
from typing import Protocol, Self

from loadgen.errors import BugError, FleetError, LimitExceeded, WireError
from loadgen.units import NS_PER_S
from loadgen.wire import codec
from loadgen.wire.curve_keys import ControllerKeys, may_speak_for
from loadgen.wire.messages import (
    FROM_AGENTS,
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Ack,
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
from loadgen_controller.agents.key_watcher import KeysChanged, KeyWatcher
from loadgen_controller.agents.memory_guard import Memory, Relief, give_back, limit_bytes, used_bytes
from loadgen_controller.core.events import AgentJoined, AgentLost
from loadgen_controller.core.quarantine import BAD_MESSAGES, QUARANTINE_NS, WITHIN_NS, Quarantine
from loadgen_controller.core.registry import Fleet, FleetEvent, Member, Presence
from loadgen_controller.core.rejected_input_counter import OVER_LIMIT, RejectedInput, plain

__all__ = ["LEASE_S", "AgentHub", "RunPort"]

log = logging.getLogger(__name__)

LEASE_S = 8.0
"""The lease: an agent that receives no message from the controller for this time stops its load.
The lease is shorter than `registry.LOST_AFTER_NS`."""
_TICK_S = 0.05
_LOOK_NS = NS_PER_S // 5
"""Time between two checks for silent agents. Each check visits all agents, and the shortest limit is 3 s."""
ANSWER_NS = NS_PER_S // 2
"""The longest time for which a heartbeat within a delta waits for the delta's acknowledgement, which answers it. Then
it gets an answer of its own: while the disk is full nothing is acknowledged, and the load goes on nevertheless."""
_NO_RUN = "none"
"""Sent to an idle agent instead of a run id: the run of any data that it still holds is over."""


class RunPort(Protocol):
    """The methods of a run that the agent hub calls."""

    @property
    def run_id(self) -> str: ...

    def apply(self, event: FleetEvent) -> None:
        """Process an event of the fleet: an agent joined, is lost, or has returned."""

    def receive(self, agent: str, data: bytes, message: Message) -> None:
        """Process an agent's message about this run. data: the undecoded message."""

    def on_hello(self, agent: str) -> None:
        """Send an agent of this run again what it may have missed.

        It has repeated its Hello, since its connection was lost.
        """

    def report_rejected(self, kind: str, text: str) -> None:
        """Count and report a message that the hub has rejected. kind: the sort of error, one of a few words.

        text: why.
        """

    def record_decision(self, kind: str, text: str, **fields: object) -> None:
        """Record a decision of the hub about agents.

        `kind` and `fields` become an event, `text` a notice for the operator.
        """

    def fail(self, error: Exception) -> None:
        """End the run with `error`, which one of the methods above has raised."""


class AgentHub:
    """The controller's end of all connections to agents, shared by its runs.

    Create it within the running event loop. `async with` starts it and closes it.

    Raises:
        PortBusy, UsageError: the hub cannot listen at the address.
    """

    def __init__(
        self,
        keys: ControllerKeys,
        listen: str = "127.0.0.1:0",
        clock: Callable[[], int] = time.perf_counter_ns,
        memory_bytes: int | None = None,
    ) -> None:
        """Open the socket for agents; `start` begins to serve it.

        Args:
            keys: keys of the controller and of the agents that may connect.
            listen: HOST:PORT, at which agents connect; port 0 is any free port.
            clock: returns the present time in ns.
            memory_bytes: the memory that this process may use; by default four fifths of the available memory.
        """
        self.clock = clock
        self._memory = Memory(memory_bytes or limit_bytes())
        self.fleet = Fleet()
        self._router = Router(listen, keys, self._on_message, self._on_refused)
        self._key_watcher = KeyWatcher(keys, self._on_keys, partial(self._on_refused, "keys folder"))
        self._runs: dict[str, RunPort] = {}
        self._claims: dict[str, RunPort] = {}
        """For each busy agent: the run for which it works."""
        self._rejected_input = RejectedInput(lambda kind, text, _: log.warning("%s: %s", kind, text), clock)
        self._quarantine = Quarantine(clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._to_answer: deque[tuple[int, Member]] = deque()
        """(arrival time, sender) of each heartbeat within a delta, oldest first; for at most `ANSWER_NS`."""
        self._last_sent: Message | None = None
        self._last_sent_data = b""

    @property
    def address(self) -> str:
        """Return the address (HOST:PORT) at which agents connect, with the real port if port 0 was requested."""
        return self._router.address

    # -- start and end ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Start to accept agents, to watch the folder of keys, and to check which agents are alive."""
        self._tasks = [
            asyncio.create_task(self._router.serve(), name="router"),
            asyncio.create_task(self._tick_for_ever(), name="fleet"),
            asyncio.create_task(self._key_watcher.serve(), name="key watcher"),
        ]

    def check(self) -> None:
        """Raise the error that ended one of the hub's tasks, if one has ended."""
        for task in self._tasks:
            if task.done():
                task.result()
                raise BugError(
                    f"the task {task.get_name()} of the agent hub ended before the run",
                    hint="please report this with the controller's log",
                )

    async def close(self) -> None:
        """Stop all tasks and close the socket. Takes up to a second to deliver the last messages."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._router.close()

    # -- for runs ---------------------------------------------------------------------------------

    def enter(self, run: RunPort) -> None:
        """Add a run to the hub. The run receives an AgentJoined event for each agent that no run has claimed yet."""
        self._runs[run.run_id] = run
        for member in self._idle():
            if member.id not in self._claims:  # the run may have claimed enough agents during this loop
                self._notify(run, AgentJoined(member.id, member.region, is_new=False))

    def claim(self, run: RunPort, agents: Iterable[str]) -> None:
        """Reserve agents for a run. All other runs receive an AgentLost event for each of these agents."""
        for agent in agents:
            self._claims[agent] = run
            for other in self._others(run):
                self._notify(other, AgentLost(agent, f"it works for run {run.run_id} until that run ends"))

    def claimant(self, agent: str) -> str:
        """Return the id of the run for which the agent works; empty if it is idle."""
        run = self._claims.get(agent)
        return "" if run is None else run.run_id

    def leave(self, run: RunPort) -> None:
        """Remove a run that is over, and offer its agents to the other runs by AgentJoined events.

        Calling it again has no effect.
        """
        self._runs.pop(run.run_id, None)
        freed = [agent for agent, claimant in self._claims.items() if claimant is run]
        for agent in freed:
            del self._claims[agent]
        for member in self._idle():
            if member.id in freed:
                self._offer(AgentJoined(member.id, member.region, is_new=False))

    def lose(self, agent: str, because: str) -> None:
        """Mark an agent as lost now, and send the event to the runs.

        because: the known cause, for example that its process exited.
        """
        self._happened(self.fleet.lose(agent, because))

    def bad(self, agent: str, kind: str, text: str) -> None:
        """Report an invalid message of an agent, and answer it with a Nack.

        After too many, or one above a limit, the agent is put into quarantine instead: its messages are ignored for a
        while.
        """
        self._trouble(agent, kind, text)
        member = self.fleet.get(agent)
        why = ""
        if kind == OVER_LIMIT:
            self._quarantine.begin(agent)
            why = f"a message above a limit: {plain(text)}"
        elif self._quarantine.bad(agent):
            why = f"{BAD_MESSAGES} invalid messages within {WITHIN_NS // NS_PER_S} s, the last {plain(text)}"
        if why:
            seconds = QUARANTINE_NS // NS_PER_S
            self._record_decision(
                "quarantined",
                f"messages of agent {agent} are ignored for {seconds} s (quarantine) after {why}",
                agent=agent,
                why=why,
            )
            self.fleet.unheard(agent, f"in quarantine after {why}")
            if member is not None:
                self.send(member.identity, Rejected(f"quarantine after {why}"))
        elif member is not None:
            self.send(member.identity, Nack(plain(f"{kind}: {text}")))

    def send(self, identity: bytes, message: Message) -> bool:
        """Send a message to the agent with this connection identity; return False if it cannot be sent now."""
        return self._router.send(identity, self._encoded(message))

    def acknowledge(self, member: Member, ack: Ack) -> None:
        """Send an acknowledgement to an agent. It also answers the agent's newest heartbeat within a delta."""
        self._router.send(member.identity, codec.with_answer(self._encoded(ack), member.take_unanswered()))

    def _encoded(self, message: Message) -> bytes:
        # Encode a message to all agents only once: a change of 1,000 shares takes 0.1 ms to encode.
        if message is not self._last_sent:
            self._last_sent, self._last_sent_data = message, codec.encode(message)
        return self._last_sent_data

    # -- what comes in ----------------------------------------------------------------------------

    def _on_message(self, identity: bytes, agent: str, data: bytes) -> None:
        """HOT, once per message. Check, decode and route a message; the peer's key permits the name `agent`."""
        if self._quarantine.holds(agent):
            self._trouble(agent, "quarantine", f"a message of {agent}, which is in quarantine")
            self.send(
                identity,
                Rejected("in quarantine: this agent sent too many invalid messages; it is ignored for up to a minute"),
            )
            return
        try:
            message, beat = codec.decode_with_beat(data)
        except WireError as error:
            self.bad(agent, OVER_LIMIT if isinstance(error, LimitExceeded) else "unreadable", f"from {agent}: {error}")
            # An agent of another major version also gets its reason for the rejection here.
            if self.fleet.get(agent) is None:
                self.send(identity, Rejected(f"the controller cannot read the message: {error.with_hint}"))
            return
        if type(message) not in FROM_AGENTS:
            self.bad(
                agent, "not an agent's", f"{type(message).__name__} from {agent}, which only a controller may send"
            )
            return
        if isinstance(message, Hello):
            self._hello(identity, agent, message)
            return
        member = self.fleet.get(agent)
        if member is None or member.identity != identity:
            # Either a newer process with this name has replaced it, or it never sent a Hello.
            self._trouble(agent, "stranger", f"{type(message).__name__} from {agent}, which is not registered")
            if member is not None and self.fleet.is_replaced(agent, identity):
                self.send(identity, Rejected(_replaced_by(member)))
            return
        if member.unheard_because:  # it must register again
            self._trouble(agent, "unheard", f"{type(message).__name__} from {agent}: {member.unheard_because}")
            return
        now_ns = self.clock()
        if isinstance(message, ClockPing):  # answered first: each microsecond of delay is an error of the agent's clock
            self.send(identity, ClockPong(message.agent_ns, now_ns))
        elif isinstance(message, Heartbeat) and message.sent_ns:  # the answer renews the agent's lease
            self.send(identity, ClockPong(message.sent_ns, now_ns))
        self._happened(self.fleet.heard(agent, now_ns))
        if not isinstance(message, ClockPing):
            self._route(member, data, message)
        if beat is not None:
            self._on_beat(member, data, beat, now_ns)

    def _on_beat(self, member: Member, data: bytes, beat: Heartbeat, now_ns: int) -> None:
        """Process a heartbeat that came within another message. The acknowledgement of that message answers it."""
        if beat.sent_ns > 0:
            if not member.unanswered_ns:
                self._to_answer.append((now_ns, member))
            member.unanswered_ns = beat.sent_ns
        self._route(member, data, beat)

    def _answer(self, now_ns: int) -> None:
        """Answer the heartbeats within deltas that no acknowledgement has answered in time."""
        waiting = self._to_answer
        while waiting and now_ns - waiting[0][0] >= ANSWER_NS:
            _, member = waiting.popleft()
            if answered_ns := member.take_unanswered():
                self.send(member.identity, ClockPong(answered_ns, now_ns))

    def _route(self, member: Member, data: bytes, message: Message) -> None:
        agent = member.id
        match message:
            case BundleRequest() | Heartbeat(run_id=""):  # without a run id: about the run for which it works, if any
                run = self._claims.get(agent)
                is_stray = run is None and not isinstance(message, Heartbeat)
            case _:
                run = self._runs.get(getattr(message, "run_id", ""))
                is_stray = run is None
        if run is not None:
            self._guarded(run, lambda: run.receive(agent, data, message))
        if is_stray:
            self._trouble(agent, "other run", f"{type(message).__name__} from {agent} about a run that is over")
        if is_stray and isinstance(message, Heartbeat):  # it still works for a run that is over
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
        run = self._claims.pop(agent, None) if is_new else self._claims.get(agent)  # a new process is idle
        member = self.fleet.get(agent)
        assert member is not None
        if older and older != identity:
            self.send(older, Rejected(_replaced_by(member)))
        self.send(identity, Welcome(member.epoch, LEASE_S, self.claimant(agent) or _NO_RUN, PROTOCOL_MINOR))
        if run is not None and not events:
            self._guarded(run, lambda: run.on_hello(agent))
        for event in events:
            if run is not None and isinstance(event, AgentLost):
                self._notify(run, event)
            else:
                self._happened((event,))

    def _unwelcome(self, identity: bytes, agent: str, hello: Hello) -> str:
        if reason := _unfit(agent, hello):
            return reason
        member = self.fleet.get(agent)
        if member is None:
            full = "this controller already has its maximum number of agents; use another controller"
            return full if self.fleet.is_full else ""
        return _replaced_by(member) if self.fleet.is_replaced(agent, identity, hello.epoch) else ""

    # -- rejected peers ---------------------------------------------------------------------------

    def _on_refused(self, kind: str, text: str) -> None:
        """Report a peer whose connection was refused. Its agent is unknown, so all runs record it."""
        self._trouble("", kind, text)

    def _on_keys(self, changed: KeysChanged) -> None:
        """Admit the new set of keys; send Rejected to agents with a revoked key, and ignore their messages."""
        self._router.admit(changed.agents)
        for mark, name in changed.came.items():
            self._record_decision(
                "key admitted", f"the key {mark} of {name} is admitted from now on", name=name, fingerprint=mark
            )
        for mark, name in changed.revoked.items():
            mine = [member for member in self.fleet if may_speak_for(name, member.id)]
            text = f"the key {mark} of {name} was revoked: messages of its agents are ignored from now on"
            self._record_decision(
                "key revoked", text, name=name, fingerprint=mark, agents=[member.id for member in mine]
            )
            for member in mine:
                self.fleet.unheard(member.id, f"the key of {name} was revoked")
                self.send(member.identity, Rejected(f"the key of {name} was revoked"))

    def _check_memory(self) -> None:
        used = used_bytes()
        relief = self._memory.check(used, self.clock())
        if relief is Relief.NONE:
            return
        usage = f"{used >> 20} MiB in use, the limit is {self._memory.limit_bytes >> 20} MiB"
        self._router.drop_all()
        give_back()
        self._record_decision("connections dropped", f"out of memory: {usage}; all agents reconnect", used_bytes=used)
        if relief is Relief.END:
            error = FleetError(
                f"out of memory: {usage}",
                hint="revoke the key of the agent that floods the controller, or give the controller more memory",
            )
            for run in tuple(self._runs.values()):
                run.fail(error)

    def _record_decision(self, kind: str, text: str, **fields: object) -> None:
        log.warning("%s", text)
        for run in tuple(self._runs.values()):
            run.record_decision(kind, text, **fields)

    # -- notifying runs ---------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        looked_ns = self.clock() - _LOOK_NS
        while True:
            now_ns = self.clock()
            if now_ns - looked_ns >= _LOOK_NS:
                looked_ns = now_ns
                self._happened(self.fleet.tick(now_ns))
            self._answer(now_ns)
            self._check_memory()
            await asyncio.sleep(_TICK_S)

    def _happened(self, events: Iterable[FleetEvent]) -> None:
        for event in events:
            if (run := self._claims.get(event.agent)) is not None:
                self._notify(run, event)
            else:
                self._offer(event)

    def _offer(self, event: FleetEvent) -> None:
        """Send an event about an agent without a run to one run after the other, until one has claimed the agent."""
        for run in tuple(self._runs.values()):
            if event.agent in self._claims:
                return
            self._notify(run, event)

    def _notify(self, run: RunPort, event: FleetEvent) -> None:
        self._guarded(run, lambda: run.apply(event))

    @staticmethod
    def _guarded(run: RunPort, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  only this run ends with the error; other runs go on
            run.fail(error)

    def _trouble(self, agent: str, kind: str, text: str) -> None:
        """Report rejected input of an agent to the run for which it works; if it works for none, to all runs."""
        run = self._claims.get(agent)
        concerned = tuple(self._runs.values()) if run is None else (run,)
        for one in concerned:
            one.report_rejected(kind, text)
        if not concerned:
            self._rejected_input.add(kind, text)

    def _others(self, run: RunPort) -> tuple[RunPort, ...]:
        return tuple(other for other in self._runs.values() if other is not run)

    def _idle(self) -> Iterator[Member]:
        """Yield the agents that are not lost and that no run has claimed.

        The regions take turns, so that a run gets agents of all regions early.
        """
        regions: dict[str, list[Member]] = {}
        for member in self.fleet:
            if member.id not in self._claims and member.presence is not Presence.LOST:
                regions.setdefault(member.region, []).append(member)
        for turn in list(zip_longest(*regions.values())):
            yield from filter(None, turn)


def _replaced_by(member: Member) -> str:
    """Return the text that the older of two processes with the same agent name receives when it is rejected."""
    return (
        f"process {member.pid} on {member.host} has registered as {member.id} after this one:"
        " give each agent its own name (--id)"
    )


def _unfit(agent: str, hello: Hello) -> str:
    if hello.agent != agent:
        return f"the key and connection belong to {agent}, but the agent calls itself {hello.agent}"
    if hello.major != PROTOCOL_MAJOR:
        return (
            f"the agent has protocol {hello.major}.{hello.minor}, the controller {PROTOCOL_MAJOR}.{PROTOCOL_MINOR}:"
            " run the same version of loadgen on both"
        )
    if not all(text.isprintable() for text in (hello.region, hello.host, hello.instance_type, hello.python)):
        return "its region, host, instance type or Python contains characters that cannot be printed"
    return ""
