"""A network of one's own for a child process: loopback, ports, DNS; what a test does there nobody else sees.

    found = in_namespace("tests.clients.test_own_network:ports", 10)     # what the function returned, as JSON

Linux, where user namespaces are allowed or the tests run as root; skipped elsewhere.
"""

from __future__ import annotations

import fcntl
import functools
import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

__all__ = ["in_namespace", "only_these_ports", "own_dns"]

ROOT = Path(__file__).resolve().parents[2]
_UNSHARE = ["unshare", "--map-root-user", "--net", "--mount"]
_SIOCSIFFLAGS = 0x8914
_UP = 0x1


def in_namespace(function: str, *arguments: Any) -> Any:
    """Call "module:function" in a child with a network of its own, of which only the loopback is there."""
    if not _can():
        pytest.skip("no network namespaces here")
    command = [*_UNSHARE, sys.executable, "-m", "tests.support.namespace", function, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@functools.cache
def _can() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode == 0


def only_these_ports(first: int, last: int) -> None:
    """In the child: the ports that connections are made from."""
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{first} {last}")


def own_dns(server: str = "127.0.0.1") -> None:
    """In the child: names are asked of this server, at port 53, and of no file."""
    folder = Path(tempfile.mkdtemp(prefix="loadgen-dns-"))
    (folder / "resolv.conf").write_text(f"nameserver {server}\noptions timeout:1 attempts:1\n")
    (folder / "nsswitch.conf").write_text("hosts: files dns\n")
    for name in ("resolv.conf", "nsswitch.conf"):
        subprocess.run(["mount", "--bind", folder / name, f"/etc/{name}"], check=True)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _UP))


if __name__ == "__main__":
    _loopback_up()
    module, _, name = sys.argv[1].partition(":")
    print(json.dumps(getattr(import_module(module), name)(*json.loads(sys.argv[2]))))
