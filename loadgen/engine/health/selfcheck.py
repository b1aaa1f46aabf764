"""Checks in each interval, from inside the worker, whether the load generator was fit to measure.

Only the generator's own faults count; a slow target makes no interval unfit. An interval is unfit if

- its lag p99 is above the larger of 2 ms and 10 % of the p99 of the journeys' response times that
  ended in it, of all outcomes, warm-up included. If AI models answered in it and the median time to
  first token was shorter than this p99, that time is used instead: answers of 10 s would otherwise
  allow a lag of 1 s. The gaps between tokens have a verdict of their own (`stream_reads.py`). The limit
  is 1 ms instead of 2 ms if the generator lag was above it in the interval before as well;
- garbage collection paused the worker for longer than that at once, and for more than 1 % of the interval;
- the host of the machine took more than 5 % of its CPU time (steal);
- requests failed because no descriptor or local port was free, or 95 % of the descriptors or 90 % of
  the ports towards one address are in use;
- less than 64 MiB of memory are free;
- EC2 held back or dropped packets, because the instance exceeded an allowance.

The lag is the generator lag or the event loop's, whichever is larger. The generator lag is exact but
has few values at low rates, and does not show how late replies are read. If the kernel's clock timed all
answers of an interval, the read lag takes the place of the event loop's lag: it is the lateness of each read
itself (`answer_reads.py`). Lag p99 is the value that
1 % of the values exceed, and at least one, so one pause of a few milliseconds a second spoils no p99.

The limits were compared with captured packets (tests/integration/test_packets.py). The scenario
computes for 1, 2 and 4 ms between requests to a target that answers in 0.1 ms. The p99 of its
requests was wrong by 1.0, 2.0 and 4.0 ms, and the generator lag p99 of most seconds was 0.9 to 1.3,
1.8 to 2.5 and 3.9 to 6.8 ms. So a limit of 2 ms alone would let an error of 1 ms pass. But on a busy
machine single seconds are above 1 ms by chance.

Reasons that explain a lag follow it: a busy core, other programs on it, a busy machine, a CPU limit. The
load of the machine is an average over the last minute. So it explains no lag of an interval in which a
line of the scenario held the loop, or in which the loop hardly waited for a core.

A thread finds the lines of the scenario that hold the loop: it looks 20 times a second where a late
loop is. On a busy machine the loop is late wherever it happens to be, and that line is innocent. So
the time in which the loop waited for a core, or the host had the machine, is subtracted. Measured
with 6 busy programs on 2 cores: a line that slept for 400 ms had waited for a core for 0 to 3 ms, and
a line that ran to the end of 400 ms of wall time had waited for 300 of them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter_ns, sleep
from types import FrameType
from typing import Final

from loadgen.engine.health.answer_reads import JUMP_NOTE, AnswerReads
from loadgen.engine.health.open_connections import OPEN_CONNECTIONS
from loadgen.engine.health.process_health import HealthReading, Probe
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.measure.deltas.delta import Health
from loadgen.measure.deltas.read_health import ReadHealth
from loadgen.measure.deltas.stream_health import StreamHealth
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US, format_count, format_duration, format_ratio, quantity

__all__ = [
    "BLOCKED_NS",
    "LAG_FLOOR_NS",
    "LAG_SHARE",
    "LASTING_LAG_FLOOR_NS",
    "NEAR_NOTE",
    "Seen",
    "SelfCheck",
    "scenario_line",
    "unfit_reasons",
]

LAG_FLOOR_NS: Final = 2 * NS_PER_MS
LASTING_LAG_FLOOR_NS: Final = 1 * NS_PER_MS
"""Limit of the generator lag in two successive intervals; only used where timers are exact, as on Linux."""
LAG_SHARE: Final = 0.10
GC_SHARE: Final = 0.01
"""Share of the interval: shorter pauses cannot affect a p99."""
STEAL_SHARE: Final = 0.05
FDS_SHARE: Final = 0.95
PORTS_SHARE: Final = 0.90
MEMORY_LEAST_BYTES: Final = 64 << 20
BUSY_SHARE: Final = 0.95
"""Share of a core. Not a fault by itself: it explains a lag."""
NEAR_SHARE: Final = 0.80
"""Share of a core, without busy waiting, from which a worker is near its limit: a burst or a slower second would make
its starts late."""
NEAR_NOTE: Final = (
    "a worker used more than 80 % of a core for 2 s and was still in time: a higher rate would make its starts late; "
    "before you raise the load, use more workers on free cores, or more agents"
)
STARVED_SHARE: Final = 0.05
THROTTLED_SHARE: Final = 0.01

BLOCKED_NS: Final = 200 * NS_PER_MS
"""A loop that did not turn for this long is blocked, and the current line of the scenario is named."""
HELD_SHARE: Final = 0.25
_LEAST_LOOKS: Final = 4
"""If there was a lag, a line of the scenario is named if this many looks found it running."""
_TICK_NS: Final = 9_700_000
"""Not a divisor of a round rate's period: ticks in step with 100 arrivals/s would see each of them, or none."""
_LATE_NS: Final = _TICK_NS * 3 // 2
"""Time since the last turn of the loop from which a look is worth its cost."""
_LOOK_S: Final = 0.05
_COUNT_EVERY: Final = 100
"""Looks between two readings of the expensive figures: 5 s."""
_HAS_EXACT_TIMERS: Final = sys.platform == "linux"
_OURS: Final = str(Path(__file__).parents[2])


