"""Errors about optional packages that are not installed, with the exact command that installs them.

An extra is a group of optional packages in `pyproject.toml`. The command names the packages and not the extra, because
`loadgen[EXTRA]` could be found only at a package index, and an index may have a stranger's package of that name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import join

from loadgen.errors import UsageError

__all__ = ["how_to_install", "install_command", "missing_package", "packages_of"]

_OF_EXTRA = re.compile(r"""\bextra\s*==\s*["']([\w-]+)["']""")


def missing_package(user: str, package: str, extra: str) -> UsageError:
    """Return the error that `user`, such as "loadgen gate", needs a package of this extra."""
    return UsageError(f"{user} needs {package}, which is not installed", hint=how_to_install(extra))


def how_to_install(extra: str) -> str:
    """Return one sentence with the command that adds this extra to the environment of this program."""
    from importlib.metadata import PackageNotFoundError, requires  # slow to import, and needed only for an error

    try:
        packages = packages_of(extra, requires("loadgen") or ())
    except PackageNotFoundError:
        packages = ()
    if not packages:  # a checkout on PYTHONPATH, never installed: it has no list of requirements
        return f"install the extra `{extra}`, see docs/install.md"
    return f"install the extra `{extra}`: {install_command(packages, Path(sys.prefix), sys.executable)}"


def packages_of(extra: str, requirements: Iterable[str]) -> tuple[str, ...]:
    """Return the packages of an extra, such as "scipy>=1.14", from the requirements in a package's metadata."""
    parts = (each.partition(";") for each in requirements)
    return tuple(package.strip() for package, _, marker in parts if extra in _OF_EXTRA.findall(marker))


def install_command(packages: Sequence[str], environment: Path, python: str) -> str:
    """Return the command that adds packages to a virtual environment: with pip, or with the tool that created it.

    That is pipx or uv. An environment of uv has no pip.

    environment: the folder of the environment. python: the path of its interpreter.
    """
    if (environment / "pipx_metadata.json").exists():
        return join(["pipx", "inject", "loadgen", *packages])
    try:
        is_by_uv = re.search(r"^uv\s*=", (environment / "pyvenv.cfg").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        is_by_uv = None
    if is_by_uv:
        return join(["uv", "pip", "install", "--python", python, *packages])
    return join([python, "-m", "pip", "install", *packages])
