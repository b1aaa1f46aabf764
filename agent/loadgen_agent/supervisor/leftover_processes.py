"""Ends the processes that a worker leaves behind.

A scenario may start processes: with `subprocess`, with `os.fork`, or as daemons that leave their parent and their
session. They must not outlive their worker, or a run would go on loading the machine after its end.

On Linux the agent makes itself a "child subreaper" (`adopt`). The kernel then hands every descendant whose parent
has died to the agent, so that a child of the agent which is not a worker was left behind by one. Only such direct
children are killed, one generation after the other: the number of a child cannot be given to another process
before the agent has waited for it, so this never hits a stranger. On other systems, and where `adopt` was not
called, only the worker's own process group is killed.

Several workers may run at once, and their daemons look alike. Each worker gets a tag in its environment, which its
children inherit. A process without a tag, because it was started with another environment, is ended with the
last worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final

from loadgen.process_list import children_of

__all__ = ["TAG", "adopt", "end_left_behind", "has_ended", "kill_group", "reap", "started", "waited_for"]

log = logging.getLogger(__name__)

TAG: Final = "LOADGEN_WORKER_TAG"
"""Environment variable of a worker and of everything that it starts."""
_PR_SET_CHILD_SUBREAPER: Final = 36
_PATIENCE_S: Final = 2.0
"""Time limit for killed processes to end, also when one of them forks without end."""
_PAUSE_S: Final = 0.01


class _State:
    """State of the whole process, because being a subreaper is a property of a process."""

    is_adopting = False
    owns_all = False
    """Whether every child that is not a worker must have been left behind by a worker."""
    workers: set[int] = set()  # noqa: RUF012  # one for the process
    """Workers that were started and not yet waited for."""


def adopt() -> None:
    """Make this process the parent of all its descendants whose own parent dies. Linux only; no effect elsewhere.

    A shell may have started a process before it became this program by `exec`; that process is not ours. As process 1
    of a container we also get orphans of `docker exec`. In both cases only processes with a worker's tag are killed.
    """
    if sys.platform != "linux" or _State.is_adopting:
        return
    _State.owns_all = os.getpid() != 1 and not children_of(os.getpid())
    _State.is_adopting = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def started(pid: int) -> None:
    """Register a new worker process.

    Call it in the thread that started it, before anything else runs in that thread.
    """
    _State.workers.add(pid)


def waited_for(pid: int) -> None:
    """Remove a worker that has ended and was waited for. Another process may get its number from now on."""
    _State.workers.discard(pid)


def has_ended(pid: int) -> bool:
    """Whether a worker has ended and was not waited for (a zombie), so that its number cannot be another process's.

    Always False on other systems than Linux.
    """
    if sys.platform != "linux":
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def kill_group(pid: int) -> None:
    """Kill all processes that are left in a worker's process group. Call it before the worker is waited for."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def reap() -> None:
    """Wait for adopted processes that have ended by themselves, so that they do not stay as zombies."""
    while _State.is_adopting:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in _State.workers:  # a worker is waited for by its `Child`
            return
        _wait_for(found.si_pid)


async def end_left_behind(tag: str, who: str) -> None:
    """Kill the processes that a worker has left behind, and wait until they have ended.

    Args:
        tag: tag of the worker, which has ended and was waited for.
        who: the worker's name for the log, as in "worker 1".
    """
    if not _State.is_adopting:
        return
    killed: set[int] = set()
    loop = asyncio.get_running_loop()
    until = loop.time() + _PATIENCE_S
    while left := _left_behind(tag):
        refused = {pid for pid in left if not _kill(pid)}
        killed |= set(left) - refused
        if loop.time() > until or refused == set(left):
            log.warning(
                "%s left %d processes behind, and the agent could not end them: numbers %s",
                who,
                len(left),
                sorted(left)[:20],
            )
            break
        await asyncio.sleep(_PAUSE_S)
    if killed:
        log.warning(
            "%s left %d process%s behind: the agent killed them", who, len(killed), "" if len(killed) == 1 else "es"
        )


def _left_behind(tag: str) -> list[int]:
    """Return the numbers of running processes that the worker with this tag has left behind.

    Children that have ended are waited for and left out.
    """
    found = []
    for pid in children_of(os.getpid()):
        if pid in _State.workers:
            continue
        if _wait_for(pid):
            continue
        is_last = _State.owns_all and not _State.workers
        if is_last or _tag_of(pid) == tag:
            found.append(pid)
    return found


def _tag_of(pid: int) -> str:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's
        return ""
    values = (one.partition(b"=") for one in environment.split(b"\0"))
    return next((value.decode("ascii", "replace") for name, _, value in values if name == TAG.encode()), "")


def _kill(pid: int) -> bool:
    """Kill a process; return False if it belongs to another user, so that we may not.

    An ended process counts as killed.
    """
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass  # it has ended by itself
    return True


def _wait_for(pid: int) -> bool:
    """Remove a child that has ended from the process table, and return True; False if it is still running."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
