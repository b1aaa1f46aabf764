"""The commands of the programme on a real full disk, and real Ctrl-C. `test_cut_off.py` fails at each file of each."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadgen.errors import ExitCode
from loadgen.history.store.store import Store
from tests.cli.test_cut_off import CASES, WEEK, Template, contents, loadgen, template
from tests.support.run import started
from tests.support.sinks import http_receiver
from tests.support.small_disk import filled, small_disk

__all__ = ["template"]  # a fixture
pytestmark = pytest.mark.process


@pytest.fixture
def disk(template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small disk with the template, on which the commands run."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        shutil.copytree(template.folder, disk, dirs_exist_ok=True)
        monkeypatch.chdir(disk)
        yield disk
        monkeypatch.undo()


def test_on_a_full_disk_each_command_is_a_sentence_and_changes_no_file(
    template: Template, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that need a Chromium or a receiver are left out."""
    for name, case in CASES.items():
        if name in ("slo report --pdf", "slo status --notify"):
            continue
        for file, text in case.more.items():
            with Path(file).open("a") as out:
                out.write(text)
        for file in case.replaced:
            Path(file).write_text("old")
        before = contents()
        with filled(disk):
            failed = loadgen(*(template.find if one == "FIND" else one for one in case.args))
            left = {file: data for file, data in contents().items() if file != "filling"}
        assert failed.exit_code in case.on_full, (name, failed.output)
        assert "No space left on device" in failed.output, (name, failed.output)
        assert left == before, name
        Path("programme.toml").write_text((template.folder / "programme.toml").read_text())


def test_a_full_disk_behind_stdout_is_a_sentence(template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(template.folder)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "loadgen_controller.cli", "slo", "export"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == ExitCode.FLEET, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_while_a_channel_does_not_answer_ends_at_once_and_the_next_command_sends(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("slo", "report", "--publish", "--no-record", *WEEK)
    shutil.copytree(template.folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    with Path("programme.toml").open("a") as file:
        file.write('[publish]\nchannels = ["slow", "team"]\n')
    with http_receiver(status=204, hangs=threading.Event()) as slow, http_receiver(status=204) as team:
        channels = {"slow": slow.url, "team": team.url}
        lines = [f'[notify.{name}]\nkind = "webhook"\nurl = "{url}"\n' for name, url in channels.items()]
        Path("loadgen.toml").write_text("\n".join(lines))
        with started(*command, runs_dir=tmp_path / "runs") as publish:
            until(lambda: team.got)
            publish.send_signal(signal.SIGINT)
            said, _ = publish.communicate(timeout=60)  # all tries together last longer
        assert slow.hangs is not None
        slow.hangs.set()
        until(lambda: slow.got)
        slow.hangs = None
        again = loadgen(*command)

    assert publish.returncode == 128 + signal.SIGINT, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert "slow (webhook" in again.output
    assert again.exit_code == ExitCode.PASSED
    where = [one.details["where"] for one in Store.open("history").events("published")]
    assert set(where) == {"slow", "team"}


def test_ctrl_c_while_the_pdf_is_printed_ends_chromium_and_leaves_the_old_file(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template.folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    Path("week.pdf").write_text("of last week")
    chromium, pid = tmp_path / "chromium", tmp_path / "pid"
    chromium.write_text(f"#!/bin/sh\necho $$ > {pid}.part && mv {pid}.part {pid}\nexec sleep 300\n")
    chromium.chmod(0o755)
    monkeypatch.setenv("LOADGEN_CHROMIUM", str(chromium))
    before = contents()

    with started("slo", "report", "--no-record", "--pdf", "week.pdf", runs_dir=tmp_path / "runs") as report:
        until(pid.exists)
        report.send_signal(signal.SIGINT)
        said, _ = report.communicate(timeout=60)

    assert report.returncode == 128 + signal.SIGINT, said
    assert "Traceback" not in said
    assert contents() == before
    until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())
