"""The tutorial of the gate, word for word, on real processes: a good release, a slower one, the change found."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial-gate.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PORT = "8099"


@pytest.mark.slow
@pytest.mark.quiet
def test_the_gate_is_right_about_both_releases_and_the_history_finds_the_change(tmp_path: Path) -> None:
    story = Story(tmp_path)
    with contextlib.closing(story):
        *begin, good, slow, gate, accept, nights, look = blocks(story.port)
        for block in begin:
            story.do(block)
        assert (code := story.do(good)) == 0, story.said
        assert "PASS" in story.said

        story.do(slow)
        assert (code := story.do(gate)) == 1, (code, story.said)
        failed = story.said
        assert "visit > search is" in failed
        assert "visit > browse is" not in failed

        for block in (accept, nights, look):
            assert story.do(block) == 0, story.said
        assert "since " in story.said

        story.sh(f"{command('loadgen')} history --percentile p50 --json")
        names = {one["name"]: one for one in json.loads(story.said)["names"]}
        (change,) = names["visit > search"]["changes"]
        assert change["change"] == pytest.approx(0.10, abs=0.03)
        assert change["labels"] == "release 1.1 -> 1.2"
        runs = [run["run_id"] for run in names["visit > search"]["runs"]]
        assert runs.index(change["after"]) == 13
        assert not names["visit > browse"]["changes"]
        assert names["visit > search"]["against"][0]["reference"] == "1.0"
        assert names["visit > search"]["against"][0]["low"] > 0

        assert story.sh(f"{command('loadgen')} history control visit.py --runs 1 --percentile p50") == 0
        assert "A/A control: " in story.said
        assert "of 1 A/A controls failed" in story.said


class Story:
    """A folder and a shell in it. A block that opens a shop leaves it open, in place of the one before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.said = ""
        self._shop: subprocess.Popen[str] | None = None
        self._path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def do(self, block: tuple[str, str]) -> int:
        kind, text = block
        if kind == "python":
            (self.folder / "visit.py").write_text(text)
            return 0
        if text.startswith("loadgen target"):
            self._open(shlex.split(text))
            return 0
        return self.sh(text)

    def sh(self, text: str) -> int:
        environment = {**os.environ, "PATH": self._path, "COLUMNS": "160"}
        environment.pop("LOADGEN_STORE", None)
        done = subprocess.run(
            ["bash", "-ec", text], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=900
        )
        self.said = done.stdout
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode

    def _open(self, words: list[str]) -> None:
        self.close()
        shop = subprocess.Popen([command(words[0]), *words[1:]], stdout=subprocess.PIPE, text=True)
        self._shop = shop
        assert shop.stdout is not None
        assert "the demo shop is open" in shop.stdout.readline()

    def close(self) -> None:
        if self._shop is not None:
            self._shop.send_signal(signal.SIGINT)
            self._shop.communicate(timeout=60)
            self._shop = None


def blocks(port: int) -> Iterator[tuple[str, str]]:
    text = TUTORIAL.read_text(encoding="utf-8").replace(PORT, str(port))
    return ((kind, block) for kind, block in BLOCK.findall(text))


def command(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
