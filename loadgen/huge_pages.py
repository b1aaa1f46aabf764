"""Moves this process's memory into huge pages, so that the processor translates addresses faster (Linux 6.1 or later).

Python's objects are small and lie all over some 50 MiB. With pages of 4 KiB, the processor's TLB is too small for them,
and a page walk after a miss takes longest in virtual machines. With pages of 2 MiB it is large enough.
docs/decisions/173-huge-pages-for-the-heap.md has the measurements.

Only Linux has this (MADV_COLLAPSE). It needs no permission, and does not depend on the system's setting for transparent
huge pages. Elsewhere, and where the kernel refuses, nothing happens.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from loadgen.units import NS_PER_S

__all__ = ["HUGE_BYTES", "WORTHWHILE_NS", "collapse_heap", "collapse_heap_before", "heap_ranges"]

HUGE_BYTES: Final = 2 << 20
"""The size of a huge page on x86-64, and on arm64 with pages of 4 KiB."""
WORTHWHILE_NS: Final = 10 * NS_PER_S
"""In a shorter load, 4 % of a worker's CPU time may be less than the call takes."""
_PAGE_BYTES: Final = 4096
_LEAST_PAGES: Final = HUGE_BYTES // _PAGE_BYTES // 2
"""A range becomes a huge page only if half of it is in use already, since a huge page takes all of its memory. Stacks
of threads, for example, are large and nearly empty."""
_COLLAPSE: Final = 25
"""MADV_COLLAPSE of linux/mman.h; the module `mmap` does not have it."""
_MAPS: Final = Path("/proc/self/maps")
_ANONYMOUS: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0 *(\[heap\])?$", re.M)


def collapse_heap() -> int:
    """Move the memory that is in use into huge pages where at least half of such a page is in use.

    Call it when most objects of the process exist, and before anything is measured: it takes 3 to 20 ms for each huge
    page, 50 to 400 ms for a worker. Memory that is allocated later has pages of 4 KiB.

    Returns:
        The number of huge pages, of HUGE_BYTES each, that the call made or found. 0: the system does not support it.
    """
    if sys.platform != "linux" or mmap.PAGESIZE != _PAGE_BYTES:
        return 0
    try:
        system = ctypes.CDLL(None, use_errno=True)
        madvise, mincore = system.madvise, system.mincore
        maps = _MAPS.read_text()
    except (OSError, AttributeError):
        return 0
    in_use = (ctypes.c_ubyte * (HUGE_BYTES // _PAGE_BYTES))()
    made = 0
    for begin in heap_ranges(maps):
        at = ctypes.c_void_p(begin)
        if mincore(at, ctypes.c_size_t(HUGE_BYTES), in_use) or sum(byte & 1 for byte in in_use) < _LEAST_PAGES:
            continue
        made += madvise(at, ctypes.c_size_t(HUGE_BYTES), ctypes.c_int(_COLLAPSE)) == 0
    return made


def collapse_heap_before(duration_ns: int | None) -> int:
    """Call `collapse_heap` before a load of this duration in ns, unless the load is shorter than WORTHWHILE_NS.

    duration_ns: None if it is not known, such as that of a number of iterations.
    """
    return 0 if duration_ns is not None and duration_ns < WORTHWHILE_NS else collapse_heap()


def heap_ranges(maps: str) -> Iterator[int]:
    """Yield the address of each range of HUGE_BYTES that may become one huge page, from the text of /proc/PID/maps.

    A range is aligned, and lies within private, writable memory that belongs to no file and is no main thread's stack.
    """
    for found in _ANONYMOUS.finditer(maps):
        begin, end = int(found[1], 16), int(found[2], 16)
        yield from range(-(-begin // HUGE_BYTES) * HUGE_BYTES, end - HUGE_BYTES + 1, HUGE_BYTES)
