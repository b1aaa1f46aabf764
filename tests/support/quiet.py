"""A quiet machine, as far as we can make one: for tests that are about times and not about neighbours."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["undisturbed"]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """What is started within goes before all other programs of the machine, where we may say so (Linux, root)."""
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)
