"""What the operating system says, read from a /proc and /sys of our own making."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine.health.process_health import Probe, busiest_pair, memory_limits, own_addresses

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


class Machine:
    """A folder with `proc` and `sys` in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/stat", "cpu  100 0 50 800 10 0 0 40 0 0\ncpu0 1 2 3\n")
        self.write("proc/self/schedstat", "5000 7000 12")
        self.write("proc/self/statm", "1000 250 0 0 0 0 0")
        self.write("proc/self/cgroup", "0::/app/worker\n")
        self.write("proc/meminfo", "MemTotal: 4000 kB\nMemFree: 100 kB\nMemAvailable: 3000 kB\n")
        self.write("proc/sys/net/ipv4/ip_local_port_range", "1001\t1100\n")
        self.sockets(0)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def sockets(self, n: int, tw: int = 0) -> None:
        self.write(
            "proc/net/sockstat", f"sockets: used 9\nTCP: inuse {n} orphan 0 tw {tw} alloc 9 mem 1\nUDP: inuse 3\n"
        )
        self.write("proc/net/sockstat6", "TCP6: inuse 0\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def table(*remotes: str, listening: int = 0) -> str:
    lines = [f"{n:>4}: 0100007F:{n:04X} {remote} 01 00000000:00000000 00:0 0 0 0 1" for n, remote in enumerate(remotes)]
    lines += [f"{n:>4}: 0100007F:{n:04X} 00000000:0000 0A 00000000:00000000 00:0 0 0 0 1" for n in range(listening)]
    return HEAD + "\n".join(lines) + "\n"


def test_shares_are_of_what_passed_between_two_looks(machine: Machine) -> None:
    probe = Probe(machine.root)
    machine.write("proc/stat", "cpu  150 0 60 820 10 0 0 60 0 0\n")

    look = probe.look()

    assert look.steal_share == pytest.approx(20 / 100)
    assert look.starved_share == 0
    assert look.rss_bytes == 250 * os.sysconf("SC_PAGE_SIZE")
    assert probe.look().steal_share == 0


def test_load_and_cores_are_of_the_whole_machine(machine: Machine) -> None:
    probe = Probe(machine.root)
    assert probe.look().machine_load == 0
    machine.write("proc/loadavg", "5.26 4.10 2.00 7/400 1234\n")
    look = probe.look()
    assert look.machine_load == 5.26
    assert look.cores == os.cpu_count()


def test_all_sockets_together_bound_the_ports_while_they_are_few(machine: Machine) -> None:
    machine.sockets(20, tw=10)
    probe = Probe(machine.root)
    look = probe.look()
    assert (look.ports, look.port_limit) == (30, 100)
    machine.write("proc/net/tcp", table(*["0200007F:0050"] * 7))
    probe.count()
    assert probe.look().ports == 30


def test_ports_towards_each_address_are_counted_when_all_sockets_would_fill_half_of_them(machine: Machine) -> None:
    machine.sockets(99)
    probe = Probe(machine.root)
    assert probe.look().ports == 50  # never more than is known before they are counted
    machine.write("proc/net/tcp", table(*["0200007F:0050"] * 61, *["0300007F:0050"] * 8, listening=30))
    probe.count()
    assert probe.look().ports == 61


def test_limits_of_the_groups_above_us_hold_too(machine: Machine) -> None:
    machine.write("sys/fs/cgroup/app/worker/memory.max", "max\n")
    machine.write("sys/fs/cgroup/app/memory.max", "1000000\n")
    machine.write("sys/fs/cgroup/app/memory.current", "400000\n")
    assert Probe(machine.root).look().memory_free_bytes == 600_000
    machine.write("sys/fs/cgroup/app/memory.current", "900000\n")
    machine.write("sys/fs/cgroup/app/memory.stat", "anon 100\ninactive_file 300000\n")
    assert Probe(machine.root).look().memory_free_bytes == 400_000


def test_a_machine_without_limits_has_what_it_says_is_available(machine: Machine) -> None:
    assert memory_limits(machine.root) == ()
    assert Probe(machine.root).look().memory_free_bytes == 3000 * 1024


def test_version_1_of_the_groups_is_read_where_it_is_mounted(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "4:memory:/docker/abc\n1:cpu,cpuacct:/\n0::/\n")
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n")  # in a container the mount is ours
    machine.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "500000\n")
    assert Probe(machine.root).look().memory_free_bytes == 1_500_000


def test_time_that_a_cpu_limit_held_us_back_is_told(machine: Machine) -> None:
    machine.write("sys/fs/cgroup/app/worker/cpu.stat", "usage_usec 1\nnr_throttled 3\nthrottled_usec 1000\n")
    probe = Probe(machine.root)
    assert probe.look().throttled_share == 0
    machine.write("sys/fs/cgroup/app/worker/cpu.stat", "usage_usec 1\nnr_throttled 9\nthrottled_usec 90001000\n")
    assert probe.look().throttled_share == 1


def test_what_a_system_does_not_have_is_not_known(tmp_path: Path) -> None:
    probe = Probe(tmp_path)
    probe.count()
    look = probe.look()
    assert (look.steal_share, look.throttled_share, look.starved_share, look.ports, look.port_limit) == (0, 0, 0, 0, 0)
    assert look.rss_bytes > 0
    assert look.memory_free_bytes > 0


def test_a_look_at_this_machine_sees_a_socket_that_is_opened() -> None:
    probe = Probe()
    before = probe.look()
    with socket.socket(), socket.socket():
        after = probe.look()
    assert after.fds in (0, before.fds + 2)  # 0: before Linux 6.2 they are counted later
    assert after.fd_limit > after.fds
    assert after.rss_bytes > 1 << 20
    probe.count()


@given(
    st.lists(st.sampled_from(["0100007F:1F90", "0200007F:1F90", "0200007F:1F91"]), max_size=60),
    st.integers(0, 5),
    st.integers(1, 200),
)
def test_the_busiest_address_is_found_however_the_table_is_cut(remotes: list[str], listening: int, cut: int) -> None:
    text = table(*remotes, listening=listening).encode()
    chunks = [text[at : at + cut] for at in range(0, len(text), cut)]
    assert busiest_pair(chunks) == max((remotes.count(r) for r in remotes), default=0)


def test_each_source_address_has_ports_of_its_own_to_the_same_target() -> None:
    text = table(*["0100007F:1F90"] * 6)
    assert busiest_pair([text.encode()]) == 6
    lines = text.splitlines(keepends=True)
    spread = "".join(line.replace("0100007F:", f"0{n % 3 + 1}00007F:", 1) for n, line in enumerate(lines))
    assert busiest_pair([spread.encode()]) == 2


def test_own_addresses_are_those_that_can_be_bound() -> None:
    found = own_addresses()
    assert "127.0.0.1" in found
    for address in found:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as bound:
            bound.bind((address, 0))


def test_without_a_descriptor_left_what_cannot_be_read_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe()

    def none_left(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("loadgen.engine.health.process_health.os.open", none_left)
    monkeypatch.setattr("psutil.virtual_memory", none_left)
    monkeypatch.setattr("psutil.Process.memory_info", none_left)
    look = probe.look()
    assert (look.rss_bytes, look.memory_free_bytes) == (0, 0)
    assert look.fd_limit > 0
