"""Does a run still go on? Its log is locked by whoever conducts it, and by nobody once that has ended, however."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["goes_on"]


def goes_on(path: Path) -> bool:
    """Whether somebody has the run's log open for writing. On a file system without locks nobody can tell: False."""
    try:
        fd = os.open(path / "deltas.log", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False
