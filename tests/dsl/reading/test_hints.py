"""Hints for unknown names, and the two lines of a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.similar_names import did_you_mean, listed
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.planning.scenario import load_scenario

NAMES = [f"option{n}" for n in range(12)]


@pytest.mark.parametrize(
    ("name", "there", "hint"),
    [
        ("tmeout", ["timeout", "url"], 'did you mean "timeout"?'),
        ("body", ["accept", "content", "json"], 'did you mean "json" or "content"?'),
        ("body", ["accept", "contents"], 'use one of "accept", "contents"'),
        ("zzz", ["b", "a"], 'use one of "b", "a"'),
        ("zzz", [], ""),
    ],
)
def test_an_unknown_name_is_compared_with_the_known_ones(name: str, there: list[str], hint: str) -> None:
    assert did_you_mean(name, there) == hint


def test_a_cut_list_begins_with_similar_names_and_says_how_many_more_there_are() -> None:
    text = listed([*NAMES, "near"], near="nea")

    assert text.startswith('"near", "option0"')
    assert text.endswith(", and 3 more")
    assert text.count('"') == 20


def test_a_warning_is_two_lines_and_control_characters_in_it_are_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.py"
    path.write_text(
        "from loadgen import Plan, User, arrivals, error_ratio, journey\n"
        "@journey\nasync def browse(user: User) -> None:\n    await user.http.get('/')\n"
        'slow = error_ratio(step="a\\x1b[31m\\nerror: b") < 1\n'
        "@journey\nasync def steps(user: User) -> None:\n"
        '    async with user.step("a\\x1b[31m\\nerror: b"):\n        pass\n'
        'plan = Plan("http://127.0.0.1:9", arrivals("1/s").hold("1s"), steps, [slow])\n'
    )

    load_scenario(CollectedErrors(), str(path))

    warning, hint, end = capsys.readouterr().err.split("\n")
    assert warning.startswith("warning: ")
    assert warning.endswith("this limit can never fail, except at exactly 100 %")
    assert "\\x1b[31m\\nerror: b" in warning
    assert hint.startswith("  hint: write error_ratio(")
    assert end == ""
