"""llama.cpp's server as a process: a real inference engine, installed by `make engine` or named by two variables."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.ports import free_port

__all__ = ["MODEL", "SERVER", "running_llama_cpp"]

SERVER: Final = "LOADGEN_LLAMA_SERVER"
MODEL: Final = "LOADGEN_LLAMA_MODEL"
"""Environment variables: the path of llama.cpp's `llama-server`, and of a model in GGUF."""
_PYTHON: Final = Path(__file__).parents[2] / ".tools" / "llama-cpp" / "bin" / "python"
_SCRIPT: Final = Path(__file__).with_name("llama_cpp_server.py")
_WAIT_S: Final = 120


@contextlib.contextmanager
def running_llama_cpp() -> Iterator[str]:
    """Start the server, and yield its URL. Skip the test if there is neither a program nor `make engine`'s packages."""
    own, model = os.environ.get(SERVER), os.environ.get(MODEL)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        if own and model:
            url = f"http://127.0.0.1:{free_port()}"
            port = url.rpartition(":")[2]
            command = [own, "-m", model, "--host", "127.0.0.1", "--port", port, "-c", "4096", "-np", "2", "--no-warmup"]
        elif own or model:
            raise AssertionError(f"set both {SERVER} and {MODEL}, or none of them")
        elif _PYTHON.is_file():
            url, command = "", [str(_PYTHON), "-P", str(_SCRIPT), folder]
        else:
            pytest.skip(f"llama.cpp is not installed: run `make engine`, or set {SERVER} and {MODEL}")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with (
            log.open("wb") as out,
            subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT) as process,
        ):
            try:
                yield _ready(process, log, url)
            finally:
                process.terminate()
                process.wait(timeout=60)


def _ready(process: subprocess.Popen[bytes], log: Path, url: str) -> str:
    """Wait until the server answers, and return its URL. url: "" if the log has it."""
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        text = log.read_text(errors="replace")
        assert process.poll() is None, f"llama.cpp ended: {text[-2_000:]}"
        url = url or text.partition("listening at ")[2].partition("\n")[0]
        if url:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
                return url
        time.sleep(0.1)
    raise AssertionError(f"llama.cpp did not answer within {_WAIT_S} s: {log.read_text(errors='replace')[-2_000:]}")