@dataclass(frozen=True, slots=True)
class Seen:
    """The observations of one interval of one worker that decide whether it was fit."""

    lag_p99_ns: int = 0
    lasting_lag_ns: int = 0
    """The generator lag p99 of this interval or the one before, whichever is less."""
    response_p99_ns: int = 0
    """0 if nothing ended."""
    interval_ns: int = NS_PER_S
    gc_total_ns: int = 0
    gc_max_ns: int = 0
    own_faults: int = 0
    """Requests for which no descriptor or no local port was free."""
    look: HealthReading = field(default_factory=HealthReading)

    @property
    def allowed_ns(self) -> int:
        """The largest p99 of lag, in ns, that does not distort the measured response times."""
        return max(LAG_FLOOR_NS, round(LAG_SHARE * self.response_p99_ns))

    @property
    def allowed_lasting_ns(self) -> int:
        """The largest p99 of generator lag, in ns, that does no harm even in two intervals in a row."""
        return max(LASTING_LAG_FLOOR_NS, round(LAG_SHARE * self.response_p99_ns))

    @property
    def may_blame_machine(self) -> bool:
        """Whether the load of the machine, an average over the last minute, can explain the lag of this interval.

        It cannot if the loop waited for a core for less than the lag, unless the process filled its core, too.
        """
        waited_ns = self.look.starved_share * self.interval_ns  # 0: unknown
        return not waited_ns or waited_ns >= self.lag_p99_ns or self.look.cpu_share > BUSY_SHARE

    @property
    def lag_text(self) -> str:
        """Why the lag of this interval is too large, as a sentence; empty if it is not."""
        if self.lag_p99_ns > self.allowed_ns:
            return _above(self.lag_p99_ns, self.allowed_ns)
        if self.lasting_lag_ns > self.allowed_lasting_ns:
            return f"{_above(self.lag_p99_ns, self.allowed_lasting_ns)} in two intervals in a row"
        return ""


def _above(lag_ns: int, allowed_ns: int) -> str:
    """Return "lag p99 41.0 ms is above 2.00 ms", or "lag p99 is just above 2.00 ms" if both round alike."""
    lag, allowed = format_duration(lag_ns), format_duration(allowed_ns)
    return f"lag p99 is just above {allowed}" if lag == allowed else f"lag p99 {lag} is above {allowed}"


