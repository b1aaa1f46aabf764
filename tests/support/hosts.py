"""Hosts of their own on this machine: network namespaces, each with two links, on which things go wrong.

    with hosts("a1", "b1") as network:
        controller --listen {network.control}:0       # here, in the outer namespace
        nginx at {network.target}
        run([*network["a1"].inside, "loadgen-agent", ...])
        network["a1"].cut()                           # its control link is down: a partition
        network["a1"].mute()                          # what it says gets lost, what is said to it does not
        network["a1"].deaf()                          # the other way round
        network["a1"].lose(0.1)                       # packets on the control link, each way
        network["a1"].heal()

Only the way to the controller is harmed; that to the target is another link. Needs Linux, root and `ip`, loss needs
`nft`; a test skips, and says why, where that is not to be had.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest

__all__ = ["Host", "Network", "hosts"]

_NOBODY: Final = "02:00:de:ad:00:01"
"""A hardware address that no interface has: what is sent to it gets lost without a word."""


class Host:
    """One namespace: `control` and `target` are its two links."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.name = name
        self.namespace = f"lg{os.getpid()}-{number}"
        self.address = network.address(number)
        self._network, self._number = network, number

    @property
    def inside(self) -> tuple[str, ...]:
        """Before a command that is to run on this host."""
        return ("ip", "netns", "exec", self.namespace)

    def cut(self) -> None:
        """No way to the controller and back: the link is down."""
        self._run("ip", "link", "set", "control", "down")

    def mute(self) -> None:
        """What it sends to the controller gets lost."""
        self._run(
            "ip", "neigh", "replace", self._network.control, "lladdr", _NOBODY, "nud", "permanent", "dev", "control"
        )

    def deaf(self) -> None:
        """What the controller sends to it gets lost."""
        bridge = self._network.bridges[0]
        _run("ip", "neigh", "replace", self.address, "lladdr", _NOBODY, "nud", "permanent", "dev", bridge)

    def lose(self, share: float) -> None:
        """So much of the packets on the control link, either way, at random. Skips the test where `nft` is missing."""
        if shutil.which("nft") is None:
            pytest.skip("packet loss needs nft (Debian: nftables)")
        percent = round(share * 100)
        self._run("nft", "add", "table", "ip", "loss")
        for hook, name in (("input", "iifname"), ("output", "oifname")):
            self._run("nft", "add", "chain", "ip", "loss", hook, f"{{ type filter hook {hook} priority 0; }}")
            rule = f"{name} control numgen random mod 100 < {percent} drop"
            self._run("nft", "add", "rule", "ip", "loss", hook, *rule.split())

    def heal(self) -> None:
        """As it was at first."""
        self._run("ip", "link", "set", "control", "up")
        self._run("ip", "neigh", "flush", "dev", "control", "nud", "permanent")
        _run("ip", "neigh", "del", self.address, "dev", self._network.bridges[0], check=False)
        if shutil.which("nft") is not None:
            self._run("nft", "flush", "ruleset")

    def _make(self) -> None:
        _run("ip", "netns", "add", self.namespace)
        self._run("ip", "link", "set", "lo", "up")
        for bridge, link, address in zip(
            self._network.bridges,
            ("control", "target"),
            (self.address, self._network.address(self._number, is_target=True)),
            strict=True,
        ):
            outer = f"{bridge}-{self._number}"
            _run("ip", "link", "add", outer, "type", "veth", "peer", "name", link, "netns", self.namespace)
            _run("ip", "link", "set", outer, "master", bridge, "up")
            self._run("ip", "address", "add", f"{address}/24", "dev", link)
            self._run("ip", "link", "set", link, "up")

    def _run(self, *command: str) -> None:
        _run(*self.inside, *command)


class Network:
    """Hosts by name. `control` and `target` are this side's addresses on the two bridges."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.bridges = (f"lgc{os.getpid() % 100_000}", f"lgt{os.getpid() % 100_000}")
        self.control, self.target = self.address(254), self.address(254, is_target=True)
        self._hosts = {name: Host(self, name, number) for number, name in enumerate(names, 1)}

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    @staticmethod
    def address(number: int, *, is_target: bool = False) -> str:
        """Of the third octet a part of our process id, so that two tests beside each other do not meet."""
        return f"10.{201 if is_target else 200}.{os.getpid() % 250}.{number}"

    def make(self) -> None:
        for bridge, address in zip(self.bridges, (self.control, self.target), strict=True):
            _run("ip", "link", "add", bridge, "type", "bridge")
            _run("ip", "address", "add", f"{address}/24", "dev", bridge)
            _run("ip", "link", "set", bridge, "up")
        for host in self._hosts.values():
            host._make()

    def unmake(self) -> None:
        for host in self._hosts.values():
            _run("ip", "netns", "del", host.namespace, check=False)
            for bridge in self.bridges:  # at once, and not when the last process in it is gone
                _run("ip", "link", "del", f"{bridge}-{host._number}", check=False)
        for bridge in self.bridges:
            _run("ip", "link", "del", bridge, check=False)


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextlib.contextmanager
def hosts(*names: str) -> Iterator[Network]:
    """Make them; gone when the block is left, whatever runs in them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("hosts in network namespaces need Linux and root")
    if shutil.which("ip") is None:
        pytest.skip("hosts in network namespaces need ip (Debian: iproute2)")
    network = Network(names)
    try:
        try:
            network.make()
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield network
    finally:
        network.unmake()
