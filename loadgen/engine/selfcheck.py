"""Was the generator fit to measure? Watched each interval, from inside the worker.

Only the generator's own faults count (DESIGN 6.4): an interval is unfit when its
lag p99 is above the larger of 2 ms and 10 % of the p99 of the journeys' response
times in it. The lag is the generator lag of open loads, and the event loop's for
closed ones, which have no due times. A slow target makes nothing unfit.

A scenario that blocks the event loop is found by a thread, which names the line.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns, process_time_ns

import numpy as np
import psutil

from loadgen.measure.delta import Health
from loadgen.units import NS_PER_MS, NS_PER_US, format_duration

__all__ = ["BLOCKED_NS", "LAG_FLOOR_NS", "LAG_SHARE", "SelfCheck", "unfit_reason"]

LAG_FLOOR_NS = 2 * NS_PER_MS
LAG_SHARE = 0.10
BLOCKED_NS = 200 * NS_PER_MS
"""A loop that did not turn for this long is blocked, and the line that it is in is named."""
_TICK_S = 0.02


def unfit_reason(lag_p99_ns: int, response_p99_ns: int) -> str:
    """Why an interval cannot be trusted, or "" when it can. `response_p99_ns` is 0 when nothing ended."""
    allowed_ns = max(LAG_FLOOR_NS, round(LAG_SHARE * response_p99_ns))
    if lag_p99_ns <= allowed_ns:
        return ""
    return f"lag p99 {format_duration(lag_p99_ns)} is above {format_duration(allowed_ns)}"


class SelfCheck:
    """Watches the loop it is started in, its process, and who blocks it.

    Args:
        folder: where the scenario's own files are: the line that blocks is looked for there.
        users: gives (users, in flight, waiting) at the end of an interval.
    """

    def __init__(self, folder: Path, users: Callable[[], tuple[int, int, int]]) -> None:
        self._folder = str(folder.resolve())
        self._users = users
        self._lags_ns: list[int] = []
        self._gc_pauses_ns: list[int] = []
        self._gc_began_ns = 0
        self._turned_ns = perf_counter_ns()
        self._cpu_ns = process_time_ns()
        self._wall_ns = perf_counter_ns()
        self._process = psutil.Process()
        self._blocked: dict[str, int] = {}
        self._over = threading.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch; within the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._tick())
        gc.callbacks.append(self._on_gc)
        loop_thread = threading.get_ident()
        threading.Thread(target=self._watch, args=(loop_thread,), name="selfcheck", daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        if self._task is not None:
            self._task.cancel()
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)

    def health(self, generator_lag_p99_ns: int | None, response_p99_ns: int, notes: tuple[str, ...]) -> Health:
        """What was seen since the last call. `generator_lag_p99_ns` is None in closed loads."""
        lags, self._lags_ns = self._lags_ns, []
        p50, p99, worst = (int(v) for v in np.percentile(lags, (50, 99, 100))) if lags else (0, 0, 0)
        now_ns, cpu_ns = perf_counter_ns(), process_time_ns()
        cpu_share = (cpu_ns - self._cpu_ns) / max(1, now_ns - self._wall_ns)
        self._wall_ns, self._cpu_ns = now_ns, cpu_ns
        pauses, self._gc_pauses_ns = self._gc_pauses_ns, []
        blocked, self._blocked = self._blocked, {}
        lag_ns = p99 if generator_lag_p99_ns is None else generator_lag_p99_ns
        reason = unfit_reason(lag_ns, response_p99_ns)
        said = [f"{where} blocked the event loop for {format_duration(ns)}" for where, ns in blocked.items()]
        if pauses and max(pauses) > LAG_FLOOR_NS:
            said.append(f"garbage collection paused the worker for {format_duration(max(pauses))}")
        users, in_flight, waiting = self._users()
        return Health(
            users=users,
            in_flight=in_flight,
            waiting=waiting,
            loop_lag_p50_us=p50 // NS_PER_US,
            loop_lag_p99_us=p99 // NS_PER_US,
            loop_lag_max_us=worst // NS_PER_US,
            generator_lag_p99_us=(generator_lag_p99_ns or 0) // NS_PER_US,
            response_p99_us=response_p99_ns // NS_PER_US,
            cpu_share=round(cpu_share, 4),
            rss_bytes=self._process.memory_info().rss,
            unfit=(reason,) if reason else (),
            notes=(*notes, *said),
        )

    async def _tick(self) -> None:
        """Ask to be woken in 20 ms; what it takes longer is the loop's lag (resolution 1 ms under uvloop)."""
        while True:
            due_ns = perf_counter_ns() + round(_TICK_S * 1e9)
            await asyncio.sleep(_TICK_S)
            self._turned_ns = perf_counter_ns()
            self._lags_ns.append(max(0, self._turned_ns - due_ns))

    def _on_gc(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_began_ns = perf_counter_ns()
        else:
            self._gc_pauses_ns.append(perf_counter_ns() - self._gc_began_ns)

    def _watch(self, loop_thread: int) -> None:
        """In a thread of its own: where is the loop while it does not turn?"""
        while not self._over.wait(0.05):
            silent_ns = perf_counter_ns() - self._turned_ns
            if silent_ns > BLOCKED_NS and (where := self._scenario_line(loop_thread)):
                self._blocked[where] = max(silent_ns, self._blocked.get(where, 0))

    def _scenario_line(self, thread: int) -> str:
        """file:line of the innermost frame of `thread` that stands in the scenario's folder, or ""."""
        frame = sys._current_frames().get(thread)
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(self._folder):
                return f"{Path(file).relative_to(self._folder)}:{frame.f_lineno} ({frame.f_code.co_name})"
            frame = frame.f_back
        return ""
