"""A run of a controller that stays (`loadgen controller`): killed, and resumed, while its client watches on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.fleet import Conducted, end_family, laid_out, wait_until
from tests.support.ports import free_port

__all__ = ["Served", "served"]

_READY = "listening for agents on"


@dataclass(slots=True)
class Served(Conducted):
    """The run that a client has ordered: it is over when the client is, however often the controller died."""

    clients: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """The one that ordered it, once it has."""
    crashes: int = 0
    """How often the controller ended unasked."""

    @property
    def is_over(self) -> bool:
        return any(client.poll() is not None for client in self.clients)

    def end(self, within_s: float = 120) -> int:
        deadline = time.monotonic() + within_s
        while not self.is_over:
            if time.monotonic() > deadline:
                raise AssertionError(f"the run does not end\n{self.said}")
            self.mend()
            time.sleep(0.1)
        return self.clients[0].wait(60)

    @property
    def said(self) -> str:
        """To the client."""
        return (self.folder / "client.out").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL to the controller."""
        self.controller.kill()
        self.controller.wait(60)

    def resume(self, within_s: float = 60) -> None:
        """Another one, that is told nothing but the folder; returns when agents can come to it."""
        before = self.output.count(_READY)
        self.controller = _started(self.folder, "controller", "resume", "--runs-dir", str(self.folder / "runs"))
        wait_until(lambda: self.output.count(_READY) > before, within_s, f"the controller is back\n{self.output}")

    def mend(self) -> None:
        """What whoever keeps a service does: start it again when it has ended. libzmq aborts now and then."""
        if self.controller.poll() is not None and not self.is_over:
            self.crashes += 1
            self.resume()

    def close(self) -> None:
        for client in self.clients:
            end_family(client)
        end_family(self.controller)


@contextmanager
def served(
    folder: Path,
    scenario: str,
    keys: Iterable[str],
    wait: int,
    options: Sequence[str] = (),
    listen: str = "127.0.0.1",
) -> Iterator[Served]:
    """As `conducted`, of a controller that stays, with an API for this machine."""
    path = laid_out(folder, scenario, keys)
    address, api = f"{listen}:{free_port(listen)}", f"127.0.0.1:{free_port()}"
    command = ["controller", "--keys", str(folder / "keys"), "--listen", address, "--api", api]
    process = _started(folder, *command, "--runs-dir", str(folder / "runs"))
    run = Served(folder, process, folder / "keys", address)
    with ExitStack() as stack:
        stack.callback(run.close)
        run.wait_for(_READY)
        order = ["run", str(path), "--controller", api, "--wait", str(wait), *options]
        run.clients.append(_started(folder, *order, out="client.out"))
        wait_until(lambda: "run " in run.said or run.is_over, 60, "the run is taken")
        assert not run.is_over, run.said
        yield run


def _started(folder: Path, *words: str, out: str = "controller.out") -> subprocess.Popen[bytes]:
    with (folder / out).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "loadgen_controller.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
