"""Simulate very many agents in one process to measure their controller, and print figures as JSON.

    python -m bench.swarm 127.0.0.1:5557 keys/copy-to/sim --agents 1000 --seconds 30

The messages are those of real agents: CURVE, Hello, Ready, and a delta each second with a heartbeat in its envelope.
All agents send at the same instant, and repeat a delta until it is acknowledged. The Fin has the correct totals. Each
agent reports the iterations that a plan of agents x requests per second gives it. If the controller asks for longer
intervals, the agents merge theirs. The measurements are drawn once (`bench/deltas.py`). There are no workers, no
bundle and no spool, and all agents share one ZeroMQ context. `tests/support/sim_agents.py` has agents that survive
faults, but it costs ten times as much.

The sockets send ZMTP heartbeats as those of real agents do. Real agents close a connection if a heartbeat has no answer
within 4 s. These do not, because each such time-out is a timer, and to cancel one ZeroMQ searches the timers of all
sockets. So a controller whose ZeroMQ thread is silent for 4 s keeps agents that would have reconnected in reality.

One loop without tasks serves all agents: `epoll` names the sockets with messages, and each agent is in a list for the
time of its next visit.

A line "t0 N" on stdout gives the start of the load on `perf_counter_ns`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import select
import sys
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter_ns, process_time
from typing import Any, Final

import msgspec
import numpy as np
import zmq

from bench.children import more_files
from bench.deltas import drawn_seconds
from bench.encoded_deltas import EncodedDelta
from bench.fleet_answers import Answers
from loadgen.measure.deltas.delta import COUNTER_NAMES, Counters, Delta
from loadgen.measure.deltas.join_successive_deltas import join
from loadgen.measure.deltas.load_counts import Ending, LoadCounts
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.codec import encode, with_beat
from loadgen.wire.curve_keys import AgentKeys, load_agent
from loadgen.wire.messages import (
    BEATS_MINOR,
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Ack,
    Bye,
    Fin,
    Heartbeat,
    Hello,
    Message,
    Prepare,
    Ready,
    StartAt,
    Stop,
    Welcome,
)
from loadgen.wire.sockets import identity_of
from loadgen_agent.supervisor.heartbeat_times import EVERY_NS, HeartbeatTimes

REGIONS: Final = ("a", "b", "c")
_DRAWN: Final = 8
_LONGEST: Final = 5
"""The most intervals of a merged delta, the largest that `loadgen_controller.core.report_interval` asks for."""
_WINDOW: Final = 32
_STALLED_NS: Final = 2 * NS_PER_S
_LEASE_NS: Final = 8 * NS_PER_S
_JOINING: Final = 100
"""Agents that connect at the same time. With thousands, handshakes take longer than the 5 s that the router waits."""
_AT_ONCE: Final = 10
"""Deltas that are sent, or agents that are visited, before received messages are read."""
_SLOT_NS: Final = 20 * NS_PER_MS
"""An agent is visited up to this time after it is due. Real agents look each 50 ms."""
# Plain numbers and methods: combining two members of an enum takes longer than a send.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_POLLIN: Final = int(zmq.POLLIN)


@dataclass(slots=True)
class Tally:
    """The swarm's figures from second `skip` to the end of the load."""

    ack_ms: list[float] = field(default_factory=list)
    """Times from a delta's first sending to its acknowledgement."""
    pong_ms: list[float] = field(default_factory=list)
    """Times from a heartbeat to its reply."""
    sent: int = 0
    received: int = 0
    bytes_sent: int = 0
    again: int = 0
    deltas: int = 0
    values: int = 0
    """Values in the histograms of all deltas."""
    requests: int = 0
    asked_s: list[tuple[float, float]] = field(default_factory=list)
    """(seconds from T0, interval) of each interval change that the controller asked for."""


