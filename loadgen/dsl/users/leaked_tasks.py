"""Finds what journeys leak: tasks that outlive their iteration, and coroutines that were never awaited.

Both are found at no cost for journeys that leak nothing. The loop's task factory sees
each task. Python warns about each coroutine that is dropped without an await. The
iteration it belongs to is found on the call stack, by the `JourneyLife` that runs it.
Tasks that loadgen itself starts are not counted.
"""

from __future__ import annotations

import asyncio
import linecache
import os
import re
import sys
import sysconfig
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, Protocol, TextIO, TypeVar
from weakref import WeakKeyDictionary, ref

from loadgen.dsl.users.exception_to_outcome import is_installed, is_ours, place

__all__ = ["SHARED", "Owner", "SharedObjects", "Stray", "find_origins", "look_out", "owns", "running_owner"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_FAR: Final = 400
"""Maximum number of stack frames to search for the owner."""
_LIBRARIES: Final = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
_STDLIB: Final = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))


@dataclass(frozen=True, slots=True)
class Stray:
    """A task that was started within an iteration.

    where: the place that started it, "checkout.py:14 in checkout".
    is_library: an installed package started it, not the scenario.
    is_kept: it was started in the user's set-up or by `user.client`, so it belongs to the user, not to the iteration.
    """

    task: asyncio.Task[Any]
    where: str
    is_library: bool
    is_kept: bool


class Owner(Protocol):
    """An object that runs iterations, and receives their leaked tasks and coroutines."""

    def started(self, stray: Stray) -> None: ...

    def forgot(self, name: str, where: str, source: str) -> None:
        """Be notified that a coroutine of this owner's iteration was never awaited.

        name: the coroutine function's name. where, source: the place and the line of code that called it; "" if they
        are
            still unknown.
        """


_owning: dict[CodeType, bool] = {}
"""Code of methods whose `self` is an Owner. True: tasks started below it belong to the user, not to the iteration."""
_owners: WeakKeyDictionary[asyncio.Task[Any], ref[Any]] = WeakKeyDictionary()
"""Owners of tasks started within an iteration. The tasks that they start have the same owner."""
_latest: ref[Any] | None = None


def owns(*, keeps: bool = False) -> Callable[[F], F]:
    """Return a decorator for a method whose `self` runs iterations, or has such an `owner`.

    Tasks that are started while the method runs then belong to that owner, which is notified of them.

    keeps: the tasks belong to the user for its whole life, not to the iteration.
    """

    def mark(method: F) -> F:
        _owning[method.__code__] = keeps
        return method

    return mark


def look_out(owner: Owner) -> None:
    """Start watching for leaked tasks and coroutines in this process and on the running loop.

    `owner` receives the coroutines whose owner cannot be found. Repeated calls do no harm.
    """
    global _latest
    _latest = ref(owner)
    # Compared by its code, because each call of `_showing` makes another function.
    if getattr(warnings.showwarning, "__code__", None) is not _SHOWWARNING:
        warnings.showwarning = _showing(warnings.showwarning)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if not isinstance(before := loop.get_task_factory(), _Factory):
        loop.set_task_factory(_Factory(before))


def find_origins() -> None:
    """Have Python keep the place that creates each coroutine, until the first one that was never awaited is reported.

    It costs time for each coroutine, so it is only for single iterations. Runs turn it on after the first loss.
    """
    sys.set_coroutine_origin_tracking_depth(_DEPTH)


# -- tasks ------------------------------------------------------------------------------------------


class _Factory:
    """A task factory that creates tasks like the factory before it, and registers each with its owner."""

    def __init__(self, before: Callable[..., Any] | None) -> None:
        self._before = before

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        /,
        **more: Any,
    ) -> asyncio.Future[T]:
        make = self._before
        task: asyncio.Future[T] = (
            make(loop, coro, **more) if make is not None else asyncio.Task(coro, loop=loop, **more)
        )
        if isinstance(task, asyncio.Task):
            _register(task, loop)
        return task


def _register(task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop) -> None:
    """Find the owner of a new task, by the call stack or by the task that starts it, and notify the owner."""
    starter: FrameType | None = None
    # 0 is this function and 1 the factory; 2 is the code that starts the task.
    frame: FrameType | None = sys._getframe(2)
    owner: Owner | None = None
    keeps = False
    for _ in range(_FAR):
        if frame is None:
            break
        if starter is None and not _is_stdlib(frame.f_code.co_filename):
            starter = frame
        found = _owning.get(frame.f_code)
        if found is not None:
            keeps = keeps or found
            it = frame.f_locals.get("self")
            owner = getattr(it, "owner", it)
            if not found:
                break
        frame = frame.f_back
    if owner is None:
        current = asyncio.current_task(loop)
        parent = _owners.get(current) if current is not None else None
        owner = parent() if parent is not None else None
    if owner is None or starter is None:
        return
    _owners[task] = ref(owner)
    if is_ours(starter.f_globals.get("__name__", "")):
        return  # loadgen's code awaits its own tasks
    if _is_of_shared_object(starter):
        del _owners[task]  # so the tasks that it starts are not the iteration's either
        return
    is_library = starter.f_code.co_filename.startswith(_LIBRARIES)
    owner.started(Stray(task, place(starter), is_library, keeps))


