"""Was the generator fit to measure? Watched each interval, from inside the worker.

Only the generator's own faults count (DESIGN 6.4). An interval is unfit when

- its lag p99 is above the larger of 2 ms and 10 % of the p99 of the journeys'
  response times that ended in it, of all outcomes, warm-up included; above 1 ms
  instead of 2 where the generator lag was so in the interval before as well;
- garbage collection paused the worker for longer than that at once, and for more than 1 % of the interval;
- the host of the machine took more than 5 % of its CPU time (steal);
- requests failed for want of a descriptor or a local port, or 95 % of the
  descriptors or 90 % of the ports towards one address are in use;
- less than 64 MiB of memory are free;
- EC2 held back or dropped packets, since the instance wanted more than it may.

The lag is the generator lag or the event loop's, whichever is larger: the first
is exact but has few values at low rates, and says nothing of how late replies are
read. Lag p99 is what 1 % of the values exceed and at least one: one pause of a
few milliseconds a second spoils no p99. A slow target makes nothing unfit.
Held against the packets (tests/integration/test_packets.py): with a scenario that
computes for 1, 2 and 4 ms beside a target that answers in 0.1 ms, the p99 of its
requests was wrong by 1.0, 2.0 and 4.0 ms, and the generator lag p99 of most seconds
0.9 to 1.3, 1.8 to 2.5 and 3.9 to 6.8 ms. So 2 ms alone would let an error of 1 ms
pass, while on a busy machine single seconds are above 1 ms by chance.

What explains a lag is said beside it: a busy core, other programs on it, a CPU
limit. Lines of the scenario that hold the loop are found by a thread that looks,
20 times a second, where a loop is that is late.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns, sleep
from types import FrameType
from typing import Final

from loadgen.engine.health.process_health import Look, Probe
from loadgen.measure.deltas.delta import Health
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US, format_count, format_duration, format_ratio

__all__ = [
    "BLOCKED_NS",
    "LAG_FLOOR_NS",
    "LAG_SHARE",
    "LASTING_LAG_FLOOR_NS",
    "Seen",
    "SelfCheck",
    "scenario_line",
    "unfit_reasons",
]

LAG_FLOOR_NS: Final = 2 * NS_PER_MS
LASTING_LAG_FLOOR_NS: Final = 1 * NS_PER_MS
"""Of the generator lag, in two intervals in a row: where timers are exact, which they are on Linux."""
LAG_SHARE: Final = 0.10
GC_SHARE: Final = 0.01
"""Of the interval: what is paused for less can be in no p99."""
STEAL_SHARE: Final = 0.05
FDS_SHARE: Final = 0.95
PORTS_SHARE: Final = 0.90
MEMORY_LEAST_BYTES: Final = 64 << 20
BUSY_SHARE: Final = 0.95
"""Of a core. No fault by itself: it explains a lag."""
STARVED_SHARE: Final = 0.05
THROTTLED_SHARE: Final = 0.01

BLOCKED_NS: Final = 200 * NS_PER_MS
"""A loop that did not turn for this long is blocked, and the line that it is in is named."""
HELD_SHARE: Final = 0.25
_LEAST_LOOKS: Final = 4
"""A line of the scenario that is found running in so many of the looks is named where there was a lag."""
_TICK_NS: Final = 9_700_000
"""No divisor of a round rate's period: ticks in step with 100 arrivals/s would see each of them, or none."""
_LATE_NS: Final = _TICK_NS * 3 // 2
"""Since the loop turned last. Before that there is nothing to look for."""
_LOOK_S: Final = 0.05
_COUNT_EVERY: Final = 100
"""Looks between two of what is dear to count: 5 s."""
_HAS_EXACT_TIMERS: Final = sys.platform == "linux"
_OURS: Final = str(Path(__file__).parents[2])


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one interval of one worker: what decides whether it was fit."""

    lag_p99_ns: int = 0
    lasting_lag_ns: int = 0
    """The generator lag p99 of this interval or the one before, whichever is less."""
    response_p99_ns: int = 0
    """0 when nothing ended."""
    interval_ns: int = NS_PER_S
    gc_total_ns: int = 0
    gc_max_ns: int = 0
    own_faults: int = 0
    """Requests that had no descriptor or no local port."""
    look: Look = field(default_factory=Look)

    @property
    def allowed_ns(self) -> int:
        """The lag p99 that spoils nothing."""
        return max(LAG_FLOOR_NS, round(LAG_SHARE * self.response_p99_ns))

    @property
    def allowed_lasting_ns(self) -> int:
        return max(LASTING_LAG_FLOOR_NS, round(LAG_SHARE * self.response_p99_ns))

    @property
    def lag_text(self) -> str:
        """What is wrong with the lag; empty when nothing is."""
        if self.lag_p99_ns > self.allowed_ns:
            return f"lag p99 {format_duration(self.lag_p99_ns)} is above {format_duration(self.allowed_ns)}"
        if self.lasting_lag_ns > self.allowed_lasting_ns:
            allowed = format_duration(self.allowed_lasting_ns)
            return f"lag p99 {format_duration(self.lag_p99_ns)} is above {allowed} for the second time in a row"
        return ""


def unfit_reasons(seen: Seen) -> tuple[str, ...]:
    """Why an interval cannot be trusted, most telling first; empty when it can. What explains a lag follows it."""
    reasons = []
    look, allowed_ns = seen.look, seen.allowed_ns
    if seen.lag_text:
        reasons.append(seen.lag_text)
        if look.cpu_share > BUSY_SHARE:
            reasons.append(f"its core was busy for {format_ratio(min(1.0, look.cpu_share))} of the time")
        if look.starved_share > STARVED_SHARE:
            reasons.append(f"other programs had its core for {format_ratio(look.starved_share)} of the time")
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
    """Watches the loop it is started in, its process, and who blocks it.

    Args:
        folder: where the scenario's own files are: the line that blocks is looked for there.
        users: gives (users, in flight, waiting) at the end of an interval.
        own_faults: how many requests so far had no descriptor or no local port.
        oldest_ns: the age of the oldest iteration in flight.
        unacked: how many deltas are kept that nobody has acknowledged yet.
    """

    def __init__(
        self,
        folder: Path,
        users: Callable[[], tuple[int, int, int]],
        *,
        own_faults: Callable[[], int] = lambda: 0,
        oldest_ns: Callable[[], int] = lambda: 0,
        unacked: Callable[[], int] = lambda: 0,
        probe: Probe | None = None,
    ) -> None:
        self._folder = str(folder.resolve())
        self._users, self._own_faults, self._oldest_ns, self._unacked = users, own_faults, oldest_ns, unacked
        self._probe = probe or Probe()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="selfcheck-look")
        self._looking: Future[Look] | None = None
        self._faults_before = 0
        self._lag_before_ns = 0
        self._lags_ns: list[int] = []
        self._gc_pauses_ns: list[int] = []
        self._gc_began_ns = 0
        self._turned_ns = self._began_ns = perf_counter_ns()
        self._blocked: dict[str, int] = {}
        self._held: Counter[str] = Counter()
        self._looks = 0
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle | None = None
        self._tick_ns = 0
        """When the next tick is due."""

    def start(self) -> None:
        """Begin to watch; within the running loop."""
        self._turned_ns = self._began_ns = perf_counter_ns()
        self._probe.look()  # what was before is not of the first interval
        self._faults_before = self._own_faults()
        self._loop = asyncio.get_running_loop()
        self._tick_ns = self._turned_ns + _TICK_NS
        self._timer = self._loop.call_later(_TICK_NS / NS_PER_S, self._tick)
        gc.callbacks.append(self._on_gc)
        loop_thread = threading.get_ident()
        threading.Thread(target=self._watch, args=(loop_thread,), name="selfcheck", daemon=True).start()

    def stop(self) -> None:
        self._is_over = True
        self._threads.shutdown(wait=False)
        if self._timer is not None:
            self._timer.cancel()
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)

    def begin_look(self) -> None:
        """Ask the operating system beside the loop, for the next `health`: 0.5 ms that would hold up answers."""
        self._looking = self._threads.submit(self._probe.look)

    def health(self, generator_lag_p99_ns: int | None, response_p99_ns: int, notes: tuple[str, ...]) -> Health:
        """What was seen since the last call. `generator_lag_p99_ns` is None in closed loads."""
        lags, self._lags_ns = sorted(self._lags_ns), []
        pauses, self._gc_pauses_ns = self._gc_pauses_ns, []
        now_ns = perf_counter_ns()
        interval_ns, self._began_ns = max(1, now_ns - self._began_ns), now_ns
        faults = self._own_faults()
        new_faults, self._faults_before = faults - self._faults_before, faults
        looking, self._looking = self._looking, None
        look = looking.result() if looking is not None else self._probe.look()
        loop_p99_ns = _p99(lags)
        lag_before_ns = self._lag_before_ns
        lag_ns = self._lag_before_ns = generator_lag_p99_ns or 0
        seen = Seen(
            lag_p99_ns=max(loop_p99_ns, lag_ns),
            lasting_lag_ns=min(lag_ns, lag_before_ns) if _HAS_EXACT_TIMERS else 0,
            response_p99_ns=response_p99_ns,
            interval_ns=interval_ns,
            gc_total_ns=sum(pauses),
            gc_max_ns=max(pauses, default=0),
            own_faults=new_faults,
            look=look,
        )
        users, in_flight, waiting = self._users()
        return Health(
            users=users,
            in_flight=in_flight,
            waiting=waiting,
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
            unfit=unfit_reasons(seen),
            notes=(*notes, *self._said(seen)),
        )

    def _said(self, seen: Seen) -> list[str]:
        """Who blocked the loop, or held it where there was a lag."""
        blocked, self._blocked = self._blocked, {}
        held, self._held = self._held, Counter()
        looks, self._looks = self._looks, 0
        said = [f"{where} blocked the event loop for {format_duration(ns)}" for where, ns in blocked.items()]
        if seen.lag_text and looks >= _LEAST_LOOKS:
            said += [
                f"{where} held the event loop for {format_ratio(times / looks)} of the time"
                for where, times in held.most_common(3)
                if where not in blocked and times >= _LEAST_LOOKS and times >= HELD_SHARE * looks
            ]
        return said

    def _tick(self) -> None:
        """Asks to be called every 9.7 ms; how late that is, is the loop's lag (resolution 1 ms under uvloop).

        A loop that stands still for 95 ms misses nine more ticks, which would have been late by
        85, 75 ... ms: they count too, or the worst pauses would be the rarest values.
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
        """In a thread of its own: where is the loop, when it is late? And what is dear to count.

        While it runs the loop cannot, so a turn is kept to a few microseconds: looking each time cost
        the requests in flight 0.2 ms, 20 times a second, which the packets beside a run showed.
        """
        n = 0
        while not self._is_over:
            sleep(_LOOK_S)
            self._looks += 1
            silent_ns = perf_counter_ns() - self._turned_ns
            if silent_ns > _LATE_NS:
                self._look(loop_thread, silent_ns)
            n += 1
            if n % _COUNT_EVERY == 1:
                self._probe.count()

    def _look(self, loop_thread: int, silent_ns: int) -> None:
        frame = sys._current_frames().get(loop_thread)
        if where := scenario_line(self._folder, frame, through_ours=False):
            self._held[where] += 1
        if silent_ns > BLOCKED_NS and (where := scenario_line(self._folder, frame, through_ours=True)):
            self._blocked[where] = max(silent_ns, self._blocked.get(where, 0))


def scenario_line(folder: str, frame: FrameType | None, *, through_ours: bool) -> str:
    """file:line of the innermost frame that stands in the scenario's folder, or "".

    Without `through_ours` only if nothing of loadgen runs within it: what our client does there is not its doing.
    """
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OURS):
            if not through_ours:
                return ""
        elif file.startswith(folder) and "site-packages" not in file:
            return f"{Path(file).relative_to(folder)}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back
    return ""


def _p99(ordered: Sequence[int]) -> int:
    """What 1 % of the values exceed, and at least one of them; 0 of none. ordered: ascending."""
    return ordered[max(0, len(ordered) - 1 - max(1, len(ordered) // 100))] if ordered else 0
