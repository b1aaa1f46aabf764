"""Figures of this process and its machine, read cheaply from the operating system once per interval.

Each figure has one source, and is 0 ("unknown") if the source is missing:

    figure                    | Linux                                             | elsewhere (psutil)
    CPU of the process        | process_time_ns                                   | the same
    steal of the machine      | /proc/stat, over all its CPUs                     | 0
    held back by a CPU limit  | cpu.stat of our cgroup                            | 0
    waiting for a core        | /proc/self/schedstat: the thread of the loop      | 0
    load of the machine       | /proc/loadavg: the average over the last minute   | getloadavg
    memory of the process     | /proc/self/statm                                  | memory_info
    descriptors               | size of /proc/self/fd (6.2), else counted         | num_fds
    local ports               | /proc/net/sockstat; counted near the limit        | 0
    free memory               | least of /proc/meminfo and our cgroup's limits    | virtual_memory
    network allowances (EC2)  | counters of the ENA devices (ena_limits.py)       | none

Cost of a reading on the loop: 0.1 ms (measured, Linux 6.18). Two figures are expensive, so a thread
reads them, and seldom:
- Counting the sockets of each remote address in /proc/net/tcp takes 22 ms for 16,000 sockets. It is done only if all
  TCP sockets of the machine's network namespace together would fill half of the local ports. Below that, `ports` is
  their sum, which is at least the number for any one remote address.
- Counting descriptors takes 14 ms for 16,000. Since Linux 6.2 it is not needed.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Final, TypeVar

import psutil

from loadgen.engine.health.ena_limits import Allowances
from loadgen.units import NS_PER_US

__all__ = ["HealthReading", "Probe", "addresses_of", "busiest_pair", "cpu_limit", "memory_limits", "own_addresses"]

T = TypeVar("T")
_CLOSE_AT: Final = 0.5
"""Share of the local ports in use by all sockets together from which the sockets of each remote address are counted."""
_CHUNK_BYTES: Final = 64 << 10
"""About 400 sockets: they are parsed in 0.2 ms, after which other threads get the interpreter."""


@dataclass(frozen=True, slots=True)
class HealthReading:
    """One reading; shares are of the time since the last reading. 0 can also mean "unknown"."""

    cpu_share: float = 0.0
    """CPU time of all threads together, as a share of one core."""
    steal_share: float = 0.0
    """Share of the machine's CPU time that its host gave to other machines."""
    throttled_share: float = 0.0
    """Share of the time in which the CPU limit of our cgroup held us back."""
    starved_share: float = 0.0
    """Share of the time in which the loop could have run but had no core, because other programs used it."""
    machine_load: float = 0.0
    """Programs of the whole machine that ran or waited for a core: the average over the last minute."""
    cores: int = 0
    """Cores of the machine; `machine_load` above it means that programs waited for a core."""
    rss_bytes: int = 0
    fds: int = 0
    fd_limit: int = 0
    ports: int = 0
    """Local ports in use towards the busiest remote address, or an upper bound of it: see the module's text."""
    port_limit: int = 0
    memory_free_bytes: int = 0
    shaped: tuple[tuple[str, int], ...] = ()
    """Packets that EC2 held back or dropped since the last reading, by the allowance that was exceeded."""


