"""The loop of `loadgen check --watch`: checks the scenario whenever a file was saved, until Ctrl-C.

A round loads the scenario and shows its errors, or else runs each journey once. A file that is saved during a round
ends the round, and the next one begins. Iterations start at least a second apart, also over several rounds, so
that saving often does not become a load test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Final, Protocol, TypeVar

from loadgen.dsl.loading.loader import Scenario
from loadgen.errors import LoadgenError, ScenarioError, errors_in
from loadgen_controller.commands.checking.file_changes import changed, state_of, watched_files
from loadgen_controller.console_output import Text
from loadgen_controller.screen.terminal_report import Output

__all__ = ["MIN_SPACING_S", "POLL_S", "Clock", "Spacing", "Watch", "spaced"]

T = TypeVar("T")

POLL_S: Final = 0.1
"""Time between two looks at the files. An error is shown at most this long, and the time of loading, after saving."""
MIN_SPACING_S: Final = 1.0
"""Shortest time between the starts of two iterations."""


class Clock(Protocol):
    """The source of time, which tests replace."""

    def now_s(self) -> float:
        """Return the time in s since any fixed point."""

    async def sleep(self, wait_s: float) -> None:
        """Wait for this long."""


class _RealClock:
    def now_s(self) -> float:
        return monotonic()

    async def sleep(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)


class Spacing:
    """Keeps the starts of iterations apart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next_s = 0.0

    async def wait(self) -> None:
        """Wait until the next iteration may start, and count it as started."""
        if (wait_s := self._next_s - self._clock.now_s()) > 0:
            await self._clock.sleep(wait_s)
        self._next_s = self._clock.now_s() + MIN_SPACING_S


async def spaced(items: AsyncIterator[T], spacing: Spacing) -> AsyncIterator[T]:
    """Yield the items of an iterator that runs an iteration for each item, with the starts kept apart."""
    while True:
        await spacing.wait()
        try:
            yield await anext(items)
        except StopAsyncIteration:
            return


class Watch:
    """Repeats the check of one scenario.

    Args:
        file: the scenario's file.
        load: loads and checks the scenario; raises its errors.
        run: runs each journey once, with the given spacing of iterations, and prints the results.
        show: prints an error.
    """

    def __init__(
        self,
        file: Path,
        load: Callable[[], Scenario],
        run: Callable[[Scenario, Spacing], Awaitable[object]],
        show: Callable[[Exception], object],
        console: Output,
        clock: Clock | None = None,
    ) -> None:
        self._file, self._load, self._run, self._show, self._console = file, load, run, show, console
        self._clock = clock or _RealClock()
        self._spacing = Spacing(self._clock)
        self._known: frozenset[Path] = frozenset()

    async def forever(self) -> None:
        """Run one round after each change of a file. Returns only by cancellation."""
        while True:
            self._known |= watched_files(self._file, self._known)
            before = state_of(self._known)  # before loading, so that no change is missed
            checking = asyncio.ensure_future(self._round())
            try:
                names = await self._next_change(before)
            finally:
                checking.cancel()
                with suppress(asyncio.CancelledError):
                    await checking
            when = datetime.now().astimezone()
            self._console.print(Text(f"{when:%H:%M:%S} saved: {', '.join(names)}", style="bold"), soft_wrap=True)

    async def _round(self) -> None:
        try:
            scenario = self._load()
        except (LoadgenError, ExceptionGroup) as error:
            self._known |= {Path(file) for file in _files_of(error)}
            self._show(error)
        else:
            self._known |= scenario.files
            try:
                await self._run(scenario, self._spacing)
            except LoadgenError as error:  # such as a certificate that cannot be read
                self._show(error)
        self._console.print(Text("waiting for a saved file; Ctrl-C ends the watch", style="dim"), soft_wrap=True)

    async def _next_change(self, before: dict[Path, tuple[int, int] | None]) -> list[str]:
        """Wait until a file differs from `before`, and return the names of the changed files."""
        while True:
            await self._clock.sleep(POLL_S)
            files = self._known | watched_files(self._file)
            now = state_of(files)
            # A file that became known in this round, such as a data file in a distant folder, is compared from now on.
            before |= {path: now[path] for path in self._known - before.keys()}
            if found := changed(before, now):
                return [path.name for path in found[:3]] + (["..."] if len(found) > 3 else [])


def _files_of(error: BaseException) -> Iterable[str]:
    scenario_errors = (one for one in errors_in(error) if isinstance(one, ScenarioError))
    return [fault.file for one in scenario_errors for fault in one.faults if fault.line]
