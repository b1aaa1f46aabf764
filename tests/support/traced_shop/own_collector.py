"""`loadgen trace collect` as a process beside a test, and the settings with which `loadgen trace` finds it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.ports import free_port

__all__ = ["SOURCE", "own_collector", "write_settings"]

SOURCE = "local"


@contextlib.contextmanager
def own_collector() -> Iterator[str]:
    """Run `loadgen trace collect` on a free port; yields its URL."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "loadgen_controller.cli", "trace", "collect", "--listen", address]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert address in (line := process.stdout.readline()), f"the collector did not start: {line}"
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(20)


def write_settings(folder: Path, url: str) -> None:
    """Write `loadgen.toml` with the collector as the source SOURCE."""
    (folder / "loadgen.toml").write_text(f'[trace.{SOURCE}]\nbackend = "collector"\nurl = "{url}"\n')