class Probe:
    """Reads the figures of one process, whose loop must be on its main thread. Other threads may call both methods.

    Args:
        root: the folder that contains `proc` and `sys`; tests pass their own.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = root / "proc"
        self._process = psutil.Process()
        self._page_bytes = resource.getpagesize()
        self._port_limit = _port_range(self._proc)
        self._memory = memory_limits(root)
        self._cpu_stat = _cpu_stat(root)
        self._allowances = Allowances(root)
        self._fds_counted = 0
        self._ports_counted = 0
        self._sockets = 0
        self._cores = os.cpu_count() or 0
        self._before = self._read()

    def look(self) -> HealthReading:
        """Read CPU, memory, descriptors and ports of this process and machine, with the changes since the last call."""
        before, now = self._before, self._read()
        self._before = now
        wall_ns = max(1, now.wall_ns - before.wall_ns)
        return HealthReading(
            cpu_share=(now.cpu_ns - before.cpu_ns) / wall_ns,
            steal_share=(now.stolen - before.stolen) / max(1, now.ticks - before.ticks),
            throttled_share=min(1.0, max(0, now.throttled_ns - before.throttled_ns) / wall_ns),
            starved_share=min(1.0, max(0, now.starved_ns - before.starved_ns) / wall_ns),
            machine_load=self._machine_load(),
            cores=self._cores,
            rss_bytes=self._rss_bytes(),
            fds=self._fds(),
            fd_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            ports=self._ports(),
            port_limit=self._port_limit,
            memory_free_bytes=self._free_bytes(),
            shaped=tuple(self._allowances.exceeded().items()),
        )

    def waited_ns(self) -> int:
        """Return how long the loop's thread has waited for a core since it started, in ns; 0 if unknown.

        The kernel adds a wait when it ends, so the figure is complete only while the thread runs.
        """
        fields = _first_line(self._proc / "self/schedstat").split()
        return int(fields[1]) if len(fields) > 1 else 0

    def count(self) -> None:
        """Count descriptors and ports where only an expensive count gives them, for later calls of `look`.

        Blocking; call it every few seconds in a thread.
        """
        if self._port_limit and self._sockets >= _CLOSE_AT * self._port_limit:
            self._ports_counted = busiest_pair(_chunks(self._proc / "net/tcp")) + busiest_pair(
                _chunks(self._proc / "net/tcp6")
            )
        else:
            self._ports_counted = 0
        if sys.platform == "linux" and not _size_of_fds(self._proc):
            self._fds_counted = _or_0(self._process.num_fds)

    # -- sources ------------------------------------------------------------------------------

    def _read(self) -> _Sums:
        ticks, stolen = _cpu_ticks(_first_line(self._proc / "stat"))
        return _Sums(
            wall_ns=perf_counter_ns(),
            cpu_ns=process_time_ns(),
            ticks=ticks,
            stolen=stolen,
            starved_ns=self.waited_ns(),
            throttled_ns=_throttled_ns(self._cpu_stat) if self._cpu_stat is not None else 0,
        )

    def _machine_load(self) -> float:
        if sys.platform != "linux":
            return _or_0(lambda: os.getloadavg()[0])
        found = _first_line(self._proc / "loadavg").split()
        return float(found[0]) if found else 0.0

    def _rss_bytes(self) -> int:
        pages = _first_line(self._proc / "self/statm").split()
        if len(pages) > 1:
            return int(pages[1]) * self._page_bytes
        return _or_0(lambda: int(self._process.memory_info().rss))

    def _fds(self) -> int:
        if sys.platform != "linux":
            return _or_0(self._process.num_fds)
        return _size_of_fds(self._proc) or self._fds_counted

    def _ports(self) -> int:
        if not self._port_limit:
            return 0
        self._sockets = _sockets(self._proc)
        return self._ports_counted or min(self._sockets, round(_CLOSE_AT * self._port_limit))

    def _free_bytes(self) -> int:
        meminfo = _values(self._proc / "meminfo")
        if "MemAvailable:" not in meminfo:
            return _or_0(lambda: int(psutil.virtual_memory().available))
        free = meminfo["MemAvailable:"] * 1024
        return max(0, min([free, *(left for group in self._memory if (left := group.left_bytes()) is not None)]))


def _or_0(ask: Callable[[], T]) -> T | int:
    """Return the result of `ask`, or 0 (unknown) if it raises. Without a free descriptor nothing can be read."""
    try:
        return ask()
    except (OSError, psutil.Error):
        return 0


@dataclass(frozen=True, slots=True)
class _Sums:
    """Counters since the machine or the process started."""

    wall_ns: int
    cpu_ns: int
    ticks: int
    stolen: int
    starved_ns: int
    throttled_ns: int


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A cgroup that has a memory limit."""

    limit_bytes: int
    used: Path
    stat: Path
    inactive: str
    """The line of `stat` with memory that the kernel can free at once: cached files that are not in use."""

    def left_bytes(self) -> int | None:
        """Return how many bytes of memory are left up to the group's limit; None if unknown.

        Memory that the kernel can free counts as left, but only near the limit, because `stat` is expensive to read.
        """
        used = _number(self.used)
        if used is None:
            return None
        if used > 0.8 * self.limit_bytes:
            used -= min(used, _values(self.stat).get(self.inactive, 0))
        return self.limit_bytes - used


def memory_limits(root: Path = Path("/")) -> tuple[MemoryGroup, ...]:
    """Return the control groups that limit this process's memory, from its own group up to the root.

    It reads groups of version 2 and, if mounted, of version 1.
    """
    found = []
    for folder, is_v2 in _groups(root, "memory"):
        limit = _number(folder / ("memory.max" if is_v2 else "memory.limit_in_bytes"))
        if limit is not None and limit < 1 << 60:  # version 1 means "no limit" by a number larger than any memory
            used = folder / ("memory.current" if is_v2 else "memory.usage_in_bytes")
            inactive = "inactive_file" if is_v2 else "total_inactive_file"
            found.append(MemoryGroup(limit, used, folder / "memory.stat", inactive))
    return tuple(found)


