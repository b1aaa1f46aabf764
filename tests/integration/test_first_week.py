"""The page "your first week", word for word, on real processes: from a promise to a recommendation."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.support.story import Story, blocks_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first-week.md"


@pytest.mark.slow  # 15 runs; 201 s on a busy machine with two cores
@pytest.mark.timeout(1_200)
@pytest.mark.quiet
def test_the_first_week_says_what_happens(tmp_path: Path) -> None:
    story = Story(tmp_path)
    with contextlib.closing(story):
        blocks = blocks_of(PAGE, "8097", story.port)

        def next_of(kind: str) -> str:
            found, text = next(blocks)
            assert found == kind, text
            return text

        def do() -> str:
            code = story.sh(next_of("sh"))
            return f"{story.said}\nexit code of the block: {code}"

        do()  # the shop
        assert "visit-fast" in do()
        story.write("programme.toml", next_of("toml"))
        story.write("counts.py", next_of("python"))
        kept = do()
        assert "visit-fast: kept: 100.00 % against 99.5 %" in kept
        assert "exit code of the block: 0" in kept

        story.write("visit.py", next_of("python"))
        assert "INCONCLUSIVE" in do()

        do()  # the slower shop
        gate = do()
        assert "FAIL" in gate
        assert "visit > search is" in gate
        assert "visit > browse is" not in gate
        assert "exit code of the block: 1" in gate

        broken = do()
        assert "visit-fast: not kept" in broken
        assert "requests may be bad, 4800 are" in broken

        do()
        page = (tmp_path / "week.html").read_text()
        assert "Visit&#x27;s was not: 99.4" in page or "Visit's was not: 99.4" in page

        decided = do()
        assert "NO-GO (exit code 1) for 1.1 of visit" in decided

        board = do()
        assert "visit" in board
        assert "partly" in board
        assert "loadgen capacity find" in board
        assert not list(blocks)
