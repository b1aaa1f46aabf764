"""Agent processes on this machine: one or several for each region, started and ended with the run.

These are complete agents. Each one has its own session, so that a Ctrl-C at the
terminal reaches only the command line. Each one gets throw-away keys and an environment
without secrets. Agents are always ended by process id, never by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from loadgen.errors import FleetError, StorageError
from loadgen.process_list import children_of
from loadgen.secret_files import make_subfolder, open_private
from loadgen.wire.curve_keys import ControllerKeys, throw_away

__all__ = ["EmbeddedAgents", "agent_ids", "clean_environment"]

AGENT_MODULE = "loadgen_agent.cli"
_KILL_AFTER_S = 3.0
_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|PYTHON(UTF8|DONTWRITEBYTECODE|WARNINGS)"
    r"|VIRTUAL_ENV|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|SSL_CERT_(FILE|DIR)|LOADGEN_\w+"
)


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return only those variables that a program needs to run. The others may hold tokens and passwords."""
    return {name: value for name, value in environment.items() if _KEPT.fullmatch(name) and name != "LOADGEN_TOKEN"}


def agent_ids(regions: Iterable[str], per_region: int) -> dict[str, str]:
    """Return region by agent id. The id is `us-east-1` if the region has one agent, else `us-east-1.2` and so on."""
    found: dict[str, str] = {}
    for region in regions:
        slug = re.sub(r"[^A-Za-z0-9_-]+", "-", region).strip("-_")[:100] or "region"
        for n in range(1, per_region + 1):
            agent = slug if per_region == 1 else f"{slug}.{n}"
            while agent in found:  # two regions that differ only in characters that an id cannot hold
                agent += "-x"
            found[agent] = region
    return found


class EmbeddedAgents:
    """The agent processes of one run, and their keys. Pass `keys` to the controller."""

    def __init__(self, regions: Iterable[str], per_region: int = 1, workers: int = 1) -> None:
        """Create keys for the agents; `start` starts them.

        Args:
            per_region: the number of agents in each region.
            workers: the number of worker processes of each agent.
        """
        self._workers = workers
        self._expected = agent_ids(regions, per_region)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, Path] = {}
        self._reported: set[str] = set()
        self._folder = Path(tempfile.mkdtemp(prefix="loadgen-keys-"))  # mode 0700
        self.keys: ControllerKeys = throw_away(self._folder)

    @property
    def expected(self) -> Mapping[str, str]:
        """Return the region of each agent that `start` starts, by agent id."""
        return self._expected

    @property
    def pids(self) -> Mapping[str, int]:
        """Return the process id of each agent that was started, by agent id."""
        return {agent: process.pid for agent, process in self._processes.items()}

    def start(self, address: str, logs: Path) -> None:
        """Start all agents; the output of each goes to its own file in `logs`.

        Raises:
            StorageError: a log file cannot be written.
            FleetError: a process cannot be started.
        """
        environment = clean_environment(os.environ)
        for agent, region in self._expected.items():
            self._logs[agent] = logs / f"{agent}.log"
            try:
                make_subfolder(logs)
                output = os.fdopen(open_private(self._logs[agent], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")
            except OSError as exc:
                raise StorageError(
                    f"cannot write {self._logs[agent]}: {exc.strerror}",
                    hint="check that the folder is writable and the disk has space",
                ) from exc
            with output:
                self._processes[agent] = self._start(agent, region, address, environment, output)

    def _start(
        self, agent: str, region: str, address: str, environment: dict[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", AGENT_MODULE, "--controller", address, "--region", region]
        command += ["--keys", str(self._folder), "--id", agent, "--with-parent"]
        command += ["--workers", str(self._workers)]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        except OSError as exc:
            raise FleetError(
                f"cannot start the process of agent {agent}: {exc.strerror}",
                hint="free memory, or raise the limit of processes (ulimit -u)",
            ) from exc

    def exited(self) -> Mapping[str, str]:
        """Return a text for each agent whose process has ended since the last call.

        It says how the process ended, with its last line of output.
        """
        found: dict[str, str] = {}
        for agent, process in self._processes.items():
            if agent not in self._reported and (code := process.poll()) is not None:
                self._reported.add(agent)
                found[agent] = f"its process {process.pid} {_how(code)}{self._last_words(agent)}"
        return found

    async def end(self, patience_s: float) -> None:
        """Wait up to `patience_s` for the agents to exit, then send TERM, and KILL 3 s later.

        Then remove the folder of keys.

        Calling it again has no effect.
        """
        try:
            await self._gone_within(patience_s)
            for process in self._running():
                process.terminate()
            await self._gone_within(_KILL_AFTER_S)
        finally:
            for process in self._running():
                await _kill_with_descendants(process)
            self.discard()

    def discard(self) -> None:
        """Remove the temporary folder with the keys of the agents."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _running(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self._processes.values() if process.poll() is None]

    async def _gone_within(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._running() and time.monotonic() < until:  # noqa: ASYNC110  no event signals the end of a process
            await asyncio.sleep(0.02)

    def _last_words(self, agent: str) -> str:
        try:
            lines = self._logs[agent].read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return f"; its last line of output: {lines[-1][:300]}" if lines else ""


async def _kill_with_descendants(process: subprocess.Popen[bytes]) -> None:
    """Kill an agent that does not exit, its workers, and all processes that those have started.

    The agent is the parent of every descendant whose own parent is gone. A stopped agent reaps no child, so the
    system cannot give a child's process id to another process until the agent itself is gone.
    """
    process.send_signal(signal.SIGSTOP)
    until = time.monotonic() + _KILL_AFTER_S
    found_none = 0
    # Twice, because a list may be out of date: it read an orphan first, and its dying parent only as a zombie.
    while found_none < 2 and time.monotonic() < until:
        running = [pid for pid, state in children_of(process.pid).items() if state != "Z"]
        found_none = 0 if running else found_none + 1
        for pid in running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.01)
    # Kill the whole session in case its children cannot be listed. The agent is not reaped yet, so its id is valid.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _how(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
