"""The worker's process, and the stream to it.

A program of its own, started over an inherited socketpair: no fork of our
sockets and keys, no pickle, an environment without secrets. It dies with us.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from loadgen.wire.frames import FrameStream
from loadgen.wire.messages import Bye, Message
from loadgen_agent.host import pin, worker_environment
from loadgen_agent.supervisor import orphans
from loadgen_agent.supervisor.output import Output, Pipe

__all__ = ["WORKER", "Child"]

# -P: what lies in the folder where the agent was started is not to be imported.
WORKER: Sequence[str] = (sys.executable, "-P", "-m", "loadgen_agent.worker.worker")
_PATIENCE_S = 2.0


class Child:
    """One worker. Made by `start`."""

    def __init__(self, process: subprocess.Popen[bytes], stream: FrameStream, tag: str, pipe: Pipe | None) -> None:
        self._process, self._stream, self._tag, self._pipe = process, stream, tag, pipe

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        region: str,
        worker: int | None = None,
        core: int | None = None,
        memory_fds: tuple[int, int] | None = None,
        output: Output | None = None,
    ) -> Child:
        """
        Args:
            worker: which of several it is.
            core: to keep it on.
            memory_fds: of the marks and of the lease of its place (`marks.py`, `lease.py`).
            output: where its standard output and error go. None: to those of this process.

        Raises:
            OSError: it cannot be started.
        """
        more = [] if worker is None else ["--worker", str(worker)]
        inherited = memory_fds or ()
        for option, fd in zip(("--marks", "--lease"), inherited, strict=False):
            more += [option, str(fd)]
        tag = secrets.token_hex(8)
        ours, theirs = socket.socketpair()
        pipe = None
        with theirs:
            try:
                pipe = output.pipe() if output is not None else None
                process = subprocess.Popen(  # noqa: ASYNC220  # must be started by the thread whose death it shares
                    [*command, "--fd", str(theirs.fileno()), "--region", region, *more],
                    pass_fds=[theirs.fileno(), *inherited],
                    env={**worker_environment(os.environ), orphans.TAG: tag},
                    stdin=subprocess.DEVNULL,
                    stdout=None if pipe is None else pipe.write_fd,
                    stderr=None if pipe is None else pipe.write_fd,
                    start_new_session=True,  # a process group of its own, which can be killed as one
                )
                orphans.started(process.pid)
            except OSError:
                ours.close()
                if pipe is not None:
                    pipe.close()
                raise
        if pipe is not None:
            pipe.read()
        if core is not None:
            pin(process.pid, core)
        return cls(process, await FrameStream.over(ours), tag, pipe)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._poll() is None

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
        if self._poll() is None:
            self._process.kill()

    async def how_it_ended(self) -> str:
        """After `read` returned None: "was killed by SIGKILL", "ended with exit code 3"."""
        await self._wait(_PATIENCE_S)
        if self._pipe is not None:
            self._pipe.drain()  # its last words come before what is said of its death
        code = self._process.wait()
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    async def end(self) -> None:
        """Let it go, and see to it that it goes, with every process that it has started."""
        self._stream.write(Bye(""))
        await self._wait(_PATIENCE_S)
        self._stream.close()
        await orphans.end_left_behind(self._tag, f"process {self.pid}")
        if self._pipe is not None:
            self._pipe.close()

    async def _wait(self, patience_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + patience_s
        while self._poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                self._process.kill()
            await asyncio.sleep(0.01)

    def _poll(self) -> int | None:
        """The exit code; None while it runs. Its process group ends with it."""
        if self._process.returncode is None:
            is_zombie = orphans.has_ended(self.pid)
            if is_zombie:
                orphans.kill_group(self.pid)
            code = self._process.poll()
            if code is not None:
                orphans.waited_for(self.pid)
                if not is_zombie:  # macOS cannot look without waiting
                    orphans.kill_group(self.pid)
        return self._process.returncode
