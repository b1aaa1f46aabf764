"""Walks through the values that a user-written executor yields, and reports all errors in them.

User code may do anything: never end, block, raise. So a separate daemon thread walks
through its values. Each value is checked, and a bad one is left out, so that the later
values are checked as well.

Yielded times are seconds from the load's start.
"""

from __future__ import annotations

import sys
import threading
import traceback
from array import array
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Final, Protocol, SupportsIndex

from loadgen.dsl.source_location import Origin
from loadgen.errors import Fault, ScenarioError
from loadgen.profiles.stage import MAX_DURATION_NS, MAX_USERS
from loadgen.units import NS_PER_S, format_count

__all__ = ["BLOCKED_S", "MAX_ARRIVALS", "MAX_LEVELS", "Walked", "raised", "walk_levels", "walk_times"]

MAX_ARRIVALS = 10_000_000
"""Maximum number of yielded arrivals; more is treated as an endless load. This many take 80 MB in each worker."""
MAX_LEVELS = 100_000
"""Maximum number of yielded changes of the number of users."""
BLOCKED_S = 10.0
"""An executor that yields nothing for this long is treated as blocked."""
_MOST_S: Final = MAX_DURATION_NS / NS_PER_S
_LOOK_S: Final = 0.2


class Walked(Protocol):
    """An executor to walk through, and the places for error messages."""

    @property
    def origin(self) -> Origin:
        """Return the line of the scenario that created the executor, at which errors in its values are reported."""

    @property
    def home(self) -> Path:
        """Return the folder of the files that the scenario's author wrote.

        An exception is reported at the innermost line within this folder.
        """

    @property
    def method(self) -> str:
        """Return the name of the user's method that yields the values, for messages: "FlashSale.due"."""


def walk_times(walk: Walked, yields: Callable[[], Iterable[object]]) -> array[float]:
    """Run the user's generator and return all times that it yields: seconds, finite, at least 0, non-decreasing.

    Raises:
        ScenarioError: with all errors: nothing or too much yielded, invalid times, or an exception of the user's code.
    Cost: 0.1 µs per value, plus the user's own code.
    """
    taken = _Times()
    _walk(walk, yields, taken, MAX_ARRIVALS)
    return taken.times


def walk_levels(walk: Walked, yields: Callable[[], Iterable[object]]) -> list[tuple[float, int]]:
    """Run the user's generator and return all pairs (seconds, users) that it yields.

    The seconds are valid as in `walk_times`; users are whole numbers from 0 to MAX_USERS.

    Raises:
        ScenarioError: with all errors.
    """
    taken = _Levels()
    _walk(walk, yields, taken, MAX_LEVELS)
    return taken.levels


# -- values ---------------------------------------------------------------------------------------


class _Wrongs:
    """Errors in yielded values: of each kind, the first one and the number of others."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str]] = {}
        self._count: dict[str, int] = {}

    def add(self, kind: str, message: str, hint: str) -> None:
        self._first.setdefault(kind, (message, hint))
        self._count[kind] = self._count.get(kind, 0) + 1

    def faults(self, walk: Walked) -> Iterator[Fault]:
        for kind, (message, hint) in self._first.items():
            more = self._count[kind] - 1
            others = f", and {format_count(more)} more" if more else ""
            yield walk.origin.fault(f"{walk.method}: {message}{others}", hint)


class _Taker(Protocol):
    count: int
    """Number of values so far, including bad ones."""
    last: float
    """The latest valid time."""
    wrongs: _Wrongs
    noun: str
    """The word for one value in messages: "arrival" or "level"."""

    def take(self, value: object) -> None: ...


class _Times:
    noun = "arrival"

    def __init__(self) -> None:
        self.times: array[float] = array("d")
        self.wrongs = _Wrongs()
        self.count, self.last = 0, 0.0

    def take(self, value: object) -> None:
        """Check and store one time. HOT, once an arrival: a single comparison covers all errors, also NaN."""
        time = value if type(value) is float else _number(value)
        if self.last <= time <= _MOST_S:
            self.last = time
            self.times.append(time)
        else:
            _report_time(self.wrongs, f"arrival {self.count}", value, time, self.last)
        self.count += 1


class _Levels:
    noun = "level"

    def __init__(self) -> None:
        self.levels: list[tuple[float, int]] = []
        self.wrongs = _Wrongs()
        self.count, self.last = 0, 0.0

    def take(self, value: object) -> None:
        where = f"level {self.count}"
        self.count += 1
        if not isinstance(value, tuple | list) or len(value) != 2:
            self.wrongs.add("pair", f"{where} is {_shown(value)}", "yield (seconds, users)")
            return
        at, level = value
        time = _number(at)
        is_later = self.last <= time <= _MOST_S
        if not is_later:
            _report_time(self.wrongs, where, at, time, self.last)
        if isinstance(level, bool) or not isinstance(level, SupportsIndex):
            self.wrongs.add("users", f"{where} is {_shown(level)} users", "yield a whole number of users")
            return
        users = level.__index__()
        if users < 0:
            self.wrongs.add("too few", f"{where} is {users:,} users", "yield 0 or more users")
        elif users > MAX_USERS:
            self.wrongs.add("too many", f"{where} is {users:,} users, more than {MAX_USERS:,}", "yield fewer users")
        elif is_later:
            self.last = time
            self.levels.append((time, users))


def _number(value: object) -> float:
    """Return a yielded value as a float; NaN if it is not a number, infinity if it is too large for a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return float("nan")
    try:
        return float(value)
    except (OverflowError, ValueError):
        return float("inf")