class SharedObjects:
    """Objects that several users share, such as clients of a worker. Tasks started in their methods live with them.

    Without it, a producer's task for sending would end with the iteration that happened to connect first.
    """

    def __init__(self) -> None:
        self._objects: dict[int, object] = {}
        self._creating = 0

    @contextmanager
    def creating(self) -> Iterator[None]:
        """Let the tasks that a constructor starts live with the object. The block must not await."""
        self._creating += 1
        try:
            yield
        finally:
            self._creating -= 1

    def add(self, it: object) -> None:
        self._objects[id(it)] = it

    def discard(self, it: object) -> None:
        self._objects.pop(id(it), None)

    def __bool__(self) -> bool:
        return bool(self._objects) or self._creating > 0

    def is_running(self, frame: FrameType | None) -> bool:
        """Return True if a frame, or one that called it, runs a method of such an object, or creates one.

        The attributes of such an object count, too, because journeys call `user.client(Cache).redis.get(...)`.
        """
        if self._creating:
            return True
        ids = set(self._objects)
        for it in self._objects.values():
            values = getattr(it, "__dict__", {}).values()
            ids.update(id(one) for one in values if not is_ours(type(one).__module__))
        for _ in range(_FAR):
            if frame is None:
                return False
            if frame.f_code.co_varnames[:1] == ("self",) and id(frame.f_locals.get("self")) in ids:
                return True
            frame = frame.f_back
        return False


SHARED: Final = SharedObjects()
"""Those of this process."""


def _is_of_shared_object(starter: FrameType) -> bool:
    return bool(SHARED) and SHARED.is_running(starter)


def running_owner() -> Owner | None:
    """Return the object whose iteration runs now: the one on the call stack, or the owner of the current task. None
    outside of iterations.
    """
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_FAR):
        if frame is None:
            break
        if frame.f_code in _owning:
            it = frame.f_locals.get("self")
            owner: Owner | None = getattr(it, "owner", it)
            return owner
        frame = frame.f_back
    try:
        current = asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None
    parent = _owners.get(current) if current is not None else None
    return parent() if parent is not None else None


def _is_stdlib(file: str) -> bool:
    return file.startswith("<") or (file.startswith(_STDLIB) and not file.startswith(_LIBRARIES))


# -- coroutines -------------------------------------------------------------------------------------


def _showing(before: Callable[..., None]) -> Callable[..., None]:
    def showwarning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        found = _NEVER.match(str(message)) if category is RuntimeWarning else None
        if found and _forgot(found[1], str(message), filename, lineno):
            return  # the owner reports it in the words of the scenario
        before(message, category, filename, lineno, file, line)

    return showwarning


_SHOWWARNING: Final = _showing(warnings.showwarning).__code__
_NEVER: Final = re.compile(r"coroutine '([^']*)' was never awaited")
_CREATED: Final = re.compile(r'File "([^"]+)", line (\d+), in (.+)')
_DEPTH: Final = 6


def _forgot(name: str, text: str, filename: str, lineno: int) -> bool:
    """Notify the owner of a coroutine that was never awaited; return False if it has none."""
    owner: Owner | None = None
    frame: FrameType | None = sys._getframe(1)
    function = ""
    for _ in range(_FAR):
        if frame is None:
            break
        if not function and frame.f_code.co_filename == filename and frame.f_lineno == lineno:
            function = frame.f_code.co_name
        if frame.f_code in _owning:
            it = frame.f_locals.get("self")
            owner = getattr(it, "owner", it)
            break
        frame = frame.f_back
    if owner is None and _latest is not None:  # the garbage collector dropped it, so no owner is on the stack
        owner = _latest()
    if owner is None:
        return False
    places = [(file, int(line), code) for file, line, code in _CREATED.findall(text)]
    own = [one for one in places if not is_installed(one[0]) and not _is_loadgen(one[0])]
    if own:
        filename, lineno, function = own[-1]
        # Tracking costs time for each coroutine, so it is on only until it has shown one origin.
        sys.set_coroutine_origin_tracking_depth(0)
    elif is_installed(filename) or _is_loadgen(filename):
        # It was dropped at the end of its function, so its origin is lost. Tracking is turned on for the next one.
        if not sys.get_coroutine_origin_tracking_depth():
            sys.set_coroutine_origin_tracking_depth(_DEPTH)
        owner.forgot(name, "", "")
        return True
    source = linecache.getline(filename, lineno).partition("  #")[0].strip()
    where = f"{Path(filename).name}:{lineno}" + (f" in {function}" if function else "")
    owner.forgot(name, where, source or name)
    return True


_HERE: Final = f"{Path(__file__).parents[2]}{os.sep}"


def _is_loadgen(file: str) -> bool:
    return file.startswith(_HERE)
