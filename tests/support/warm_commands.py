"""Runs `loadgen` commands as forks of one process that has imported everything: a start takes 20 ms of CPU, not 700.

The fork is a process of its own, with its own arguments, environment, folder, streams, signals and exit code. Only the
imports have happened before. A command runs cold, as `python -m loadgen_controller.cli`, if its environment changes
what Python imports, or if LOADGEN_TESTS_COLD is set (for coverage, and to look for imports that are missing).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO

__all__ = ["is_cold", "run_warm"]

_ROOT = Path(__file__).parents[2]
_REQUEST = 1 << 20
"""The most bytes of a request: arguments and environment."""
_server: subprocess.Popen[bytes] | None = None
_address = ""


def is_cold(env: Mapping[str, str]) -> bool:
    """Return whether a command with these changes of the environment must be started as a new interpreter."""
    return bool(os.environ.get("LOADGEN_TESTS_COLD")) or any(name.startswith("PYTHON") for name in env)


def run_warm(args: Sequence[str], env: Mapping[str, str], timeout_s: float) -> tuple[int, str, str]:
    """Run `loadgen ARGS` to its end; return its exit code (below 0: the signal that ended it), stdout and stderr.

    env: the whole environment.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout_s`. The process has been killed.
    """
    _start()
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        Path(os.devnull).open() as nothing,
        socket.socket(socket.AF_UNIX) as link,
    ):
        link.connect(_address)
        request = json.dumps({"args": list(args), "env": dict(env), "cwd": str(Path.cwd())}).encode()
        files = [nothing.fileno(), out.fileno(), err.fileno()]
        socket.send_fds(link, [len(request).to_bytes(4, "big")], files)
        link.sendall(request)
        pid = int.from_bytes(_exactly(link, 4), "big", signed=True)
        link.settimeout(timeout_s)
        try:
            code = int.from_bytes(_exactly(link, 4), "big", signed=True)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(args), timeout_s) from None
        return code, _text(out), _text(err)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


def _exactly(link: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = link.recv(count - len(found))
        if not more:
            raise ConnectionError("the process that forks commands has ended")
        found += more
    return found


def _start() -> None:
    """Start the process that forks commands, if it does not run. It ends when this process has ended."""
    global _server, _address
    if _server is not None and _server.poll() is None:
        return
    _address = str(Path(tempfile.mkdtemp(prefix="warm")) / "commands.sock")
    _server = subprocess.Popen(
        [sys.executable, "-m", __name__, _address], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert _server.stdout is not None
    assert _server.stdout.readline() == b"ready\n"


# -- the process that forks ------------------------------------------------------------------------


def _serve(address: str) -> dict[str, object]:
    """Fork a process for each request, until stdin ends. Return in each fork, with its request."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    waiting: dict[int, socket.socket] = {}
    os.write(1, b"ready\n")
    while True:
        ready, _, _ = select.select([0, listener.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report(waiting)
        if 0 in ready:
            os._exit(0)
        if listener.fileno() not in ready:
            continue
        link, _ = listener.accept()
        size, files, _, _ = socket.recv_fds(link, 4, 3)
        request = json.loads(_exactly(link, int.from_bytes(size, "big")))
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for target, file in enumerate(files):
                os.dup2(file, target)
            os.closerange(3, 256)
            return dict(request)
        for file in files:
            os.close(file)
        waiting[pid] = link
        link.sendall(pid.to_bytes(4, "big", signed=True))


def _report(waiting: dict[int, socket.socket]) -> None:
    """Send the exit code of each fork that has ended to whom asked for it."""
    for pid in list(waiting):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with waiting.pop(pid) as link, contextlib.suppress(OSError):
                link.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


def _become(request: dict[str, object]) -> None:
    """Give this fork the arguments, environment, folder and streams of the command."""
    args, env, folder = request["args"], request["env"], request["cwd"]
    assert isinstance(args, list)
    assert isinstance(env, dict)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(str(folder))
    sys.argv = ["loadgen", *args]
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115  until it ends
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    random.seed()


if __name__ == "__main__":
    from loadgen_controller import cli

    for _name in cli.COMMANDS:
        import_module(f"loadgen_controller.commands.{_name.replace('-', '_')}")
    gc.collect()
    gc.freeze()
    _become(_serve(sys.argv[1]))
    cli.main()
