"""Run external tools on our files. A missing tool is reported as skipped and is not a fault."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Skipped", "checkov", "cloud_init", "evaluated", "shellcheck", "systemd", "terraform"]

TOOLS = Path(".tools")
_NEEDED_S = 300
_NO_REASON = "No comment provided"
"""The text that checkov shows for a skip without a reason."""


class Skipped(Exception):
    """A tool is missing; the text names it and how to install it."""


def _venv(name: str, pinned: Path) -> Path:
    """Return the bin folder of a virtual environment with the pinned packages; it is created once.

    Raises:
        Skipped: the packages cannot be installed here.
    """
    venv, done = TOOLS / name, TOOLS / name / ".installed"
    if not done.exists() or done.read_text() != pinned.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        installed = subprocess.run([*pip, "--require-hashes", "-r", str(pinned)], capture_output=True, text=True)
        if installed.returncode != 0:
            raise Skipped(f"{pinned.name} cannot be installed here: {installed.stderr.strip().splitlines()[-1]}")
        done.write_text(pinned.read_text())
    return venv / "bin"


def evaluated(what: str, where: Path) -> Any:
    """Return the output of `evaluate.py`.

    Raises:
        Skipped: python-hcl2 and tfparse cannot be installed here.
    """
    python = _venv("deploy", Path("deploy/requirements-check.txt")) / "python"
    command = [str(python), "-m", "tools.deploy.evaluate", what, str(where)]
    return json.loads(_run(command, "tfparse").stdout)


def checkov(folder: Path) -> Iterator[str]:
    """Yield the faults that checkov finds. A skipped check must have its reason in the file."""
    bin_ = _venv("checkov", Path("deploy/requirements-checkov.txt"))
    options = ["--framework", "terraform", "--skip-download", "--compact", "-o", "json"]
    found = _run([str(bin_ / "checkov"), "-d", str(folder), *options], "checkov", expected=(0, 1))
    told = json.loads(found.stdout)
    for one in told if isinstance(told, list) else [told]:
        results = one.get("results", {})
        for kind in ("failed_checks", "skipped_checks"):
            for fault in results.get(kind, ()):
                where = f"{fault['file_path']}:{fault['file_line_range'][0]}"
                if kind == "failed_checks":
                    yield f"{where}: {fault['check_name']} [{fault['check_id']}]"
                elif fault["check_result"].get("suppress_comment") in (None, "", _NO_REASON):
                    yield f"{where}: {fault['check_id']} is skipped without a reason"


def shellcheck(scripts: dict[str, str]) -> Iterator[str]:
    """Yield the faults that shellcheck finds in scripts, given as name -> text."""
    yield from _each(_tool("shellcheck"), [], scripts)


def cloud_init(documents: dict[str, str]) -> Iterator[str]:
    """Yield the faults that cloud-init finds in user data, given as name -> text."""
    yield from _each(_tool("cloud-init"), ["schema", "--config-file"], documents)


def systemd(units: dict[str, str]) -> Iterator[str]:
    """Yield the faults in systemd units, given as file name -> text. Missing programs and other units are no fault."""
    tool = _tool("systemd-analyze")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in units.items():
            (Path(folder) / name).write_text(text)
        paths = [str(Path(folder) / name) for name in units]
        said = subprocess.run([tool, "verify", "--recursive-errors=no", *paths], capture_output=True, text=True)
    for line in said.stderr.splitlines():
        if any(name in line for name in units) and "is not executable" not in line:
            yield line


def terraform(folder: Path) -> Iterator[str]:
    """Yield the faults of `terraform fmt` and `validate`. A plan needs an account: see `make deploy-plan`."""
    tool = shutil.which("terraform") or shutil.which("tofu")
    if tool is None:
        raise Skipped("neither terraform nor tofu is on the PATH; install one for fmt, validate and plan")
    formatted = subprocess.run([tool, "fmt", "-check", "-recursive", str(folder)], capture_output=True, text=True)
    yield from (f"{line}: not formatted: run `terraform fmt`" for line in formatted.stdout.splitlines())
    for example in sorted((folder / "examples").iterdir()):
        for words in (["init", "-backend=false", "-input=false"], ["validate"]):
            done = subprocess.run(
                [tool, f"-chdir={example}", *words], capture_output=True, text=True, timeout=_NEEDED_S
            )
            if done.returncode != 0:
                yield f"{example}: {' '.join(words)}: {done.stderr.strip()}"
                break


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Skipped(f"no {name} on the PATH (apt-get install {name})")
    return found


def _each(tool: str, options: list[str], texts: dict[str, str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            path = Path(folder) / name
            path.write_text(text)
            done = subprocess.run([tool, *options, str(path)], capture_output=True, text=True, timeout=_NEEDED_S)
            if done.returncode != 0:
                yield f"{name}: {(done.stdout + done.stderr).strip()}"


def _run(command: list[str], name: str, expected: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_NEEDED_S)
    if done.returncode not in expected:
        raise SystemExit(f"{name} failed: {done.stderr.strip()}")
    return done
