"""Counters of network devices: read as ethtool reads them, and seconds in which EC2 held packets back are unfit."""

from __future__ import annotations

import array
import errno
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.engine.health.ena_limits import Allowances, device_counters
from loadgen.engine.health.process_health import HealthReading, Probe
from loadgen.engine.health.selfcheck import Seen, unfit_reasons


class Kernel:
    """Answers SIOCETHTOOL for one device, into the caller's buffer as linux/ethtool.h has it."""

    def __init__(self, **counters: int) -> None:
        self.counters, self.is_gone = counters, False

    def __call__(self, device: str, buffer: array.array[int]) -> None:
        if self.is_gone or device != "ens5":
            raise OSError(errno.ENODEV, "no such device")
        memory, names = memoryview(buffer), list(self.counters)
        command = struct.unpack_from("=I", memory)[0]
        if command == 0x37:
            struct.pack_into("=I", memory, 16, len(names))
        elif command == 0x1B:
            for n, name in enumerate(names):
                struct.pack_into("32s", memory, 12 + 32 * n, name.encode())
        elif command == 0x1D:
            struct.pack_into(f"={len(names)}Q", memory, 8, *self.counters.values())
        else:
            raise OSError(errno.EOPNOTSUPP, "unknown command")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """/sys of an instance with an ENA device, another one, and the loopback that has no driver."""
    net, drivers = tmp_path / "sys/class/net", tmp_path / "sys/bus/drivers"
    for name, driver in (("ens5", "ena"), ("eth9", "veth"), ("lo", "")):
        (net / name / "device").mkdir(parents=True)
        if driver:
            (drivers / driver).mkdir(parents=True)
            (net / name / "device/driver").symlink_to(drivers / driver)
    return tmp_path


def test_packets_held_back_since_the_last_look_are_told_by_allowance(root: Path) -> None:
    kernel = Kernel(
        tx_timeout=1, pps_allowance_exceeded=40, bw_in_allowance_exceeded=2, conntrack_allowance_available=9
    )
    allowances = Allowances(root, kernel)
    assert (allowances.is_there, allowances.exceeded()) == (True, {})
    kernel.counters["pps_allowance_exceeded"] += 7
    kernel.counters["tx_timeout"] += 1
    kernel.counters["conntrack_allowance_available"] = 100
    assert allowances.exceeded() == {"pps_allowance_exceeded": 7}
    assert allowances.exceeded() == {}


def test_device_that_does_not_answer_for_once_makes_no_second_unfit(root: Path) -> None:
    kernel = Kernel(bw_out_allowance_exceeded=1_000)
    allowances = Allowances(root, kernel)
    kernel.is_gone = True
    assert allowances.exceeded() == {}
    kernel.is_gone = False
    assert allowances.exceeded() == {}
    kernel.counters["bw_out_allowance_exceeded"] = 3  # the device was reset
    assert allowances.exceeded() == {}
    kernel.counters["bw_out_allowance_exceeded"] = 8
    assert allowances.exceeded() == {"bw_out_allowance_exceeded": 5}


def test_machine_without_ena_asks_nobody(tmp_path: Path) -> None:
    def never(device: str, buffer: array.array[int]) -> None:
        raise AssertionError(device)

    allowances = Allowances(tmp_path, never)
    assert (allowances.is_there, allowances.exceeded()) == (False, {})
    assert Probe(tmp_path).look().shaped == ()


def test_counters_of_a_real_device_are_those_that_the_kernel_has() -> None:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a veth pair needs Linux, root and ip (Debian: iproute2)")
    ours, theirs = f"lg{os.getpid()}a", f"lg{os.getpid()}b"
    made = subprocess.run(
        ["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no veth pair can be made here")
    try:
        peer = int(Path(f"/sys/class/net/{theirs}/ifindex").read_text())
        try:
            found = device_counters(ours)
        except OSError as error:
            pytest.skip(f"this kernel has no ethtool ioctl: {error.strerror}")
        assert found["peer_ifindex"] == peer
        with pytest.raises(OSError, match="No such device"):
            device_counters("lg-none")
    finally:
        subprocess.run(["ip", "link", "del", ours], check=False)


def test_second_in_which_packets_were_held_back_is_unfit_and_says_by_what() -> None:
    look = HealthReading(shaped=(("bw_in_allowance_exceeded", 1_200), ("pps_allowance_exceeded", 34)))
    assert unfit_reasons(Seen(look=look)) == (
        "the instance's network held back 1,234 packets (bw_in_allowance_exceeded, pps_allowance_exceeded)",
    )
