"""What a worker has started ends with it; what the agent has not started is left alone. Real processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.process_list import children_of
from loadgen_agent.supervisor import leftover_processes as orphans
from loadgen_agent.supervisor.worker_process import Child
from tests.support import leaving_worker
from tests.support.leaving_worker import WAYS
from tests.support.wire import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to the agent")


def command(folder: Path) -> tuple[str, ...]:
    folder.mkdir()
    return (sys.executable, str(Path(leaving_worker.__file__)), str(folder))


def pids(folder: Path) -> dict[str, int]:
    return {way: int((folder / way).read_text()) for way in WAYS if (folder / way).exists()}


def is_there(pid: int) -> bool:
    """A zombie is there, too: nobody has waited for it."""
    return Path(f"/proc/{pid}").exists()


async def act(root: Path, how: str) -> None:
    """The part of an agent, in a process of its own: two workers, of which the first ends, then the second."""
    neighbour = subprocess.Popen(["sleep", "600"], start_new_session=True) if how == "has a neighbour" else None
    orphans.adopt()
    first, second = [await Child.start(command(root / name), "eu") for name in ("first", "second")]
    await until(lambda: len(pids(root / "first")) == len(pids(root / "second")) == len(WAYS))
    if how == "is killed":
        os.kill(first.pid, signal.SIGKILL)
        await first.how_it_ended()
    await first.end()
    after_first = {
        name: [way for way, pid in pids(root / name).items() if is_there(pid)] for name in ("first", "second")
    }
    await second.end()
    after_both = {
        name: [way for way, pid in pids(root / name).items() if is_there(pid)] for name in ("first", "second")
    }
    is_alone = neighbour is None or neighbour.poll() is None
    if neighbour is not None:
        neighbour.kill()
    print(json.dumps([after_first, after_both, is_alone]))


@pytest.mark.parametrize("how", ["ends", "is killed", "has a neighbour"])
def test_whatever_a_worker_has_started_ends_with_it(tmp_path: Path, how: str) -> None:
    code = "import asyncio, pathlib, sys; from tests.agent.test_orphans import act\n"
    code += f"asyncio.run(act(pathlib.Path({str(tmp_path)!r}), {how!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    try:
        after_first, after_both, is_alone = json.loads(done.stdout)
        # Without its environment a process cannot be told from those of the other worker, which is still there.
        assert after_first == {"first": ["no-environment"], "second": list(WAYS)}
        # A shell may have had children before it became the agent: then an untagged process may be one of those.
        left = ["no-environment"] if how == "has a neighbour" else []
        assert after_both == {"first": left, "second": left}
        assert is_alone
        assert re.search(
            r"left [2-6] processes behind: the agent killed them", done.stderr
        )  # some end as its process group before
    finally:
        for pid in [*pids(tmp_path / "first").values(), *pids(tmp_path / "second").values()]:
            if is_there(pid):
                os.kill(pid, signal.SIGKILL)


async def test_without_adoption_a_workers_process_group_ends_with_it_and_daemons_stay(tmp_path: Path) -> None:
    child = await Child.start(command(tmp_path / "w"), "eu")
    await until(lambda: len(pids(tmp_path / "w")) == len(WAYS))
    started = pids(tmp_path / "w")
    await child.end()
    try:
        await until(lambda: not is_running(started["popen"]) and not is_running(started["fork"]))
        assert is_running(started["daemon"])
    finally:
        for pid in started.values():
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Not a zombie; init or the test's own parent may take its time to wait for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


async def zombies() -> None:
    """The part of an agent: what it was given and has ended by itself does not stay."""
    orphans.adopt()
    # "sh" has ended when its child does, so the child is ours.
    subprocess.run(["sh", "-c", "sleep 0.05 & echo $!"], check=True, stdout=subprocess.PIPE)
    given = len(children_of(os.getpid()))
    async with asyncio.timeout(20):
        while children_of(os.getpid()):
            orphans.reap()
            await asyncio.sleep(0.01)
    print(given)


def test_an_adopted_process_that_ends_by_itself_does_not_stay_as_a_zombie() -> None:
    code = "import asyncio; from tests.agent.test_orphans import zombies; asyncio.run(zombies())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "1\n", done.stderr
