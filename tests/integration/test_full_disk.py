"""The controller's disk is full for some seconds of a run: it goes on, and when there is space again all is there."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.test_slow_controller import scenario
from tests.integration.test_stopping import adds_up, end_of, wait_for
from tests.support.nginx import running_nginx
from tests.support.run import ends_with, run_folder, started


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.fault("F20", "for 8 s, a real one of 1 MiB")
@pytest.mark.slow
def test_a_run_whose_disk_is_full_for_8_s_is_complete_when_there_is_space_again(
    small_disk: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    runs, ballast = small_disk / "runs", small_disk / "ballast"
    args = ("run", scenario(tmp_path, 16), "--target")
    with running_nginx() as nginx, started(*args, nginx.url, runs_dir=runs) as run:
        wait_for(run, r"^0:03 to |^0:00 to 0:0[3-9], ")
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        wait_for(run, "No space left")
        time.sleep(8)
        ballast.unlink()
        code, out, summary = end_of(run, runs)
        served = sum(nginx.counts().values())
    assert ends_with(code, summary, 0), out
    assert adds_up(summary)
    assert served == summary["requests"]["finished"] == 1_600
    assert {agent["complete"] for agent in summary["agents"]} == {True}
    record_property("seen", f"{served} served, {summary['requests']['finished']} merged")
    kinds = [json.loads(line)["kind"] for line in (run_folder(runs) / "events.jsonl").read_text().splitlines()]
    assert kinds.index("storage failing") < kinds.index("storage mended")
    assert "could not be written for" in " ".join(summary["notes"])