def busiest_pair(chunks: Iterable[bytes]) -> int:
    """Return the number of sockets of the busiest connection pair in a table like /proc/net/tcp.

    A pair is one local address with one remote address and port. Each pair has all local ports for itself, so a client
    with several local addresses has more ports. TIME_WAIT is included. Listening sockets have no remote address and are
    left out. Accepted sockets of a server on this machine do not add up, because each of its peers is an address of its
    own.
    """
    found: Counter[bytes] = Counter()
    rest = b""
    for chunk in chunks:
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        # Column 3 is the state; 0A means listening (include/net/tcp_states.h).
        found.update(
            fields[1].rpartition(b":")[0] + fields[2]
            for line in lines
            if len(fields := line.split(None, 4)) > 4 and fields[3] != b"0A"
        )
    found.pop(b"rem_address", None)
    return max(found.values(), default=0)


def own_addresses() -> list[str]:
    """Return the IP addresses of this machine's interfaces, except those with a scope (`fe80::1%eth0`)."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = [a for addresses in psutil.net_if_addrs().values() for a in addresses if a.family in families]
    return [a.address for a in found if "%" not in a.address]


def addresses_of(host: str) -> tuple[str, ...]:
    """Return the IP addresses that this machine's resolver has for a host; empty if it has none. Blocking."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(info[4][0]) for info in found))


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
            yield b"\n"
    except OSError:
        return


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """Yield (folder, whether it is of version 2) of each control group of this process, from its own upwards."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        folder = top / path.strip().lstrip("/")
        if not folder.is_dir():  # in a container the path is the host's and the mount is ours
            folder = top
        while folder.is_relative_to(top):
            yield folder, not controllers
            folder = folder.parent


def _cpu_stat(root: Path) -> Path | None:
    """Return the cpu.stat file of the nearest control group that counts its throttled time; None if no group does."""
    for folder, _ in _groups(root, "cpu"):
        values = _values(folder / "cpu.stat")
        if "throttled_usec" in values or "throttled_time" in values:
            return folder / "cpu.stat"
    return None


def cpu_limit(root: Path = Path("/")) -> float | None:
    """Return how many CPUs this process may use at most: the lowest limit of its control group and the groups above it.

    None if no limit is known.
    """
    found: list[float] = []
    for folder, is_v2 in _groups(root, "cpu"):
        if is_v2:
            quota, _, period = _first_line(folder / "cpu.max").partition(" ")
        else:
            quota, period = _first_line(folder / "cpu.cfs_quota_us"), _first_line(folder / "cpu.cfs_period_us")
        if quota.strip().isdigit() and period.strip().isdigit() and int(period):
            found.append(int(quota) / int(period))
    return min(found, default=None)


def _throttled_ns(path: Path) -> int:
    values = _values(path)
    return values["throttled_usec"] * NS_PER_US if "throttled_usec" in values else values.get("throttled_time", 0)


def _cpu_ticks(line: str) -> tuple[int, int]:
    """Return (all, stolen) CPU ticks from the first line of /proc/stat.

    The line is "cpu user nice system idle iowait irq softirq steal guest guest_nice".
    """
    fields = [int(field) for field in line.split()[1:9]]  # guests are included in user and nice
    return sum(fields), fields[7] if len(fields) > 7 else 0


def _port_range(proc: Path) -> int:
    ends = _first_line(proc / "sys/net/ipv4/ip_local_port_range").split()
    return int(ends[1]) - int(ends[0]) + 1 if len(ends) == 2 else 0


def _sockets(proc: Path) -> int:
    """Return the number of TCP sockets in this process's network namespace, with those in TIME_WAIT."""
    count = 0
    for name in ("sockstat", "sockstat6"):
        for line in _lines(proc / "net" / name):
            kind, *rest = line.split()
            if kind in ("TCP:", "TCP6:"):
                values = dict(zip(rest[::2], rest[1::2], strict=False))
                count += int(values.get("inuse", 0)) + int(values.get("tw", 0))
    return count


def _size_of_fds(proc: Path) -> int:
    """Return the number of open descriptors of this process; 0 if unknown.

    Since Linux 6.2 it is the size of /proc/self/fd, which was 0 before.
    """
    try:
        return (proc / "self/fd").stat().st_size
    except OSError:
        return 0


def _first_line(path: Path) -> str:
    return next(iter(_lines(path)), "")


def _number(path: Path) -> int | None:
    """Return the number that a file contains; None if it contains "max", or does not exist."""
    text = _first_line(path).strip()
    return int(text) if text.isdecimal() else None


def _values(path: Path) -> dict[str, int]:
    """Return the numbers in a file with lines such as "name 12 kB", by name."""
    found = {}
    for line in _lines(path):
        fields = line.split()
        if len(fields) > 1 and fields[1].isdecimal():
            found[fields[0]] = int(fields[1])
    return found


def _lines(path: Path) -> list[str]:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return []
    try:
        return os.read(fd, _CHUNK_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []
    finally:
        os.close(fd)
