"""Debian's tinyproxy as a real proxy: its own folder and port, and a login that it wants.

with running_tinyproxy("me:pw", tunnels_to=[8443]) as url: ...
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.ports import free_port

__all__ = ["running_tinyproxy"]

_CONFIG = """
Port {port}
Listen 127.0.0.1
Allow 127.0.0.1
Timeout 60
MaxClients 100
LogFile "{folder}/log"
PidFile "{folder}/pid"
BasicAuth {user} {password}
"""


@contextlib.contextmanager
def running_tinyproxy(login: str, *, tunnels_to: Sequence[int]) -> Iterator[str]:
    """Start it; skips the test where it is not installed. tunnels_to: the only ports that CONNECT may name."""
    program = shutil.which("tinyproxy")
    if program is None:
        pytest.skip("tinyproxy is not installed (Debian: tinyproxy)")
    user, _, password = login.partition(":")
    with TemporaryDirectory(prefix="loadgen-tinyproxy-") as folder:
        port = free_port()
        config = Path(folder) / "tinyproxy.conf"
        lines = _CONFIG.format(port=port, folder=folder, user=user, password=password)
        config.write_text(lines + "".join(f"ConnectPort {one}\n" for one in tunnels_to))
        process = subprocess.Popen([program, "-d", "-c", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            _wait_until_ready(process, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "tinyproxy did not start"
            assert time.monotonic() < deadline, "tinyproxy did not start in time"
            time.sleep(0.01)
        else:
            return
