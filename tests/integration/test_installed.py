"""The wheel, installed in a fresh environment: equal builds, no traceback, and what a missing extra says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen_controller.cli import COMMANDS
from loadgen_controller.completion.command_table import command_table
from tests.support.fresh_environment import FreshEnvironment, build


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> FreshEnvironment:
    return FreshEnvironment(tmp_path_factory.mktemp("fresh") / "venv", wheel)


def every_command() -> Iterator[tuple[str, ...]]:
    """Every command and subcommand, as words."""
    for name, entry in command_table().items():
        yield (name,)
        yield from ((name, inner) for inner in entry.commands)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_two_builds_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    first, second = (build(kind, tmp_path / name) for name in ("one", "two"))

    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_the_installed_command_shows_its_version_and_its_commands(fresh: FreshEnvironment) -> None:
    assert re.fullmatch(r"loadgen \d+\.\d+\.\d+\n", fresh.run("--version").stdout)
    shown = fresh.run("--help")
    assert shown.returncode == 0
    assert all(f" {name} " in shown.stdout for name in COMMANDS)


def test_no_command_of_a_plain_install_ends_in_a_traceback(fresh: FreshEnvironment, tmp_path: Path) -> None:
    """All in one process, since each start costs a second: the commands see the same environment."""
    code = f"""
import sys
from loadgen_controller.cli import main
for words in {[list(words) for words in every_command()]!r}:
    for given in ([*words, "--help"], [*words, "--no-such-option"]):
        try:
            main(given)
        except SystemExit as end:
            if end.code != (0 if given[-1] == "--help" else 2):
                print("WRONG", given, end.code)
"""
    done = fresh.script(code, cwd=tmp_path)
    assert "WRONG" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "bug in loadgen" not in done.stderr
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (("gate", "shop.py"), "scipy>="),
        (("compare", "one", "two"), "scipy>="),
        (("history",), "scipy>="),
        (("runs", "push", "last", "s3://bucket/x"), "boto3>="),
    ],
)
def test_a_missing_extra_is_one_sentence_with_the_command(
    fresh: FreshEnvironment, words: tuple[str, ...], package: str, tmp_path: Path
) -> None:
    (tmp_path / "runs/20261124-170310-shop-a1b0").mkdir(parents=True)
    (tmp_path / "runs/20261124-170310-shop-a1b0/manifest.json").write_text("{}")
    done = fresh.run(*words, cwd=tmp_path)

    assert done.returncode == 2
    remedy = rf"needs \w+, which is not installed\n  hint: .*: \S+/python\S* -m pip install .*'{package}"
    assert re.search(remedy, done.stderr)
    assert "Traceback" not in done.stderr


def test_the_old_extra_of_the_controller_still_exists(fresh: FreshEnvironment) -> None:
    (metadata,) = fresh.site.glob("loadgen-*.dist-info/METADATA")
    text = metadata.read_text()
    assert "Provides-Extra: controller" in text
    assert "extra == 'controller'" not in text
