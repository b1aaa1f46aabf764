"""What mypy says of code that a user might write."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

__all__ = ["check_types"]

ROOT = Path(__file__).parent.parent.parent


def check_types(folder: Path, text: str) -> None:
    """One run of mypy: lines marked `# E: text` have that error, and no others have any.

    It has the settings of pyproject.toml (strict), so that it finds everything else in the cache of `make check`: 1 s
    instead of 15.
    """
    path = folder / "typed.py"
    path.write_text(dedent(text))
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", "--no-pretty",
         "--show-error-codes", str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = path.read_text().splitlines()
    wanted = {n: line.partition("# E: ")[2] for n, line in enumerate(lines, 1) if "# E: " in line}
    errors: dict[int, str] = {}
    for message in found.stdout.splitlines():
        match = re.match(r".*typed\.py:(\d+): error: (.*)", message)
        if match:
            errors[int(match[1])] = errors.get(int(match[1]), "") + match[2]
    assert set(errors) == set(wanted), found.stdout + found.stderr
    assert {n: text for n, text in wanted.items() if text not in errors[n]} == {}, found.stdout
