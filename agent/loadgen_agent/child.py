"""The worker's process, and the stream to it.

A program of its own, started over an inherited socketpair: no fork of our
sockets and keys, no pickle, an environment without secrets. It dies with us.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from loadgen.wire.frames import FrameStream
from loadgen.wire.messages import Bye, Message
from loadgen_agent.host import pin, worker_environment

__all__ = ["WORKER", "Child"]

# -P: what lies in the folder where the agent was started is not to be imported.
WORKER: Sequence[str] = (sys.executable, "-P", "-m", "loadgen_agent.worker")
_PATIENCE_S = 2.0


class Child:
    """One worker. Made by `start`."""

    def __init__(self, process: subprocess.Popen[bytes], stream: FrameStream) -> None:
        self._process, self._stream = process, stream

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        region: str,
        worker: int | None = None,
        core: int | None = None,
        memory_fds: tuple[int, int] | None = None,
    ) -> Child:
        """
        Args:
            worker: which of several it is.
            core: to keep it on.
            memory_fds: of the marks and of the lease of its place (`marks.py`, `lease.py`).

        Raises:
            OSError: it cannot be started.
        """
        more = [] if worker is None else ["--worker", str(worker)]
        inherited = memory_fds or ()
        for option, fd in zip(("--marks", "--lease"), inherited, strict=False):
            more += [option, str(fd)]
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: ASYNC220  # must be started by the thread whose death it shares
                    [*command, "--fd", str(theirs.fileno()), "--region", region, *more],
                    pass_fds=[theirs.fileno(), *inherited],
                    env=worker_environment(os.environ),
                    stdin=subprocess.DEVNULL,
                )
            except OSError:
                ours.close()
                raise
        if core is not None:
            pin(process.pid, core)
        return cls(process, await FrameStream.over(ours))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def hang_up(self) -> None:
        """`read` then ends, also where another process holds the other end of the stream."""
        self._stream.close()

    async def read(self) -> Message | None:
        """The next message; None when it is gone.

        Raises:
            WireError: what it sent is no message.
        """
        return await self._stream.read()

    def write(self, message: Message) -> None:
        self._stream.write(message)

    def kill(self) -> None:
        """At once; `read` then ends."""
        if self._process.poll() is None:
            self._process.kill()

    async def how_it_ended(self) -> str:
        """After `read` returned None: "was killed by SIGKILL", "ended with exit code 3"."""
        await self._wait(_PATIENCE_S)
        code = self._process.wait()
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    async def end(self) -> None:
        """Let it go, and see to it that it goes."""
        self._stream.write(Bye(""))
        await self._wait(_PATIENCE_S)
        self._stream.close()

    async def _wait(self, patience_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + patience_s
        while self._process.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                self._process.kill()
            await asyncio.sleep(0.01)
