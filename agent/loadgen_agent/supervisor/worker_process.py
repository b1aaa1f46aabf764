"""The process of a worker, and the message stream to it.

A worker is a separate program that inherits one end of a socketpair. It gets no copy of the agent's sockets and keys,
no pickled objects, and an environment without the agent's secrets. It ends when the agent ends.
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

from loadgen.wire.messages import Bye, Message
from loadgen.wire.worker_pipe import FrameStream
from loadgen_agent.operating_system import pin, worker_environment
from loadgen_agent.supervisor import leftover_processes
from loadgen_agent.supervisor.output import Output, Pipe

__all__ = ["WORKER", "Child"]

# -P: files in the folder in which the agent was started must not be imported.
WORKER: Sequence[str] = (sys.executable, "-P", "-m", "loadgen_agent.worker.worker")
_PATIENCE_S = 2.0
"""Time for a process to exit before it is killed."""


class Child:
    """The process of one worker. Made by `start`."""

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
        """Start a worker process, and return it with its message stream.

        Args:
            command: program and arguments; normally `WORKER`.
            region: region label of the agent.
            worker: number of the worker slot; None when the agent has only one.
            core: CPU to which to pin the process.
            memory_fds: descriptors of the slot's progress and lease memory (`shared_progress.py`, `worker_lease.py`).
            output: receives the process's standard output and error. None: it shares those of this process.

        Raises:
            OSError: the process cannot be started.
        """
        more = [] if worker is None else ["--worker", str(worker)]
        inherited = memory_fds or ()
        for option, fd in zip(("--marks", "--lease"), inherited, strict=False):
            more += [option, str(fd)]
        tag = secrets.token_hex(8)
        ours, theirs = socket.socketpair()
        pipe = None
        # Our copy of the worker's end must be closed. Otherwise `read` would not end when the worker does.
        with theirs:
            try:
                pipe = output.pipe() if output is not None else None
                process = subprocess.Popen(  # noqa: ASYNC220  # must be started by the thread whose death it shares
                    [*command, "--fd", str(theirs.fileno()), "--region", region, *more],
                    pass_fds=[theirs.fileno(), *inherited],
                    env={**worker_environment(os.environ), leftover_processes.TAG: tag},
                    stdin=subprocess.DEVNULL,
                    stdout=None if pipe is None else pipe.write_fd,
                    stderr=None if pipe is None else pipe.write_fd,
                    start_new_session=True,  # a process group of its own, which can be killed as one
                )
                leftover_processes.started(process.pid)
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
        """Process number of the worker."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the worker process is still running."""
        return self._poll() is None

    def hang_up(self) -> None:
        """Close our end of the message stream. So `read` ends even if another process still holds the other end."""
        self._stream.close()

    async def read(self) -> Message | None:
        """Return the next message of the worker; None at the end of the stream.

        Raises:
            WireError: the worker sent an unreadable message.
        """
        return await self._stream.read()

    def write(self, message: Message) -> None:
        """Queue a message to be sent to the worker, without waiting."""
        self._stream.write(message)

    def kill(self) -> None:
        """Kill the worker process at once, so that `read` ends."""
        if self._poll() is None:
            self._process.kill()

    async def how_it_ended(self) -> str:
        """Wait until the process has ended, and return how: "was killed by SIGKILL", "ended with exit code 3".

        Call this after `read` returned None.
        """
        await self._wait(_PATIENCE_S)
        if self._pipe is not None:
            self._pipe.drain()  # so that its last output is shown before the message about its death
        code = self._process.wait()
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    async def end(self) -> None:
        """Ask the process to exit, and kill it if it does not. Also kill every process that it has started."""
        self._stream.write(Bye(""))
        await self._wait(_PATIENCE_S)
        self._stream.close()
        await leftover_processes.end_left_behind(self._tag, f"process {self.pid}")
        if self._pipe is not None:
            self._pipe.close()

    async def _wait(self, patience_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + patience_s
        while self._poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                self._process.kill()
            await asyncio.sleep(0.01)

    def _poll(self) -> int | None:
        """Return the exit code, or None while the process runs. When it has ended, its process group is killed."""
        if self._process.returncode is None:
            # The group is killed while the worker is a zombie. After `poll` has waited for it, the kernel may give the
            # number of the process and of its group to another process.
            is_zombie = leftover_processes.has_ended(self.pid)
            if is_zombie:
                leftover_processes.kill_group(self.pid)
            code = self._process.poll()
            if code is not None:
                leftover_processes.waited_for(self.pid)
                if not is_zombie:  # macOS has no way to see a zombie without waiting for it
                    leftover_processes.kill_group(self.pid)
        return self._process.returncode
