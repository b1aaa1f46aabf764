"""No page and no recipe installs loadgen by its name from an index, where a stranger could register that name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "action.yml", ".ci/run")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs/ci").iterdir()),
    *sorted((ROOT / "deploy").rglob("*.sh")),
    *sorted((ROOT / "deploy").rglob("*.Dockerfile")),
]
_INSTALLS = re.compile(
    r"\b(?:pip3? (?:install|download|wheel)|pipx (?:install|run)|uvx?\b(?: tool install| pip install| add)?)\b(.*)"
)
_ANOTHER_SOURCE = re.compile(r"[/\\]|@ |\.whl|--from|\$")


def installs_by_name(line: str) -> bool:
    """Whether the line installs a package called loadgen, or one of its extras, from an index."""
    found = _INSTALLS.search(line)
    if found is None:
        return False
    words = re.findall(r"(?<![\w/.-])loadgen(?:\[[\w,-]+\])?(?:[=<>~!]=?[\w.*]+)?(?=[\s\"'`)]|$)", found[1])
    return bool(words) and not _ANOTHER_SOURCE.search(found[1])


def test_no_recipe_installs_loadgen_by_name() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in RECIPES}
    wrong = [(path, line) for path, text in texts.items() for line in text.splitlines() if installs_by_name(line)]
    assert not wrong


@pytest.mark.parametrize(
    "line",
    [
        "pip install loadgen",
        "$ pip install 'loadgen[analysis]'",
        "python -m pip install --upgrade loadgen==0.1.0",
        "uvx loadgen run shop.py",
        "pipx install loadgen",
        "uv tool install loadgen",
    ],
)
def test_the_rule_finds_what_it_is_for(line: str) -> None:
    assert installs_by_name(line)


@pytest.mark.parametrize(
    "line",
    [
        "pip install dist/loadgen-0.1.0-py3-none-any.whl",
        'pip install "loadgen[analysis] @ git+<repository-url>@<commit>"',
        "uvx --from dist/loadgen-0.1.0-py3-none-any.whl loadgen --help",
        "uv tool install git+<repository-url>@<commit>",
        "make setup && loadgen run shop.py",
        ".venv/bin/pip install .",
    ],
)
def test_the_rule_leaves_files_and_commits_alone(line: str) -> None:
    assert not installs_by_name(line)