def unfit_reasons(seen: Seen, *, is_held: bool = False) -> tuple[str, ...]:
    """Return the reasons why an interval's measurements cannot be trusted, the most telling first; empty if they can.

    Reasons that explain a lag follow it. `run_fitness.cause_of` recognises these texts by their words.

    is_held: a line of the scenario blocked or held the loop in this interval, so a note explains the lag already.
    """
    reasons = []
    look, allowed_ns = seen.look, seen.allowed_ns
    if seen.lag_text:
        reasons.append(seen.lag_text)
        if look.cpu_share > BUSY_SHARE:
            reasons.append(f"its core was busy for {format_ratio(min(1.0, look.cpu_share))} of the time")
        if look.starved_share > STARVED_SHARE:
            reasons.append(f"other programs had its core for {format_ratio(look.starved_share)} of the time")
        if look.machine_load > look.cores > 0 and not is_held and seen.may_blame_machine:
            reasons.append(f"its machine is busy (load {look.machine_load:.1f} on {quantity(look.cores, 'core')})")
        if look.throttled_share > THROTTLED_SHARE:
            reasons.append(f"its CPU limit held it back for {format_ratio(look.throttled_share)} of the time")
    if seen.gc_max_ns > allowed_ns and seen.gc_total_ns > GC_SHARE * seen.interval_ns:
        total, longest = format_duration(seen.gc_total_ns), format_duration(seen.gc_max_ns)
        reasons.append(f"garbage collection paused it for {total}, {longest} at once")
    if look.steal_share > STEAL_SHARE:
        reasons.append(f"the machine's host took {format_ratio(look.steal_share)} of its CPU time (steal)")
    if seen.own_faults:
        reasons.append(f"{format_count(seen.own_faults)} requests had no file descriptor or no local port")
    if look.fd_limit > 0 and look.fds > FDS_SHARE * look.fd_limit:
        reasons.append(f"{format_count(look.fds)} of {format_count(look.fd_limit)} file descriptors are open")
    if look.port_limit > 0 and look.ports > PORTS_SHARE * look.port_limit:
        used = f"{format_count(look.ports)} of {format_count(look.port_limit)}"
        reasons.append(f"{used} local ports are in use towards one address")
    if 0 < look.memory_free_bytes < MEMORY_LEAST_BYTES:
        reasons.append(f"only {look.memory_free_bytes / 2**20:.0f} MiB of memory are free")
    if look.shaped:
        packets = format_count(sum(count for _, count in look.shaped))
        names = ", ".join(name for name, _ in look.shaped)
        reasons.append(f"the instance's network held back {packets} packets ({names})")
    return tuple(reasons)