class Sim:
    """One simulated agent."""

    def __init__(self, swarm: Swarm, n: int, address: str, keys: AgentKeys) -> None:
        self.swarm, self.id, self.region = swarm, f"sim.{n}", REGIONS[n % len(REGIONS)]
        self.phase, self.run_id, self.epoch = "joining", "", -1
        self.is_over = False
        self.covered = 0
        """The number of sent seconds of the load."""
        self._n, self._seq, self._progress_ns, self._stalls = n, 0, 0, 0
        self._pending: deque[tuple[int, bytes, int]] = deque()
        """(seq, delta, time of first sending) of each unacknowledged delta."""
        self._asked_ns = 0
        self._sent: dict[int, tuple[EncodedDelta, int]] = {}
        """How often each of the encoded deltas was sent, by the id of the object."""
        self._fin_ns, self._ending = 0, Ending.DONE
        self._beats = HeartbeatTimes(perf_counter_ns() - random.randrange(NS_PER_S))
        self._answered_ns = 0
        self._socket = swarm.context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.ROUTING_ID, identity_of(self.id)),
            (zmq.CURVE_SERVERKEY, keys.controller),
            (zmq.CURVE_SECRETKEY, keys.own.secret),
            (zmq.CURVE_PUBLICKEY, keys.own.public),
            (zmq.SNDHWM, 64),
            (zmq.HEARTBEAT_IVL, 1500),
            (zmq.HEARTBEAT_TIMEOUT, 0),  # see the module's docstring
        ):
            self._socket.setsockopt(option, value)
        self._socket.connect(f"tcp://{address}")
        # Level-triggered: the descriptor is readable until the socket is used, and `drain` reads until it is empty.
        swarm.epoll.register(int(self._socket.get(zmq.FD)), select.EPOLLIN)
        swarm.by_descriptor[int(self._socket.get(zmq.FD))] = self
        swarm.visit_at(perf_counter_ns(), n)

    def hello(self) -> None:
        self._say(Hello(self.id, self.region, PROTOCOL_MAJOR, PROTOCOL_MINOR, self._n, "swarm", 1, epoch=self.epoch))

    # -- sending ------------------------------------------------------------------------

    def _say(self, message: Message) -> None:
        self._send(encode(message))

    def _send(self, data: bytes) -> bool:
        try:
            self._socket.send(data, _NOBLOCK)
        except zmq.Again:
            return False
        finally:
            if self._has_messages():  # a send can consume the signal of a received message
                self.swarm.unread.append(self)
        if self.swarm.counts:
            self.swarm.tally.sent += 1
            self.swarm.tally.bytes_sent += len(data)
        return True

    def _has_messages(self) -> int:
        return int(self._socket.get(zmq.EVENTS)) & _POLLIN

    def visit(self, now_ns: int) -> int:
        """Send what is due except new deltas: separate heartbeats, repeated deltas, the Fin. Return the next time."""
        if self.phase == "joining":
            return now_ns + EVERY_NS
        if self._beats.is_due(now_ns):
            self._beats.sent(now_ns)
            self._say(self._beat(now_ns))
        return min(self._beats.due_ns, self._again(now_ns))

    def _beat(self, now_ns: int) -> Heartbeat:
        if self.phase == "running" and now_ns - self._answered_ns > _LEASE_NS:
            self.swarm.out_of_lease.add(self.id)
        sent, acked = self._seq - 1, self._seq - 1 - len(self._pending)
        return Heartbeat(self.run_id, self.phase, sent, acked, sent_ns=now_ns)

    def _send_delta(self, data: bytes, now_ns: int) -> bool:
        if rides := self._beats.rides(now_ns):
            data = with_beat(data, self._beat(now_ns))
        if not self._send(data):
            return False
        self._beats.delta_sent(now_ns, with_beat=rides, every_ns=self._asked_ns)
        return True

    def measure(self, second: int) -> None:
        """Send the deltas that are complete after `second` seconds, at the requested interval."""
        every = max(1, self._asked_ns // NS_PER_S)
        is_last = second == self.swarm.seconds
        if self.phase != "running" or (second % every and not is_last):
            return
        while self.covered < second and len(self._pending) < _WINDOW:
            self._deliver(min(second - self.covered, _LONGEST))

    def _deliver(self, intervals: int) -> None:
        swarm = self.swarm
        drawn = swarm.joined[intervals][(self._n + self.covered) % _DRAWN]
        start_ns = self.covered * NS_PER_S
        place = (self.id, self.epoch, self._seq, start_ns, start_ns + intervals * NS_PER_S, self.run_id)
        encoded = drawn if self._seq else swarm.first_of(drawn)
        data = encoded.of(*place)
        self._sent[id(drawn)] = drawn, self._sent.get(id(drawn), (drawn, 0))[1] + 1
        now_ns = perf_counter_ns()
        if not self._pending:
            self._progress_ns = now_ns
        self._pending.append((self._seq, data, now_ns))
        self._seq += 1
        self.covered += intervals
        swarm.tally.deltas += 1
        swarm.tally.values += drawn.values
        swarm.tally.requests += drawn.delta.counters.requests_finished
        self._send_delta(data, now_ns)

    def _again(self, now_ns: int) -> int:
        """Send old unacknowledged deltas again, and the Fin at the end. Return when to call this again."""
        if self._pending:
            patience_ns = max(_STALLED_NS << self._stalls, min(2 * self._asked_ns, _STALLED_NS << 2))
            if now_ns - self._progress_ns <= patience_ns:
                return self._progress_ns + patience_ns + 1
            self._progress_ns, self._stalls = now_ns, min(self._stalls + 1, 2)
            for _, data, _ in self._pending:
                self.swarm.tally.again += 1
                if not self._send_delta(data, now_ns):
                    break
        elif self.phase == "finished" and now_ns - self._fin_ns > NS_PER_S and not self.is_over:
            self._fin_ns = now_ns
            totals, recorded = Counters(), 0
            for drawn, times in self._sent.values():
                recorded += times * drawn.values
                counters = drawn.delta.counters
                totals += Counters(**{name: times * getattr(counters, name) for name in COUNTER_NAMES})
            self._say(Fin(self.run_id, self.epoch, self._seq - 1, totals, recorded, ending=self._ending))
        return now_ns + NS_PER_S

    def finish(self) -> None:
        """End the load: the Fin follows after the last acknowledgement."""
        self.phase = "finished"
        self._again(perf_counter_ns())

    # -- receiving ------------------------------------------------------------------------

    def drain(self) -> None:
        try:
            self._take(self._socket.recv(_NOBLOCK))
        except zmq.Again:  # the descriptor also signals other events
            return
        while self._has_messages():  # an empty socket costs an exception otherwise
            self._take(self._socket.recv(_NOBLOCK))

    def _take(self, data: bytes) -> None:
        now_ns = perf_counter_ns()
        if self.swarm.counts:
            self.swarm.tally.received += 1
        message, answers_ns = self.swarm.answers.read(data)
        if answers_ns:
            self._answered(answers_ns, now_ns)
        match message:
            case None:
                pass
            case Ack():
                self._acked(message, now_ns)
            case Welcome():
                self.epoch = message.epoch
                self._beats.may_ride = message.minor >= BEATS_MINOR
                if self.phase == "joining":
                    self.phase = "idle"
                self._progress_ns = 0
            case Prepare():
                self.run_id, self.phase = message.run_id, "ready"
                self._say(Ready(message.run_id, message.generation, message.bundle_sha256, 10_000))
            case StartAt():
                if self.phase == "ready":
                    self.phase, self._answered_ns = "running", now_ns
                    self.swarm.begin(message.t0_ns)
            case Stop():
                if self.phase != "finished":
                    self._ending = Ending.STOPPED
                self.phase = "finished"
            case Bye():
                self.is_over = True

    def _answered(self, sent_ns: int, now_ns: int) -> None:
        self._answered_ns = max(self._answered_ns, sent_ns)
        if self.swarm.counts:
            self.swarm.tally.pong_ms.append((now_ns - sent_ns) / NS_PER_MS)

    def _acked(self, ack: Ack, now_ns: int) -> None:
        while self._pending and self._pending[0][0] <= ack.seq:
            _, _, sent_ns = self._pending.popleft()
            self._progress_ns, self._stalls = now_ns, 0
            if self.swarm.counts:
                self.swarm.tally.ack_ms.append((now_ns - sent_ns) / NS_PER_MS)
        if self.phase == "finished":
            self._again(now_ns)
        if ack.interval_ns != self._asked_ns:
            self._asked_ns = ack.interval_ns
            self.swarm.asked(ack.interval_ns)


class Swarm:
    """All simulated agents."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.seconds, self.skip = options, options.seconds, options.skip
        self.tally, self.counts = Tally(), False
        self.context = zmq.Context()
        # ZeroMQ's thread does not interrupt the loop for each sent message, so it sends several at once.
        self.context.set(zmq.THREAD_SCHED_POLICY, os.SCHED_BATCH)
        self.context.set(zmq.MAX_SOCKETS, 60_000)
        drawn = drawn_seconds(names=options.names, requests=options.requests, agents=options.agents, count=_DRAWN)
        self.series = drawn[0].new_series
        loads = (LoadCounts(0, started=options.requests),)
        joined = _joined([replace(delta, new_series=(), loads=loads) for delta in drawn])
        self.joined = {intervals: list(map(EncodedDelta, some)) for intervals, some in joined.items()}
        self._first: dict[int, EncodedDelta] = {}
        self.sims: list[Sim] = []
        self.epoll, self.by_descriptor = select.epoll(), dict[int, Sim]()
        self.unread: list[Sim] = []
        """Agents with messages whose signal was consumed."""
        self.answers = Answers()
        self._slots: defaultdict[int, list[int]] = defaultdict(list)
        """Numbers of the agents to visit, each once, by time in _SLOT_NS. A heap of 5,000 agents takes 4 us a visit."""
        self._slot = perf_counter_ns() // _SLOT_NS
        self._due: deque[int] = deque()
        """Numbers of the agents to visit at time `_slot`."""
        self.late_ns = 0
        """The longest that a visit, or the first delta of a second, waited for the loop during the load."""
        self.out_of_lease: set[str] = set()
        """Agents that would have stopped their load, because no heartbeat was answered for 8 s."""
        self._t0_ns: int | None = None
        self._asked_ns = 0

    def first_of(self, encoded: EncodedDelta) -> EncodedDelta:
        """Return a delta with the same measurements that also declares the series, as the first one of an agent."""
        if (first := self._first.get(id(encoded))) is None:
            first = self._first[id(encoded)] = EncodedDelta(replace(encoded.delta, new_series=self.series))
        return first

    def begin(self, t0_ns: int) -> None:
        if self._t0_ns is None:
            self._t0_ns = t0_ns
            sys.stdout.write(f"t0 {t0_ns}\n")
            sys.stdout.flush()

    def asked(self, interval_ns: int) -> None:
        """Note an interval change once for all agents. One before the start of the load counts from its start."""
        if interval_ns != self._asked_ns:
            self._asked_ns = interval_ns
            at_s = 0.0 if self._t0_ns is None else max(0, perf_counter_ns() - self._t0_ns) / NS_PER_S
            self.tally.asked_s.append((at_s, (interval_ns or NS_PER_S) / NS_PER_S))

    def visit_at(self, at_ns: int, n: int) -> None:
        """Plan a visit to an agent at the end of the slot with this time, or of the next slot if that one is over."""
        self._slots[max(at_ns // _SLOT_NS, self._slot) + 1].append(n)

    def work(self) -> dict[str, Any]:
        keys = load_agent(Path(self.options.keys))
        joining: list[Sim] = []
        said_ns = 0
        while self._t0_ns is None:
            now_ns = perf_counter_ns()
            joining = [sim for sim in joining if sim.phase == "joining"]
            while len(joining) < _JOINING and len(self.sims) < self.options.agents:
                sim = Sim(self, len(self.sims), self.options.address, keys)
                self.sims.append(sim)
                joining.append(sim)
                sim.hello()
            if now_ns - said_ns > 3 * NS_PER_S:
                said_ns = now_ns
                for sim in joining:
                    sim.hello()
            self._turn(_SLOT_NS / NS_PER_S)
        cpu_s, wall_s = self._load(self._t0_ns)
        while not all(sim.is_over for sim in self.sims):
            self._turn_until(perf_counter_ns() + NS_PER_S // 10)
        return self._figures(cpu_s, wall_s)

    def _load(self, t0_ns: int) -> tuple[float, float]:
        """Return the CPU time of the swarm from second `skip` to the end of the load, and the time between the two."""
        began_s, began_ns = 0.0, 0
        self._turn_until(t0_ns)
        self.late_ns = 0
        for second in range(1, self.seconds + 1):
            due_ns = t0_ns + second * NS_PER_S
            self._turn_until(due_ns)
            if second == self.skip:
                self.counts, began_s, began_ns = True, process_time(), perf_counter_ns()
            self.late_ns = max(self.late_ns, perf_counter_ns() - due_ns)
            for n, sim in enumerate(self.sims):
                sim.measure(second)
                if not n % _AT_ONCE:
                    self._turn(0)
        self.counts = False
        cpu_s, wall_s, late_ns = process_time() - began_s, (perf_counter_ns() - began_ns) / NS_PER_S, self.late_ns
        while any(sim.covered < self.seconds for sim in self.sims):  # agents whose window was full
            self._turn_until(perf_counter_ns() + NS_PER_S // 10)
            for sim in self.sims:
                sim.measure(self.seconds)
        self.late_ns = late_ns
        for sim in self.sims:
            sim.finish()
        return cpu_s, wall_s

    def _turn_until(self, at_ns: int) -> None:
        while (left_ns := at_ns - perf_counter_ns()) > 0:
            self._turn(min(_SLOT_NS, left_ns) / NS_PER_S)

    def _turn(self, wait_s: float) -> None:
        """Read all received messages, and visit the due agents."""
        unread, self.unread = self.unread, []
        for sim in unread:
            sim.drain()
        is_behind = self._due or self._slot < perf_counter_ns() // _SLOT_NS
        for descriptor, _ in self.epoll.poll(0 if self.unread or is_behind else wait_s):
            self.by_descriptor[descriptor].drain()
        now_ns = perf_counter_ns()
        while not self._due and self._slot < now_ns // _SLOT_NS:
            self._slot += 1
            self._due += self._slots.pop(self._slot, ())
        for _ in range(min(_AT_ONCE, len(self._due))):
            self.late_ns = max(self.late_ns, now_ns - self._slot * _SLOT_NS)
            n = self._due.popleft()
            self.visit_at(self.sims[n].visit(now_ns), n)

    def _figures(self, cpu_s: float, wall_s: float) -> dict[str, Any]:
        tally = self.tally
        return {
            "ack_ms": _quantiles(tally.ack_ms),
            "pong_ms": _quantiles(tally.pong_ms),
            "sent_per_s": tally.sent / wall_s,
            "received_per_s": tally.received / wall_s,
            "bytes_per_s": tally.bytes_sent / wall_s,
            "delta_bytes": len(
                self.joined[1][0].of("sim.1000", 1, 10, 10 * NS_PER_S, 11 * NS_PER_S, self.sims[0].run_id)
            ),
            "deltas": tally.deltas,
            "requests": tally.requests,
            "sent_again": tally.again,
            "out_of_lease": len(self.out_of_lease),
            "asked_s": tally.asked_s,
            "swarm_cpu": cpu_s / wall_s,
            "late_ms": self.late_ns / NS_PER_MS,
        }


def _joined(drawn: Sequence[Delta]) -> dict[int, list[Delta]]:
    """Merged deltas by number of intervals, for each possible first interval."""
    found: dict[int, list[Delta]] = {1: list(drawn)}
    for intervals in range(2, _LONGEST + 1):
        found[intervals] = []
        for n, shorter in enumerate(found[intervals - 1]):
            other = drawn[(n + intervals - 1) % len(drawn)]
            joint = join(shorter, replace(other, start_ns=shorter.end_ns, end_ns=shorter.end_ns + NS_PER_S))
            assert joint is not None
            found[intervals].append(joint)
    return found


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    p50, p99, most = np.percentile(values, [50, 99, 100])
    return {"p50": float(p50), "p99": float(p99), "max": float(most), "count": len(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate very many agents in one process.")
    parser.add_argument("address")
    parser.add_argument("keys")
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--names", type=int, default=20)
    parser.add_argument("--requests", type=int, default=50, help="requests of each name per second and agent")
    parser.add_argument("--seconds", type=int, default=30, help="length of the load, s")
    parser.add_argument("--skip", type=int, default=10, help="seconds at the start of the load that do not count")
    more_files()
    figures = Swarm(parser.parse_args()).work()
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
