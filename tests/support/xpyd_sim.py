"""xpyd-sim as a process: an inference server that other authors wrote, installed by `make xpyd-sim`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port

__all__ = ["running_xpyd_sim"]

_PACKAGES = Path(__file__).parents[2] / ".tools" / "xpyd-sim"
_START = "from xpyd_sim.cli import main; main()"


@contextlib.contextmanager
def running_xpyd_sim(*options: str) -> Iterator[str]:
    """Start the server on a free port, and yield its URL. Skip the test if the server is not installed."""
    if not (_PACKAGES / "xpyd_sim").is_dir():
        pytest.skip("xpyd-sim is not installed: run `make xpyd-sim`")
    port = free_port()
    command = [sys.executable, "-P", "-c", _START, "serve", "--host", "127.0.0.1", "--port", str(port), *options]
    environment = {**os.environ, "PYTHONPATH": str(_PACKAGES)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(process, url)
            yield url
        finally:
            process.terminate()
            process.communicate(timeout=60)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait until the server answers."""
    for _ in range(600):
        if process.poll() is not None:
            assert process.stdout is not None
            raise AssertionError(f"xpyd-sim ended: {process.stdout.read().decode()[-2_000:]}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError("xpyd-sim did not answer within 60 s")
