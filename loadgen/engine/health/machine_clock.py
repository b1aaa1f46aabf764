"""This machine's clocks: the id of its boot, and the most by which its wall clock may be off."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Final

__all__ = ["boot_id", "wall_error_ns"]

_UNSYNCHRONIZED: Final = 5
"""The state TIME_ERROR of adjtimex: no program keeps the clock right."""


class _Timex(ctypes.Structure):
    """`struct timex` of Linux on 64-bit machines, with room for its reserved end. Source: adjtimex(2)."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def boot_id() -> str:
    """Return an id that changes with each boot of this machine; empty if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def wall_error_ns() -> int | None:
    """Return the most by which the wall clock may be off, by the kernel's estimate; None if it is not synchronized.

    The time service (NTP or PTP) keeps this estimate; it grows by 0.5 ms each second without one.
    """
    if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    try:
        call = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    found = _Timex()
    state = call(ctypes.byref(found))
    if state < 0 or state == _UNSYNCHRONIZED:
        return None
    return int(found.maxerror) * 1_000
