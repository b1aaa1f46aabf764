"""What a worker inherits, and that it does not outlive its supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen_agent import operating_system
from tests.support.wire import until


def test_a_worker_sees_how_to_run_and_no_secrets() -> None:
    environ = {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/x",
        "LOADGEN_CA_FILE": "/ca.pem",
        "LOADGEN_DEBUG_RAW": "1",
        "AWS_SECRET_ACCESS_KEY": "canary",
        "LOADGEN_TOKEN": "canary",
        "HOME": "/root",
    }
    seen = operating_system.worker_environment(environ)
    assert seen.keys() == {"PATH", "LANG", "PYTHONPATH", "LOADGEN_CA_FILE", "LOADGEN_DEBUG_RAW"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills with the parent")
async def test_a_process_dies_with_its_parent() -> None:
    child = (
        "from loadgen_agent.operating_system import die_with_parent\n"
        "die_with_parent(); print('up', flush=True); input()"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "p.stdout.readline(); print(p.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()

    def is_gone() -> bool:
        """Gone, or dead and not yet reaped by whoever inherited it."""
        try:
            with open(f"/proc/{grandchild}/stat") as file:  # noqa: PTH123
                return file.read().rpartition(")")[2].split()[0] in "ZX"
        except FileNotFoundError:
            return True

    await until(is_gone)


def group(root: Path, limit: str, name: str = "cpu.max") -> Path:
    """A machine whose cgroup (version 2) has a CPU limit."""
    folder = root / "sys/fs/cgroup/box"
    folder.mkdir(parents=True)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/box\n")
    (folder / name).write_text(limit)
    return root


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("2000000 100000", 8), ("nonsense", 8), ("", 8)],
)
def test_as_many_cpus_as_it_may_run_on_and_whole_ones_of_a_limit(
    limit: str, cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operating_system, "cores", lambda: tuple(range(8)))
    assert operating_system.cpu_count(group(tmp_path, limit)) == cpus


def test_a_limit_of_the_first_version_of_cgroups_counts_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operating_system, "cores", lambda: tuple(range(8)))
    folder = tmp_path / "sys/fs/cgroup/cpu/box"
    folder.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:cpu,cpuacct:/box\n")
    (folder / "cpu.cfs_quota_us").write_text("300000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert operating_system.cpu_count(tmp_path) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process on a CPU")
def test_a_process_can_be_kept_on_one_cpu_and_where_it_cannot_it_goes_on() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        core = operating_system.cores()[-1]
        operating_system.pin(process.pid, core)
        assert os.sched_getaffinity(process.pid) == {core}
        operating_system.pin(process.pid, 4096)  # there is no such CPU
        assert process.poll() is None
        process.communicate(b"\n")


@pytest.mark.parametrize(("text", "kills"), [("pgfault 5\noom_kill 7\n", 7), ("pgfault 5\n", 0), ("oom_kill x", 0)])
def test_kills_for_want_of_memory_are_counted_by_the_kernel(text: str, kills: int, tmp_path: Path) -> None:
    assert operating_system.oom_kills(tmp_path) == 0  # no such file: not Linux
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text(text)
    assert operating_system.oom_kills(tmp_path) == kills


def test_the_file_limit_is_as_high_as_it_may_be() -> None:
    assert operating_system.raise_file_limit() >= 256


@pytest.mark.skipif(sys.platform != "linux", reason="the size of the table is in Linux's /proc")
def test_the_table_of_descriptors_has_room_before_the_load_and_none_stays_open() -> None:
    look = "import os; from loadgen_agent.operating_system import widen_file_table; "
    look += "before = os.listdir('/proc/self/fd'); widen_file_table(); "
    look += "size = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('FDSize')); "
    look += "print(size, len(os.listdir('/proc/self/fd')) - len(before))"
    said = subprocess.run(
        ["sh", "-c", 'ulimit -n 4096 && exec "$0" -c "$1"', sys.executable, look], capture_output=True, text=True
    ).stdout
    assert said == "4096 0\n"


def test_a_process_that_leaves_no_core_and_its_children_may_write_none() -> None:
    look = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
    child = (
        f"import subprocess, sys; from loadgen_agent.operating_system import leave_no_core; leave_no_core(); {look}; "
    )
    child += f"sys.stdout.flush(); subprocess.run([sys.executable, '-c', {look!r}])"
    said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    assert said == "(0, 0)\n(0, 0)\n"
