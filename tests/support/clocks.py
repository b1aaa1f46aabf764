"""Clocks of one's own for some processes, while the machine's stay right.

    with wall_clock(tmp_path) as clock:
        run([*clock.inside, "loadgen-agent", ...])
        clock.ahead(-90)                              # at once, for all that run inside
    run([*monotonic_ahead(1_000_000), "loadgen-agent", ...])

The wall clock is changed where a program asks libc for it (a few lines of C before it, by ld.so.preload in a mount
namespace, so that children with a cleaned environment have it, too); Python and libzmq ask there. The monotonic one is
a time namespace's. Both need Linux and root, the first also a C compiler; a test skips, and says why, without.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path
from typing import Final

import pytest

__all__ = ["WallClock", "monotonic_ahead", "wall_clock"]

_SOURCE: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *ahead_ns;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    int fd = open(AHEAD, O_RDONLY);
    if (fd >= 0) {
        void *page = mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
        if (page != MAP_FAILED) ahead_ns = page;
        close(fd);
    }
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = real ? real(id, at) : (int)syscall(SYS_clock_gettime, id, at);
    if (!failed && ahead_ns && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        long long ns = at->tv_sec * 1000000000LL + at->tv_nsec + *ahead_ns;
        at->tv_sec = ns / 1000000000LL;
        at->tv_nsec = ns % 1000000000LL;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
_MOUNT: Final = 'mount -t overlay overlay -o "lowerdir=$0:/etc" /etc && exec "$@"'


class WallClock:
    """Use `wall_clock`."""

    def __init__(self, page: mmap, inside: tuple[str, ...]) -> None:
        self.inside = inside
        """Before a command that is to have it; the process keeps its id."""
        self._page = page

    def ahead(self, seconds: float) -> None:
        """Of the machine's, from now on."""
        self._page[:8] = struct.pack("=q", round(seconds * 1e9))


@contextlib.contextmanager
def wall_clock(folder: Path, seconds: float = 0.0) -> Iterator[WallClock]:
    """One that is so much ahead; a `folder` of its own for each."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a wall clock of its own needs Linux and root")
    if (compiler := shutil.which("cc")) is None or shutil.which("unshare") is None:
        pytest.skip("a wall clock of its own needs cc and unshare")
    folder.mkdir(parents=True, exist_ok=True)
    ahead, source, library, etc = (folder / name for name in ("ahead", "clock.c", "clock.so", "etc"))
    etc.mkdir()
    ahead.write_bytes(bytes(8))
    source.write_text(_SOURCE)
    (etc / "ld.so.preload").write_text(f"{library}\n")
    subprocess.run([compiler, "-shared", "-fPIC", f'-DAHEAD="{ahead}"', "-o", library, source], check=True)
    with ahead.open("r+b") as file, mmap(file.fileno(), 8) as page:
        clock = WallClock(page, ("unshare", "--mount", "sh", "-c", _MOUNT, str(etc)))
        clock.ahead(3600)
        said = _said(clock.inside, "time.time()")
        if said is None or abs(said - time.time() - 3600) > 60:
            pytest.skip("no program can be given another wall clock here")
        clock.ahead(seconds)
        yield clock


def monotonic_ahead(seconds: int) -> tuple[str, ...]:
    """Before a command whose monotonic clock, and that of its children, is to be so much ahead."""
    inside = ("unshare", "--time", "--monotonic", str(seconds), "--fork", "--kill-child", "--")
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("a monotonic clock of its own needs Linux and unshare")
    said = _said(inside, "time.perf_counter()")
    if said is None or abs(said - time.perf_counter() - seconds) > 60:
        pytest.skip("no time namespaces here")
    return inside


def _said(inside: tuple[str, ...], what: str) -> float | None:
    command = [*inside, sys.executable, "-c", f"import time; print({what})"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None
