"""`python -m bench`: what it writes, what it shows, and what becomes of a section that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench.__main__ as command
from bench.report import Section

pytestmark = pytest.mark.process


def _fails() -> Section:
    raise RuntimeError("wrk failed")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """RESULTS.md of three sections, one of which fails."""
    path = tmp_path / "RESULTS.md"
    monkeypatch.setattr(command, "RESULTS", path)
    monkeypatch.setattr(command, "_missing", lambda: "")
    sections = {
        "apples": command.Part(lambda n=3: Section("Apples", f"Counted {n}.", verdict="Budget 2: NOT HELD."), {"n": 1}),
        "broken": command.Part(_fails),
        "pears": command.Part(lambda: Section("Pears", "Weighed.")),
    }
    monkeypatch.setattr(command, "SECTIONS", sections)
    return path


def test_all_sections_are_written_but_one_that_fails_and_the_exit_code_says_so(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([]) == 1

    written = results.read_text()
    assert written.startswith("# Results\n")
    assert written.count("\n## ") == 2
    assert "Counted 3." in written
    assert "`python -m bench pears`" in written
    said = capsys.readouterr().err
    assert "wrk failed" in said
    assert "failed: broken" in said
    assert "Budget 2: NOT HELD." in said


def test_chosen_sections_are_shown_and_nothing_is_written(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["pears"]) == 0

    assert "## Pears" in capsys.readouterr().out
    assert not results.exists()


def test_a_chosen_section_is_written_in_its_place_on_request(results: Path) -> None:
    results.write_text("# Results\n\n## Apples\n\nold\n\n## Pears\n\nold\n")

    assert command.main(["apples", "--write"]) == 0

    assert "Counted 3." in results.read_text()
    assert results.read_text().endswith("## Pears\n\nold\n")


def test_a_quick_pass_writes_nothing(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["apples", "--quick"]) == 0

    assert "Counted 1." in capsys.readouterr().out
    assert not results.exists()


def test_a_section_that_is_not_there_is_said_with_those_that_are(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["plums"]) == 2

    assert "no section plums; there are apples, broken, pears" in capsys.readouterr().err


@pytest.mark.slow
def test_each_section_passes_quickly(capsys: pytest.CaptureFixture[str]) -> None:
    """Sections read what programs print, and nobody runs all of them while those change."""
    assert command.main(["--quick"]) == 0, capsys.readouterr().err
