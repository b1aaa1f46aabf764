"""What a worker inherits, and that it does not outlive its supervisor."""

from __future__ import annotations

import subprocess
import sys

import pytest

from loadgen_agent import host
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
    seen = host.worker_environment(environ)
    assert seen.keys() == {"PATH", "LANG", "PYTHONPATH", "LOADGEN_CA_FILE", "LOADGEN_DEBUG_RAW"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills with the parent")
async def test_a_process_dies_with_its_parent() -> None:
    child = "from loadgen_agent.host import die_with_parent; die_with_parent(); print('up', flush=True); input()"
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


def test_the_file_limit_is_as_high_as_it_may_be() -> None:
    assert host.raise_file_limit() >= 256
