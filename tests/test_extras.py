"""A missing package of an extra is reported with the command that installs it where the program runs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from loadgen.extras import how_to_install, install_command, missing_package, packages_of

METADATA = (
    "numpy>=1.26",
    "scipy>=1.14; extra == 'analysis'",
    'boto3>=1.36; extra == "aws"',
    "h2<5,>=4.1; extra == 'http2'",
)
PYTHON = "/opt/load test/bin/python"


def test_the_packages_of_an_extra_come_from_the_installed_metadata() -> None:
    assert packages_of("analysis", METADATA) == ("scipy>=1.14",)
    assert packages_of("http2", METADATA) == ("h2<5,>=4.1",)
    assert packages_of("controller", METADATA) == ()


def test_the_command_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    assert install_command(["h2<5,>=4.1"], tmp_path, PYTHON) == f"'{PYTHON}' -m pip install 'h2<5,>=4.1'"


def test_an_environment_of_uv_has_no_pip(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nuv = 0.13.0\n")
    assert install_command(["h2"], tmp_path, "/e/bin/python") == "uv pip install --python /e/bin/python h2"


def test_pipx_adds_packages_to_its_own_environment(tmp_path: Path) -> None:
    (tmp_path / "pipx_metadata.json").touch()
    assert install_command(["h2"], tmp_path, "/e/bin/python") == "pipx inject loadgen h2"


def test_no_command_names_loadgen_itself_to_an_index() -> None:
    for extra in ("analysis", "aws", "http2", "brotli", "outputs", "llm", "http3"):
        assert "loadgen[" not in how_to_install(extra)
        assert " -m pip install " in how_to_install(extra) or how_to_install(extra).startswith("install the extra")


def test_a_checkout_that_was_never_installed_refers_to_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    error = missing_package("AWS", "boto3", "aws")
    assert error.message == "AWS needs boto3, which is not installed"
    assert error.hint == "install the extra `aws`, see docs/install.md"
