"""`make demo` shows how far its installation is, and installs packages that `make setup` has, too."""

from __future__ import annotations

import re
from pathlib import Path

from tools.install import progress

ROOT = Path(__file__).parents[1]
PIP = ["Collecting a==1", "  Downloading a", "Requirement already satisfied: b", "Installing collected packages: a"]


def versions(name: str) -> set[str]:
    text = (ROOT / f"requirements-{name}.lock").read_text(encoding="utf-8")
    return set(re.findall(r"^([\w.-]+==\S+)", text, re.MULTILINE))


def test_a_terminal_sees_each_package_in_one_line() -> None:
    shown = list(progress(PIP, 2, is_terminal=True))
    assert [text.strip() for text in shown] == ["1 of 2 packages", "2 of 2 packages", "unpacking ..."]
    assert all(text.startswith("\r") for text in shown)


def test_a_log_has_a_line_for_every_ten_packages() -> None:
    shown = list(progress([f"Collecting p{n}" for n in range(25)], 25, is_terminal=False))
    assert shown == ["  10 of 25 packages\n", "  20 of 25 packages\n"]


def test_the_demo_has_the_versions_of_the_developers() -> None:
    base, dev = map(versions, ("base", "dev"))
    assert base
    assert base <= dev


def test_the_demo_needs_no_heavy_extra() -> None:
    names = {each.partition("==")[0] for each in versions("base")}
    assert names.isdisjoint({"scipy", "pandas", "pyarrow", "statsmodels", "playwright", "moto", "boto3", "mypy"})
    assert {"grpcio", "rich", "starlette", "typer", "uvicorn"} <= names
