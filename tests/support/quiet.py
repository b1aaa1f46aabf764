"""A quiet machine, as far as we can make one: for tests that are about times and not about neighbours."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.support.warm_commands import fleets_start_cold

__all__ = ["in_a_quiet_moment", "undisturbed"]

MOMENTS = 3
_TURN: Final = Path(tempfile.gettempdir(), f"loadgen-tests-undisturbed-{os.getuid()}")
_has_turn: Final = threading.Event()
"""Set within the outermost block of this process."""


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """What is started within goes before all other programs of the machine, where we may say so (Linux, root).

    One test at a time: two that go before all others would wait for each other, as long as one of them computes.
    Its agents and workers start as users' do.
    """
    if not hasattr(os, "sched_setscheduler") or _has_turn.is_set():
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with _TURN.open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        _has_turn.set()
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
        try:
            with fleets_start_cold():
                yield
        finally:
            _has_turn.clear()
            os.sched_setscheduler(0, *before)


def in_a_quiet_moment(test: Callable[..., None]) -> Callable[..., None]:
    """Three tries, each in a folder of its own, with agents and workers that start as users' do.

    For what a fault of ours makes false each time, and a machine that is taken from us for a second only once. A try
    that failed is told with pytest's warnings: see docs/decisions/063-tests-on-a-busy-machine.md.
    """

    @functools.wraps(test)
    def run(*, tmp_path: Path, **others: object) -> None:
        *some, last = (tmp_path / f"moment-{number}" for number in range(1, MOMENTS + 1))
        for folder in some:
            folder.mkdir()
            try:
                with fleets_start_cold():
                    test(tmp_path=folder, **others)
            except AssertionError as failed:
                warnings.warn(f"{test.__name__}, once more: {failed}", stacklevel=1)
            else:
                return
        last.mkdir()
        with fleets_start_cold():
            test(tmp_path=last, **others)

    return run
