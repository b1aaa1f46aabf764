"""The tutorial of the gate, word for word, on real processes: a good release, a slower one, the change found."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from tests.support.story import Story, blocks_of, command

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial-gate.md"
PORT = "8099"


@pytest.mark.slow
@pytest.mark.quiet
def test_the_gate_is_right_about_both_releases_and_the_history_finds_the_change(tmp_path: Path) -> None:
    story = Story(tmp_path)
    with contextlib.closing(story):
        *begin, good, slow, gate, accept, nights, look = blocks_of(TUTORIAL, PORT, story.port)
        for block in begin:
            do(story, block)
        assert (code := do(story, good)) == 0, story.said
        assert "PASS" in story.said

        do(story, slow)
        assert (code := do(story, gate)) == 1, (code, story.said)
        failed = story.said
        assert "visit > search is" in failed
        assert "visit > browse is" not in failed

        for block in (accept, nights, look):
            assert do(story, block) == 0, story.said
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


def do(story: Story, block: tuple[str, str]) -> int:
    kind, text = block
    if kind == "python":
        story.write("visit.py", text)
        return 0
    return story.sh(text)
