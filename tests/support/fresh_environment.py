"""A fresh environment with a built wheel and just the packages that its metadata asks for, without a network.

The packages are linked from the environment of the tests. So a package that loadgen imports and does not declare is
missing here, as it is at a user's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

__all__ = ["ROOT", "FreshEnvironment", "build"]

ROOT = Path(__file__).resolve().parents[2]


def build(kind: str, into: Path, root: Path = ROOT) -> Path:
    """Build the "wheel" or "sdist" of a source tree into a folder, and return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(into)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (built,) = into.iterdir()
    return built


class FreshEnvironment:
    """A virtual environment in a folder, with the wheel, its base dependencies, and those of the named extras."""

    def __init__(self, folder: Path, wheel: Path, *extras: str) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin/python"
        self.loadgen = folder / "bin/loadgen"
        self.site = next((folder / "lib").glob("python3*/site-packages"))
        pip = [sys.executable, "-m", "pip", "--python", str(self.python)]
        install = [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
        subprocess.run(install, check=True, capture_output=True)
        (ours,) = metadata.distributions(name="loadgen", path=[str(self.site)])
        for name in set(_needed(ours, frozenset(extras))):
            self._link(metadata.distribution(name))

    def _link(self, package: metadata.Distribution) -> None:
        """Link the top-level files and folders of an installed package. A namespace, `google`, is a folder of links."""
        for file in package.files or ():
            top = Path(str(package.locate_file(file.parts[0])))
            if file.parts[0] in ("..", "__pycache__"):
                continue
            is_whole = top.is_file() or top.suffix == ".dist-info" or (top / "__init__.py").exists()
            parts = file.parts[: 1 if is_whole else 2]
            link = self.site.joinpath(*parts)
            if not link.exists():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(Path(str(package.locate_file("/".join(parts)))))

    def run(self, *words: str, cwd: Path | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the installed `loadgen`, with a clean environment, and return its exit code and output."""
        return self._run([str(self.loadgen), *words], cwd, timeout_s)

    def script(self, code: str, cwd: Path | None = None, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run Python code in this environment."""
        return self._run([str(self.python), "-c", code], cwd, timeout_s)

    def _run(self, command: list[str], cwd: Path | None, timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=cwd,
            env={"PATH": f"{self.python.parent}:/usr/bin:/bin", "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def _needed(package: metadata.Distribution, extras: frozenset[str]) -> Iterator[str]:
    """Yield the names of all packages that a package with these extras needs on this machine, also indirectly."""
    from packaging.requirements import Requirement

    seen: set[str] = set()
    waiting = [(package, extras)]
    while waiting:
        one, wanted_extras = waiting.pop()
        for text in one.requires or ():
            wanted = Requirement(text)
            if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *wanted_extras)):
                continue
            name = re.sub(r"[-_.]+", "-", wanted.name).lower()
            if name not in seen:
                seen.add(name)
                yield name
                waiting.append((metadata.distribution(name), frozenset(wanted.extras)))
