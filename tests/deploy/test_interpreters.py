"""Images and AWS machines run a Python with PGO and LTO: the Dockerfiles, the base of `make images`, the boot script.

Each rule is shown to find what it is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.engine.health.interpreter import read_build
from tests.engine.test_interpreter import DEBIAN, OFFICIAL_IMAGE
from tools.images import debian_base

IMAGES = sorted(Path("deploy/docker").glob("*.Dockerfile"))
BOOT = Path("deploy/terraform/modules/boot/files/boot.sh")
_BUILDS_PYTHON = re.compile(r"\b(pyenv|configure|gcc|make (alt)?install|Python-3[\w.]*\.(tgz|tar)|python-build)\b")


def image_faults(text: str) -> Iterator[str]:
    """Yield why an image may have a Python without PGO. The images `python:3.x` of Docker's library have it."""
    for base in re.findall(r"^FROM (\S+)", text, re.M):
        if not re.match(r"python:3\.\d+(\.\d+)?-slim-\w+(@sha256:[0-9a-f]{64})?$", base):
            yield f"not an official image of Python: {base}"
    yield from (f"builds or fetches a Python: {one[0]}" for one in _BUILDS_PYTHON.finditer(text))


def boot_faults(text: str) -> Iterator[str]:
    """Yield why a machine may have a Python without PGO. The package python3.12 of Amazon Linux is what it installs."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    (installed,) = re.findall(r"dnf install [^\n]*?(python3[\w.]*)", code) or [""]
    if not installed:
        yield "installs no Python of the distribution"
    for used in re.findall(r"(\S*python3?[\d.]*) -m venv", code):
        if used != installed:
            yield f"makes its venv with {used}"
    yield from (f"builds or fetches a Python: {one[0]}" for one in _BUILDS_PYTHON.finditer(code))


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_images_run_the_official_python_which_has_pgo_and_lto(path: Path) -> None:
    assert list(image_faults(path.read_text())) == []
    build = read_build({"CONFIG_ARGS": OFFICIAL_IMAGE}, "CPython", "3.13.11")
    assert build.has_pgo
    assert build.has_lto


def test_the_base_of_make_images_has_the_python3_of_debian_which_has_pgo_and_lto() -> None:
    assert "python3" in debian_base._PACKAGES
    assert all(not _BUILDS_PYTHON.search(word) for word in debian_base._PACKAGES)
    build = read_build({"CONFIG_ARGS": DEBIAN.format("x86_64-linux-gnu")}, "CPython", "3.13.5")
    assert build.has_pgo
    assert build.has_lto


def test_aws_machines_run_the_python_of_their_distribution() -> None:
    assert list(boot_faults(BOOT.read_text())) == []


def test_the_rules_find_a_python_of_unknown_build() -> None:
    image, boot = IMAGES[0].read_text(), BOOT.read_text()
    assert list(image_faults(image.replace("FROM python:3.13-slim-bookworm", "FROM debian:trixie-slim")))
    assert list(image_faults(image + "RUN pyenv install 3.13\n"))
    assert list(boot_faults(boot.replace("python3.12 -m venv", "/opt/own/bin/python3 -m venv")))
    assert list(boot_faults(boot.replace("--assumeyes python3.12 ", "--assumeyes ")))
    assert list(boot_faults(boot + "./configure --prefix=/opt/own\n"))