def _report_time(wrongs: _Wrongs, where: str, value: object, time: float, last: float) -> None:
    hint = "yield seconds from the load's start, as numbers of at least 0"
    if isinstance(value, bool) or not isinstance(value, Real):
        wrongs.add("kind", f"{where} is at {_shown(value)}, which is not a number", hint)
    elif time != time:
        wrongs.add("nan", f"{where} is at NaN", hint)
    elif time < 0:
        wrongs.add("negative", f"{where} is at {time:g} s, before the load starts", hint)
    elif time > _MOST_S:
        wrongs.add("late", f"{where} is at {time:g} s, after more than 366 days", hint)
    else:
        wrongs.add(
            "back", f"{where} goes back in time, to {time:g} s after {last:g} s", "yield them in order: sorted()"
        )


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  # the user's own __repr__
        text = f"{type(value).__name__}, whose repr raises {type(error).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


# -- the walk -------------------------------------------------------------------------------------


class _Walker(threading.Thread):
    """Walks through the values. It is a daemon, so that blocked user code cannot keep the process from exiting."""

    def __init__(self, yields: Callable[[], Iterable[object]], taker: _Taker, most: int) -> None:
        super().__init__(name="walks an executor", daemon=True)
        self._yields, self._taker, self._most = yields, taker, most
        self.error: BaseException | None = None
        self.is_endless = False
        self.is_given_up = False

    def run(self) -> None:
        taker = self._taker
        try:
            take = taker.take
            for value in self._yields():
                if taker.count >= self._most:
                    self.is_endless = True
                    return
                if self.is_given_up:
                    return
                take(value)
        except BaseException as error:  # noqa: BLE001  # user code; `_walk` reports it
            self.error = error


def _walk(walk: Walked, yields: Callable[[], Iterable[object]], taker: _Taker, most: int) -> None:
    walker = _Walker(yields, taker, most)
    walker.start()
    seen, seen_s = taker.count, monotonic()
    while walker.is_alive():
        walker.join(_LOOK_S)
        if taker.count != seen:
            seen, seen_s = taker.count, monotonic()
        elif monotonic() - seen_s > BLOCKED_S and walker.is_alive():
            walker.is_given_up = True
            break
    faults = list(taker.wrongs.faults(walk))
    if walker.is_given_up:
        faults.append(_blocked(walk, walker, taker))
    elif walker.error is not None:
        faults.append(raised(walker.error, walk, walk.method))
    elif walker.is_endless:
        faults.append(
            walk.origin.fault(
                f"{walk.method} does not end after {format_count(most)} {taker.noun}s, the last at {taker.last:g} s",
                "return when the load is over",
            )
        )
    elif not taker.count:
        faults.append(walk.origin.fault(f"{walk.method} yields nothing", "yield at least one value"))
    if faults:
        raise ScenarioError(faults)


def _blocked(walk: Walked, walker: _Walker, taker: _Taker) -> Fault:
    """Return the error for a user's generator that has not yielded for too long.

    The error is at the user's line that is running at the moment, if it can be found.
    """
    frame = sys._current_frames().get(walker.ident or 0)
    at = walk.origin
    while frame is not None:
        if _is_within(walk.home, frame):
            at = Origin(frame.f_code.co_filename, frame.f_lineno)
            break
        frame = frame.f_back
    after = f"after {taker.noun} {taker.count - 1}" if taker.count else f"before {taker.noun} 0"
    return at.fault(
        f"{walk.method} blocks: {BLOCKED_S:g} s without a yield, {after}",
        "only compute times in an executor; remove calls that wait",
    )


def raised(error: BaseException, walk: Walked, method: str) -> Fault:
    """Return the error for an exception that the user's `method` raised, at the innermost line of the user's code."""
    at = walk.origin
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _is_within(walk.home, frame):
            at = Origin(frame.f_code.co_filename, line)
    return at.fault(
        f"{method} raises {type(error).__name__}: {error}".removesuffix(": "),
        "correct this line: an executor must not raise",
    )


def _is_within(home: Path, frame: FrameType) -> bool:
    file = Path(frame.f_code.co_filename)
    is_ours = str(frame.f_globals.get("__name__")).partition(".")[0] == "loadgen"
    return file.is_relative_to(home) and "site-packages" not in file.parts and not is_ours
