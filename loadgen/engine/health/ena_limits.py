"""Counters of packets that EC2 held back because the instance exceeded its network allowances.

EC2 shapes traffic that exceeds an instance's bandwidth, packets per second, tracked connections or
traffic to its local services (DNS, metadata, time). Packets wait or are dropped, and only these
counters of the ENA devices show it. `ethtool -S` prints them, and this module reads them with the
same ioctl (SIOCETHTOOL of Linux). A machine without ENA has none, and nothing is read.

Cost: one query of the device, which ENA answers by its admin queue; made off the event loop.
Source: linux/ethtool.h; AWS, "Monitor network performance for ENA settings on your EC2 instance".
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

__all__ = ["ALLOWANCES", "Allowances", "device_counters"]

ALLOWANCES: Final = (
    "bw_in_allowance_exceeded",
    "bw_out_allowance_exceeded",
    "pps_allowance_exceeded",
    "conntrack_allowance_exceeded",
    "linklocal_allowance_exceeded",
)
"""Names of the counters: packets that waited or were dropped since the device came up."""

_SIOCETHTOOL: Final = 0x8946
_GSTRINGS, _GSTATS, _GSSET_INFO = 0x1B, 0x1D, 0x37
_SS_STATS: Final = 1
_NAME_BYTES: Final = 32
_MOST: Final = 10_000

Ask: TypeAlias = "Callable[[str, array.array[int]], None]"
"""The ioctl: fills the buffer for a device, or raises OSError."""


def _ask_kernel(device: str, buffer: array.array[int]) -> None:
    address, _ = buffer.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, struct.pack("16sP16x", device.encode()[:15], address))


def device_counters(device: str, ask: Ask = _ask_kernel) -> dict[str, int]:
    """Return all counters of a network device by name, as `ethtool -S` prints them.

    Raises:
        OSError: there is no such device, or it has no counters.
    """
    head = array.array("B", struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _SS_STATS, 0))
    ask(device, head)
    _, _, mask, count = struct.unpack("=IIQI", head)
    if not mask or not 0 < count <= _MOST:
        return {}
    names = array.array("B", struct.pack("=III", _GSTRINGS, _SS_STATS, count) + bytes(_NAME_BYTES * count))
    ask(device, names)
    values = array.array("B", struct.pack("=II", _GSTATS, count) + bytes(8 * count))
    ask(device, values)
    found = struct.unpack_from(f"={count}Q", values, 8)
    texts = [names[12 + _NAME_BYTES * n : 12 + _NAME_BYTES * (n + 1)].tobytes() for n in range(count)]
    labels = [text.partition(b"\0")[0].decode("ascii", "replace") for text in texts]
    return dict(zip(labels, found, strict=True))


class Allowances:
    """The exceeded allowances of all ENA devices of this machine together. Devices that are added later are not seen.

    Args:
        root: the folder that contains `sys`; tests pass their own.
    """

    def __init__(self, root: Path = Path("/"), ask: Ask = _ask_kernel) -> None:
        self._ask = ask
        self._devices = _ena_devices(root)
        self._counters: dict[str, dict[str, int]] = {}
        self._before = self._read()

    @property
    def is_there(self) -> bool:
        """Whether this machine has an ENA network device, the only kind that has these counters."""
        return bool(self._devices)

    def exceeded(self) -> dict[str, int]:
        """Return the packets that EC2 held back or dropped since the last call, by the name of the exceeded allowance.

        Allowances without such packets are left out. Blocking.
        """
        if not self._devices:
            return {}
        before, now = self._before, self._read()
        self._before = now
        return {name: now[name] - before[name] for name in ALLOWANCES if now[name] > before[name]}

    def _read(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for device in self._devices:
            with contextlib.suppress(OSError):  # a failed read is skipped: the last known value is used
                self._counters[device] = device_counters(device, self._ask)
            counters = self._counters.get(device, {})
            found.update({name: counters.get(name, 0) for name in ALLOWANCES})
        return found


def _ena_devices(root: Path) -> tuple[str, ...]:
    """Return the names of the network devices with the ena driver; none on systems other than Linux."""
    found = []
    for device in sorted((root / "sys/class/net").glob("*")):
        driver = device / "device/driver"
        with contextlib.suppress(OSError):
            if driver.resolve(strict=True).name == "ena":
                found.append(device.name)
    return tuple(found)
