"""Debian's Varnish in front of a server: its own folder, its own port, stopped by its pid.

    with running_target("--no-latency") as shop, running_varnish(shop.port) as varnish:
        httpx.get(varnish.url)
        varnish.empty()

It caches what the server behind it allows. Its builtin rules add X-Varnish, Age and Via to each answer.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port

__all__ = ["Varnish", "running_varnish"]

_START_S = 60
_VCL = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{port}"; }}
sub vcl_recv {{
    if (req.url == "/varnish-is-ready") {{ return (synth(204)); }}
}}
{more}
"""


@dataclass(frozen=True, slots=True)
class Varnish:
    """A running Varnish. pid: of its manager, which ends the cache's own process with itself."""

    url: str
    pid: int
    folder: Path

    def empty(self) -> None:
        """Make all stored answers invalid, as a deployment does that empties its cache."""
        self._admin("ban", "req.url", "~", ".")

    def _admin(self, *command: str) -> None:
        program = shutil.which("varnishadm") or "/usr/bin/varnishadm"
        done = subprocess.run(
            [program, "-n", str(self.folder), *command], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def running_varnish(behind_port: int, *, vcl: str = "") -> Iterator[Varnish]:
    """Start Varnish on a free port; skips the test if it is not installed.

    Args:
        behind_port: port of the HTTP server on 127.0.0.1 that it asks.
        vcl: more of its configuration, such as a sub `vcl_backend_response`.
    """
    program = shutil.which("varnishd") or "/usr/sbin/varnishd"
    if not os.access(program, os.X_OK):
        pytest.skip("Varnish is not installed (Debian: varnish)")
    folder = Path(tempfile.mkdtemp(prefix="loadgen-varnish-"))
    folder.chmod(0o755)  # the cache's process runs as another user
    (folder / "shop.vcl").write_text(_VCL.format(port=behind_port, more=vcl))
    port = free_port()
    command = [program, "-F", "-n", str(folder / "work"), "-a", f"127.0.0.1:{port}", "-f", str(folder / "shop.vcl")]
    # The built-in jail changes the user of its processes, which a container may not allow.
    command += ["-j", "none", "-s", "malloc,32m", "-p", "thread_pool_min=20", "-p", "thread_pools=1"]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        varnish = Varnish(f"http://127.0.0.1:{port}", process.pid, folder / "work")
        _wait_until_ready(process, varnish.url, folder / "said")
        yield varnish
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, said: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/varnish-is-ready", timeout=5).close()
        except OSError:
            text = said.read_text(errors="replace")
            assert process.poll() is None, f"Varnish did not start: {text}"
            assert time.monotonic() < deadline, f"Varnish is not ready: {text}"
            time.sleep(0.05)
        else:
            return