class SelfCheck:
    """Watches the event loop in which it is started, its process, and the scenario lines that block the loop.

    Args:
        folder: of the scenario's own files; only lines in it are named.
        users: returns (users, in flight, waiting) at the end of an interval.
        own_faults: returns the number of requests so far for which no descriptor or no local port was free.
        oldest_ns: returns the age of the oldest iteration in flight.
        unacked: returns the number of unacknowledged deltas.
        left_ns: returns the CPU time since the last call that busy waiting used, and leaves at once for work.
        starved: called in each interval with the share of it in which the loop waited for a core.
        reads: the reads of streams of AI models; None: the plan has no model.
        answers: the reads of all answers, in a plan that asks for the kernel's clock; None in others.
    """

    def __init__(
        self,
        folder: Path,
        users: Callable[[], tuple[int, int, int]],
        *,
        own_faults: Callable[[], int] = lambda: 0,
        oldest_ns: Callable[[], int] = lambda: 0,
        unacked: Callable[[], int] = lambda: 0,
        left_ns: Callable[[], int] = lambda: 0,
        starved: Callable[[float], None] = lambda share: None,
        reads: StreamReads | None = None,
        answers: AnswerReads | None = None,
        probe: Probe | None = None,
    ) -> None:
        self._folder = str(folder.resolve())
        self._users, self._own_faults, self._oldest_ns, self._unacked = users, own_faults, oldest_ns, unacked
        self._left_ns, self._starved = left_ns, starved
        self._reads, self._answers = reads, answers
        self._probe = probe or Probe()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="selfcheck-look")
        self._looking: Future[HealthReading] | None = None
        self._faults_before = 0
        self._lag_before_ns = 0
        self._lags_ns: list[int] = []
        self._gc_pauses_ns: list[int] = []
        self._gc_began_ns = 0
        self._turned_ns = self._began_ns = perf_counter_ns()
        self._calm_waited_ns = 0
        """How long the loop had waited for a core in all, when it last turned in time."""
        self._suspects: dict[str, int] = {}
        """Lines at which the loop has stood since then, each with the longest time (ns) without a turn."""
        self._blocked: dict[str, int] = {}
        """Lines that blocked the loop in this interval, each with the longest time (ns) that it had a core or slept."""
        self._held: Counter[str] = Counter()
        self._looks = 0
        self._is_near = self._is_near_said = False
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle | None = None
        self._tick_ns = 0
        """When the next tick is due."""

    def start(self) -> None:
        """Start watching the event loop and the process. Call this within the running loop."""
        self._turned_ns = self._began_ns = perf_counter_ns()
        self._probe.look()  # changes before the start do not belong to the first interval
        self._calm_waited_ns = self._probe.waited_ns()
        self._faults_before = self._own_faults()
        self._loop = asyncio.get_running_loop()
        self._tick_ns = self._turned_ns + _TICK_NS
        self._timer = self._loop.call_later(_TICK_NS / NS_PER_S, self._tick)
        gc.callbacks.append(self._on_gc)
        loop_thread = threading.get_ident()
        threading.Thread(target=self._watch, args=(loop_thread,), name="selfcheck", daemon=True).start()

    def stop(self) -> None:
        """Stop watching, and end the timer and the threads."""
        self._is_over = True
        self._threads.shutdown(wait=False)
        if self._timer is not None:
            self._timer.cancel()
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)

    def begin_look(self) -> None:
        """Start reading CPU, memory and sockets in a thread, so that the next call of `health` has them.

        It takes 0.5 ms, which would delay replies on the loop.
        """
        self._looking = self._threads.submit(self._probe.look)

    @property
    def is_looking(self) -> bool:
        """Whether the reading that `begin_look` began is still going on; `health` would wait for it."""
        return self._looking is not None and not self._looking.done()

    def health(self, generator_lag_p99_ns: int | None, response_p99_ns: int, notes: tuple[str, ...]) -> Health:
        """Return the health of this worker since the last call, with the reasons why it was not fit to measure.

        Args:
            generator_lag_p99_ns: p99 of the generator lag in this interval; None if there is no open load.
            response_p99_ns: p99 of the iterations' response times in this interval.
            notes: other remarks for the operator, which the result contains too.
        """
        lags, self._lags_ns = sorted(self._lags_ns), []
        pauses, self._gc_pauses_ns = self._gc_pauses_ns, []
        now_ns = perf_counter_ns()
        interval_ns, self._began_ns = max(1, now_ns - self._began_ns), now_ns
        faults = self._own_faults()
        new_faults, self._faults_before = faults - self._faults_before, faults
        looking, self._looking = self._looking, None
        look = looking.result() if looking is not None else self._probe.look()
        self._starved(look.starved_share)
        look = replace(look, cpu_share=max(0.0, look.cpu_share - self._left_ns() / interval_ns))
        loop_p99_ns = _p99(lags)
        answers, late_ns = (None, None) if self._answers is None else self._answers.take()
        streams = None if self._reads is None else self._reads.take(loop_p99_ns, generator_lag_p99_ns or 0)
        lag_before_ns = self._lag_before_ns
        lag_ns = self._lag_before_ns = generator_lag_p99_ns or 0
        seen = Seen(
            lag_p99_ns=max(loop_p99_ns if late_ns is None else late_ns, lag_ns),
            lasting_lag_ns=min(lag_ns, lag_before_ns) if _HAS_EXACT_TIMERS else 0,
            response_p99_ns=_shortest_ns(response_p99_ns, streams),
            interval_ns=interval_ns,
            gc_total_ns=sum(pauses),
            gc_max_ns=max(pauses, default=0),
            own_faults=new_faults,
            look=look,
        )
        users, in_flight, waiting = self._users()
        held = self._loop_notes(seen)
        return Health(
            users=users,
            in_flight=in_flight,
            waiting=waiting,
            http_connections=max(0, OPEN_CONNECTIONS.http),
            websockets=max(0, OPEN_CONNECTIONS.websockets),
            tcp_connections=max(0, OPEN_CONNECTIONS.tcp),
            loop_lag_p50_us=(lags[len(lags) // 2] if lags else 0) // NS_PER_US,
            loop_lag_p99_us=loop_p99_ns // NS_PER_US,
            loop_lag_max_us=(lags[-1] if lags else 0) // NS_PER_US,
            generator_lag_p99_us=(generator_lag_p99_ns or 0) // NS_PER_US,
            response_p99_us=response_p99_ns // NS_PER_US,
            cpu_share=round(look.cpu_share, 4),
            rss_bytes=look.rss_bytes,
            steal_share=round(look.steal_share, 4),
            gc_max_us=seen.gc_max_ns // NS_PER_US,
            fds=look.fds,
            fd_limit=max(0, look.fd_limit),
            ports=look.ports,
            port_limit=look.port_limit,
            memory_free_bytes=look.memory_free_bytes,
            unacked=self._unacked(),
            oldest_ms=max(0, self._oldest_ns()) // NS_PER_MS,
            unfit=unfit_reasons(seen, is_held=bool(held)),
            notes=(*notes, *held, *self._near_limit(seen), *_jump_notes(answers)),
            streams=streams,
            reads=answers,
        )

    def _near_limit(self, seen: Seen) -> list[str]:
        """Return a note, once, if two intervals in a row used most of a core and were still fit to measure."""
        was_near, self._is_near = self._is_near, seen.look.cpu_share > NEAR_SHARE and not seen.lag_text
        if not (was_near and self._is_near) or self._is_near_said:
            return []
        self._is_near_said = True
        return [NEAR_NOTE]

    def _loop_notes(self, seen: Seen) -> list[str]:
        """Return notes about scenario lines that blocked the event loop, or held it often while there was lag.

        Time in which the loop had no core, because other programs or the machine's host used it, does not count.
        """
        self._clear_suspects()
        stolen_ns = seen.look.steal_share * seen.look.cores * seen.interval_ns  # all of it may have been ours
        blocked = {where: ns for where, ns in self._blocked.items() if ns - stolen_ns > BLOCKED_NS}
        self._blocked = {}
        held, self._held = self._held, Counter()
        looks, self._looks = self._looks, 0
        notes = [f"{where} blocked the event loop for {format_duration(ns)}" for where, ns in blocked.items()]
        if seen.lag_text and looks >= _LEAST_LOOKS:
            notes += [
                f"{where} held the event loop for {format_ratio(times / looks)} of the time"
                for where, times in held.most_common(3)
                if where not in blocked
                and times >= _LEAST_LOOKS
                and times / looks - seen.look.starved_share - seen.look.steal_share >= HELD_SHARE
            ]
        return notes

    def _tick(self) -> None:
        """Record the lag of the loop: the lateness of a tick every 9.7 ms (resolution 1 ms under uvloop).

        A loop that is blocked for 95 ms misses nine more ticks, which would have been late by 85, 75 ... ms. They count
        too. Otherwise the worst pauses would be the rarest values.
        """
        now_ns = self._turned_ns = perf_counter_ns()
        due_ns = self._tick_ns
        if now_ns < due_ns:  # a timer that fired early
            self._lags_ns.append(0)
            due_ns += _TICK_NS
        while due_ns <= now_ns:
            self._lags_ns.append(now_ns - due_ns)
            due_ns += _TICK_NS
        self._tick_ns = due_ns
        self._timer = self._loop.call_later((due_ns - now_ns) / NS_PER_S, self._tick)

    def _on_gc(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_began_ns = perf_counter_ns()
        else:
            self._gc_pauses_ns.append(perf_counter_ns() - self._gc_began_ns)

    def _watch(self, loop_thread: int) -> None:
        """Watch the loop from another thread: find its line when it is late, and read the expensive figures.

        While this thread runs the loop cannot, so a turn takes only a few microseconds. Looking at the frames each time
        cost running requests 0.2 ms, 20 times a second, which captured packets showed.
        """
        n = 0
        while not self._is_over:
            sleep(_LOOK_S)
            self._looks += 1
            silent_ns = perf_counter_ns() - self._turned_ns
            if silent_ns > _LATE_NS:
                self._look(loop_thread, silent_ns)
            else:
                self._clear_suspects()
            n += 1
            if n % _COUNT_EVERY == 1:
                self._probe.count()

    def _look(self, loop_thread: int, silent_ns: int) -> None:
        frame = sys._current_frames().get(loop_thread)
        if where := scenario_line(self._folder, frame, through_ours=False):
            self._held[where] += 1
        if silent_ns > BLOCKED_NS and (where := scenario_line(self._folder, frame, through_ours=True)):
            self._suspects[where] = max(silent_ns, self._suspects.get(where, 0))

    def _clear_suspects(self) -> None:
        """Name the lines that blocked the loop with a core of its own or asleep, and acquit the others.

        Call this while the loop turns, because only then the time for which it waited is complete.
        """
        suspects, self._suspects = self._suspects, {}
        waited_ns = self._probe.waited_ns()
        lost_ns, self._calm_waited_ns = waited_ns - self._calm_waited_ns, waited_ns
        for where, silent_ns in suspects.items():
            if (blocked_ns := silent_ns - lost_ns) > BLOCKED_NS:
                self._blocked[where] = max(blocked_ns, self._blocked.get(where, 0))


def scenario_line(folder: str, frame: FrameType | None, *, through_ours: bool) -> str:
    """Return "file:line (function)" of the innermost frame in the scenario's folder; "" if not found.

    It searches from `frame` outwards. Without `through_ours` it also returns "" if that code is calling loadgen: time
    in our client is not the scenario's fault.
    """
    # Seen once with CPython 3.11: `f_back` of a frame that another thread runs returned an object that is no frame.
    while isinstance(frame, FrameType):
        file = frame.f_code.co_filename
        if file.startswith(_OURS):
            if not through_ours:
                return ""
        elif file.startswith(folder) and "site-packages" not in file:
            return f"{Path(file).relative_to(folder)}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back
    return ""


def _jump_notes(answers: ReadHealth | None) -> tuple[str, ...]:
    return (JUMP_NOTE,) if answers is not None and answers.jumps else ()


def _shortest_ns(response_p99_ns: int, streams: StreamHealth | None) -> int:
    """Return the shortest time that a late start makes longer: of the journeys, or to the first token of streams."""
    ttft_ns = 0 if streams is None else streams.ttft_p50_us * NS_PER_US
    return min(response_p99_ns or ttft_ns, ttft_ns) if ttft_ns else response_p99_ns


def _p99(ordered: Sequence[int]) -> int:
    """Return the p99 of ascending values: the value that 1 % of them, and at least one, exceed; 0 for no values."""
    return ordered[max(0, len(ordered) - 1 - max(1, len(ordered) // 100))] if ordered else 0
